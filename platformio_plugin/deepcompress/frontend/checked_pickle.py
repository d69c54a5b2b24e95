"""What torch.save wrote, checked by `pickle_bounds` before torch reads it."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

from deepcompress.errors import UserError, setting
from deepcompress.frontend.eager_quantization import (
    BEFORE_CONVERT,
    CONVERTED,
    is_converted_class,
)
from deepcompress.frontend.file_errors import EXPORT_HINT, attempt, cannot_open, where
from deepcompress.frontend.open_limits import OpenLimits
from deepcompress.frontend.pickle_bounds import (
    Damaged,
    Refused,
    Unsafe,
    check_calls,
    check_tensors,
    check_views,
    read_pickle,
    storages_bytes,
)
from deepcompress.frontend.zip_members import members, packed

SAVE_AGAIN = "It is damaged or hostile: save the model again"

# The members of an archive that torch.load reads.
_NEEDED = re.compile(
    r"data\.pkl|data/\d+|byteorder|version|\.format_version|\.storage_alignment|\.data/\w+"
)
# What torch.save wrote before it wrote zip archives: a magic number, a version, facts of the
# machine, the object, and the keys of the storages that follow.
_PICKLES_BEFORE_STORAGES = 5


def checked_file(path: Path, limits: OpenLimits) -> io.BytesIO | Path:
    """A copy of what was checked in an archive of torch.save; the file itself if it is older.

    Raises:
        UserError: it is damaged, larger than the limits allow, or reading it could run code.
    """
    if zipfile.is_zipfile(path):
        return checked_archive(path, limits)
    try:
        _check_before_zip_files(path)
    except Refused as error:
        raise _refused(error, path) from None
    return path


def checked_archive(
    path: Path, limits: OpenLimits, *, file: io.BytesIO | None = None
) -> io.BytesIO:
    """A copy of what was checked in an archive of torch.save.

    Args:
        path: of the model file.
        file: the archive, if it is a part of the model file.

    Raises:
        UserError: it is damaged, larger than the limits allow, or reading it could run code.
    """
    contents = attempt(path, lambda: members(path, limits, needed=_NEEDED.fullmatch, file=file))
    try:
        root = read_pickle(contents.get("data.pkl", b""))
        check_calls(root)
        check_tensors(root, record_sizes(contents, "data"))
    except Refused as error:
        raise _refused(error, path) from None
    return packed(contents)


def record_sizes(contents: dict[str, bytes], folder: str) -> dict[str, int]:
    """Bytes of the storages in a folder of an archive, by their keys."""
    prefix = f"{folder}/"
    return {
        name.removeprefix(prefix): len(data)
        for name, data in contents.items()
        if name.startswith(prefix)
    }


def _check_before_zip_files(path: Path) -> None:
    with path.open("rb") as file:
        roots = [read_pickle(file) for _ in range(_PICKLES_BEFORE_STORAGES)]
    size = path.stat().st_size
    for root in roots:
        check_calls(root)
        needed = storages_bytes(root)
        if needed > size:
            raise Refused(f"its storages should have {needed:,} bytes, and the file has {size:,}")
        check_views(root)


def _refused(error: Refused, path: Path) -> UserError:
    if isinstance(error, Unsafe):
        if is_converted_class(error.name):
            return UserError(CONVERTED, where(path), BEFORE_CONVERT)
        return needs_trust(str(error), path)
    if isinstance(error, Damaged):
        return cannot_open(path, error)
    return UserError(str(error), where(path), SAVE_AGAIN)


def needs_trust(what: str, path: Path) -> UserError:
    """The error for a pickle that can only be opened if the user trusts it."""
    return UserError(
        what,
        where(path),
        f"If you made the file: {setting('trust_pickle', 'yes')}. Better, {EXPORT_HINT}",
    )
