"""Buffers share memory of the arena if and only if their lifetimes do not overlap."""

from __future__ import annotations

import pytest
from deepcompress.backend import memory_plan
from deepcompress.backend.memory_plan import _Buffer, _Span, place
from hypothesis import given
from hypothesis import strategies as st


def extent(buffers: list[_Buffer]) -> int:
    addresses = place(buffers)
    return max(addresses[b.name] + b.size for b in buffers)


def test_a_chain_needs_the_memory_of_its_largest_adjacent_pair() -> None:
    sizes = [1024, 1176, 400, 120, 84, 12]
    chain = [_Buffer(str(i), size, i - 1, i) for i, size in enumerate(sizes)]
    assert extent(chain) == 1024 + 1176


def test_a_small_buffer_fits_into_the_hole_between_two() -> None:
    buffers = [_Buffer("a", 64, 0, 1), _Buffer("b", 64, 1, 2), _Buffer("c", 64, 2, 3)]
    assert extent(buffers) == 128


def test_a_place_in_a_concatenation_is_free_until_its_part_is_computed() -> None:
    """A U-Net's encoder computes the first part; its bottom layers use the memory of the second."""
    parts = (_Span(0, 64, 0, 3), _Span(64, 64, 2, 3), _Span(0, 128, 3, 4))
    joined = _Buffer("joined", 128, 0, 4, parts)
    bottom = [_Buffer("down", 32, 0, 1), _Buffer("up", 32, 1, 2)]
    assert extent([joined, *bottom]) == 128 + 32


@given(
    st.lists(
        st.tuples(st.integers(1, 5000), st.integers(0, 12), st.integers(0, 4)),
        min_size=1,
        max_size=14,
    )
)
def test_buffers_live_at_the_same_time_never_overlap_and_are_word_aligned(spans: list) -> None:
    buffers = [
        _Buffer(str(i), size, first, first + life) for i, (size, first, life) in enumerate(spans)
    ]
    addresses = place(buffers)
    assert all(address % 4 == 0 for address in addresses.values())
    for i, a in enumerate(buffers):
        for b in buffers[:i]:
            if a.meets(b):
                low, high = sorted((a, b), key=lambda x: addresses[x.name])
                assert addresses[low.name] + low.size <= addresses[high.name]


def test_the_copy_of_an_input_overlaps_it_and_does_not_end_after_it() -> None:
    """A padded convolution copies its input to scratch, front to back; then the input is dead."""
    input_ = _Buffer("in", 64, 0, 1, (_Span(0, 64, 0, 1, "in"),))
    others = [_Buffer("in scratch", 100, 1, 1, eats="in"), _Buffer("out", 32, 1, 2)]
    buffers = [input_, *others]
    addresses = place(buffers)
    assert extent(buffers) == 100 + 32
    assert addresses["in scratch"] + 100 <= addresses["in"] + 64


def test_an_input_that_is_read_again_is_not_copied_over() -> None:
    input_ = _Buffer("in", 64, 0, 2, (_Span(0, 64, 0, 2, "in"),))
    assert extent([input_, _Buffer("in scratch", 100, 1, 1), _Buffer("out", 32, 1, 2)]) == 196


def test_no_byte_is_wasted_if_the_largest_buffer_is_better_not_placed_first() -> None:
    lives = [(12, 1, 3), (8, 2, 2), (32, 3, 5), (16, 4, 6), (28, 0, 2)]
    buffers = [_Buffer(str(i), *life) for i, life in enumerate(lives)]
    assert extent(buffers) == 32 + 16


def test_only_buffers_with_overlapping_lifetimes_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []

    def counting(buffer: _Buffer, other: _Buffer) -> list[tuple[int, int]]:
        compared.append((buffer.name, other.name))
        return forbidden(buffer, other)

    forbidden = memory_plan._forbidden
    monkeypatch.setattr(memory_plan, "_forbidden", counting)
    chain = [_Buffer(str(i), 16, i, i + 1) for i in range(2000)]
    assert extent(chain) == 32
    assert len(compared) == 2 * (len(chain) - 1)
