"""Small test firmwares, counted by hand or compared with QEMU's log of instructions."""

from __future__ import annotations

import functools
import io
import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from deepcompress import target
from deepcompress.cli.main import main
from deepcompress.errors import UserError
from deepcompress.profiler import qemu_runner
from deepcompress.profiler.call_tree import CallNode
from deepcompress.profiler.elf import read_firmware
from deepcompress.profiler.engine import Request
from deepcompress.profiler.profile import Profile, profile, table, to_json
from deepcompress.target.core import Instruction

GCC = "arm-none-eabi-gcc"
pytestmark = pytest.mark.skipif(not shutil.which(GCC), reason=f"{GCC} is not installed")


@dataclass(frozen=True)
class Board:
    machine: str
    flags: tuple[str, ...]
    flash: int = 0
    ram: int = 0x20000000


HARD = "-mfloat-abi=hard"
BOARDS = {
    "cortex-m0": Board("microbit", ("-mcpu=cortex-m0",)),
    "cortex-m3": Board("mps2-an385", ("-mcpu=cortex-m3",)),
    "cortex-m4": Board("mps2-an386", ("-mcpu=cortex-m4", HARD, "-mfpu=fpv4-sp-d16")),
    "cortex-m7": Board("mps2-an500", ("-mcpu=cortex-m7", HARD, "-mfpu=fpv5-sp-d16")),
    "cortex-m33": Board(
        "mps2-an505",
        ("-mcpu=cortex-m33", HARD, "-mfpu=fpv5-sp-d16"),
        flash=0x10000000,
        ram=0x38000000,
    ),
}

LINKER_SCRIPT = """\
ENTRY(Reset_Handler)
MEMORY {{ FLASH (rx) : ORIGIN = {flash:#x}, LENGTH = 128K
 RAM (rwx) : ORIGIN = {ram:#x}, LENGTH = 16K }}
SECTIONS {{
  .text : {{ KEEP(*(.vectors)) *(.text*) *(.rodata*) . = ALIGN(4); }} >FLASH
  .data : {{ _data = .; *(.data*) . = ALIGN(4); _edata = .; }} >RAM AT>FLASH
  _data_in_flash = LOADADDR(.data);
  .bss (NOLOAD) : {{ _bss = .; *(.bss*) *(COMMON) . = ALIGN(4); _ebss = .; }} >RAM
  end = .;
  _stack = ORIGIN(RAM) + LENGTH(RAM);
}}
"""

STARTUP = """\
#include <stdint.h>
#include <stdlib.h>
extern uint32_t _data_in_flash, _data, _edata, _bss, _ebss, _stack;
extern __attribute__((noinline)) int main(void);
extern void initialise_monitor_handles(void);
void _init(void) {}
void _fini(void) {}
void _exit(int code) {
    uint32_t block[2] = {0x20026, (uint32_t)code};
    register uint32_t operation __asm("r0") = 0x20;
    register uint32_t *argument __asm("r1") = block;
    __asm volatile("bkpt 0xab" : : "r"(operation), "r"(argument) : "memory");
    for (;;) {}
}
void Reset_Handler(void) {
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xF << 20;
    __asm volatile("dsb\\nisb");
#endif
    uint32_t *from = &_data_in_flash;
    for (uint32_t *to = &_data; to < &_edata;) *to++ = *from++;
    for (uint32_t *to = &_bss; to < &_ebss;) *to++ = 0;
    initialise_monitor_handles();
    exit(main());
}
__attribute__((section(".vectors"), used)) const void *const vectors[16] = {
    &_stack, (void *)Reset_Handler};
"""

ASSEMBLER = """\
.syntax unified
.thumb
.macro function name
.balign 16
.global \\name
.type \\name, %function
\\name:
.endm
.macro ended name
.size \\name, . - \\name
.endm
"""

VECTOR_BOARD = Board("mps3-an547", ("-mcpu=cortex-m55", HARD))


@functools.cache
def firmware(c: str, assembler: str = "", cpu: str = "cortex-m4", *flags: str) -> Path:
    """The ELF of some C and assembler with a start-up, built once per test session."""
    board = VECTOR_BOARD if cpu == "cortex-m55" else BOARDS[cpu]
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    (folder / "main.c").write_text(STARTUP + c)
    (folder / "functions.s").write_text(ASSEMBLER + assembler)
    (folder / "link.ld").write_text(LINKER_SCRIPT.format(flash=board.flash, ram=board.ram))
    command = [GCC, "-O2", "-mthumb", *board.flags, "--specs=rdimon.specs", "-nostartfiles"]
    sources = ["main.c", "functions.s", "-T", "link.ld", "-o", "firmware.elf"]
    done = subprocess.run([*command, *flags, *sources], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "firmware.elf"


@functools.cache
def _folder() -> str:
    return tempfile.mkdtemp(prefix="deepcompress-firmware-")


@pytest.fixture(scope="module", autouse=True)
def _remove_firmwares():
    yield
    shutil.rmtree(_folder())
    firmware.cache_clear()
    _folder.cache_clear()


CALL_ONCE = "void net_infer_int8(void); int main(void) { net_infer_int8(); return 0; }"

LOOP = """
function net_infer_int8
1: subs r0, #1
   bne 1b
   bx lr
ended net_infer_int8
"""
RUN_LOOP = "int net_infer_int8(int); int main(void) { net_infer_int8(10); return 0; }"

# 10 SUBS, 10 BNE of which 9 jump, 1 BX: 21 instructions, and the cycles that jumps add.
LOOP_CYCLES = {
    "cortex-m0": 21 + 9 * 2 + 2,
    "cortex-m0plus": 21 + 9 * 1 + 1,
    "cortex-m3": 21 + 9 * 2 + 2,
    "cortex-m4": 21 + 9 * 2 + 2,
    "cortex-m33": 21 + 9 * 2 + 2,
    # SUBS and BNE start together, BX alone; a jump costs 1.
    "cortex-m7": 10 + 1 + 9 * 1 + 1,
}


@pytest.mark.parametrize("cpu", LOOP_CYCLES)
def test_a_loop_costs_what_the_manual_says(cpu):
    board = cpu if cpu in BOARDS else "cortex-m0"
    measured = profile(firmware(RUN_LOOP, LOOP, board), Request(cpu=cpu))
    (inference,) = measured.inferences
    assert (inference.instructions, inference.cycles) == (21, LOOP_CYCLES[cpu])


WORK = """
static int table[64];
__attribute__((noinline)) int net_divide(int a, int b) { return b ? a % 7 + b / 3 : a; }
__attribute__((noinline)) int net_choose(unsigned k, int x) {
    switch (k % 6) {
        case 0: return x + 1;
        case 1: return x > 3 ? x * 5 : -x;
        case 2: return x ^ 0x55;
        case 3: return net_divide(x, (int)k);
        case 4: return x < 0 ? 0 : x > 127 ? 127 : x;
        default: return x << (k & 3);
    }
}
__attribute__((noinline)) int net_sum(int n) { return n < 2 ? n : net_sum(n - 1) + net_sum(n - 2); }
__attribute__((noinline)) int net_infer_int8(int n) {
    int total = net_sum(n % 7);
    for (int i = 0; i < n; ++i) {
        table[i & 63] += net_choose((unsigned)i, total);
        total += table[(i * 7) & 63];
    }
    return total;
}
int main(void) { int s = 0; for (int i = 5; i < 90; i += 9) s += net_infer_int8(i); return s & 1; }
"""


@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="QEMU is not installed")
@pytest.mark.parametrize("cpu", BOARDS)
def test_every_function_runs_exactly_the_instructions_that_qemu_logs(cpu, tmp_path):
    elf = firmware(WORK, "", cpu)
    measured = profile(elf, Request(cpu=cpu))
    ours = {
        name: cost.own_instructions for name, cost in measured.costs.items() if name[:4] == "net_"
    }
    assert set(ours) == {"net_infer_int8", "net_choose", "net_divide", "net_sum"}
    assert ours == logged_instructions(elf, cpu, set(ours), tmp_path / "log")


def logged_instructions(elf: Path, cpu: str, names: set[str], log: Path) -> dict[str, int]:
    """Instructions by function in QEMU's log, which has a line for each with -singlestep."""
    symbols = subprocess.run(
        ["arm-none-eabi-nm", "-S", elf], capture_output=True, text=True, check=True
    )
    found = re.findall(r"^(\w+) (\w+) [tT] (\w+)$", symbols.stdout, re.MULTILINE)
    ranges = {
        name: range(int(start, 16), int(start, 16) + int(size, 16))
        for start, size, name in found
        if name in names
    }
    kept = ",".join(f"{r.start:#x}..{r.stop - 1:#x}" for r in ranges.values())
    command = ["qemu-system-arm", "-M", BOARDS[cpu].machine, "-nographic", "-monitor", "none"]
    command += ["-serial", "none", "-semihosting-config", "enable=on,target=native"]
    command += ["-singlestep", "-d", "exec,nochain", "-dfilter", kept, "-D", str(log)]
    subprocess.run([*command, "-kernel", elf], stdin=subprocess.DEVNULL, timeout=120)
    addresses = [int(a, 16) for a in re.findall(r"\[\w+/(\w+)/", log.read_text())]
    return {name: sum(a in r for a in addresses) for name, r in ranges.items()}


MIX = """
function net_infer_int8
   push {r4, r5, r6, lr}
   ldr r4, =weights
   movs r5, #20
   movs r0, #0
   vmov s0, r0
1: ldrsb r1, [r4]
   ldrsb r2, [r4, #1]
   smlabb r0, r1, r2, r0
   ldr r3, [r4, #4]
   sxtb16 r3, r3
   smlad r0, r3, r3, r0
   ldrd r1, r2, [r4, #8]
   vldr s1, [r4, #12]
   vmla.f32 s0, s1, s1
   cmp r1, #0
   ite ge
   addge r0, r1
   sublt r0, r1
   str r0, [sp, #-4]!
   ldr r0, [sp], #4
   subs r5, #1
   bne 1b
   sdiv r0, r0, r2
   smull r1, r2, r0, r0
   pop {r4, r5, r6, pc}
   .ltorg
ended net_infer_int8
.balign 4
weights: .word 0x01020304, 0x7f80ff01, 0x11223344, 0x3f800000
"""


def test_cortex_m4_cycles_agree_with_the_published_comparisons():
    """The comparisons stop counting before the final jump back; 541 is their count for this."""
    measured = profile(firmware(CALL_ONCE, MIX), Request(cpu="cortex-m4"))
    (inference,) = measured.inferences
    assert inference.instructions == 348
    assert inference.cycles == pytest.approx(541, rel=0.05)


@pytest.mark.parametrize(
    ("cpu", "code", "cycles"),
    [
        ("cortex-m4", ["ldr", "ldr", "str", "add", "ldr"], 2 + 1 + 1 + 1 + 2),
        ("cortex-m4", ["mla", "smull", "smlad", "udiv", "it", "vfma"], 1 + 1 + 1 + 7 + 1 + 3),
        ("cortex-m3", ["mla", "smull", "umlal"], 2 + 4 + 6),
        ("cortex-m0", ["ldr", "str", "mul", "dmb"], 2 + 2 + 1 + 4),
        ("cortex-m0plus", ["ldrb", "mul", "dmb"], 2 + 1 + 3),
        ("cortex-m0plus.small-multiply", ["mul"], 32),
        ("cortex-m7", ["add", "ldr", "smlad", "add", "ldrsb", "sxtb"], 4),
        ("cortex-m7", ["smlad", "smlad", "str", "str"], 3),
    ],
)
def test_straight_line_code_costs_the_sum_of_its_instructions_less_the_overlap(cpu, code, cycles):
    block = [Instruction(name) for name in code]
    assert target.find(cpu).timing.cost(block).cycles == cycles


@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m4", "cortex-m33"])
def test_a_multiple_transfer_costs_one_cycle_and_one_per_word(cpu):
    assert target.find(cpu).timing.cost([Instruction("push", words=5)]).cycles == 6


def test_a_cortex_m7_waits_for_a_result_unless_it_is_accumulated():
    def cycles(*code: Instruction) -> int:
        return target.find("cortex-m7").timing.cost(code).cycles

    load = Instruction("ldr", reads=frozenset({"r1"}), writes=frozenset({"r0"}))
    chase = Instruction(
        "ldr", reads=frozenset({"r0"}), writes=frozenset({"r2"}), addresses=frozenset({"r0"})
    )
    product = Instruction("smlad", reads=frozenset({"r0", "r4"}), writes=frozenset({"r4"}))
    use = Instruction("add", reads=frozenset({"r4"}), writes=frozenset({"r5"}))
    assert cycles(load, chase) == 3
    assert cycles(product, product, product) == 3
    assert cycles(product, use) == 3


LAYERS = """
function net_conv
   push {r4, r5, r6, r7, lr}
   sub sp, #16
   bl net_kernel
   bl net_kernel
   add sp, #16
   pop {r4, r5, r6, r7, pc}
ended net_conv
function net_kernel
   push {r4, lr}
   pop {r4, pc}
ended net_kernel
function net_tail
   cmp r0, #0
   b.w net_kernel
ended net_tail
function net_infer_int8
   push {lr}
   bl net_conv
   bl net_tail
   pop {pc}
ended net_infer_int8
function net_infer_uint8
   b.w net_infer_int8
ended net_infer_uint8
"""
CALL_TWICE = """
void net_infer_uint8(void);
int main(void) { net_infer_uint8(); net_infer_uint8(); return 0; }
"""


def test_calls_are_distinguished_by_function_also_in_tail_position():
    measured = profile(firmware(CALL_TWICE, LAYERS))
    roles = [(name, cost.role, cost.calls) for name, cost in measured.costs.items()]
    assert roles == [
        ("net_infer_uint8", "inference", 2),
        ("net_infer_int8", "inference", 2),
        ("net_conv", "layer", 2),
        ("net_tail", "layer", 2),
        ("net_kernel", "helper", 6),
    ]
    instructions = {name: cost.instructions // 2 for name, cost in measured.costs.items()}
    assert instructions["net_conv"] == 6 + 2 * 2
    assert instructions["net_tail"] == 2 + 2
    assert instructions["net_infer_int8"] == 4 + 10 + 4
    assert instructions["net_infer_uint8"] == 1 + 18
    assert measured.costs["net_infer_uint8"].own_instructions == 2 * 1


def test_the_stack_of_a_call_includes_the_deepest_of_its_own_calls():
    measured = profile(firmware(CALL_TWICE, LAYERS))
    assert {name: cost.stack_bytes for name, cost in measured.costs.items()} == {
        "net_infer_uint8": 4 + 20 + 16 + 8,
        "net_infer_int8": 4 + 20 + 16 + 8,
        "net_conv": 20 + 16 + 8,
        "net_tail": 8,
        "net_kernel": 8,
    }


def test_recursion_is_counted_once():
    measured = profile(firmware(WORK))
    cost = measured.costs["net_sum"]
    inclusive = {name: c.instructions for name, c in measured.costs.items()}
    assert cost.calls > 10
    assert cost.instructions == cost.own_instructions
    assert inclusive["net_infer_int8"] == sum(c.own_instructions for c in measured.costs.values())


def test_a_long_jump_out_of_a_layer_closes_its_calls():
    c = """
    #include <setjmp.h>
    static jmp_buf back;
    __attribute__((noinline)) void net_layer(void) { longjmp(back, 1); }
    __attribute__((noinline)) int net_infer_int8(void) {
        if (setjmp(back) == 0) net_layer();
        return 1;
    }
    int main(void) { return net_infer_int8() + net_infer_int8() - 2; }
    """
    measured = profile(firmware(c))
    assert [measured.costs[name].calls for name in ("net_infer_int8", "net_layer")] == [2, 2]
    assert measured.exit_code == 0


# --- inferences called directly

DATA = """
#include <stdint.h>
int32_t factors[4] = {1, 2, 3, 4};  /* in RAM, where start-up copies them from flash */
__attribute__((noinline)) int net_layer(int32_t *arena, const int8_t *input) {
    for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < factors[i]; ++j) arena[i] += input[j];
    }
    return arena[3];
}
__attribute__((noinline)) int net_infer_int8(int32_t *arena, const int8_t *input) {
    return net_layer(arena, input) + 1;
}
"""
RUN_DATA = """
int main(void) {
    static int32_t arena[4];
    static const int8_t input[4];
    return net_infer_int8(arena, input);
}
"""
WAIT_FOR_CLOCK = """
int main(void) {
    while ((*(volatile unsigned *)0x40023800 & 2) == 0) {}
    return net_infer_int8(0, 0);
}
"""


@pytest.mark.parametrize("cpu", BOARDS)
def test_an_inference_called_directly_costs_what_it_costs_in_its_firmware(cpu):
    elf = firmware(DATA + RUN_DATA, "", cpu)
    within, alone = profile(elf), profile(elf, Request(alone=True))
    assert alone.inferences == within.inferences
    assert {n: vars(cost) for n, cost in alone.costs.items()} == {
        n: vars(cost) for n, cost in within.costs.items()
    }


def test_an_inference_called_directly_needs_no_peripheral():
    elf = firmware(DATA + WAIT_FOR_CLOCK)
    with pytest.raises(UserError, match="did not end within") as raised:
        profile(elf, Request(instruction_limit=100_000))
    assert "--alone runs the inferences only" in raised.value.do
    (inference,) = profile(elf, Request(alone=True)).inferences
    assert (inference.function, inference.stack_bytes > 0) == ("net_infer_int8", True)


def test_an_inference_that_another_one_calls_is_not_called_again():
    measured = profile(firmware(CALL_TWICE, LAYERS), Request(alone=True))
    assert [inference.function for inference in measured.inferences] == ["net_infer_uint8"]
    assert [measured.costs[name].calls for name in ("net_infer_int8", "net_conv")] == [1, 1]


# --- instructions counted in QEMU

needs_qemu = pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="QEMU is not installed")
VECTORS = """
#include <arm_mve.h>
static const int8_t ones[64] = {1, 1, 1};
__attribute__((noinline)) int net_dot(const int8_t *a, const int8_t *b) {
    int total = 0;
    for (int i = 0; i < 64; i += 16) {
        total = vmladavaq_s8(total, vldrbq_s8(a + i), vldrbq_s8(b + i));
    }
    return total;
}
__attribute__((noinline)) int net_infer_int8(int n) {
    int total = 0;
    for (int i = 0; i < n; ++i) total += net_dot(ones, ones);
    return total;
}
#include <stdio.h>
int main(void) { printf("dot %d\\n", net_infer_int8(2)); return net_infer_int8(3); }
"""


@needs_qemu
@pytest.mark.parametrize(
    ("cpu", "work"),
    [
        ("cortex-m0", (WORK, "")),
        ("cortex-m4", (WORK, "")),
        ("cortex-m4", (CALL_TWICE, LAYERS)),
        ("cortex-m33", (CALL_TWICE, LAYERS)),
    ],
)
def test_qemu_and_unicorn_count_the_same_calls_and_instructions(cpu, work):
    elf = firmware(*work, cpu)
    core = replace(target.find(cpu), timing=None)
    simulated = profile(elf, Request(cpu=cpu))
    targets = {inference.function for inference in simulated.inferences}
    read = read_firmware(elf)
    addresses = frozenset(f.address for f in read.functions if f.name in targets)
    counted = qemu_runner.QEMU_ENGINE.trace(read, core, addresses, Request(folder=elf.parent))
    assert [i.instructions for i in simulated.inferences] == [
        sum(call.instructions for call in inference.walk()) for inference in counted.inferences
    ]
    assert own_instructions(counted.inferences) == {
        name: cost.own_instructions for name, cost in simulated.costs.items()
    }


def own_instructions(inferences: tuple[CallNode, ...]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for inference in inferences:
        for call in inference.walk():
            counts[call.function.name] += call.instructions
    return dict(counts)


@needs_qemu
def test_a_core_with_vectors_has_counted_instructions_and_no_estimated_cycles(capfd):
    console = io.BytesIO()
    measured = profile(vector_firmware(), Request(console=console))
    assert measured.cpu.name == "cortex-m55"
    assert console.getvalue() == b"dot 6\n"
    assert measured.exit_code == 9
    assert measured.costs["net_dot"].calls == 5
    first, second = (inference.instructions for inference in measured.inferences)
    assert 2 * second > 2.5 * first
    facts = to_json(measured)
    row = facts["functions"]["net_dot"]
    assert row["instructions"] < 40
    unknown = ("cycles", "own_cycles", "stack_bytes", "flash_bytes", "milliseconds")
    assert [row[key] for key in unknown] == [None] * 5
    assert facts["inferences"][0]["cycles"] is None
    assert table(measured).splitlines()[0].split() == [
        "function",
        "calls",
        "instructions",
        "code",
        "B",
    ]


@needs_qemu
def test_counting_in_qemu_stops_after_the_calls_asked_for():
    measured = profile(vector_firmware(), Request(calls=1))
    assert len(measured.inferences) == 1
    assert measured.exit_code is None


@needs_qemu
def test_a_whole_run_is_counted_by_function():
    elf = firmware(WORK)
    names = {"net_infer_int8", "net_choose", "net_divide", "net_sum"}
    counts = qemu_runner.count_instructions(elf, target.find("cortex-m4"))
    measured = profile(elf)
    assert {name: counts[name] for name in names} == {
        name: measured.costs[name].own_instructions for name in names
    }
    assert counts["Reset_Handler"] > 10


@needs_qemu
@pytest.mark.parametrize(
    ("code", "options", "message"),
    [
        ("for (;;) net_infer_int8(1);", {"instruction_limit": 10_000}, "did not end within 10,000"),
        ('__asm volatile("udf #0");', {}, "QEMU failed"),
    ],
)
def test_firmware_that_qemu_cannot_run_to_its_end_is_reported(code, options, message):
    main_ = f"int main(void) {{ {code} return 0; }}"
    with pytest.raises(UserError, match=message):
        profile(vector_firmware(main_), Request(**options))


def test_a_missing_qemu_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(qemu_runner, "_QEMU", "qemu-of-nowhere")
    with pytest.raises(UserError, match="needs QEMU, which is not installed"):
        profile(vector_firmware())


def vector_firmware(main_: str | None = None) -> Path:
    c = VECTORS if main_ is None else VECTORS.partition("#include <stdio.h>")[0] + main_
    return firmware(c, "", "cortex-m55")


READS = """
function net_infer_int8
   ldr r1, =constants
   movs r2, #16
1: ldr r3, [r1], #4
   subs r2, #1
   bne 1b
   bx lr
   .ltorg
ended net_infer_int8
.balign 4
constants: .space 64, 1
"""


def test_bytes_read_from_flash_are_constants_and_literals_but_not_code():
    (inference,) = profile(firmware(CALL_ONCE, READS), Request(flash_reads=True)).inferences
    assert inference.flash_bytes == 64 + 4


def test_each_line_of_flash_costs_the_wait_states_once():
    straight = "function net_infer_int8\n.rept 31\nnop\n.endr\nbx lr\nended net_infer_int8"
    elf = firmware(CALL_ONCE, straight)
    (fast,), (slow,) = (profile(elf, Request(wait_states=n)).inferences for n in (0, 3))
    assert fast.instructions * 2 == 4 * 16
    assert slow.cycles - fast.cycles == 4 * 3


def test_data_in_flash_costs_the_wait_states_once_per_line():
    elf = firmware(CALL_ONCE, READS)
    (fast,), (slow,) = (profile(elf, Request(wait_states=n)).inferences for n in (0, 1))
    # Of 14 bytes of code, 2 of padding, 4 of literal and 64 of constants: a line, then five.
    assert slow.cycles - fast.cycles == 1 + 5


UNALIGNED = """
function net_infer_int8
   ldr r1, =words
   ldr r2, [r1]
   ldr r2, [r1, #1]
   ldr r2, [r1, #2]
   ldr r2, [r1, #3]
   ldrh r2, [r1, #2]
   ldrh r2, [r1, #3]
   ldrsb r2, [r1, #3]
   bx lr
   .ltorg
ended net_infer_int8
.balign 4
words: .space 8
"""


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("cpu", ["cortex-m3", "cortex-m4"])
def test_an_unaligned_word_costs_a_cycle_per_additional_access(cpu, alone):
    elf = firmware(CALL_ONCE, UNALIGNED, cpu)
    (plain,), (split,) = (
        profile(elf, Request(alone=alone, unaligned=counted)).inferences
        for counted in (False, True)
    )
    assert split.cycles - plain.cycles == 2 + 1 + 2 + 1
    assert split.instructions == plain.instructions


@pytest.mark.parametrize("cpu", BOARDS)
def test_the_cpu_is_read_from_the_elf(cpu):
    measured = profile(firmware(RUN_LOOP, LOOP, cpu))
    # An ELF for Armv6-M does not distinguish M0 from M0+, which most boards have.
    assert measured.cpu.name == {"cortex-m0": "cortex-m0plus"}.get(cpu, cpu)


FILES = """
#include <stdio.h>
#include <string.h>
int net_infer_int8(int);
int main(void) {
    char text[8] = "";
    FILE *in = fopen("in.txt", "r"), *out = fopen("out.txt", "w");
    fseek(in, 2, SEEK_SET);
    fread(text, 1, 4, in);
    fprintf(out, "<%s>", text);
    fclose(out);
    printf("read %s, %s, %d\\n", text, fopen("../secret.txt", "r") ? "leaked" : "kept",
           remove("gone.txt"));
    net_infer_int8(3);
    return 42;
}
"""


def test_a_firmware_reads_and_writes_the_files_of_its_folder_and_no_others(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "in.txt").write_text("abcdefgh")
    (folder / "gone.txt").write_text("")
    console = io.BytesIO()
    measured = profile(firmware(FILES, LOOP), Request(folder=folder, console=console))
    assert (folder / "out.txt").read_text() == "<cdef>"
    assert console.getvalue() == b"read cdef, kept, 0\n"
    assert sorted(path.name for path in folder.iterdir()) == ["in.txt", "out.txt"]
    assert measured.exit_code == 42


def test_the_clock_is_the_firmwares_own_and_always_the_same():
    c = """
    #include <stdio.h>
    #include <time.h>
    int net_infer_int8(int);
    int main(void) {
        net_infer_int8(400000);
        printf("%ld", (long)clock());
        return 0;
    }
    """
    texts = []
    for _ in range(2):
        console = io.BytesIO()
        profile(firmware(c, LOOP), Request(console=console, clock_hz=1_000_000))
        texts.append(console.getvalue())
    assert texts[0] == texts[1]
    assert 160 <= int(texts[0]) < 165  # 4 cycles per iteration at 1 MHz, in hundredths of a second


def test_a_sketch_that_loops_for_ever_stops_after_the_calls_asked_for():
    c = "int net_infer_int8(int); int main(void) { for (;;) net_infer_int8(10); }"
    measured = profile(firmware(c, LOOP), Request(calls=3))
    assert [inference.instructions for inference in measured.inferences] == [21, 21, 21]
    assert measured.exit_code is None


def test_a_peripheral_reads_as_zero():
    c = """
    #define UART ((volatile unsigned *)0x40004000)
    int net_infer_int8(int);
    int main(void) { UART[0] = 'x'; net_infer_int8(2); return (int)UART[1]; }
    """
    assert profile(firmware(c, LOOP)).exit_code == 0


# --- output


def small_profile() -> Profile:
    measured = profile(firmware(CALL_TWICE, LAYERS), Request(clock_hz=1_000_000))
    return replace(measured, dense_macs={"net_conv": 10})


def test_the_table_has_a_line_per_inference_and_per_layer():
    lines = table(small_profile()).splitlines()
    assert lines[:6] == [
        "function         calls  instructions  cycles  per MAC     ms  stack B  code B",
        "-----------------------------------------------------------------------------",
        "net_infer_uint8      2            19      65           0.065       48       4",
        "net_infer_int8       2            18      62           0.062       48      12",
        "  net_conv           2            10      38     3.80  0.038       44      16",
        "  net_tail           2             4      12           0.012        8       6",
    ]
    assert lines[7].startswith("Cycles are modelled for cortex-m4: Cortex-M4 TRM, DDI 0439D")


def test_json_has_the_documented_keys():
    facts = json.loads(json.dumps(to_json(small_profile())))
    assert set(facts) == {
        "schema", "cpu", "source", "limits", "clock_hz", "wait_states", "unaligned", "exit_code",
        "inferences", "functions",
    }  # fmt: skip
    assert facts["inferences"][0] == {
        "function": "net_infer_uint8", "instructions": 19, "cycles": 65, "stack_bytes": 48,
        "flash_bytes": None,
    }  # fmt: skip
    assert facts["functions"]["net_conv"] == {
        "role": "layer", "calls": 2, "instructions": 10, "cycles": 38, "own_instructions": 6,
        "own_cycles": 22, "stack_bytes": 44, "flash_bytes": None, "code_bytes": 16,
        "milliseconds": 0.038, "dense_macs": 10, "cycles_per_dense_mac": 3.8,
    }  # fmt: skip


def test_the_command_line_takes_products_and_clock_from_the_report(tmp_path, capfd):
    report = tmp_path / "report.json"
    layers = [{"function": "net_conv", "dense_macs": 19}, {"function": "net_tail", "dense_macs": 0}]
    report.write_text(json.dumps({"name": "net", "clock_hz": 1_000_000, "layers": layers}))
    elf = str(firmware(CALL_TWICE, LAYERS))
    assert main(["profile", elf, "--report", str(report), "--json"]) == 0
    functions = json.loads(capfd.readouterr().out)["functions"]
    assert functions["net_conv"]["cycles_per_dense_mac"] == 2
    assert functions["net_infer_uint8"]["dense_macs"] == 19
    assert functions["net_conv"]["milliseconds"] == 0.038


def test_the_html_report_gets_the_measurements(tmp_path, capsys):
    layer = dict.fromkeys(
        ("weights", "nonzeros", "flash_bytes", "weight_bytes", "constant_bytes", "entropy_bytes",
         "dense_macs", "cycles"), 0
    ) | {"name": "conv", "function": "net_conv", "describe": "", "encoding": None,
         "output_shape": [1]}  # fmt: skip
    facts = {
        "schema": 1, "name": "net", "version": "0", "source": "net.pt", "cpu": "cortex-m4",
        "clock_hz": None, "cycles": 40, "layers": [layer], "warnings": [], "accuracy": None,
        "parameters": {"float_bytes": 0, "nonzeros": 0},
        "flash": {"weights_bytes": 0, "total_bytes": 0, "limit_bytes": None},
        "ram": {"total_bytes": 0, "limit_bytes": None, "arena_bytes": 0, "stack_bytes": 0},
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(facts))
    elf, html = str(firmware(CALL_TWICE, LAYERS)), tmp_path / "made" / "net.html"
    command = ["profile", elf, "--report", str(tmp_path / "report.json"), "--html", str(html)]
    assert main(command) == 0
    assert "<title>conv: 38 profiled</title>" in html.read_text()
    (tmp_path / "report.json").write_text(json.dumps(facts | {"flash": {}}))
    assert main(command) == 1
    assert "it does not contain" in " ".join(capsys.readouterr().err.split())
    assert main(["profile", elf, "--html", str(html)]) == 1
    assert "Add --report" in " ".join(capsys.readouterr().err.split())


def test_the_json_does_not_contain_the_output_of_the_firmware(capfd):
    c = "#include <stdio.h>\nint net_infer_int8(int);" + (
        'int main(void) { puts("hello"); return net_infer_int8(2) * 0; }'
    )
    assert main(["profile", str(firmware(c, LOOP)), "--json"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["exit_code"] == 0
    assert captured.err == "hello\n"


# --- mistakes, each reported in one paragraph

ENDLESS = "int net_infer_int8(int); int main(void) { for (;;) net_infer_int8(10); }"
OUTSIDE = "int main(void) { return *(volatile int *)0x90000000; }"
SLEEPS = 'int main(void) { __asm volatile("wfi"); return 0; }'
UNDEFINED = 'int main(void) { __asm volatile("udf #0"); return 0; }'
SUPERVISOR = 'int main(void) { __asm volatile("svc #0"); return 0; }'
BREAKS = 'int main(void) { __asm volatile("bkpt 1"); return 0; }'
NEVER = """
int net_infer_int8(int);
volatile int zero;
int main(void) { return zero ? net_infer_int8(1) : 5; }
"""


@pytest.mark.parametrize(
    ("c", "options", "message"),
    [
        (ENDLESS, {"instruction_limit": 10_000}, "did not end within 10,000 instructions"),
        (OUTSIDE, {}, "main, at 0x........, accesses 0x90000000, where there is neither flash"),
        (SLEEPS, {}, "main, at 0x........, sleeps there for an interrupt"),
        (UNDEFINED, {}, "main, at 0x........, meets an"),
        (SUPERVISOR, {}, "main, at 0x........, meets an SVC there"),
        (BREAKS, {}, "main, at 0x........, meets a breakpoint there"),
        (NEVER, {}, "never called .*_infer_.* before it ended with exit code 5"),
        (RUN_LOOP, {"function": "net_infer_in8"}, r"did you mean net_infer_int8\?"),
        (RUN_LOOP, {"cpu": "cortex-m5"}, r"no CPU is called 'cortex-m5' \(did you mean"),
        (RUN_LOOP, {"cpu": "cortex-m55", "alone": True}, "only instructions are known"),
        (RUN_LOOP, {"cpu": "cortex-m55", "wait_states": 1}, "only instructions are known"),
        (
            RUN_LOOP,
            {"cpu": "cortex-m7", "unaligned": True},
            "the cost of an unaligned word",
        ),
        (RUN_LOOP, {"cpu": "host"}, "host cannot be profiled: no simulator of it is known"),
        (SLEEPS, {"function": "main", "alone": True}, "main, at 0x........, sleeps there"),
        (OUTSIDE, {"function": "main", "alone": True}, "main, at 0x........, accesses 0x90000000"),
        (UNDEFINED, {"function": "main", "alone": True}, "meets an"),
    ],
)
def test_a_firmware_that_cannot_be_profiled_is_reported_with_the_reason(c, options, message):
    with pytest.raises(UserError) as raised:
        profile(firmware(c, LOOP), Request(**options))
    assert re.search(message, raised.value.paragraph()), raised.value.paragraph()


def test_a_file_that_is_no_firmware_is_reported(tmp_path):
    def message(path: Path) -> str:
        with pytest.raises(UserError) as raised:
            profile(path, Request(cpu="cortex-m4"))
        return raised.value.paragraph()

    text = tmp_path / "text.elf"
    text.write_text("not an ELF")
    cut = tmp_path / "cut.elf"
    cut.write_bytes(firmware(RUN_LOOP, LOOP).read_bytes()[:3000])
    stripped = tmp_path / "stripped.elf"
    subprocess.run(["arm-none-eabi-strip", firmware(RUN_LOOP, LOOP), "-o", stripped], check=True)
    part, bare = tmp_path / "part.o", tmp_path / "bare.elf"
    for flags in (["-c", "-o", part], ["-nostdlib", "-Wl,-eno_infer_f,-Ttext=0x8000", "-o", bare]):
        command = [GCC, "-mcpu=cortex-m4", "-mthumb", "-xc", "-", *flags]
        subprocess.run(command, input=b"int no_infer_f(void) { return 1; }", check=True)
    assert "No such file" in message(tmp_path / "missing.elf")
    assert "it is not a whole ELF file" in message(text)
    assert "it is not a whole ELF file" in message(cut)
    assert "it is not a linked program for Arm (EM_ARM, ET_REL)" in message(part)
    assert "it has no symbols" in message(stripped)
    assert "there is no vector table at 0x8000" in message(bare)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    from deepcompress.profiler import profile as module

    find_spec = module.importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda n: None if n == "elftools" else find_spec(n)
    )
    with pytest.raises(UserError, match=r"it needs pyelftools.* -m pip install pyelftools"):
        profile(Path("firmware.elf"))


@pytest.mark.parametrize("content", ["{", "[]", '{"layers": [{}]}'])
def test_a_file_that_is_no_report_is_reported(content, tmp_path, capsys):
    report = tmp_path / "report.json"
    report.write_text(content)
    assert main(["profile", str(firmware(RUN_LOOP, LOOP)), "--report", str(report)]) == 1
    assert "it is not a report of deepcompress" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("option", ["--calls=0", "--clock-hz=0", "--wait-states=-1"])
def test_a_number_out_of_range_is_reported(option, capsys):
    assert main(["profile", "firmware.elf", option]) == 1
    assert option.split("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "dsp", "mve", "fpu"),
    [
        ("cortex-m0plus", False, False, False),
        ("cortex-m3", False, False, False),
        ("Cortex-M4", True, False, True),
        ("cortex-m33", True, False, True),
        ("cortex-m55", True, True, True),
        ("host", False, False, False),
    ],
)
def test_a_cpu_is_found_by_its_name_with_its_features(name, dsp, mve, fpu):
    cpu = target.find(name)
    assert tuple(name in cpu.features for name in ("dsp", "mve", "fpu")) == (dsp, mve, fpu)
