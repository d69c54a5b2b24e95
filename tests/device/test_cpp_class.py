"""DeepCompress.h: sketches compile as C++11 and run; misuse fails with a readable message."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import c_runner
import numpy as np
import pytest
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.emit_c import Provenance, emit_c
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.byte_scaling import ByteScaling
from deepcompress.data.calibration import Calibration
from deepcompress.execute.int8_reference import dequantize, quantize_bytes, run
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops.linear import Linear
from deepcompress.passes.quantize import quantize

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 2, 3), dtype=np.uint8)
WARNINGS = ("-std=c++11", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
OUR_FLAGS = ("-fno-exceptions", "-fno-rtti", "-fsanitize=address,undefined")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder with a generated model of 6 inputs and 4 outputs, its scores and real outputs."""
    weight = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    tensors = {"x": Tensor("x", (1, 2, 3)), "y": Tensor("y", (4,))}
    parameters = {"weight": weight, "bias": np.zeros(4, np.float32)}
    node = Node("fc", "linear", ("x",), "y", Linear(6, 4), parameters)
    scaling = ByteScaling(np.array([1 / 255]), np.array([0.0]))
    data = Calibration(scaling.real(IMAGES), byte_scaling=scaling, images=IMAGES)
    integer = quantize(Graph("tiny_net", tensors, (node,), ("x",), ("y",)), data)
    planned = plan_memory(select_kernels(integer, cpu="host"))
    inputs = quantize_bytes(IMAGES, integer)
    labels = ("zero", 'one "quoted" \\', "zwei ü", "??/")
    texts = emit_c(
        planned,
        provenance=Provenance("tiny.pt", "0", ()),
        labels=labels,
        golden_inputs=inputs[:2],
    )
    folder = tmp_path_factory.mktemp("cpp")
    atomic_write({**texts, "DeepCompressModels.h": '#include "tiny_net.hpp"\n'}, folder)
    scores = run(integer, inputs)
    return folder, scores, dequantize(scores, integer.quantization["y"])


def compile_sketch(folder: Path, body: str, *, before: str = "") -> subprocess.CompletedProcess:
    """A program whose main is `body`, with the generated model and the library."""
    source = f"#include <DeepCompress.h>\n#include <stdio.h>\n{before}\nint main() {{ {body} }}\n"
    (folder / "sketch.cpp").write_text(source)
    objects = []
    for file in (folder / "tiny_net.c", c_runner.ROOT / "src" / "deepcompress.c"):
        objects.append(folder / f"{file.stem}.o")
        includes = (f"-I{c_runner.INCLUDE}", f"-I{folder}")
        command = ["gcc", "-c", "-fsanitize=address,undefined", *includes, file]
        subprocess.run([*command, "-o", objects[-1]], check=True)
    command = ["g++", *WARNINGS, *OUR_FLAGS, f"-I{c_runner.INCLUDE}", f"-I{folder}"]
    command += [folder / "sketch.cpp", *objects, "-o", folder / "sketch"]
    return subprocess.run(command, capture_output=True, text=True)


def output_of(folder: Path, body: str, **more: str) -> str:
    done = compile_sketch(folder, body, **more)
    assert done.returncode == 0, done.stderr
    ran = subprocess.run([folder / "sketch"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def bytes_literal(image: np.ndarray) -> str:
    return "{" + ",".join(map(str, image.ravel())) + "}"


def test_a_sketch_gets_class_label_scores_and_values(model: tuple) -> None:
    folder, scores, real = model
    best = int(scores[0].argmax())
    printed = output_of(
        folder,
        f"""
        DeepCompress::TinyNet model;
        const uint8_t image[2][3] = {{ {{ {",".join(map(str, IMAGES[0, 0, 0]))} }},
                                      {{ {",".join(map(str, IMAGES[0, 0, 1]))} }} }};
        DeepCompress::TinyNet::Result result = model.infer(image);
        if (result.label() != model.label(result.index()))
            return 1;
        printf("%d|%s", result.index(), result.label());
        for (int i = 0; i < result.size(); ++i)
            printf("|%d %.6f", result.score(i), (double)result.value(i));
        """,
    ).split("|")
    assert printed[:2] == [str(best), ("zero", 'one "quoted" \\', "zwei ü", "??/")[best]]
    for text, score, value in zip(printed[2:], scores[0], real[0], strict=True):
        assert text == f"{score} {value:.6f}"


def test_pointers_floats_and_int8_give_the_same_results(model: tuple) -> None:
    folder, scores, _ = model
    printed = output_of(
        folder,
        f"""
        DeepCompress::TinyNet model;
        const uint8_t bytes[6] = {bytes_literal(IMAGES[1])};
        const uint8_t *pointer = bytes;
        float numbers[6];
        int8_t quantized[6];
        for (int i = 0; i < 6; ++i) {{
            numbers[i] = (float)bytes[i] / 255.0f;
            quantized[i] = (int8_t)(bytes[i] - 128);
            if (model.quantize(numbers[i]) != quantized[i])
                return 1;
        }}
        printf("%d ", model.infer(pointer).score(1));
        printf("%d ", model.infer(numbers).score(1));
        printf("%d ", model.infer(quantized).score(1));
        """,
    )
    assert printed.split() == [str(scores[1, 1])] * 3


def test_models_may_take_turns_in_one_arena_and_sizes_are_constants(model: tuple) -> None:
    folder, scores, _ = model
    printed = output_of(
        folder,
        f"""
        static_assert(DeepCompress::TinyNet::inputSize == 6, "");
        static_assert(DeepCompress::TinyNet::outputSize == 4, "");
        static_assert(DeepCompress::TinyNet::arenaBytes >= TINY_NET_ARENA_BYTES, "");
        static DeepCompress::TinyNet::In::Arena arena;
        DeepCompress::TinyNet::In first(arena), second(arena);
        const uint8_t bytes[6] = {bytes_literal(IMAGES[2])};
        const int &size = DeepCompress::TinyNet::inputSize;
        printf("%d %d %d", first.infer(bytes).score(0), second.infer(bytes).score(0), size);
        """,
    )
    assert printed.split() == [str(scores[2, 0]), str(scores[2, 0]), "6"]


def test_the_self_test_passes_and_finds_a_broken_weight(model: tuple, tmp_path: Path) -> None:
    folder = shutil.copytree(model[0], tmp_path / "broken")
    body = 'DeepCompress::TinyNet model; printf("%s", dc_status_text(model.selfTest()));'
    assert output_of(folder, body) == "ok"
    header = folder / "tiny_net_weights.h"
    head, numbers = header.read_text().split("_values[24] = {\n")
    header.write_text(f"{head}_values[24] = {{ 1 -\n{numbers}")
    assert output_of(folder, body).startswith("self test failed")


def test_the_class_says_what_the_self_test_found(model: tuple) -> None:
    body = """
        DeepCompress::TinyNet model;
        const dc_self_test_result result = model.selfTestResult();
        printf("%d %d %d [%s]", result.status, result.stage, result.layer, result.layer_name);
    """
    assert output_of(model[0], body) == "0 0 -1 []"


def test_a_result_outlives_the_next_inference(model: tuple) -> None:
    folder, scores, _ = model
    printed = output_of(
        folder,
        f"""
        DeepCompress::TinyNet model;
        const uint8_t one[6] = {bytes_literal(IMAGES[0])}, other[6] = {bytes_literal(IMAGES[1])};
        const auto first = model.infer(one), second = model.infer(other);
        printf("%d %d", first.score(2), second.score(2));
        """,
    )
    assert printed.split() == [str(scores[0, 2]), str(scores[1, 2])]


MISUSE = {
    "infer(six)": "this array does not have as many values as the model has inputs",
    "infer(doubles)": "infer() takes an array of, or a pointer to, uint8_t, float or int8_t",
    "infer(7)": "infer() takes an array of, or a pointer to, uint8_t, float or int8_t",
}


@pytest.mark.parametrize("call", MISUSE)
def test_misuse_fails_with_a_readable_message(call: str, model: tuple) -> None:
    body = "double doubles[6] = {0}; uint8_t six[7] = {0}; (void)doubles; (void)six;"
    done = compile_sketch(model[0], f"{body} DeepCompress::TinyNet model; model.{call};")
    assert done.returncode != 0
    assert MISUSE[call] in done.stderr


def test_a_missing_model_is_reported_with_the_line_to_write(tmp_path: Path) -> None:
    (tmp_path / "a.cpp").write_text("#include <DeepCompress.h>\n")
    command = ["g++", "-std=c++11", "-c", f"-I{c_runner.INCLUDE}", tmp_path / "a.cpp"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "custom_deepcompress_model = net.pt" in done.stderr


def test_the_header_included_from_c_names_the_one_to_include(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("#include <DeepCompress.h>\n")
    done = subprocess.run(
        ["gcc", "-c", f"-I{c_runner.INCLUDE}", tmp_path / "a.c"], capture_output=True, text=True
    )
    assert "From C, include the model's own header" in done.stderr
