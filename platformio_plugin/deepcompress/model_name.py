"""The name of a model: taken from its file, or given by the user, and checked.

The generated code uses a name in these ways, here for `key_words`:

    files       key_words.h, key_words.hpp, key_words.c, key_words_weights.h
    C           key_words_infer_int8(), KEY_WORDS_INPUT_SIZE: always with a suffix
    C++         class DeepCompress::KeyWords

So a name is refused if one of its files would hide a header of another library, if the class would
be a macro, or if the compiler or the operating system reserves it. The check needs the standard
library only, because builds call it before they start the compiler.
"""

from __future__ import annotations

import re
import unicodedata

from deepcompress.errors import UserError

LONGEST_NAME = 64

_KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
    nullptr operator or or_eq private protected public register reinterpret_cast requires restrict
    return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using
    virtual void volatile wchar_t while xor xor_eq
"""
# Headers NAME.h of the C library, of compilers, of operating systems and of frameworks, in lower
# case, because some file systems ignore case.
_HEADERS = """
    acc_prof aio aliases alloca alltypes ar argp argz arm_acle arm_bf16 arm_cde arm_cmse arm_fp16
    arm_math arm_mve arm_mve_types arm_neon arm_nnfunctions arm_sve assert autoconf backtrace
    byteswap cet cmsis_armcc cmsis_compiler cmsis_gcc cmsis_os cmsis_os2 cmsis_version complex
    config_autogen core_cm0 core_cm0plus core_cm1 core_cm3 core_cm33 core_cm4 core_cm55 core_cm7
    core_cmfunc core_cminstr core_cmsimd cpio cpuid crypt ctype devctl devicetree dirent dlfcn
    eeprom elf endian envlock envz err errno error esp_log esp_system ethernet event_groups execinfo
    fastmath fcntl features fenv float fmtmsg fnmatch freertos freertosconfig fstab fts ftw gconv
    gcov getopt glob grp gshadow hardwareserial iconv ieeefp ifaddrs inttypes io ipaddress iso646
    itoa keyboard langinfo lastlog libgen libintl limits link liquidcrystal list locale main malloc
    math mcheck memory message_buffer mm3dnow mm_malloc mntent monetary mouse mpu_wrappers mqueue
    ndbm netdb new newlib nl_types nrf nrf51 nrf52 nrf52840 nrf53 nrf91 nrfx nss obstack offsets omp
    openacc paths pins_arduino poll portable portmacro proc_service process projdefs pthread pty pwd
    quadmath quadmath_weak queue re_comp reent regdef regex regexp resolv sched sd sdkconfig search
    semaphore semphr servo setjmp sgtty shadow signal soc softwareserial spawn spi stab stack_macros
    stackmacros stdalign stdarg stdatomic stdbit stdbool stdckdint stddef stdfix stdint stdio
    stdio_ext stdlib stdnoreturn stream_buffer string strings stropts syscall sysexits syslimits
    syslog tar task task_snapshot termio termios tgmath threads time timers trace ttyent uart uchar
    ucontext ulimit unctrl unistd unity unwind usb usbapi utime utmp utmpx values varargs variant
    version wait wchar wcharacter wctype wdt wifi windows winsock2 wire wiring wiring_constants
    wiring_private wmath wordexp wprogram wstring
"""
_HEADER_PATTERN = re.compile(r"arduino\w*|stm32\w*xx\w*|\w*intrin|(core_cm|cmsis_|mpu_armv)\w*")
_DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)\d")
# Macros without arguments, and without underscores as the names of classes are, of the C library,
# Arduino, CMSIS and the vendors' headers. Generated headers find others by #ifdef.
_MACROS = """
    BIN BUFSIZ CHANGE CLOCKS DEC DEFAULT DISABLE DISPLAY ENABLE EOF EULER EXTERNAL FALLING FALSE HEX
    HIGH I INFINITY INPUT INTERNAL LOW LSBFIRST MISO MOSI MSBFIRST NAN NULL OCT OUTPUT PI RISING SCK
    SCL SDA SERIAL SS TRUE WEOF
    SIGABRT SIGALRM SIGBUS SIGCHLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGKILL SIGPIPE SIGPROF
    SIGQUIT SIGSEGV SIGSTOP SIGSYS SIGTERM SIGTRAP SIGURG
    CoreDebug DCB DIB DWT FPU ITM MPU NVIC PMU SAU SCB SCnSCB SysTick TPI
    CAN CRC CRYP DAC DBGMCU DCMI DFSDM EXTI FLASH FMC FSMC GTZC HASH ICACHE IWDG LTDC OPAMP PKA PWR
    QUADSPI RAMCFG RCC RNG RTC SDIO SDMMC SYSCFG TAMP WWDG
"""
_MACRO_PATTERN = re.compile(
    r"[AD]\d{1,2}|B[01]{1,8}|(PRI|SCN)[diouxX][A-Z0-9]+|(CONFIG)?GPIO[A-K]|(TIM|LPTIM|HRTIM|UART|"
    r"USART|LPUART|SPI|I2C|I2S|ADC|DAC|DMA|BDMA|DMAMUX|CAN|FDCAN|SAI|COMP|OPAMP|SDMMC|SERCOM|TC|"
    r"TCC|TWI|PWM|PIO|Serial)\d{1,2}"
)
KEYWORDS = frozenset(_KEYWORDS.split())
HEADERS = frozenset(_HEADERS.split())
MACROS = frozenset(_MACROS.split())


def class_name(name: str) -> str:
    """Lenet5 of lenet5, KeywordSpotter of keyword_spotter."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_") if part)


def name_of_file(stem: str) -> str:
    """The model name of a file without its extension: my_model of "my-model", ete of "été".

    Accents are removed; each other character that an identifier cannot contain becomes "_", except
    at the ends. A name that begins with a digit gets the prefix "model_".

    Raises:
        UserError: the file is named in another script than the Latin one, or `check_name` refuses
            the name.
    """
    letters = [char for char in unicodedata.normalize("NFKD", stem) if not _is_accent(char)]
    foreign = [char for char in letters if char > "~" and not _is_mark(char)]
    if foreign:
        raise _refusal(stem, f"it contains {foreign[0]!r}, which is no Latin letter")
    word = re.sub(r"\W", "_", "".join(letters), flags=re.ASCII).strip("_")
    name = f"model_{word}" if word[:1].isdigit() else word
    check_name(name, stem)
    return name


def _is_accent(char: str) -> bool:
    return unicodedata.category(char) == "Mn"


def _is_mark(char: str) -> bool:
    """Whether a character is punctuation, a symbol or a space, which becomes "_"."""
    return unicodedata.category(char)[0] in "PSZ"


def check_name(name: str, stem: str | None = None) -> None:
    """Raises UserError if generated code cannot use a model's name.

    Args:
        stem: the file that the name was taken from, without its extension, if it was.
    """
    problem = _problem(name)
    if problem:
        raise _refusal(name if stem is None else stem, problem)


def _refusal(name: str, problem: str) -> UserError:
    return UserError(
        f"it cannot be a name in C and C++: {problem}",
        f"model name {name!r}",
        "Give the model another name, of letters, digits and underscores: --name net, in "
        "platformio.ini custom_deepcompress_model = net = file.pt, in CMake NAME net",
    )


def _problem(name: str) -> str | None:
    """Why a name cannot be used, or None."""
    folded = name.lower()
    if not name:
        return "nothing is left of it"
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        return "it does not consist of letters, digits and underscores, beginning with a letter"
    if len(name) > LONGEST_NAME:
        return f"it has more than {LONGEST_NAME} characters"
    if name in KEYWORDS:
        return "it is a keyword"
    if folded == "dc" or folded.startswith(("dc_", "deepcompress", "deep_compress")):
        return "the library uses names that begin like it"
    if folded == "in":
        return "the class would be named In, as a type in each model's class is"
    if _DEVICES.fullmatch(folded):
        return "Windows reserves it for a device"
    if folded in HEADERS or _HEADER_PATTERN.fullmatch(folded):
        return f"its header would hide another one, {name}.h"
    cpp = class_name(name)
    if cpp in MACROS or _MACRO_PATTERN.fullmatch(cpp):
        return f"{cpp}, its class in C++, is a macro on some boards"
    return None
