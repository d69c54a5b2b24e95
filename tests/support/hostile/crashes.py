"""Files that crash readers: deep nesting, truncated and contradictory archives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from torch import nn

from hostile import HostileFile
from hostile.archives import (
    Member,
    file_of,
    members_of,
    raw_archive,
    saved,
    script_forward,
    sequential,
    small_pickle,
    small_program,
    small_script,
    with_content,
    with_member,
    with_program,
)

_DEPTH = 100_000


def _four(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _chain() -> bytes:
    """Lists that are put into each other by the memo: the stack stays short."""
    links = [b"]r%bj%bj%ba" % (_four(i), _four(i - 1), _four(i)) for i in range(1, 30_000)]
    return b"]r" + _four(0) + b"".join(links) + b"j" + _four(0)


# Opcodes of a pickle that nests one kind of object.
_NESTED: dict[str, bytes] = {
    "tuples": b")" + b"\x85" * _DEPTH,
    "tuples of two": b")" + b")\x86" * _DEPTH,
    "tuples of marks": b"(" * _DEPTH + b"t" * _DEPTH,
    "lists": b"]" * _DEPTH + b"]" + b"a" * _DEPTH,
    "lists by the memo": _chain(),
    "dictionaries": b"}K\x00" * _DEPTH + b"}" + b"s" * _DEPTH,
    "a thousand tuples": b")" + b"\x85" * 1_000,
    "a list in itself": b"]q\x00h\x00a",
    "a tuple of doubled tuples": b")" + b"q\x00h\x00\x86" * 300,
}


def _pickle(opcodes: bytes) -> bytes:
    return b"\x80\x02" + opcodes + b"."


def cases() -> Iterator[HostileFile]:
    for name, opcodes in _NESTED.items():
        yield from _nested(name, _pickle(opcodes))
    yield from _nested_modules()
    yield from _nested_texts()
    yield from _broken_archives()


def _nested(name: str, pickle: bytes) -> Iterator[HostileFile]:
    places: dict[str, Callable[[], bytes]] = {
        "data.pkl": lambda: with_content(small_pickle(), "data.pkl", pickle),
        "data.pkl of a script": lambda: with_content(small_script(), "data.pkl", pickle),
        "constants.pkl": lambda: with_content(small_script(), "constants.pkl", pickle),
        "debug pickle": lambda: with_content(small_script(), ".debug_pkl", pickle),
        "a weight of a program": lambda: _pickled_weight(
            with_content(small_pickle(), "data.pkl", pickle)
        ),
        "an old file": lambda: b"".join(_pickle(b"K\x00") for _ in range(3)) + pickle * 2,
    }
    for place, make in places.items():
        yield file_of("nested pickles", f"{name} in {place}", make, opens=None)


def _pickled_weight(content: bytes) -> bytes:
    """A program with a weight in a file of torch.save."""
    archive, ending = small_program(), "model_weights_config.json"
    name = next(name for name in members_of(archive) if name.endswith(ending))
    config = json.loads(members_of(archive)[name])
    for weight in config["config"].values():
        weight["use_pickle"] = True
    archive = with_content(archive, ending, json.dumps(config).encode())
    return with_content(archive, "weight_0", content)


def _nested_modules() -> Iterator[HostileFile]:
    def nested(depth: int) -> nn.Module:
        net: nn.Module = sequential()
        for _ in range(depth):
            net = nn.Sequential(net)
        return net

    yield file_of("nested modules", "20 levels", lambda: saved(nested(20)), opens=True)
    for depth in (90, 150, 240):
        yield file_of(
            "nested modules", f"{depth} levels", lambda n=depth: saved(nested(n)), opens=None
        )


def _nested_texts() -> Iterator[HostileFile]:
    depth = 200_000
    texts = {"lists": "[" * depth + "]" * depth, "objects": '{"a":' * depth + "1" + "}" * depth}
    for name, text in texts.items():
        for member in ("models/model.json", "model_weights_config.json"):
            yield file_of(
                "nested texts",
                f"{name} in {member}",
                lambda text=text, member=member: with_content(
                    small_program(), member, text.encode()
                ),
            )

    def structure(program: dict) -> None:
        spec = json.dumps([1, {"type": "builtins.list", "context": "null", "children_spec": []}])
        deep = '{"type": "builtins.list", "context": "null", "children_spec": [' * 20_000
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        signature["in_spec"] = f"[1, {deep}{spec}{']}' * 20_000}]"

    yield file_of(
        "nested texts", "input structure", lambda: with_program(small_program(), structure)
    )
    bodies = {
        "parentheses": f"return {'(' * depth}x{')' * depth}",
        "calls": f"return {'torch.relu(' * 5_000}x{')' * 5_000}",
        "a sum": f"return {' + '.join(['x'] * 50_000)}",
        "lists": f"y = {'[' * 5_000}1{']' * 5_000}",
        "subscripts": f"return x{'[0]' * 20_000}",
        "types": f"y : {'List[' * 5_000}int{']' * 5_000} = []",
        "negations": f"return {'-' * 50_000}x",
    }
    for name, body in bodies.items():
        yield file_of("nested texts", f"{name} in code", lambda body=body: script_forward([body]))
    loops = [f"{' ' * i}if torch.is_tensor(x):" for i in range(2_000)] + [" " * 2_000 + "return x"]
    yield file_of("nested texts", "branches in code", lambda: script_forward(loops))


def _broken_archives() -> Iterator[HostileFile]:
    archives: dict[str, Callable[[], bytes]] = {
        "program": small_program,
        "pickle": small_pickle,
        "script": small_script,
        "old file": lambda: saved(sequential().state_dict(), _use_new_zipfile_serialization=False),
    }
    for kind, archive in archives.items():
        for tenth in range(1, 10):
            yield file_of(
                "broken archives",
                f"{kind} cut off after {tenth} tenths",
                lambda archive=archive, n=tenth: archive()[: len(archive()) * n // 10],
            )
    for kind in ("program", "pickle", "script"):
        archive = archives[kind]
        yield from _changed_archives(kind, archive)


def _changed_archives(kind: str, archive: Callable[[], bytes]) -> Iterator[HostileFile]:
    def first(ending: str = "") -> str:
        return next(name for name in members_of(archive()) if name.endswith(ending))

    changes: dict[str, Callable[[], bytes]] = {
        "two members of a name": lambda: _with_second(archive(), first()),
        "names that differ in case": lambda: _with_second(archive(), first().upper()),
        "no folder": lambda: raw_archive(
            [Member(n.partition("/")[2], c) for n, c in members_of(archive()).items()]
        ),
        "a parent folder": lambda: with_member(archive(), "../../../../tmp/pwned", b"x"),
        "every member empty": lambda: raw_archive([Member(n, b"") for n in members_of(archive())]),
        "every member a zero": lambda: raw_archive(
            [Member(n, b"\0") for n in members_of(archive())]
        ),
        "wrong checksums": lambda: raw_archive(
            [Member(n, c, crc=1) for n, c in members_of(archive()).items()]
        ),
        "sizes of 4 GB": lambda: raw_archive(
            [Member(n, c, size=0xFFFFFFFE) for n, c in members_of(archive()).items()]
        ),
        "deflate streams that are none": lambda: raw_archive(
            [Member(n, c, deflated=True) for n, c in members_of(archive()).items()]
        ),
        "another archive before it": lambda: small_pickle() + archive(),
        "another archive after it": lambda: archive() + small_pickle(),
        "a comment that holds an archive": lambda: (
            archive()[:-2] + len(small_pickle()).to_bytes(2, "little") + small_pickle()
        ),
    }
    for name, make in changes.items():
        yield file_of("broken archives", f"{kind}: {name}", make, opens=None)


def _with_second(archive: bytes, name: str) -> bytes:
    members = [Member(*item) for item in members_of(archive).items()]
    return raw_archive([*members, Member(name, b"another")])
