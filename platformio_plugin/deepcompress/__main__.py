"""`python -m deepcompress`: the command line, see cli/main.py."""

import sys


def main() -> int:
    """Runs one command and returns its exit code, or 1 on a Python that is too old."""
    # Before any import: older versions do not even parse the other modules.
    if sys.version_info < (3, 10):  # noqa: UP036, a clone may be run with any Python
        sys.stderr.write(
            "deepcompress: error: this is Python {}.{}, and the compiler needs 3.10 or newer. Run "
            "it with a newer Python that has torch.\n".format(*sys.version_info[:2])
        )
        return 1
    from deepcompress.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
