"""Measures whole networks: flash, RAM, cycles, and their int8 outputs compared with float.

    make networks                            # writes results/networks.json and docs/networks.md
    python benchmarks/networks.py U-Net GRU  # only these; keeps the other rows

Each network is trained for a minute, first dense, then with 80% of each layer's weights set to
zero. The files are kept in the build folder. `pio run` builds each for the virtual Cortex-M4. The
firmware's outputs must be bit-exact with the integer reference.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import architectures
import numpy as np
import tasks
import torch
import virtual
from deepcompress.compile import Compiled, compile_model
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import dequantize, quantize_inputs, run
from deepcompress.options import Target, parse
from least_ram import least_ram
from measuring import BUILD, ROOT
from readme import replace_part
from tasks import Samples
from torch import nn
from training import train
from virtual import export, firmware_of, write_project

sys.path.insert(0, str(architectures.EXAMPLE))

from measure import Needs, measure

RESULTS = ROOT / "benchmarks" / "results" / "networks.json"
PAGE = ROOT / "docs" / "networks.md"
MODELS = BUILD / "networks"
CPU, NAME = "cortex-m4", "net"
SPARSITY = 0.8
LEARNT, CALIBRATING, JUDGED = 4000, 64, 300  # samples
IN_FIRMWARE = 20  # of the JUDGED samples
SETTLING = 128  # of the LEARNT samples
RETRAINING = 400  # steps, at least


@dataclass(frozen=True)
class Network:
    """A network of the benchmark.

    Attributes:
        steps: of training, and of training again after pruning.
    """

    make: Callable[[], nn.Module]
    task: Callable[[int, int], Samples]
    steps: int = 600


NETWORKS = {
    "LeNet-5": Network(architectures.lenet5, tasks.digits, steps=0),
    "CIFAR-10 network": Network(architectures.cifar10, partial(tasks.scenes, size=32)),
    "DS-CNN": Network(architectures.ds_cnn, tasks.keywords),
    "MobileNetV1 0.25": Network(architectures.mobilenet_v1, partial(tasks.presence, size=96)),
    "ResNet-8": Network(architectures.resnet8, partial(tasks.scenes, size=32)),
    "auto-encoder": Network(architectures.auto_encoder, tasks.spectra),
    "MobileNetV2": Network(architectures.mobilenet_v2, partial(tasks.scenes, size=64)),
    "1-D CNN": Network(architectures.activity, tasks.motions),
    "U-Net": Network(architectures.unet, partial(tasks.outlines, size=48), steps=300),
    "GRU": Network(architectures.gru, tasks.lines_of_digits),
}


@dataclass(frozen=True)
class Row:
    """A network, dense or sparse.

    Attributes:
        flash_bytes, stack_bytes, cycles: of the linked firmware: code and constants, and one
            inference.
        least_bytes, least_working_bytes: see `least_ram`; without and with the kernels' scratch.
        signal_to_noise: SNR in dB: variance of the float outputs over the inputs, divided by the
            mean squared error of the int8 outputs.
        float_percent, int8_percent, same_percent: correct classes, and equal classes; None if the
            network is not a classifier.
        exact: whether the firmware's outputs equal the reference's.
    """

    network: str
    sparsity: float
    macs: int
    nonzeros: int
    flash_bytes: int
    arena_bytes: int
    stack_bytes: int
    least_bytes: int
    least_working_bytes: int
    cycles: int
    signal_to_noise: float
    float_percent: float | None
    int8_percent: float | None
    same_percent: float | None
    exact: bool


def main() -> None:
    parser = argparse.ArgumentParser(description="Whole networks on the virtual Cortex-M4.")
    parser.add_argument(
        "only", nargs="*", help="names of networks, such as U-Net; other rows are kept"
    )
    names = parser.parse_args().only or list(NETWORKS)
    torch.set_num_threads(1)  # two threads that wait for each other are slower on a busy machine
    rows = read_rows()
    for name in names:
        for sparsity in (0, SPARSITY):
            row = measure_network(name, sparsity)
            print(json.dumps(asdict(row)), flush=True)
            if not row.exact:
                sys.exit(f"networks: {name} is not bit-exact with the reference")
            rows[name, sparsity] = row
    publish(rows)


def read_rows() -> dict[tuple[str, float], Row]:
    """The last results, by network and sparsity."""
    if not RESULTS.is_file():
        return {}
    rows = [Row(**row) for row in json.loads(RESULTS.read_text())]
    return {(row.network, row.sparsity): row for row in rows}


def publish(rows: Mapping[tuple[str, float], Row]) -> None:
    """Writes the results and docs/networks.md."""
    wanted = ((name, sparsity) for name in NETWORKS for sparsity in (0, SPARSITY))
    ordered = [rows[key] for key in wanted if key in rows]
    RESULTS.write_text(json.dumps([asdict(row) for row in ordered], indent=1) + "\n")
    replace_part("networks", table(ordered), page=PAGE)


def measure_network(name: str, sparsity: float) -> Row:
    network = NETWORKS[name]
    model = trained(name, sparsity)
    inputs, targets = network.task(CALIBRATING + JUDGED, 0)
    calibration = model.with_suffix(".npz")
    np.savez(calibration, inputs=inputs[:CALIBRATING])
    options = {"calibration": str(calibration)}
    compiled = compile_model(
        model, name=NAME, options=parse(options, where="networks.py", target=Target(CPU))
    )
    folder = model.with_suffix("")
    write_project(folder, {NAME: model}, options)
    pio_run(folder)
    inputs, targets = inputs[CALIBRATING:], targets[CALIBRATING:]
    in_float = forward_numpy(compiled.graph, inputs)
    integer = compiled.integer
    answers = run(integer, quantize_inputs(inputs, integer))
    in_int8 = dequantize(answers, integer.quantization[integer.outputs[0]])
    found = virtual.answers(folder, {NAME: compiled}, {NAME: inputs[:IN_FIRMWARE]})[NAME]
    needs = measure(firmware_of(folder), NAME)
    return Row(
        network=name,
        sparsity=sparsity,
        **sizes(compiled, needs),
        **quality(in_float, in_int8, targets),
        exact=bool(np.array_equal(found, answers[:IN_FIRMWARE])),
    )


def trained(name: str, sparsity: float) -> Path:
    """The `.pt` file of a network, trained if it does not exist."""
    path = model_path(name, sparsity)
    if path.is_file():
        return path
    network = NETWORKS[name]
    inputs, targets = network.task(LEARNT, 1)
    torch.manual_seed(0)
    module = network.make()
    if sparsity:
        dense = torch.export.load(io.BytesIO(trained(name, 0).read_bytes()))
        module.load_state_dict(dense.state_dict)
    elif network.steps:
        architectures.settle(module, torch.from_numpy(inputs[:SETTLING]))
    steps = max(network.steps, RETRAINING) if sparsity else network.steps
    if steps:
        print(f"{path.stem}: {steps} steps of training", file=sys.stderr, flush=True)
        train(module, inputs, targets, steps=steps, sparsity=sparsity)
    export(module, inputs[:1], path)
    return path


def model_path(name: str, sparsity: float) -> Path:
    short = "".join(letter for letter in name.lower() if letter.isalnum())
    return MODELS / f"{short}_{'sparse' if sparsity else 'dense'}.pt"


def pio_run(folder: Path) -> None:
    core = os.environ.get("PLATFORMIO_CORE_DIR", str(ROOT / ".tools" / "platformio"))
    done = subprocess.run(
        [sys.executable, "-m", "platformio", "run", "-d", folder],
        env={**os.environ, "PLATFORMIO_CORE_DIR": core, "DEEPCOMPRESS_PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{folder} does not build:\n{(done.stdout + done.stderr)[-2000:]}")


# --- numbers


def sizes(compiled: Compiled, needs: Needs) -> dict[str, int]:
    return {
        "macs": sum(layer["dense_macs"] for layer in compiled.report["layers"]),
        "nonzeros": compiled.report["parameters"]["nonzeros"],
        "flash_bytes": needs.network_flash_bytes,
        "arena_bytes": compiled.plan.arena_bytes,
        "stack_bytes": needs.stack_bytes,
        "least_bytes": least_ram(compiled.plan, scratch=False),
        "least_working_bytes": least_ram(compiled.plan, scratch=True),
        "cycles": needs.cycles,
    }


def quality(in_float: np.ndarray, in_int8: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """See `Row`. Outputs are [n, *shape]; the maximum along axis 1 is the class."""
    noise = np.square(in_int8 - in_float).mean()
    signal = np.square(in_float - in_float.mean(axis=0)).mean()
    decibels = {"signal_to_noise": float(10 * np.log10(signal / noise))}
    if targets.dtype != np.int64:
        return decibels | dict.fromkeys(("float_percent", "int8_percent", "same_percent"))
    said, repeated = in_float.argmax(axis=1), in_int8.argmax(axis=1)
    return decibels | {
        "float_percent": 100 * float(np.mean(said == targets)),
        "int8_percent": 100 * float(np.mean(repeated == targets)),
        "same_percent": 100 * float(np.mean(repeated == said)),
    }


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    heads = ["network", "MACs", "weights", "flash", "arena", "needed", "stack", "cycles"]
    heads += ["per MAC", "SNR", "float correct", "int8 correct", "same"]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for row in rows:
        lines.append(
            [
                f"{row.network}, {row.sparsity:.0%} sparse" if row.sparsity else row.network,
                *(f"{n:,}" for n in (row.macs, row.nonzeros, row.flash_bytes, row.arena_bytes)),
                f"{row.least_bytes / row.arena_bytes:.0%}",
                f"{row.stack_bytes:,}",
                f"{row.cycles:,}",
                f"{row.cycles / row.macs:.2f}",
                f"{row.signal_to_noise:.0f} dB",
                *map(percent, (row.float_percent, row.int8_percent, row.same_percent)),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}%"


if __name__ == "__main__":
    main()
