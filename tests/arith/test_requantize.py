"""The rounding of accumulators, by hand and against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from deepcompress.arith.narrow_constants import in_smallest_dtype
from deepcompress.arith.requantize import choose_multipliers, requantize, round_up_factors
from deepcompress.ir.graph import Requantize
from hypothesis import given
from hypothesis import strategies as st


def through(accumulators: list[int], real: float, zero_point: int = 0) -> list[int]:
    multiplier, shift = choose_multipliers(np.array([real]))
    by = Requantize(shift, zero_point, -128, 127)
    return requantize(np.array(accumulators).reshape(-1, 1), multiplier, by).ravel().tolist()


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


def test_a_multiplier_has_more_than_fifteen_bits_only_if_a_small_channel_needs_them() -> None:
    near, far = np.array([0.3, 0.05]), np.array([0.3, 0.001])
    assert choose_multipliers(near)[0].tolist() == [19661 << 16, 3277 << 16]
    assert choose_multipliers(far)[0].tolist() == [round(0.3 * 2**32), round(0.001 * 2**32)]


def test_factors_of_zero_have_multipliers_of_zero() -> None:
    assert choose_multipliers(np.zeros(2))[0].tolist() == [0, 0]


@given(st.lists(st.floats(2.0**-24, 1.0), min_size=1, max_size=20))
def test_rounded_factors_are_a_little_larger_and_exact_in_their_multipliers(
    factors: list[float],
) -> None:
    real = np.array(factors)
    rounded = round_up_factors(real)
    assert (rounded >= real * (1 - 1e-12)).all() and (rounded <= 1.13 * real).all()
    assert rounded.max() <= 1
    multiplier, shift = choose_multipliers(rounded)
    if (rounded != real).any():
        np.testing.assert_array_equal(multiplier / 2.0**shift, rounded)
        assert in_smallest_dtype(multiplier).stored.itemsize <= 2


def test_a_factor_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        choose_multipliers(np.array([1.5]))


@given(st.floats(2.0**-20, 1.0), st.integers(-(2**31), 2**31 - 1))
def test_the_result_is_within_a_sixteenth_of_the_exact_product(real: float, value: int) -> None:
    """If the exact result is in range, the integer result is the nearest, or a tie."""
    exact = Fraction(real) * value
    if abs(exact) < 128:
        assert abs(through([value], real)[0] - exact) <= Fraction(1, 2) + Fraction(1, 16) or (
            exact > 127
        )


def test_a_dead_input_has_a_shift_that_fits_64_bits() -> None:
    """A dead input has the smallest scale; a tensor that it is added to may have any scale."""
    multiplier, shift = choose_multipliers(np.array([1e-38]))
    assert shift < 63
    assert multiplier.tolist() == [0]
