"""The effect of a change on the golden networks: on their C, and on its machine code."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golden import measure, store
from golden.cases import CPUS, Case
from golden.measure import Measured, Source

RUNTIME = "runtime"  # the name of the library's own src/*.c in place of a network's
SUM = "(sum)"
# Number of a function as printed -> its field.
NUMBERS = {"code": "code_bytes", "stack": "stack_bytes", "cycles": "cycles"}
# Number of a network as printed -> its keys in the report.
_REPORTED = {
    "arena": ("ram", "arena_bytes"),
    "ram": ("ram", "total_bytes"),
    "weights": ("flash", "weights_bytes"),
    "flash": ("flash", "total_bytes"),
}
_LIBRARY = ("include", "src")
_OUTSIDE = "(outside of functions)"
_DEFINITION = re.compile(
    r"^\w[^;={]*?\b(\w+)\([^;]*\{$|^(?:static )?const [^;=]*?\b(\w+)(?:\[.*)? = "
)


@dataclass(frozen=True)
class Side:
    """The golden texts and the library, before or after a change; `tree` has include/ and src/."""

    golden: store.Golden
    tree: Path


@dataclass(frozen=True)
class Change:
    """One number of a function or a network, before and after; None if it does not exist."""

    case: Case
    function: str
    what: str
    before: int | None
    after: int | None

    @property
    def worse(self) -> bool:
        """Whether it grew. A new function is not worse; the sum of its network may be."""
        return None not in (self.before, self.after) and self.after > self.before


def of_networks(golden: store.Golden, names: Sequence[str]) -> store.Golden:
    """The cases of these networks, or all cases if none is named."""
    return {case: texts for case, texts in golden.items() if not names or case.network in names}


def checkout(root: Path, base: str, folder: Path) -> Side:
    """The golden files and the library of a revision.

    Raises:
        SystemExit: there is no such revision, or it has no golden files.
    """
    paths = [*_LIBRARY, str(store.FOLDER.relative_to(root))]
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", base, *paths], cwd=root, capture_output=True)
    if archive.returncode:
        raise SystemExit(f"{base}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return Side(store.read(folder / store.FOLDER.relative_to(root)), folder)


# --- texts


def blocks(text: str) -> dict[str, str]:
    """A C file's functions and constants by name, and all else under one name."""
    found, name = {_OUTSIDE: ""}, _OUTSIDE
    for line in text.splitlines(keepends=True):
        if name == _OUTSIDE and (begun := _DEFINITION.match(line.rstrip("\n"))):
            name = begun[1] or begun[2]
        found[name] = found.get(name, "") + line
        if line.startswith("}") or (name != _OUTSIDE and line[:1].strip() and line[-2:] == ";\n"):
            name = _OUTSIDE
    return found


def changed_parts(name: str, before: str, after: str) -> list[str]:
    """Names of what differs in a file: functions and constants, or a report's facts."""
    split = _facts if name == store.REPORT else blocks
    old, new = split(before), split(after)
    return [part for part in dict.fromkeys([*old, *new]) if old.get(part) != new.get(part)]


def _facts(text: str) -> dict[str, Any]:
    """A report's values by their path, such as "layers.conv1.cycles"."""
    facts: dict[str, Any] = {}

    def add(place: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                add(f"{place}.{key}" if place else key, part)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, part in enumerate(value):
                add(f"{place}.{part.get('name', index)}", part)
        else:
            facts[place] = value

    add("", json.loads(text) if text else {})
    return facts


def text_changes(before: store.Golden, after: store.Golden) -> list[str]:
    """A line per changed file: its network, what changed in it, and for which cases."""
    alike: dict[tuple[str, str], list[str]] = {}
    for case in dict.fromkeys([*before, *after]):
        old, new = before.get(case, {}), after.get(case, {})
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) == new.get(name):
                continue
            parts = changed_parts(name, old.get(name, ""), new.get(name, ""))
            what = "new" if not old else "gone" if not new else ", ".join(parts)
            file = name if name.startswith(case.network) else f"{case.network} {name}"
            alike.setdefault((file, what), []).append(case.target)
    return [f"{file}: {what} ({' '.join(targets)})" for (file, what), targets in alike.items()]


def unified(before: store.Golden, after: store.Golden) -> Iterable[str]:
    """Lines of the diffs of all files; a diff that several cases share is included once."""
    seen = set()
    for case in dict.fromkeys([*before, *after]):
        old, new = before.get(case, {}), after.get(case, {})
        for name in dict.fromkeys([*old, *new]):
            both = [side.get(name, "").splitlines() for side in (old, new)]
            label = f"{case}: {name}"
            lines = list(difflib.unified_diff(*both, label, label, lineterm="", n=1))
            if lines and tuple(lines[2:]) not in seen:
                seen.add(tuple(lines[2:]))
                yield from lines


# --- code


def code_changes(before: Side, after: Side, scratch: Path) -> list[Change]:
    """Every number of each function whose code differs, and of its network."""
    pairs = list(_pairs(before, after, scratch))
    if pairs and not shutil.which("arm-none-eabi-gcc"):
        raise SystemExit("arm-none-eabi-gcc not found; see `make setup`")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        keys = in_parallel(pool, measure.preprocessed, _sources(pairs))
        pairs = [pair for pair in pairs if keys[pair.before] != keys[pair.after]]
        # Sources that are the same to the compiler are measured once, whatever their cases.
        source_of = {keys[source]: source for source in _sources(pairs)}
        found = in_parallel(
            pool, lambda key: measure.compiled(source_of[key], scratch / key), source_of
        )
        pairs = [p for p in pairs if found[keys[p.before]] != found[keys[p.after]]]
        timed = [keys[source] for source in _sources(p for p in pairs if p.case.network != RUNTIME)]
        found |= in_parallel(
            pool,
            lambda key: measure.with_inference(found[key], source_of[key], scratch / key),
            dict.fromkeys(timed),
        )
    changes = report_changes(before.golden, after.golden)
    for pair in pairs:
        changes += function_changes(pair.case, found[keys[pair.before]], found[keys[pair.after]])
    return changes


def in_parallel(pool: ThreadPoolExecutor, work: Callable, items: Iterable) -> dict:
    """The result of the work for each item, by item."""
    items = list(items)
    return dict(zip(items, pool.map(work, items), strict=True))


def _sources(pairs: Iterable[_Pair]) -> list[Source]:
    return [source for pair in pairs for source in (pair.before, pair.after)]


@dataclass(frozen=True)
class _Pair:
    """A source before and after."""

    case: Case
    before: Source
    after: Source


def _pairs(before: Side, after: Side, scratch: Path) -> Iterator[_Pair]:
    """Sources whose text or library differs."""
    same_library = _library(before.tree) == _library(after.tree)
    for case in after.golden:
        if case not in before.golden:
            continue
        if same_library and before.golden[case] == after.golden[case]:
            continue
        yield _Pair(
            case,
            *(
                measure.write_sources(
                    case, side.golden[case], scratch / which / str(case), side.tree
                )
                for side, which in ((before, "before"), (after, "after"))
            ),
        )
    if same_library:
        return
    for old in sorted((before.tree / "src").glob("*.c")):
        if (new := after.tree / "src" / old.name).is_file():
            for cpu in CPUS:
                case = Case(RUNTIME, cpu, "all")
                yield _Pair(case, Source(old, cpu, before.tree), Source(new, cpu, after.tree))


def _library(tree: Path) -> dict[str, bytes]:
    return {
        path.relative_to(tree).as_posix(): path.read_bytes()
        for part in _LIBRARY
        for path in (tree / part).rglob("*")
        if path.is_file()
    }


def function_changes(case: Case, before: Measured, after: Measured) -> list[Change]:
    """The numbers of each function whose bytes, stack or cycles differ, and their sums."""
    changes = []
    for name in dict.fromkeys([*before.functions, *after.functions]):
        old, new = before.functions.get(name), after.functions.get(name)
        if old != new:
            changes += [
                Change(case, name, what, getattr(old, field, None), getattr(new, field, None))
                for what, field in NUMBERS.items()
            ]
    if changes:
        changes += [
            Change(case, SUM, what, old, new)
            for what, old, new in zip(NUMBERS, sums(before), sums(after), strict=True)
        ]
    return changes


def sums(measured: Measured) -> tuple[int, int | None, int | None]:
    """Bytes of code of all functions; the stack and the cycles of an inference."""
    code = sum(function.code_bytes for function in measured.functions.values())
    return code, measured.stack_bytes, measured.cycles


def report_changes(before: store.Golden, after: store.Golden) -> list[Change]:
    """Bytes of flash and RAM of whole networks in the reports, where they differ."""
    return [
        change
        for case in after
        if case in before and before[case] != after[case]
        for change in _network_changes(case, before[case], after[case])
    ]


def _network_changes(
    case: Case, before: Mapping[str, str], after: Mapping[str, str]
) -> list[Change]:
    old, new = reported(before), reported(after)
    return [
        Change(case, "(report)", what, old[what], new[what])
        for what in _REPORTED
        if old[what] != new[what]
    ]


def reported(texts: Mapping[str, str]) -> dict[str, int]:
    """Bytes of arena, RAM, weights and flash of the whole network in its report."""
    report = json.loads(texts[store.REPORT])
    return {what: report[memory][key] for what, (memory, key) in _REPORTED.items()}


# --- printing


def table(changes: Sequence[Change]) -> list[str]:
    """A row per function with its cost before and after; equal rows of targets are merged."""
    rows: dict[tuple[str, str], dict[str, Change]] = {}
    for change in changes:
        key = (str(change.case), change.function)
        rows.setdefault(key, {})[change.what] = change
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in rows.values():
        first = next(iter(row.values()))
        numbers = "  ".join(draw(change) for change in row.values() if _shown(change))
        alike.setdefault((first.case.network, first.function, numbers), []).append(
            first.case.target
        )
    widths = [max((len(key[i]) for key in alike), default=0) for i in range(3)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(key, widths, strict=True))
        + "  "
        + " ".join(targets)
        for key, targets in alike.items()
    ]


def _shown(change: Change) -> bool:
    return (change.before, change.after) != (None, None)


def draw(change: Change) -> str:
    """Such as "code 120 -> 132 (+12)", "code 120" if unchanged, "code 0 -> 132 (new)"."""
    old, new = change.before, change.after
    if old == new:
        return f"{change.what} {old:,}"
    if None in (old, new):
        return f"{change.what} {old or 0:,} -> {new or 0:,} ({'new' if old is None else 'gone'})"
    return f"{change.what} {old:,} -> {new:,} ({new - old:+,})"


def compare(
    before: Side, after: Side, scratch: Path, *, say: Callable[[str], None], diff: bool
) -> list[Change]:
    """Prints the differences, texts first; returns the changes of code."""
    texts = text_changes(before.golden, after.golden)
    if texts:
        say(f"Generated files: {len(texts)} changes")
        for line in (*texts, *(unified(before.golden, after.golden) if diff else ())):
            say(line)
    else:
        say("Generated files: empty diff")
    changes = code_changes(before, after, scratch)
    if not changes:
        say("Code, stack, cycles, RAM: empty diff")
        return []
    say("")
    say("Bytes of code and of stack, modelled cycles: of functions their own, in (sum) of all that")
    say("one inference calls. A Cortex-M55 has no cycles; generic is portable C on a Cortex-M4.")
    for line in table(changes):
        say(line)
    worse = [change for change in changes if change.worse]
    say(f"{len(changes)} numbers compared where code changed, {len(worse)} got worse")
    return changes
