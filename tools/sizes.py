"""Flash, RAM, stack, code and modelled cycles of a few golden networks, against the baseline.

python tools/sizes.py             # make sizes: each network, and each function that changed
python tools/sizes.py --update    # make sizes-update: write benchmarks/baseline.json
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from golden import sizes  # noqa: E402
from golden.diff import table  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="write the baseline")
    parsed = parser.parse_args()
    if not shutil.which("arm-none-eabi-gcc"):
        raise SystemExit("arm-none-eabi-gcc not found; see `make setup`")
    with tempfile.TemporaryDirectory() as folder:
        now = sizes.measure_now(ROOT, Path(folder))
    if parsed.update:
        sizes.write(now)
        print(f"{len(now.sizes)} cases in {sizes.BASELINE.relative_to(ROOT)}")
        return 0
    before = sizes.read()
    if before.compiler != now.compiler:
        print(f"The baseline was measured with {before.compiler}, this is {now.compiler}")
    changes = sizes.changes(before.sizes, now.sizes)
    print("\n".join(table(changes)))
    changed = [change for change in changes if change.before != change.after]
    worse = [change for change in changed if change.worse]
    print(f"{len(changes)} numbers, {len(changed)} changed, {len(worse)} got worse")
    return 0


if __name__ == "__main__":
    sys.exit(main())
