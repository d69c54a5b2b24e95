"""`python -m deepcompress`: the command line, see cli/main.py."""

from __future__ import annotations

import sys

from deepcompress.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
