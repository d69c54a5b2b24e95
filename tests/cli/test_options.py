"""Every option is parsed from text; wrong texts are reported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from c_runner import ROOT
from deepcompress.cli.docs import operators_markdown, options_markdown
from deepcompress.encodings import ENCODINGS
from deepcompress.errors import UserError, plain, setting
from deepcompress.options import (
    BY_NAME,
    OPTIONS,
    SPELLINGS,
    Options,
    header_lines,
    parse,
    parse_one,
    training_facts,
)


def value(name: str, text: str) -> object:
    return getattr(parse({name: text}, where="platformio.ini [env:a]"), name)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("sparsity", "0.8", 0.8),
        ("sparsity", "80%", 0.8),
        ("sparsity", "none", None),
        ("sparsity", "conv1:0.5, fc1: 0.9", {"conv1": 0.5, "fc1": 0.9}),
        ("input_shape", "1,32,32", (1, 32, 32)),
        ("input_shape", "3x96x96", (3, 96, 96)),
        ("input_mean", "0.1 0.2 0.3", (0.1, 0.2, 0.3)),
        ("trust_pickle", "Yes", True),
        ("optimize", "SIZE", "size"),
        ("labels", "cat, dog", ("cat", "dog")),
        ("labels", "labels.txt", "labels.txt"),
        ("self_test", "2", 2),
        ("self_test_layers", "yes", True),
        ("flash_budget", "4K", 4096),
        ("parameter_budget", "3291", 3291),
        ("flash_budget", "1.5m", 1572864),
        ("cycle_budget", "150000", 150000),
        ("cycle_budget", "150K", 150000),
        ("cycle_budget", "1.5M", 1500000),
        ("max_accuracy_drop", "0.5", 0.5),
        ("max_accuracy_drop", "1%", 1.0),
    ],
)
def test_texts_become_values(name: str, text: str, expected: object) -> None:
    assert value(name, text) == expected


PATHS = {
    "plain": ("data/a.npz", "data/a.npz"),
    "quoted": ('"my data/a.npz"', "my data/a.npz"),
    "in single quotes": ("'my data/a.npz'", "my data/a.npz"),
    "home": ("~/a.npz", "/home/me/a.npz"),
    "home in quotes": ('"~/my data/a.npz"', "/home/me/my data/a.npz"),
    "nobody's home": ("~no.such.user/a.npz", "~no.such.user/a.npz"),
    "one quote": ("it's.npz", "it's.npz"),
    "a function": ("~/train.py:batches", "/home/me/train.py:batches"),
    "a quoted file": ('"my nets/net.py":Net', "my nets/net.py:Net"),
    "a URL": ("sqlite:///trials.db", "sqlite:///trials.db"),
}


@pytest.mark.parametrize("case", PATHS)
@pytest.mark.parametrize("name", [o.name for o in OPTIONS if o.is_path or o.names_file])
def test_a_path_may_be_quoted_and_begin_with_the_home_folder(
    name: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    text, expected = PATHS[case]
    assert value(name, text) == expected


def test_every_option_that_names_a_file_is_parsed_as_a_path() -> None:
    files = {option.name for option in OPTIONS if option.names_file}
    assert files <= {option.name for option in OPTIONS if option.is_path} | {"labels"}


def test_quotes_in_a_list_of_labels_stay() -> None:
    assert value("labels", "'cat', 'dog'") == ("'cat'", "'dog'")


def test_an_empty_text_leaves_the_default() -> None:
    assert parse({"sparsity": "  "}, where="here") == Options()


def test_every_example_in_the_table_parses() -> None:
    for option in OPTIONS:
        for example in option.example.split(" or "):
            parse_one(option, example, where="table")


def test_the_choices_of_encoding_are_the_encodings() -> None:
    assert BY_NAME["encoding"].choices == ("auto", *ENCODINGS)


def header(**values: object) -> list[str]:
    return header_lines(Options(**values))


def test_the_header_lists_the_set_options_and_then_those_that_are_always_listed() -> None:
    always = ["encoding = auto", "optimize = balanced"]
    assert header() == always
    assert header(sparsity=0.5, stateful=True) == [
        "sparsity = 0.5", "prune = layer", "stateful = yes", *always,
    ]  # fmt: skip
    assert header(sparsity={"fc": 0.5}, flash_budget=4096) == ["sparsity = {'fc': 0.5}", *always]
    assert header(retrain=True, sparsity=0.5, flash_budget=4096) == [
        "sparsity = 0.5", "retrain = yes", "flash_budget = 4096", "method = gradual",
        "epochs = 20", "seed = 0", *always,
    ]  # fmt: skip


def test_a_training_depends_on_its_schedule_and_not_on_the_goal() -> None:
    assert training_facts(Options(flash_budget=4096)) == training_facts(Options())
    assert training_facts(Options(epochs=3)) != training_facts(Options())


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("sparsity", "1.5", "sparsity = '1.5' is out of range"),
        ("sparsity", "1", "at least 0 and below 1"),
        ("sparsity", "much", "is not a number"),
        ("sparsity", "conv1:0.5:2", "is not a list of layer:number pairs"),
        ("input_shape", "1,0,32", "is not a list of sizes"),
        ("optimize", "sped", "did you mean speed?"),
        ("trust_pickle", "maybe", "is neither yes nor no"),
        ("self_test", "-1", "is not a whole number"),
    ],
)
def test_the_error_for_a_wrong_text_names_the_place_the_value_and_an_example(
    name: str, text: str, complaint: str
) -> None:
    with pytest.raises(UserError) as error:
        value(name, text)
    paragraph = error.value.paragraph()
    assert complaint in paragraph
    assert paragraph.startswith("platformio.ini [env:a]: ")
    assert f"Write for example {name} = " in paragraph


def test_an_unknown_option_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no option sparsety \(did you mean sparsity\?\)"):
        value("sparsety", "0.5")


def test_the_documentation_matches_the_table() -> None:
    assert (ROOT / "docs" / "options.md").read_text() == options_markdown()


def test_the_page_of_operators_matches_the_code() -> None:
    assert (ROOT / "docs" / "operators.md").read_text() == operators_markdown()


@pytest.mark.parametrize(
    ("spelling", "text"),
    [
        (None, "set input_shape, or retrain = yes"),
        ("flags", "set --input-shape, or --retrain yes"),
        ("ini", "set custom_deepcompress_input_shape, or custom_deepcompress_retrain = yes"),
        ("cmake", "set INPUT_SHAPE, or RETRAIN yes"),
    ],
)
def test_options_in_an_error_are_written_as_the_user_sets_them(
    spelling: str | None, text: str
) -> None:
    do = f"set {setting('input_shape')}, or {setting('retrain', 'yes')}"
    error = UserError("it is {odd}", "net.pt", do)
    assert error.paragraph(SPELLINGS[spelling] if spelling else plain) == (
        f"net.pt: it is {{odd}}. {text}."
    )


OPTION = re.compile(
    r"(?<![\w./-])(?:(?:{any}) = |(?:(?:{long})|(?<=option )(?:{any}))(?![\w/]|\.\w))".format(
        any="|".join(BY_NAME), long="|".join(name for name in BY_NAME if "_" in name)
    )
)


def unmarked_options(file: Path) -> list[str]:
    """The texts in calls of UserError that name an option without `setting`."""
    calls = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
    errors = [call for call in calls if getattr(call.func, "id", "") == "UserError"]
    marks = {
        id(argument)
        for error in errors
        for call in ast.walk(error)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "setting"
        for argument in call.args
    }
    texts = (
        text
        for error in errors
        for text in ast.walk(error)
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
    )
    return [t.value for t in texts if id(t) not in marks and OPTION.search(t.value)]


def test_errors_mark_the_options_that_they_name() -> None:
    files = (ROOT / "platformio_plugin" / "deepcompress").rglob("*.py")
    assert {file.name: found for file in files if (found := unmarked_options(file))} == {}


def test_the_command_line_imports_no_package_before_it_knows_the_command() -> None:
    program = (
        "import sys; from deepcompress.cli.main import main; main(['options']); "
        "print({'torch', 'numpy', 'jinja2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
