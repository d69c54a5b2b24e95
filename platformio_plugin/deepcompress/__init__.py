"""DeepCompress: a PyTorch network becomes C for a microcontroller.

The compiler's public surface. Importing this package imports neither torch nor numpy, so that
a build which has nothing to do costs nothing; the stages import what they need.
"""

__version__ = "0.1.0"
