"""Writes the golden files again: tests/golden/expected. Read what `git diff` then shows."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from golden import store  # noqa: E402
from golden.generate import generate  # noqa: E402


def main() -> int:
    before, after = store.read(), dict(generate())
    changed = {line.partition(":")[0] for line in store.differences(before, after)}
    store.write(after)
    print(f"{len(after)} cases in {store.FOLDER.relative_to(ROOT)}, {len(changed)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
