"""The models and their options are read from platformio.ini."""

from __future__ import annotations

import pytest
from deepcompress.build.ini import Model, misspelt_prefixes, read_models
from deepcompress.errors import UserError


def read(**options):
    section = {f"custom_deepcompress_{key}": text for key, text in options.items()}
    return read_models({"board": "uno", **section}, where="ini")


def test_one_model_is_named_after_its_file():
    assert read(model="models/lenet5.pt") == [Model("lenet5", "models/lenet5.pt", {})]
    assert read(model="5 à-b.pt")[0].name == "model_5_a_b"


def test_several_models_are_named_one_per_line():
    assert [(m.name, m.path) for m in read(model="\na = x.pt\nb = y z.pt")] == [
        ("a", "x.pt"),
        ("b", "y z.pt"),
    ]


def test_an_option_applies_to_all_models_or_to_those_that_its_lines_name():
    models = read(model="a = x.pt\nb = y.pt", sparsity="b = conv1:0.5", prune="global")
    assert [dict(m.texts) for m in models] == [
        {"sparsity": "", "prune": "global"},
        {"sparsity": "conv1:0.5", "prune": "global"},
    ]


def test_a_path_may_be_quoted_and_begin_with_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    assert read(model='"my nets/a.pt"') == [Model("a", "my nets/a.pt", {})]
    assert read(model="'a=b.pt'") == [Model("a_b", "a=b.pt", {})]
    assert read(model="~/a.pt") == [Model("a", "/home/me/a.pt", {})]
    assert [m.path for m in read(model="a = '~/x y.pt'\nb = ~/z.pt")] == [
        "/home/me/x y.pt",
        "/home/me/z.pt",
    ]


def test_there_are_no_models_if_none_is_named():
    assert read() == []
    assert read(sparsity="0.5") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modle": "x.pt"}, "no option custom_deepcompress_modle (did you mean model?)"),
        ({"model": "a = x.pt\na = y.pt"}, "the models a and a have too similar names"),
        ({"model": "net_a = x.pt\nNetA = y.pt"}, "net_a and NetA have too similar"),
        ({"model": "a = x.pt\na_weights = y.pt"}, "a and a_weights have too similar"),
        ({"model": "x.pt\ny.pt"}, "'x.pt' cannot be the name of a model"),
        ({"model": "a-b = x.pt"}, "'a-b' cannot be the name of a model"),
        (
            {"model": "a = x.pt\nb = y.pt", "labels": "a = one.txt\nbb = two.txt"},
            "labels names 'bb', which is not a model (did you mean b?)",
        ),
    ],
)
def test_mistakes_are_reported(options, message):
    with pytest.raises(UserError) as error:
        read(**options)
    assert message in str(error.value)


def test_a_misspelt_prefix_is_reported_and_other_custom_options_are_not() -> None:
    ours, near = "custom_deepcompress_model", "custom_deepcompres_model"
    keys = ["custom_deepsleep_time", "custom_deep_compress_model", near, ours, "board"]
    warnings = misspelt_prefixes(keys, where="ini")
    assert [warning.split()[1] for warning in warnings] == ["custom_deep_compress_model", near]
