"""Fuzzing of files: compiles damaged model, data and label files; each gives C or a paragraph.

    make fuzz WHAT=files                # ten minutes
    make fuzz WHAT=files SEED=7         # from another seed on

Valid files are changed at random: bytes, headers of zip archives, members, opcodes of pickles,
values of JSON. Anything but a success or a UserError is a find, and so is a file that code in one
of them wrote, or too much time. The changed file is kept in build/fuzz, under the number of its
seed. A crash inside torch is counted on its own.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import pickletools
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "support"))

import numpy as np
import torch
from deepcompress.compile import compile_model
from deepcompress.errors import UserError
from deepcompress.options import Options
from deepcompress.pipeline.runner import Verify
from hostile import bad_models

ROOT = Path(__file__).resolve().parents[1]
FINDS = ROOT / "build" / "fuzz"
BATCH = 25  # files per process
LONGEST = 60  # seconds per file
EVIDENCE = "pwned"  # the file that code in a changed file would write

_CODE = f"__import__('os').system('touch {EVIDENCE}')"
_CALL = f"cposix\nsystem\n(S'touch {EVIDENCE}'\ntR".encode()
_NUMBERS = (0, 1, -1, 2, 3, 255, 256, 65536, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64, -(2**63))
_REALS = (0.0, -1.0, 0.5, 1e-45, 3e38, 1e300, float("nan"), float("inf"), -float("inf"))
_TEXTS = ("", "x", "\ud800", "\x02a\x03", "a" * 5000, "*/", "../..", "class", "日本", _CODE)
_GLOBALS = (
    *("posix system", "builtins eval", "builtins getattr", "torch load", "collections Counter"),
    *("torch.nn.modules.linear Linear", "torch.nn.modules.container Sequential", "torch Size"),
    *(
        "torch FloatStorage",
        "torch.nn.modules.conv Conv2d",
        "torch.nn.utils.prune PruningContainer",
    ),
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch device"),
)


@dataclass(frozen=True)
class Source:
    """A valid file.

    Attributes:
        content: of the file.
        name: of the file.
        options: with which the model is compiled.
        model: the file to compile, if it is another one.
    """

    content: bytes
    name: str
    options: dict[str, object] = field(default_factory=dict)
    model: bytes | None = None


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


@functools.cache
def sources() -> tuple[Source, ...]:
    """A dozen valid files of all kinds."""
    net, shape = bad_models.image_network(), {"input_shape": bad_models.SHAPE}
    sequence = bad_models.SequenceNetwork().eval()
    builds = {**shape, "architecture": "net.py:Net"}
    state, plain = net.state_dict(), _saved(lambda file: torch.save(net, file))
    inputs = np.random.default_rng(0).standard_normal((4, *bad_models.SHAPE)).astype(np.float32)
    labels = np.arange(4) % 3
    example = torch.zeros(1, *bad_models.SHAPE)
    image = bad_models.changed_program("image", "model.json", lambda program: None)
    recurrent = bad_models.changed_program("sequence", "model.json", lambda program: None)
    return (
        Source(image, "net.pt2"),
        Source(recurrent, "net.pt2"),
        Source(_saved(lambda f: torch.jit.save(torch.jit.trace(net, example), f)), "net.pt", shape),
        Source(
            _saved(lambda f: torch.jit.save(torch.jit.script(sequence), f)),
            "net.pt",
            {"input_shape": bad_models.STEPS},
        ),
        Source(_saved(lambda f: torch.save(state, f)), "net.pt", builds),
        Source(
            _saved(lambda f: torch.save({"epoch": 3, "state_dict": state, "loss": [0.1]}, f)),
            "net.pt",
            builds,
        ),
        Source(
            _saved(lambda f: torch.save(state, f, _use_new_zipfile_serialization=False)),
            "net.pt",
            builds,
        ),
        Source(plain, "net.pt", shape),
        Source(
            _saved(lambda f: np.savez(f, inputs=inputs, labels=labels)),
            "data.npz",
            {"calibration": "data.npz"},
            image,
        ),
        Source(
            _saved(lambda f: np.savez_compressed(f, inputs=inputs)),
            "data.npz",
            {"calibration": "data.npz"},
            image,
        ),
        Source(
            _saved(lambda f: np.save(f, inputs)), "data.npy", {"calibration": "data.npy"}, image
        ),
        Source(
            _saved(
                lambda f: np.savez(
                    f, inputs=np.tile(inputs, (10, 1, 1, 1)), labels=np.tile(labels, 10)
                )
            ),
            "data.npz",
            {"data": "data.npz"},
            image,
        ),
        Source(b"cat\ndog\nfrog\n", "labels.txt", {"labels": "labels.txt"}, image),
    )


# --- changes


Change = Callable[[bytes, random.Random], bytes]


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    end = rng.choice((len(content), min(len(content), start + rng.randrange(1, 64))))
    return content[:start] + content[end:]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    part = content[start : start + rng.randrange(1, 256)]
    return content[:start] + part * rng.choice((1, 1, 100)) + content[start:]


def _change_header(content: bytes, rng: random.Random) -> bytes:
    """Another value in a field of a zip header."""
    marks = [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"]
    starts = [i for mark in marks for i in _positions(content, mark)]
    if not starts:
        return _flip(content, rng)
    at, size = rng.choice(starts) + rng.randrange(4, 46), rng.choice((1, 2, 4))
    value = rng.choice(_NUMBERS) & (256**size - 1)
    return content[:at] + value.to_bytes(size, "little") + content[at + size :]


def _positions(content: bytes, mark: bytes) -> Iterator[int]:
    at = content.find(mark)
    while at >= 0:
        yield at
        at = content.find(mark, at + 1)


def _change_member(content: bytes, rng: random.Random) -> bytes:
    """Another content of a member: by its structure where it is JSON or a pickle."""
    members = _members(content)
    if not members:
        return _change_pickle(content, rng) if content[:1] == b"\x80" else _flip(content, rng)
    structured = [i for i, (name, _) in enumerate(members) if name.endswith((".json", ".pkl"))]
    chosen = structured if structured and rng.random() < 0.8 else range(len(members))
    at = rng.choice(chosen)
    name, data = members[at]
    change = rng.choice((_flip, _cut, _repeat))
    if name.endswith(".json"):
        change = _change_json
    elif name.endswith(".pkl"):
        change = _change_pickle
    members[at] = name, change(data, rng)
    return _packed(members)


def _change_members(content: bytes, rng: random.Random) -> bytes:
    """A member removed, twice, under another name, or in place of another."""
    members = _members(content)
    if not members:
        return _cut(content, rng)
    at, other = rng.randrange(len(members)), rng.randrange(len(members))
    name, data = members[at]
    kind = rng.randrange(5)
    if kind == 0:
        del members[at]
    elif kind == 1:
        members.append((name, _flip(data, rng)))
    elif kind == 2:
        members[at] = rng.choice((name.upper(), name + "x", "../" + name, name[1:], "a/b")), data
    elif kind == 3:
        members[at] = name, members[other][1]
    else:
        members.append(
            (f"{name.partition('/')[0]}/{rng.choice(('extra', 'code/x.py', 'data.pkl'))}", data)
        )
    return _packed(members)


def _members(content: bytes) -> list[tuple[str, bytes]]:
    if content[:2] != b"PK":
        return []
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # changed before
        return []


def _packed(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members:
            with contextlib.suppress(Exception):  # such as a name that is too long
                archive.writestr(name or "empty", data)
    return buffer.getvalue()


def _change_json(content: bytes, rng: random.Random) -> bytes:
    try:
        value = json.loads(content)
    except ValueError:
        return _flip(content, rng)
    for _ in range(rng.choice((1, 1, 2, 5))):
        containers = list(_containers(value))
        if not containers:
            break
        _change_item(rng.choice(containers), rng)
    return json.dumps(value).encode()


def _containers(value: Any) -> Iterator[Any]:
    """The dicts and lists in a JSON value that have items."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, (dict, list)) and current:
            yield current
            waiting += current.values() if isinstance(current, dict) else current


def _change_item(container: Any, rng: random.Random) -> None:
    key = rng.choice(list(container) if isinstance(container, dict) else range(len(container)))
    old, kind = container[key], rng.randrange(8)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, list):
        container.insert(rng.randrange(len(container) + 1), old)
    elif kind == 1:
        container[rng.choice(_TEXTS)] = old
    elif kind == 2:
        other = rng.choice(
            list(container) if isinstance(container, dict) else range(len(container))
        )
        container[key], container[other] = container[other], old
    elif kind == 3:
        container[key] = bad_models.deep(rng.choice((3, 500)))
    else:
        container[key] = _other_value(old, rng)


def _other_value(old: object, rng: random.Random) -> object:
    if rng.random() < 0.3:
        return rng.choice((None, True, [], {}, "", 0, 1.5, [1], {"as_int": 2}))
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return rng.choice((old + 1, old - 1, *_NUMBERS))
    if isinstance(old, float):
        return rng.choice(_REALS)
    if isinstance(old, str):
        return rng.choice((old + "x", old[1:], *_TEXTS))
    return rng.choice((None, 3, "x"))


def _change_pickle(content: bytes, rng: random.Random) -> bytes:
    """Other opcodes: constants, classes, missing, repeated or inserted ones."""
    try:
        found = [(op, argument, at) for op, argument, at in pickletools.genops(content)]
    except Exception:  # changed before
        return _flip(content, rng)
    ends = [at for _, _, at in found[1:]] + [found[-1][2] + 1]
    parts = [content[at:end] for (_, _, at), end in zip(found, ends, strict=True)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(parts))
        op, argument = found[min(at, len(found) - 1)][:2]
        kind = rng.randrange(6)
        if kind == 0:
            parts[at] = b""
        elif kind == 1:
            parts[at] *= 2
        elif kind == 2:
            parts[at] += rng.choice(
                (b"N", b"}", b"]", b")", b"K\x05", b"(l", b"R", b"b", b"0", _CALL)
            )
        elif kind == 3:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        else:
            parts[at] = _other_opcode(op.name, argument, parts[at], rng)
    return b"".join(parts) + content[ends[-1] :]


def _other_opcode(name: str, argument: Any, old: bytes, rng: random.Random) -> bytes:
    if name == "GLOBAL":
        module, _, attribute = rng.choice(_GLOBALS).partition(" ")
        return f"c{module}\n{attribute}\n".encode()
    if isinstance(argument, bool) or name in ("NEWTRUE", "NEWFALSE"):
        return rng.choice((b"\x88", b"\x89", b"N", b"K\x02"))
    if isinstance(argument, int) and "INT" in name:
        value = rng.choice((argument + 1, argument - 1, *_NUMBERS))
        return b"I" + str(value).encode() + b"\n"
    if isinstance(argument, float):
        return b"F" + repr(rng.choice(_REALS)).encode() + b"\n"
    if isinstance(argument, str) and "UNICODE" in name:
        text = rng.choice((argument + "x", *_TEXTS)).encode("utf-8", "surrogatepass")
        return b"X" + len(text).to_bytes(4, "little") + text
    return _flip(old, rng)


def _change_values(content: bytes, rng: random.Random) -> bytes:
    """Unusual float32 values in the largest member, or in the second half of the file."""
    values = np.array(rng.choice(_REALS[:-1]), np.float64).astype(np.float32).tobytes()
    members = _members(content)
    if members:
        at = rng.choice([i for i, (_, data) in enumerate(members) if len(data) >= 4] or [0])
        name, data = members[at]
        start = rng.randrange(len(data) // 4 + 1) * 4
        members[at] = name, data[:start] + values + data[start + 4 :]
        return _packed(members)
    start = len(content) // 8 * 4 + rng.randrange(max(1, len(content) // 8)) * 4
    return content[:start] + values + content[start + 4 :]


CHANGES: tuple[Change, ...] = (
    *(_flip, _cut, _repeat, _change_header, _change_members, _change_values),
    *(_change_member,) * 6,
)


def changed(seed: int) -> tuple[Source, bytes]:
    """The source of a seed, and its content changed once or more."""
    rng = random.Random(seed)
    source = rng.choice(sources())
    content = source.content
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(CHANGES)(content, rng)
    return source, content


# --- running


def attempt(seed: int) -> tuple[str, str]:
    """Compiles the file of a seed in a folder of its own: the kind of its result, and its text."""
    source, content = changed(seed)
    here, folder = Path.cwd(), Path(tempfile.mkdtemp())
    os.chdir(folder)
    try:
        (folder / "net.py").write_text(bad_models.BUILDS)
        (folder / source.name).write_bytes(content)
        model = folder / source.name
        if source.model is not None:
            model = folder / "net.pt2"
            model.write_bytes(source.model)
        kind, text = _compiled(model, Options(**source.options))
        if (folder / EVIDENCE).exists():
            kind, text = "code was run", text
        return kind, text
    finally:
        os.chdir(here)
        shutil.rmtree(folder, ignore_errors=True)


def _compiled(model: Path, options: Options) -> tuple[str, str]:
    try:
        compile_model(model, name="net", options=options, instruments=[Verify()])
    except UserError as error:
        return "refused", error.paragraph()
    except BaseException:
        return "internal error", traceback.format_exc()
    return "compiled", ""


def run_batch(seeds: range) -> Iterator[tuple[int, str, str]]:
    """Seed, kind and text of each file, which a process of its own compiles; it may die."""
    results, sends = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(results)
        with os.fdopen(sends, "w", errors="backslashreplace") as file:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            for seed in seeds:
                signal.alarm(LONGEST)
                print(json.dumps([seed, *attempt(seed)]), file=file, flush=True)
        os._exit(0)
    os.close(sends)
    done = seeds.start
    with os.fdopen(results) as file:
        for line in file:
            seed, kind, text = json.loads(line)
            done = seed + 1
            yield seed, kind, text
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if done < seeds.stop:
        kind = "took too long" if code == -signal.SIGALRM else "torch crashed"
        yield done, kind, f"the process ended with {code}"


FAULTS = ("internal error", "code was run", "took too long")


def _keep(seed: int, kind: str, text: str) -> None:
    """Saves the file of a find, and what was found."""
    FINDS.mkdir(parents=True, exist_ok=True)
    source, content = changed(seed)
    (FINDS / f"{seed}-{source.name}").write_bytes(content)
    (FINDS / f"{seed}.txt").write_text(f"{kind}\n{text}\n", errors="backslashreplace")
    print(f"seed {seed}, {source.name}: {kind}\n{text[-1500:]}\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=10**9, help="at most so many files")
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    for source in sources():  # loads what torch loads at first use, before processes are made
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.pt"
            path.write_bytes(source.model or source.content)
            if "architecture" not in source.options:
                shape = source.options.get("input_shape")
                compile_model(path, name="net", options=Options(input_shape=shape))
    begun, seed, counts = time.monotonic(), parsed.seed, Counter[str]()
    last = parsed.seed + parsed.files
    while time.monotonic() - begun < parsed.seconds and seed < last:
        for found, kind, text in run_batch(range(seed, min(seed + BATCH, last))):
            counts[kind] += 1
            seed = found + 1
            if kind in (*FAULTS, "torch crashed"):
                _keep(found, kind, text)
    spent = time.monotonic() - begun
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print(f"{counts.total()} files in {spent:.0f} s, seeds {parsed.seed} to {seed - 1}: {listed}")
    sys.exit(any(counts[kind] for kind in FAULTS))


if __name__ == "__main__":
    main()
