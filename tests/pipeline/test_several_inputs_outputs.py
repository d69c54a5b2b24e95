"""Networks of several inputs and outputs, from the exported program to C and C++."""

from __future__ import annotations

import subprocess
from pathlib import Path

import c_runner
import numpy as np
import pytest
import torch
from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import Plan
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.compile import compile_model, prune_model
from deepcompress.data.calibration import Calibration
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import quantize_inputs, run
from deepcompress.frontend.fx_importer import import_graph
from deepcompress.ir.batch_layout import join, shape_of, split
from deepcompress.ir.graph import Graph, IntegerGraph
from deepcompress.options import Options
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from deepcompress.pipeline import verify
from deepcompress.pipeline.reporter import SilentReporter
from model_graphs import NOWHERE
from torch import nn

MAIN = c_runner.main_of(["input_image", "input_motion"], ["output0", "output1"])


class TwoTowers(nn.Module):
    """Two inputs, an image and a row of numbers; two outputs, a class and a map of its position."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.fc = nn.Linear(5, 2)
        self.head = nn.Linear(2, 3)

    def forward(self, image: torch.Tensor, motion: torch.Tensor) -> tuple:
        seen = torch.relu(self.conv(image))
        moved = seen + self.fc(motion).unflatten(1, (2, 1, 1))
        return self.head(moved.mean((2, 3))), moved


SHAPES = {"image": (1, 6, 6), "motion": (5,)}


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    torch.manual_seed(0)
    inputs = tuple(torch.zeros(1, *shape) for shape in SHAPES.values())
    return torch.export.export(TwoTowers().eval(), inputs)


@pytest.fixture(scope="module")
def graph(program: torch.export.ExportedProgram) -> Graph:
    return import_graph(program, name="towers")


def samples(count: int) -> np.ndarray:
    """Samples in the layout of `batches.py`; the two inputs differ in scale."""
    random = np.random.default_rng(0)
    return np.hstack([random.standard_normal((count, 36)), 9 * random.random((count, 5))]).astype(
        np.float32
    )


def made(graph: Graph) -> tuple[IntegerGraph, Plan]:
    integer = quantize(fuse(graph), Calibration(samples(20)))
    planned = plan_memory(select_kernels(integer, cpu="cortex-m4"))
    verify.buffers_do_not_collide(planned)
    return integer, planned


def test_the_graph_computes_what_the_module_does(
    program: torch.export.ExportedProgram, graph: Graph
) -> None:
    assert graph.inputs == ("image", "motion")
    inputs = samples(1)
    parts = split(graph, graph.inputs, torch.from_numpy(inputs))
    with torch.no_grad():
        outputs = program.module()(*parts.values())
    expected = join(graph, graph.outputs, dict(zip(graph.outputs, outputs, strict=True)), torch.cat)
    assert shape_of(graph, graph.outputs) == (3 + 2 * 36,)
    np.testing.assert_allclose(forward_numpy(fuse(graph), inputs), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_c_takes_each_input_and_gives_each_output_separately(
    kind: str, graph: Graph, tmp_path: Path
) -> None:
    integer, planned = made(graph)
    inputs = samples(6)
    quantized = quantize_inputs(inputs, integer)
    texts = emit_c(planned, provenance=NOWHERE, golden_inputs=quantized[:2])
    built = c_runner.build(texts, name="towers", folder=tmp_path, kind=kind, main=MAIN)
    expected = run(integer, quantized)
    found = c_runner.run(built, quantized if kind == "int8" else inputs, expected.shape[1])
    np.testing.assert_array_equal(found, expected)


def test_the_class_takes_each_input_and_gives_each_output_separately(
    graph: Graph, tmp_path: Path
) -> None:
    integer, planned = made(graph)
    quantized = quantize_inputs(samples(1), integer)
    texts = emit_c(planned, provenance=NOWHERE, golden_inputs=quantized)
    c_runner.build(texts, name="towers", folder=tmp_path, main=MAIN)
    (tmp_path / "DeepCompressModels.h").write_text('#include "towers.hpp"\n')
    (tmp_path / "sketch.cpp").write_text(
        "#include <DeepCompress.h>\n"
        "DeepCompress::Towers model;\n"
        "int main() {\n"
        "    const int8_t image[TOWERS_INPUT_IMAGE_SIZE] = {}, motion[5] = {};\n"
        "    auto result = model.infer(image, motion);\n"
        "    const float real = towers_dequantize_output1(model.output1()[71]);\n"
        "    return model.selfTest() != DC_OK || result.index() > 2 || real != real;\n"
        "}\n"
    )
    objects = [tmp_path / "towers.o", tmp_path / "library.o"]
    include = (f"-I{c_runner.INCLUDE}", f"-I{tmp_path}")
    for source, target in zip(
        (tmp_path / "towers.c", c_runner.ROOT / "src" / "deepcompress.c"), objects, strict=True
    ):
        subprocess.run(["gcc", "-c", *include, source, "-o", target], check=True)
    flags = ("-std=c++11", "-Wall", "-Wextra", "-Wconversion", "-Werror")
    command = [
        "g++",
        *flags,
        *include,
        tmp_path / "sketch.cpp",
        *objects,
        "-o",
        tmp_path / "sketch",
    ]
    subprocess.run(command, check=True)
    subprocess.run([tmp_path / "sketch"], check=True)


class Through(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple:
        return x, x.reshape(-1, 4), x.relu()


def test_an_output_that_is_an_input_is_copied_to_where_outputs_are() -> None:
    program = torch.export.export(Through(), (torch.zeros(1, 2, 2),))
    graph = fuse(import_graph(program, name="net"))
    inputs = np.random.default_rng(0).standard_normal((3, 2, 2)).astype(np.float32)
    integer = quantize(graph, Calibration(inputs))
    planned = plan_memory(select_kernels(integer, cpu="cortex-m4"))
    verify.buffers_do_not_collide(planned)
    roots = {planned.locations[name].root for name in integer.outputs}
    assert not roots & set(integer.inputs)


class Unused(nn.Module):
    """The second input has no effect; the third is an output."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, unused: torch.Tensor, passed: torch.Tensor) -> tuple:
        return self.fc(x), passed


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_an_input_that_no_layer_reads_compiles_without_a_warning_and_has_no_effect(
    kind: str, tmp_path: Path
) -> None:
    given = torch.zeros(1, 4), torch.zeros(1, 5), torch.zeros(1, 2)
    program = torch.export.export(Unused().eval(), given)
    graph = fuse(import_graph(program, name="net"))
    inputs = np.random.default_rng(0).standard_normal((6, 11)).astype(np.float32)
    integer = quantize(graph, Calibration(inputs))
    plan = plan_memory(select_kernels(integer, cpu="cortex-m4"))
    quantized = quantize_inputs(inputs, integer)
    texts = emit_c(plan, provenance=NOWHERE, golden_inputs=quantized[:2], test_layers=True)
    main = c_runner.main_of(["input_x", "input_unused", "input_passed"], ["output0", "output1"])
    expected = run(integer, quantized)
    for compiler in c_runner.compilers():
        flags = ("-O1", *c_runner.SANITIZERS) if compiler == "gcc" else ("-O1",)
        built = c_runner.build(
            texts,
            name="net",
            folder=tmp_path / compiler,
            kind=kind,
            main=main,
            compiler=compiler,
            flags=flags,
        )
        given_values = quantized if kind == "int8" else inputs
        found = c_runner.run(built, given_values, expected.shape[1])
        np.testing.assert_array_equal(found, expected)


@pytest.fixture
def saved(program: torch.export.ExportedProgram, tmp_path: Path) -> Path:
    torch.export.save(program, tmp_path / "towers.pt")
    return tmp_path / "towers.pt"


def test_a_file_compiles_with_samples_of_each_input_by_name(saved: Path, tmp_path: Path) -> None:
    flat = samples(20)
    path = tmp_path / "calibration.npz"
    np.savez(path, motion=flat[:, 36:], image=flat[:, :36].reshape(-1, 1, 6, 6))
    compiled = compile_model(
        saved, name="towers", options=Options(calibration=str(path), self_test=1)
    )
    header = compiled.texts["towers.h"]
    assert "towers_infer_float(towers_arena *arena, const float *input_image" in header
    assert compiled.integer.quantization["motion"].scale == pytest.approx(9 / 255, rel=0.05)


WRONG = {
    "no array": ({"image": (20, 1, 6, 6), "motions": (20, 5)}, r"no array `motion` \(did you mean"),
    "another shape": (
        {"image": (20, 1, 6, 6), "motion": (20, 4)},
        r"`motion` has the shape \[20, 4",
    ),
    "fewer samples": ({"image": (20, 1, 6, 6), "motion": (9, 5)}, r"wants \[20, 5\]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_samples_that_do_not_fit_are_reported(case: str, saved: Path, tmp_path: Path) -> None:
    shapes, complaint = WRONG[case]
    path = tmp_path / "calibration.npz"
    np.savez(path, **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    with pytest.raises(UserError, match=complaint):
        compile_model(saved, name="towers", options=Options(calibration=str(path)))


def test_bytes_are_refused_among_several_inputs(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "calibration.npz"
    np.savez(path, image=np.zeros((9, 1, 6, 6), np.uint8), motion=np.zeros((9, 5), np.float32))
    with pytest.raises(UserError, match=r"`image` holds bytes \(uint8\)"):
        compile_model(saved, name="towers", options=Options(calibration=str(path)))


def test_options_and_commands_for_one_input_are_refused_for_several(
    saved: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"has 2 inputs \(image, motion\), of which raw bytes"):
        compile_model(saved, name="towers", options=Options(input_mean=(0.5,), input_std=(0.5,)))
    with pytest.raises(UserError, match=r"it has 2 inputs and 2 outputs.*takes one of each"):
        prune_model(saved, tmp_path / "out.pt", options=Options(), reporter=SilentReporter())
