"""PlatformIO's view of the virtual boards: nothing is downloaded, the system's tools are used."""

import shutil

from platformio.exception import UserSideException
from platformio.public import PlatformBase

# Each tool -> the Debian packages that bring it.
QEMU_TOOLS = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib",
    "qemu-system-arm": "qemu-system-arm",
}
HOST_TOOLS = {"cc": "gcc", "c++": "g++"}


class VirtualPlatform(PlatformBase):
    def configure_default_packages(self, options, targets):
        board = options["board"]
        tools = QEMU_TOOLS if self.board_config(board).get("build.qemu_machine", "") else HOST_TOOLS
        missing = [tool for tool in tools if not shutil.which(tool)]
        if missing:
            packages = " ".join(tools[tool] for tool in missing)
            raise UserSideException(
                f"The board {board} needs {' and '.join(missing)}, not found on the PATH. "
                f"On Debian or Ubuntu: sudo apt-get install {packages}"
            )
        return super().configure_default_packages(options, targets)
