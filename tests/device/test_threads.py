"""An inference writes only to its arena: threads with separate arenas do not interfere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import c_runner
import pytest
from deepcompress.compile import compile_model
from deepcompress.options import Options

EXAMPLE = Path(__file__).parents[2] / "examples" / "wrist_exercises"

TWO_THREADS = r"""
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "net.h"

enum { PIECES = 50 };
typedef struct {
    net_arena *arena;
    int8_t scores[PIECES][NET_OUTPUT_SIZE];
} stream;

static void *run(void *argument) {
    stream *s = argument;
    int8_t input[NET_INPUT_SIZE];
    net_reset(s->arena);
    for (int piece = 0; piece < PIECES; ++piece) {
        for (int i = 0; i < NET_INPUT_SIZE; ++i) {
            input[i] = net_quantize((float)((piece * 31 + i * 17) % 200 - 100) / 100.0f);
        }
        memcpy(s->scores[piece], net_infer_int8(s->arena, input), NET_OUTPUT_SIZE);
    }
    return NULL;
}

int main(void) {
    static net_arena arenas[2];
    static stream streams[3] = { { &arenas[0], { { 0 } } }, { &arenas[SECOND], { { 0 } } } };
    pthread_t threads[2];
    for (int i = 0; i < 2; ++i) {
        pthread_create(&threads[i], NULL, run, &streams[i]);
    }
    for (int i = 0; i < 2; ++i) {
        pthread_join(threads[i], NULL);
    }
    streams[2].arena = &arenas[0];
    run(&streams[2]);
    for (int i = 0; i < 2; ++i) {
        if (memcmp(streams[i].scores, streams[2].scores, sizeof streams[2].scores) != 0) {
            return 1;
        }
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C of the wrist-exercise network, which is stateful."""
    folder = tmp_path_factory.mktemp("threads")
    made = compile_model(
        EXAMPLE / "models/exercises.pt", name="net", options=Options(stateful=True)
    )
    for name, text in made.texts.items():
        (folder / name).write_text(text)
    (folder / "main.c").write_text(TWO_THREADS)
    return folder


def run_threads(folder: Path, *, second_arena: int) -> subprocess.CompletedProcess:
    """Runs two threads under a sanitizer that detects data races."""
    program = folder / "program"
    command = ["gcc", "-fsanitize=thread", "-g", "-O1", f"-DSECOND={second_arena}", "main.c"]
    command += ["net.c", c_runner.ROOT / "src/deepcompress.c", f"-I{c_runner.INCLUDE}"]
    command += ["-o", program, "-lm", "-pthread"]
    subprocess.run(command, cwd=folder, check=True)
    return subprocess.run([program], capture_output=True, text=True)


def test_two_threads_with_an_arena_each_give_the_results_of_one_thread(generated: Path) -> None:
    done = run_threads(generated, second_arena=1)
    assert done.returncode == 0, done.stderr


def test_two_threads_in_one_arena_are_reported_as_a_data_race(generated: Path) -> None:
    assert "data race" in run_threads(generated, second_arena=0).stderr
