"""PlatformIO's view of the virtual boards: nothing is downloaded, the system's tools are used."""

import shutil

from platformio.exception import UserSideException
from platformio.public import PlatformBase

APT = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib",
    "qemu-system-arm": "qemu-system-arm",
    "gcc": "gcc g++",
}


class VirtualPlatform(PlatformBase):
    def configure_default_packages(self, options, targets):
        machine = self.board_config(options["board"]).get("build.qemu_machine", "")
        tools = ["arm-none-eabi-gcc", "qemu-system-arm"] if machine else ["gcc"]
        missing = [tool for tool in tools if not shutil.which(tool)]
        if missing:
            raise UserSideException(
                "The board {} needs {}, which is not on the PATH. On Debian or Ubuntu: "
                "apt install {}".format(
                    options["board"],
                    " and ".join(missing),
                    " ".join(APT[tool] for tool in missing),
                )
            )
        return super().configure_default_packages(options, targets)
