"""The registry of operators and what every operator must state."""

from __future__ import annotations

import inspect
import pkgutil
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from deepcompress import ops
from deepcompress.ir.arrays import frozen
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, Node, Requantize, WeightedNode
from deepcompress.ops import BY_ATEN, OPERATORS
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.history import History
from deepcompress.ops.linear import Linear
from deepcompress.ops.operator import Operator, ScaleKeepingOperator, WeightedOperator
from deepcompress.ops.recurrent import RECURRENT, Recurrent

# Modules of ops/ that operators share.
SHARED = {"operator", "recurrent", "windows"}


def test_every_module_that_is_not_shared_is_an_operator() -> None:
    assert set(OPERATORS) == {info.name for info in pkgutil.iter_modules(ops.__path__)} - SHARED


def test_an_aten_name_belongs_to_one_operator() -> None:
    names = [aten for operator in OPERATORS.values() for aten in operator.aten]
    assert len(names) == len(set(names)) == len(BY_ATEN)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_overrides_only_what_the_base_class_has(name: str) -> None:
    """A misspelt flag or method would be silently ignored."""
    own = {member for member in vars(type(OPERATORS[name])) if not member.startswith("_")}
    assert own <= set(dir(Operator))


@pytest.mark.parametrize("name", OPERATORS)
def test_attributes_are_a_frozen_dataclass_whose_overrides_have_defaults(name: str) -> None:
    kind = inspect.signature(OPERATORS[name].describe).parameters
    (annotation,) = (parameter.annotation for parameter in kind.values())
    module = inspect.getmodule(type(OPERATORS[name]))
    attributes = vars(module)[annotation]
    assert issubclass(attributes, Attributes) and is_dataclass(attributes)
    assert attributes.__dataclass_params__.frozen
    inherited = {field.name for field in fields(attributes)} & set(vars(Attributes))
    assert all(not isinstance(vars(attributes)[field], property) for field in inherited)


def test_scale_is_kept_by_operators_that_only_move_or_compare() -> None:
    for operator in OPERATORS.values():
        assert not (operator.keeps_scale and isinstance(operator, WeightedOperator))
        assert operator.keeps_scale or not isinstance(operator, ScaleKeepingOperator)
        assert operator.keeps_scale or not operator.only_moves


def test_only_stateful_layers_are_cut_into_chunks() -> None:
    assert Linear(3, 4).in_chunks(5) == Linear(3, 4)
    assert History(2).in_chunks(5).chunks == 5
    stateless, stateful = Recurrent(2, 3, 4), Recurrent(2, 3, 4, stateful=True)
    assert stateless.in_chunks(5).chunks == 1
    assert stateful.in_chunks(5).chunks == 5


def test_layers_have_one_group_unless_they_say_otherwise() -> None:
    assert Linear(3, 4).groups == 1
    assert Conv2d(4, 4, (1, 1), groups=2).groups == 2


def test_recurrent_operators_are_those_with_that_name_in_aten() -> None:
    assert {BY_ATEN[name] for name in RECURRENT} == set(RECURRENT)


def test_a_frozen_array_cannot_be_written() -> None:
    array = frozen(np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0


def test_the_arrays_of_nodes_become_read_only() -> None:
    weight = np.ones((3, 4), np.float32)
    node = Node("fc", "linear", ("x",), "y", Linear(4, 3), {"weight": weight})
    assert not node.parameters["weight"].flags.writeable
    integer = WeightedNode(
        *node.identity,
        weight=np.ones((3, 4), np.int8),
        bias=np.zeros(3, np.int32),
        multiplier=np.ones(3, np.int32),
        requantize=Requantize(32, 0, -128, 127),
        tables=(Array("table", np.zeros(3, np.int16), ""),),
    )
    arrays = (integer.weight, integer.bias, integer.multiplier, integer.table("table"))
    assert not any(array.flags.writeable for array in arrays)
