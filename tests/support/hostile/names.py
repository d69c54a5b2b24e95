"""Names that meet keywords, macros, headers and reserved names; and hostile texts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile import HostileFile


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Group -> names of model files, without their extension.
NAMES: dict[str, tuple[str, ...]] = {
    "plain": _words(
        """
        net lenet5 model result model_in modelIn Model Result ModelIn detail scores element
        network arena input output label labels weights scratch shape values index infer
        quantize reset self_test argmax at golden golden_inputs x a b1 int8 uint8 int32 size CNN
        GRU ResNet8 key_words best final v2 stream server client test self cls std serial
        """
    ),
    "keywords of C": _words(
        """
        auto break case char const continue default do double else enum extern float for goto if
        inline int long register restrict return short signed sizeof static struct switch
        typedef union unsigned void volatile while
        """
    ),
    "keywords of C++": _words(
        """
        alignas alignof and and_eq asm bitand bool catch char16_t class compl concept consteval
        constexpr const_cast co_await decltype delete dynamic_cast explicit export false friend
        mutable namespace new noexcept not nullptr operator or private protected public requires
        static_assert template this thread_local throw true try typeid typename using virtual
        wchar_t xor override
        """
    ),
    "C library": _words(
        """
        NULL EOF BUFSIZ RAND_MAX errno INFINITY NAN offsetof memcpy memset printf malloc free
        exit abort sqrt pow floor round min max abs swap vector move cout string stdio stdint
        stdlib math complex limits time locale signal assert float_t size_t ptrdiff_t int8_t
        FILE va_list
        """
    ),
    "POSIX and compilers": _words(
        """
        unix linux arm i386 poll pthread unistd dirent open close read write select socket fork
        SIGINT PATH_MAX ssize_t semaphore sched regex glob syslog immintrin avx2intrin alloca
        """
    ),
    "Arduino": _words(
        """
        A0 A15 B1 B101 D13 LED_BUILTIN PI HALF_PI TWO_PI EULER HIGH LOW INPUT OUTPUT
        INPUT_PULLUP CHANGE RISING FALLING DEFAULT INTERNAL DEC HEX OCT BIN SDA SCL MISO MOSI
        SCK SS F bit bitRead word sq constrain Serial Wire SPI EEPROM Arduino arduino setup loop
        String delay millis boolean byte
        """
    ),
    "CMSIS": _words(
        """
        __NOP __DSB __IO SCB NVIC SysTick DWT ITM MPU FPU CoreDebug SCnSCB core_cm4 cmsis_gcc
        arm_math arm_nnfunctions SystemCoreClock
        """
    ),
    "STM32 HAL": _words(
        """
        HAL_OK HAL UNUSED SET RESET ENABLE DISABLE SUCCESS ERROR GPIOA GPIOK TIM1 TIM17 USART2
        UART4 SPI1 I2C1 ADC1 DMA1 RCC PWR RTC EXTI FLASH CRC RNG DAC IWDG CAN1 READ_BIT SET_BIT
        stm32f4xx stm32f4xx_hal main
        """
    ),
    "nRF": _words(
        """
        NRF_SUCCESS NRF_P0 NRF_TIMER0 nrf nrf52840 NRFX_CHECK APP_ERROR_CHECK BIT_0
        STATIC_ASSERT
        """
    ),
    "Zephyr": _words(
        """
        K_FOREVER K_NO_WAIT BIT BIT_MASK MIN MAX ARRAY_SIZE CONTAINER_OF CLAMP KB DT_ALIAS
        DEVICE_DT_GET LOG_INF IS_ENABLED k_sleep zephyr soc devicetree autoconf
        """
    ),
    "FreeRTOS": _words(
        """
        FreeRTOS task queue list timers semphr portMAX_DELAY pdTRUE
        """
    ),
    "Windows": _words(
        """
        con CON prn aux nul NUL com1 COM9 lpt1 windows io
        """
    ),
    "the library": _words(
        """
        dc DC dc_status dc_argmax deepcompress DeepCompress DeepCompressModels deepcompress_net
        in In
        """
    ),
    "digits": ("0", "5", "2fast", "007", "1_2_3", "8bit-net"),
    "characters": (
        "my-model",
        "my model",
        "net(1)",
        "lenet5.v2",
        "a+b",
        "a/b",
        "a\\b",
        "a:b",
        "a'b",
        'a"b',
        "$HOME",
        "%TEMP%",
        "#include",
        "-",
        "--",
        ".",
        "",
        " ",
        "_",
        "__",
        "_1",
        "_x",
        "__x",
        "_Net",
        "__model__",
        "a__b",
        "net_",
        "a\nb",
        "a\x00b",
        "a\x1b[31m",
        "a\u202eb",
        "a\ud800b",
        "*/",
        "??/",
    ),
    "Unicode": (
        "été",
        "café_au_lait",
        "naïve",
        "Übung",
        "señal",
        "Ångström",
        "日本",
        "网络",
        "модель",
        "μnet",
        "نموذج",
        "ß",
        "ø",
        "ﬁne",
        "ＡＢ",
        "n²",
        "x\u0301",
        "😀",
        "net😀",
        "Ⅷ",
        "a\u00a0b",
        "a\u200bb",
        "İ",
        "ı",
    ),
    "long": ("n" * 64, "n" * 65, "n" * 300, "A" * 64, "a_" * 31 + "b"),
}

# Macros with no arguments and with arguments that frameworks define, and their values.
OBJECT_MACROS = {
    **dict.fromkeys(
        ["RAND_MAX", "HALF_PI", "TWO_PI", "LED_BUILTIN", "INPUT_PULLUP", "unix", "linux", "i386"],
        "0",
    ),
    **dict.fromkeys(
        ["K_NO_WAIT", "K_FOREVER", "HAL_OK", "SIGINT", "PATH_MAX", "NRF_SUCCESS", "BIT_0"], "1"
    ),
    **dict.fromkeys(
        [
            "A0",
            "A15",
            "B1",
            "B101",
            "D13",
            "PI",
            "EULER",
            "HIGH",
            "LOW",
            "INPUT",
            "OUTPUT",
            "CHANGE",
            "RISING",
            "FALLING",
            "DEFAULT",
            "INTERNAL",
            "DEC",
            "HEX",
            "OCT",
            "BIN",
            "SDA",
            "SCL",
            "MISO",
            "MOSI",
            "SCK",
            "SS",
            "SCB",
            "NVIC",
            "SysTick",
            "DWT",
            "ITM",
            "MPU",
            "FPU",
            "CoreDebug",
            "SCnSCB",
            "ENABLE",
            "DISABLE",
            "GPIOA",
            "GPIOK",
            "TIM1",
            "TIM17",
            "USART2",
            "UART4",
            "SPI1",
            "I2C1",
            "ADC1",
            "DMA1",
            "RCC",
            "PWR",
            "RTC",
            "EXTI",
            "FLASH",
            "CRC",
            "RNG",
            "DAC",
            "IWDG",
            "CAN1",
            "NRF_P0",
            "NRF_TIMER0",
            "portMAX_DELAY",
            "pdTRUE",
        ],
        "((int *)0x40020000)",
    ),
}
FUNCTION_MACROS = _words(
    """
        F bit bitRead word sq constrain min max abs round swap BIT BIT_MASK MIN MAX ARRAY_SIZE
        CONTAINER_OF CLAMP KB DT_ALIAS DEVICE_DT_GET LOG_INF IS_ENABLED UNUSED READ_BIT SET_BIT
        NRFX_CHECK APP_ERROR_CHECK STATIC_ASSERT offsetof
        """
)


def platform_header() -> str:
    """A C header that defines the macros above, as the header of a framework does."""
    lines = [f"#undef {name}\n#define {name} {value}" for name, value in OBJECT_MACROS.items()]
    lines += [f"#undef {name}\n#define {name}(...) (0)" for name in FUNCTION_MACROS]
    return "\n".join(lines) + "\n"


# Texts that end a comment, a string, a line, an attribute or a terminal's line.
TEXTS = (
    '*/ int x = system("touch pwned"); /*\n',
    "*/",
    "/*",
    "//",
    "/",
    "*",
    "**/",
    "/*/",
    "*\\\n/",
    "\\",
    "\\\n",
    "ends with \\",
    "??/",
    "???/",
    "??/\n*/",
    "\n#include </etc/passwd>\n",
    "\r\n#error",
    '"',
    '"; system("touch pwned"); "',
    "'",
    "%s%n",
    "\x00",
    "\x1b[2J\x1b[31m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x7f\x08\x08",
    "\u202e\u2066 begin admin \u2069",
    "\u200b\u200d\ufeff",
    "\u2028\u2029\x85\x0b\x0c",
    "\ud800",
    "\udfff\ud800",
    "é日本😀",
    "\U000e0001",
    "<script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    "&lt;&amp;",
    "]]>",
    "<!--",
    "{{ 7 * 7 }}",
    "{% for %}",
    "${HOME} $(touch pwned) `touch pwned`",
    "@VARIABLE@",
    '_Pragma("GCC error")',
    "\x02trust_pickle=yes\x03",
    "x" * 100_000,
    "日" * 1_000,
    "",
    " ",
    "0",
    "infer_int8",
    "a.b",
    "a_b",
)
_PARTS = (
    "*/",
    "/*",
    "//",
    "/",
    "*",
    "\\",
    "\n",
    "\r",
    "?",
    "??/",
    '"',
    "'",
    "#",
    "<",
    ">",
    "&",
    "\x1b[",
    "\x00",
    "\u202e",
    "\u2028",
    "\ud800",
    "é",
    "日",
    "😀",
    " ",
    "a",
    "0",
    "_",
    "system(1);",
    "$",
    "`",
)


def texts(count: int, seed: int = 0) -> list[str]:
    """So many hostile texts, each different: the list above, then random combinations."""
    choose = random.Random(seed)
    found = dict.fromkeys(TEXTS)
    while len(found) < count:
        found["".join(choose.choices(_PARTS, k=choose.randrange(1, 12)))] = None
    return list(found)[:count]


def cases() -> Iterator[HostileFile]:
    """A small network in files of these names, and networks whose layers have hostile names.

    Whether a name is accepted depends on who names the model, so both results are right.
    """
    for group, names in NAMES.items():
        for name in names:
            if 0 < len(name) < 200 and "/" not in name and "\0" not in name:
                yield HostileFile(f"names: {group}", repr(name), _network_named(name), opens=None)
    given = {"input_shape": (2,)}
    found = texts(100)
    for start in range(0, len(found), 4):
        layers, name = found[start : start + 4], f"texts {start} to {start + 3}"
        yield HostileFile("names of layers", name, _layers_named(layers), given, opens=None)


def _network_named(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import torch

        path = folder / f"{name}.pt2"
        try:
            path.touch()
        except (OSError, UnicodeError):  # a lone surrogate, or a file system that forbids it
            path = folder / "net.pt2"
        net = torch.nn.Linear(2, 2).eval()
        with path.open("wb") as file:
            torch.export.save(torch.export.export(net, (torch.zeros(1, 2),)), file)
        return path

    return write


def _layers_named(names: list[str]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import torch

        net = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in names))
        net._modules = dict(zip(names, net._modules.values(), strict=True))
        torch.save(net, folder / "layers.pt")
        return folder / "layers.pt"

    return write
