"""Mistakes in platformio.ini: one paragraph before anything is compiled, and no leftovers."""

from __future__ import annotations

import shutil

import pytest

MODEL = "custom_deepcompress_model = models/net.pt"
WHERE = "deepcompress: error: platformio.ini [env:native]: "


def test_a_missing_model_is_reported_before_a_python_is_sought(project):
    project.write("fake/python", "#!/bin/sh\nexit 1\n")
    project.configure("custom_deepcompress_model = models/nett.pt")
    said = project.fail()
    assert said.startswith(
        WHERE + "there is no model file models/nett.pt (did you mean models/net.pt?). "
        "Paths are relative to the project's folder; it holds models/net.pt."
    )
    assert "registry" not in said


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            f"sparsty = 0.5\n{MODEL}",
            "there is no option custom_deepcompress_sparsty (did you mean",
        ),
        (f"sparsity = 1.5\n{MODEL}", "custom_deepcompress_sparsity = '1.5' is out of range"),
        (
            f"optimize = fastest\n{MODEL}",
            "custom_deepcompress_optimize = 'fastest' is none of size, speed, balanced",
        ),
        ("model = a-b = models/net.pt", "'a-b' cannot be the name of a model"),
    ],
)
def test_a_mistaken_option_is_reported_also_if_the_model_is_in_the_cache(project, setting, message):
    project.build()
    project.configure(f"custom_deepcompress_{setting}")
    assert project.fail().startswith(WHERE + message)
    assert len(project.calls()) == 1


def test_a_named_python_without_torch_is_reported_with_what_to_install(project):
    project.write("fake/python", "#!/bin/sh\necho \"['torch']\"\n")
    said = project.fail()
    assert "fake/python has no torch>=2.6. Install it: " in said
    assert said.count("deepcompress: error:") == 1


def test_a_named_python_that_does_not_exist_is_reported(project):
    project.configure(MODEL)
    (project.fake / "python").unlink()
    assert (
        "option custom_deepcompress_python: fake/python does not start as a Python of version 3.10"
        in project.fail()
    )


@pytest.mark.parametrize("silent", [[], ["-s"]])
def test_the_compilers_error_is_shown_without_warnings_of_other_packages(project, silent):
    project.mood("mistaken")
    said = project.fail(*silent)
    assert said.startswith("deepcompress: error: net.pt: it is not a network.")
    assert not any(project.cache().glob("*/"))


def test_a_compiler_that_writes_no_report_is_reported(project):
    project.mood("careless")
    said = project.fail()
    assert said.startswith("deepcompress: error: model models/net.pt: the compiler ended without")
    assert "wrote no report.json, report.html." in said


def test_verbose_shows_the_complete_output_of_the_compiler(project):
    project.mood("mistaken")
    assert project.fail("-v").startswith("a warning of torch deepcompress: error:")


def test_the_complete_output_is_shown_if_the_compiler_ends_without_a_message(project):
    project.mood("crashing")
    built = project.pio("run")
    assert built.returncode != 0
    assert "RuntimeError: no such thing" in built.stderr
    assert "deepcompress: error: the compiler ended with code 1" in built.stderr


@pytest.mark.parametrize("place", [".pio/deepcompress", ".pio/build/native/deepcompress"])
def test_a_folder_that_cannot_be_written_is_reported_by_name(project, place):
    project.build()
    shutil.rmtree(project.folder / place)
    project.write(place, "a file where a folder must be")
    said = project.fail()
    assert f"{project.folder / place}" in said
    assert "it cannot be read or written (" in said


def test_the_last_good_code_survives_a_mistake(project):
    project.build()
    kept = (project.generated() / "net.c").read_bytes()
    project.write("models/net.pt", "8")
    project.mood("mistaken")
    project.fail()
    assert (project.generated() / "net.c").read_bytes() == kept
    project.write("models/net.pt", "7")
    project.build()
    assert project.value() == "value 7"


def test_the_compiler_names_options_as_the_ini_does(project):
    project.mood("naming an option")
    assert "options are spelled as in ini." in project.pio("run").stderr


def test_a_misspelt_prefix_causes_a_warning(project):
    project.configure(f"{MODEL}\ncustom_deepcompres_sparsity = 0.5")
    built = project.pio("run")
    assert "custom_deepcompres_sparsity is no option of DeepCompress: did you" in built.stderr
    assert built.returncode == 0
