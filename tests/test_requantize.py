"""The rounding of accumulators, by hand and against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from deepcompress.graph import Requantize
from deepcompress.requantize import choose_multipliers, requantize
from hypothesis import given
from hypothesis import strategies as st


def through(accumulators: list[int], real: float, zero_point: int = 0) -> list[int]:
    multiplier, shift = choose_multipliers(np.array([real]))
    by = Requantize(multiplier, shift, zero_point, -128, 127)
    return requantize(np.array(accumulators).reshape(-1, 1), by).ravel().tolist()


def test_a_half_rounds_up_on_both_sides_of_zero() -> None:
    assert through([1, 3, -1, -3], 0.5) == [1, 2, 0, -1]


def test_the_zero_point_is_added_and_the_ends_saturate() -> None:
    assert through([0, 10, 1000, -1000], 0.25, zero_point=-128) == [-128, -125, 122, -128]


def test_one_shift_serves_channels_of_different_scales() -> None:
    multiplier, shift = choose_multipliers(np.array([2.0**-4, 2.0**-9]))
    assert shift == 32
    assert multiplier.tolist() == [2**28, 2**23]


def test_a_factor_of_one_and_a_tiny_one_have_representable_multipliers() -> None:
    assert choose_multipliers(np.array([1.0])) == (np.array([2**30], np.int32), 30)
    multiplier, shift = choose_multipliers(np.array([2.0**-30]))
    assert shift > 32 and multiplier[0] >= 2**11


def test_a_factor_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        choose_multipliers(np.array([1.5]))


@given(st.floats(2.0**-20, 1.0), st.integers(-(2**31), 2**31 - 1))
def test_the_result_is_the_exact_product_but_for_a_sixteenth(real: float, value: int) -> None:
    """Where the exact result is in range, the integer one is its nearest, or a neighbour's tie."""
    exact = Fraction(real) * value
    if abs(exact) < 128:
        assert abs(through([value], real)[0] - exact) <= Fraction(1, 2) + Fraction(1, 16) or (
            exact > 127
        )
