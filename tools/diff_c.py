"""What the working tree does to the golden networks, against a revision.

First the generated files that are others, by function; then, of each function whose code is
another, bytes of code and stack and modelled cycles before and after. The library's headers and
src/ count too: before, those of the revision.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from golden.diff import Side, checkout, compare, of_networks  # noqa: E402
from golden.generate import generate  # noqa: E402
from golden.networks import NETWORKS  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="HEAD", help="revision to compare with (default HEAD)")
    parser.add_argument("--diff", action="store_true", help="print the files' diffs as well")
    parser.add_argument(
        "--fail-if-worse", action="store_true", help="exit 1 where a byte or a cycle more is taken"
    )
    parser.add_argument("networks", nargs="*", help="of the golden ones; by default all")
    parsed = parser.parse_args()
    if unknown := set(parsed.networks) - {network.name for network in NETWORKS}:
        parser.error(f"no network is called {', '.join(sorted(unknown))}")
    chosen = [n for n in NETWORKS if not parsed.networks or n.name in parsed.networks]
    with tempfile.TemporaryDirectory() as folder:
        base = checkout(ROOT, parsed.base, Path(folder) / "base")
        before = Side(of_networks(base.golden, parsed.networks), base.tree)
        after = Side(dict(generate(chosen)), ROOT)
        changes = compare(before, after, Path(folder) / "objects", say=print, diff=parsed.diff)
    return int(parsed.fail_if_worse and any(change.worse for change in changes))


if __name__ == "__main__":
    sys.exit(main())
