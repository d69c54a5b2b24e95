"""A board's CPU, memory and clock, from PlatformIO's manifest if this machine has it.

The build tool's Python runs this: see build/__init__.py for what it may import.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deepcompress.errors import UserError, did_you_mean, setting
from deepcompress.options import Target
from deepcompress.target import CPUS

_K, _MHZ = 1024, 1_000_000
# As PlatformIO's manifests have them, for machines without these.
KNOWN = {
    "bbcmicrobit_v2": Target("cortex-m4", 512 * _K, 128 * _K, 64 * _MHZ),
    "blackpill_f411ce": Target("cortex-m4", 512 * _K, 128 * _K, 100 * _MHZ),
    "bluepill_f103c8": Target("cortex-m3", 64 * _K, 20 * _K, 72 * _MHZ),
    "disco_f407vg": Target("cortex-m4", 1024 * _K, 128 * _K, 168 * _MHZ),
    "disco_f746ng": Target("cortex-m7", 1024 * _K, 320 * _K, 216 * _MHZ),
    "nano33ble": Target("cortex-m4", 960 * _K, 256 * _K, 64 * _MHZ),
    "nrf52840_dk": Target("cortex-m4", 1024 * _K, 256 * _K, 64 * _MHZ),
    "nrf52_dk": Target("cortex-m4", 512 * _K, 64 * _K, 64 * _MHZ),
    "nucleo_f401re": Target("cortex-m4", 512 * _K, 96 * _K, 84 * _MHZ),
    "nucleo_f446re": Target("cortex-m4", 512 * _K, 128 * _K, 180 * _MHZ),
    "nucleo_f767zi": Target("cortex-m7", 2048 * _K, 512 * _K, 216 * _MHZ),
    "nucleo_g071rb": Target("cortex-m0plus", 128 * _K, 36 * _K, 64 * _MHZ),
    "nucleo_g431kb": Target("cortex-m4", 128 * _K, 32 * _K, 170 * _MHZ),
    "nucleo_h743zi": Target("cortex-m7", 2048 * _K, 512 * _K, 400 * _MHZ),
    "nucleo_l053r8": Target("cortex-m0plus", 64 * _K, 8 * _K, 32 * _MHZ),
    "nucleo_l432kc": Target("cortex-m4", 256 * _K, 64 * _K, 80 * _MHZ),
    "nucleo_l476rg": Target("cortex-m4", 1024 * _K, 96 * _K, 80 * _MHZ),
    "nucleo_u575zi_q": Target("cortex-m33", 2048 * _K, 768 * _K, 160 * _MHZ),
}


def find_board(name: str) -> Target:
    """The board of a PlatformIO id, such as nucleo_f446re.

    A manifest in the project's `boards` folder counts first, then those of installed platforms,
    those of this library's virtual boards, and the table here.

    Raises:
        UserError: no such board is known.
    """
    manifests = {path.stem: path for path in reversed(list(_manifests()))}
    if name in manifests:
        manifest = json.loads(manifests[name].read_text(encoding="utf-8"))
        return target_of(lambda key, default: _look_up(manifest, key, default))
    if name in KNOWN:
        return KNOWN[name]
    raise UserError(
        f"no board is called {name!r}{did_you_mean(name, {**KNOWN, **manifests})}",
        f"option {setting('board')}",
        "Use PlatformIO's id of a board whose platform is installed (for example by pio pkg "
        "install -g -p ststm32), or give --cpu, --flash-limit and --ram-limit",
    )


def target_of(manifest: Callable[[str, Any], Any]) -> Target:
    """The board of a PlatformIO manifest, read as manifest("build.cpu", default).

    A CPU that is not known here gets portable C. A PC has no limits.
    """
    cpu = manifest("build.cpu", "").lower()
    if cpu == "host":
        return Target("host")
    numbers = (
        manifest("upload.maximum_size", 0),
        manifest("upload.maximum_ram_size", 0),
        str(manifest("build.f_cpu", 0)).rstrip("UL"),
    )
    return Target(cpu if cpu in CPUS else "generic", *(int(number) or None for number in numbers))


def flags(target: Target) -> tuple[str, ...]:
    """The target as flags of the command line."""
    numbers = {
        "--flash-limit": target.flash_limit,
        "--ram-limit": target.ram_limit,
        "--clock-hz": target.clock_hz,
    }
    known = [(flag, str(number)) for flag, number in numbers.items() if number]
    return ("--cpu", target.cpu, *(text for pair in known for text in pair))


def _manifests() -> Iterator[Path]:
    core = Path(os.environ.get("PLATFORMIO_CORE_DIR") or Path.home() / ".platformio")
    yield from Path("boards").glob("*.json")
    yield from core.glob("platforms/*/boards/*.json")
    yield from (Path(__file__).parents[3] / "platforms" / "virtual" / "boards").glob("*.json")


def _look_up(manifest: Any, key: str, default: Any) -> Any:
    for part in key.split("."):
        manifest = manifest.get(part, {})
    return manifest or default
