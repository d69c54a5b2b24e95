"""Storage of the golden files as text; what several cases have in common is stored once.

A folder for each network:

    index.txt          each file's text and its cases, "<file> = <stored>: <cases>"
    <stored>           such as lenet.c; if cases differ, also lenet.m4-speed.c after its first case;
                       the lines that name goal and CPU have {goal} and {cpu} in their place
    reports.json       the report of the first case, a line for each layer, and the differences of
                       the other cases

Nothing is lost: `read` gives exactly the texts that `write` was given.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from golden.cases import CPUS, Case

FOLDER = Path(__file__).parent / "expected"
REPORT = "report.json"
_INDEX, _REPORTS, _INSTEAD = "index.txt", "reports.json", "instead"

Golden = Mapping[Case, Mapping[str, str]]


def write(golden: Golden, folder: Path = FOLDER) -> None:
    """Replaces all golden files."""
    shutil.rmtree(folder, ignore_errors=True)
    for network in sorted({case.network for case in golden}):
        own = {case: texts for case, texts in golden.items() if case.network == network}
        (folder / network).mkdir(parents=True)
        for name, text in pack(own).items():
            (folder / network / name).write_text(text, encoding="utf-8")


def read(folder: Path = FOLDER) -> dict[Case, dict[str, str]]:
    """The texts of each case; none where there is no such folder."""
    golden = {}
    for index in sorted(folder.glob(f"*/{_INDEX}")):
        stored = {path.name: path.read_text(encoding="utf-8") for path in index.parent.iterdir()}
        golden.update(unpack(index.parent.name, stored))
    return golden


def pack(golden: Golden) -> dict[str, str]:
    """The stored files of one network's cases, name -> text."""
    stored, index = {}, []
    names = sorted({name for texts in golden.values() for name in texts if name != REPORT})
    for name in names:
        alike: dict[str, list[Case]] = {}
        for case, texts in golden.items():
            alike.setdefault(_without_target(texts[name], case), []).append(case)
        for text, group in alike.items():
            at = name if len(alike) == 1 else _variant(name, group[0])
            stored[at] = text
            index.append(f"{name} = {at}: {' '.join(case.target for case in group)}\n")
    reports = {case.target: json.loads(texts[REPORT]) for case, texts in golden.items()}
    return {**stored, _INDEX: "".join(index), _REPORTS: _draw_reports(reports)}


def unpack(network: str, stored: Mapping[str, str]) -> dict[Case, dict[str, str]]:
    """The cases of one network from its stored files."""
    golden: dict[Case, dict[str, str]] = {}
    first: Any = None
    for target, changes in json.loads(stored[_REPORTS]).items():
        report = _changed(first, changes)
        first = first or report
        case = Case(network, *target.split("-"))
        golden[case] = {REPORT: json.dumps(report, indent=1) + "\n"}
    for line in stored[_INDEX].splitlines():
        names, targets = line.split(": ")
        name, at = names.split(" = ")
        for target in targets.split():
            case = Case(network, *target.split("-"))
            golden[case][name] = _with_target(stored[at], case)
    return golden


def _variant(name: str, case: Case) -> str:
    stem, dot, suffix = name.partition(".")
    return f"{stem}.{case.target}{dot}{suffix}"


# The header names goal and CPU, so that without these placeholders it would differ in each case.
def _target_lines(case: Case) -> dict[str, str]:
    return {
        f" optimize = {case.goal}\n": " optimize = {goal}\n",
        f" cpu = {CPUS[case.cpu]}\n": " cpu = {cpu}\n",
    }


def _without_target(text: str, case: Case) -> str:
    for line, hole in _target_lines(case).items():
        text = text.replace(line, hole)
    return text


def _with_target(text: str, case: Case) -> str:
    for line, hole in _target_lines(case).items():
        text = text.replace(hole, line)
    return text


def _draw_reports(reports: Mapping[str, Any]) -> str:
    """JSON with a line for each fact, and one for each layer."""
    first: Any = None
    cases = []
    for target, report in reports.items():
        cases.append(f"{json.dumps(target)}: {{\n{_draw_facts(_changes(first, report))}\n}}")
        first = first or report
    return "{\n" + ",\n".join(cases) + "\n}\n"


def _draw_facts(facts: Mapping[str, Any]) -> str:
    return ",\n".join(f" {json.dumps(key)}: {_draw_value(v)}" for key, v in facts.items())


def _draw_value(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n ]"
    return json.dumps(value)


def _changes(first: Any, other: Any) -> Any:
    """The differences of a JSON value: of objects and lists of equal length, by key or index.

    If keys or lengths differ, the whole value, {"instead": value}.
    """
    old, new = _by_key(first), _by_key(other)
    if old is None:
        return other
    if new is None or list(old) != list(new):
        return {_INSTEAD: other}
    return {
        key: _changes(old[key], new[key])
        for key in old
        if json.dumps(old[key]) != json.dumps(new[key])  # the order of keys counts
    }


def _changed(first: Any, changes: Any) -> Any:
    """The inverse of `_changes`."""
    old = _by_key(first)
    if old is None:
        return changes
    if list(changes) == [_INSTEAD]:
        return changes[_INSTEAD]
    new = {key: _changed(old[key], changes[key]) if key in changes else old[key] for key in old}
    return list(new.values()) if isinstance(first, list) else new


def _by_key(value: Any) -> dict[str, Any] | None:
    """An object, or a list of objects, by its keys; None for any other value."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return {str(index): item for index, item in enumerate(value)}
    return None


# --- comparing


def differences(before: Golden, after: Golden) -> list[str]:
    """A line for each case that differs: the files, with their first line that differs."""
    lines = []
    for case in _in_either(before, after):
        old, new = before.get(case), after.get(case)
        if old is None or new is None:
            lines.append(f"{case}: {'new' if old is None else 'gone'}")
            continue
        for name in _in_either(old, new):
            if old.get(name) != new.get(name):
                lines.append(
                    f"{case}: {name}: {_first_difference(old.get(name, ''), new.get(name, ''))}"
                )
    return lines


def _in_either(one: Iterable, other: Iterable) -> list:
    return list(dict.fromkeys([*one, *other]))


def _first_difference(before: str, after: str) -> str:
    """The first line that differs, such as "line 3: int a; -> int b;"."""
    old, new = before.splitlines(), after.splitlines()
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
    if at is None:
        at = min(len(old), len(new))
    shown = [lines[at].strip()[:60] if at < len(lines) else "(end)" for lines in (old, new)]
    return f"line {at + 1}: {shown[0]} -> {shown[1]}"
