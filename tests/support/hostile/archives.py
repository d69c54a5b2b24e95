"""Raw zip archives, whose headers may be wrong, and valid models to change."""

from __future__ import annotations

import functools
import io
import json
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hostile import HostileFile

SHAPE = (1, 8, 8)
# A number that model files hold nowhere else, to be replaced by a larger one.
MARKED = 1237


@dataclass(frozen=True)
class Member:
    """One member of a raw archive.

    Attributes:
        content: as it is stored.
        deflated: whether that is a deflate stream.
        size: what the headers state as its size; None for its length.
        crc: of the unpacked content; None to compute it from a stored content.
    """

    name: str
    content: bytes
    deflated: bool = False
    size: int | None = None
    crc: int | None = None


def raw_archive(members: Sequence[Member]) -> bytes:
    """A zip archive with exactly these headers."""
    body, directory = io.BytesIO(), io.BytesIO()
    for member in members:
        name = member.name.encode()
        size = len(member.content) if member.size is None else member.size
        crc = zlib.crc32(member.content) if member.crc is None else member.crc
        method = 8 if member.deflated else 0
        facts = struct.pack(
            "<HHHHHIIIHH", 20, 0, method, 0, 33, crc, len(member.content), size, len(name), 0
        )
        directory.write(b"PK\x01\x02" + struct.pack("<H", 20) + facts)
        directory.write(struct.pack("<HHHII", 0, 0, 0, 0, body.tell()) + name)
        body.write(b"PK\x03\x04" + facts + name + member.content)
    count, start = len(members), body.tell()
    end = struct.pack("<HHHHIIH", 0, 0, count, count, directory.tell(), start, 0)
    return body.getvalue() + directory.getvalue() + b"PK\x05\x06" + end


@functools.cache
def deflated_zeros(size: int) -> tuple[bytes, int]:
    """A deflate stream of `size` zero bytes, a multiple of 16 MiB, and their CRC-32."""
    block = bytes(1 << 24)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    part = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(size >> 24):
        crc = zlib.crc32(block, crc)
    return part * (size >> 24) + packer.flush(), crc


def zeros(name: str, size: int) -> Member:
    """A member of `size` zero bytes, packed to a thousandth."""
    content, crc = deflated_zeros(size)
    return Member(name, content, deflated=True, size=size, crc=crc)


def members_of(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def changed(archive: bytes, ending: str, member: Callable[[str], Member]) -> bytes:
    """The archive with another member in place of each whose name has this ending."""
    if not any(name.endswith(ending) for name in members_of(archive)):
        raise ValueError(f"no member ends in {ending}")
    return raw_archive(
        [
            member(name) if name.endswith(ending) else Member(name, content)
            for name, content in members_of(archive).items()
        ]
    )


def with_content(archive: bytes, ending: str, content: bytes) -> bytes:
    return changed(archive, ending, lambda name: Member(name, content))


def with_member(archive: bytes, member: str, content: bytes) -> bytes:
    members = members_of(archive)
    folder = next(iter(members)).partition("/")[0]
    return raw_archive(
        [*(Member(*item) for item in members.items()), Member(f"{folder}/{member}", content)]
    )


def with_program(archive: bytes, change: Callable[[dict], None]) -> bytes:
    """The exported program with other JSON."""
    members = members_of(archive)
    name = next(name for name in members if name.endswith("models/model.json"))
    program = json.loads(members[name])
    change(program)
    return with_content(archive, "models/model.json", json.dumps(program).encode())


def with_number(archive: bytes, number: int) -> bytes:
    """The exported program with another number in place of `MARKED`."""
    members = members_of(archive)
    return raw_archive(
        [
            Member(
                name,
                content.replace(str(MARKED).encode(), str(number).encode())
                if name.endswith(".json")
                else content,
            )
            for name, content in members.items()
        ]
    )


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(144, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.flatten(torch.relu(self.conv(x)), 1))


class Computes(nn.Module):
    """A network that calls one function on its input."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def sequential(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    small = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    return nn.Sequential(*(layers or small))


def saved(content: object, **how: object) -> bytes:
    """The bytes of torch.save."""
    buffer, limit = io.BytesIO(), sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    try:
        torch.save(content, buffer, **how)
    finally:
        sys.setrecursionlimit(limit)
    return buffer.getvalue()


def exported(net: nn.Module, *shape: int, **how: object) -> bytes:
    """The bytes of torch.export.save, for one input of this shape."""
    batch = 2 if "dynamic_shapes" in how else 1  # torch takes a size of 1 for a fixed one
    program = torch.export.export(net.eval(), (torch.ones(batch, *(shape or SHAPE)),), **how)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        torch.export.save(program, path)
        return path.read_bytes()


@functools.cache
def small_program() -> bytes:
    torch.manual_seed(0)
    return exported(Small())


@functools.cache
def small_script() -> bytes:
    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(Small().eval(), torch.ones(1, *SHAPE)), buffer)
    return buffer.getvalue()


@functools.cache
def small_pickle() -> bytes:
    return saved(sequential().eval())


def script_forward(body: Sequence[str], arguments: str = "x: Tensor") -> bytes:
    """A TorchScript archive whose forward consists of these lines."""
    lines = "".join(f"    {line}\n" for line in body)
    code = (
        "class Small(Module):\n"
        "  __parameters__ = []\n"
        "  __buffers__ = []\n"
        "  training : bool\n"
        f"  def forward(self: __torch__.Small, {arguments}) -> Tensor:\n{lines}"
    )
    pickle = b"\x80\x02c__torch__\nSmall\nq\x00)\x81}(X\x08\x00\x00\x00trainingq\x01\x89ub."
    return raw_archive(
        [
            Member("net/data.pkl", pickle),
            Member("net/code/__torch__.py", code.encode()),
            Member("net/constants.pkl", b"\x80\x02)."),
            Member("net/version", b"3\n"),
        ]
    )


def file_of(
    kind: str,
    name: str,
    content: Callable[[], bytes],
    *,
    opens: bool | None = False,
    **options: object,
) -> HostileFile:
    """A file that `content` makes when it is needed."""

    def write(folder: Path) -> Path:
        path = folder / "net.pt"
        path.write_bytes(content())
        return path

    shape: Mapping[str, object] = {"input_shape": SHAPE}
    return HostileFile(kind, name, write, {**shape, **options}, opens)
