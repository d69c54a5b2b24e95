"""Checks a commit's subject: an imperative that says what changes. A commit-msg hook.

python tools/check_subject.py .git/COMMIT_EDITMSG
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LONGEST = 72
# First words that show that a subject is not an imperative.
_NOT_IMPERATIVE = re.compile(
    r"(a|an|the|this|that|what|where|when|who|no|not|of|in|it|each|every|all|some)\b"
    r"|\w+(ed|ing|es)\b",
    re.IGNORECASE,
)
_IMPERATIVES = ("embed", "feed", "need", "seed", "shed", "speed", "bring", "ring", "string")


def complaint(subject: str) -> str | None:
    """What is wrong with a subject, as a sentence; None if nothing is."""
    if subject.startswith(("Merge ", "Revert ", "fixup! ", "squash! ")):
        return None
    first = subject.split(maxsplit=1)[0] if subject.split() else ""
    if not first:
        return "The subject is empty."
    if len(subject) > LONGEST:
        return f"The subject has {len(subject)} characters, at most {LONGEST} are allowed."
    if not first[0].isupper():
        return "The subject begins with a small letter."
    if subject.endswith("."):
        return "The subject ends with a full stop."
    if _NOT_IMPERATIVE.fullmatch(first) and first.lower() not in _IMPERATIVES:
        return f"Begin with a verb, as in 'Escape layer names in comments', not with {first!r}."
    return None


def main() -> int:
    """Returns 0, or 1 after printing what is wrong."""
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    wrong = complaint(lines[0].rstrip() if lines else "")
    if wrong:
        print(f"commit subject: {wrong}", file=sys.stderr)
    return int(wrong is not None)


if __name__ == "__main__":
    sys.exit(main())
