from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.usage import Price, TokenUsage, micro_usd_of, pico_usd, usd

tokens = st.integers(0, 10**9)
prices = st.integers(0, 10**9)


def test_a_price_is_kept_exactly() -> None:
    assert [pico_usd(usd) for usd in ("1.5e-7", 1.5e-7, 6e-07, 0, "0.00003")] == [
        150_000,
        150_000,
        600_000,
        0,
        30_000_000,
    ]


def test_parts_cost_their_own_price_in_place_of_their_wholes() -> None:
    price = Price(10_000_000, 20_000_000, cached_input=1_000_000, reasoning_output=30_000_000)
    assert (
        price.micro_usd(TokenUsage(100, 50, cached_input_tokens=40, reasoning_output_tokens=10)) == 600 + 40 + 800 + 300
    )


def test_parts_without_a_price_cost_what_their_whole_costs() -> None:
    assert Price(10_000_000, 20_000_000).micro_usd(TokenUsage(100, 50, 40, 30, 10, 5, 5)) == 1000 + 1000


def test_a_part_larger_than_its_whole_never_pays_back() -> None:
    assert Price(10_000_000, 0, cached_input=0).micro_usd(TokenUsage(1, 0, cached_input_tokens=100)) == 0


@pytest.mark.parametrize(("pico", "micro"), [(499_999, 0), (500_000, 1), (1_499_999, 1)])
def test_the_cost_is_rounded_half_up(pico: int, micro: int) -> None:
    assert Price(pico, 0).micro_usd(TokenUsage(1)) == micro


@given(tokens, tokens, prices, prices)
def test_a_cost_is_the_exact_sum_rounded_once(inputs: int, outputs: int, price: int, other: int) -> None:
    exact = Fraction(inputs * price + outputs * other, 10**6)
    assert abs(Price(price, other).micro_usd(TokenUsage(inputs, outputs)) - exact) <= Fraction(1, 2)


@pytest.mark.parametrize(("amount", "micro"), [(0.1, 100_000), ("0.30", 300_000), (50, 50_000_000), ("1e-6", 1)])
def test_dollars_are_read_by_their_spelling_and_shown_again(amount, micro):
    assert micro_usd_of(amount) == micro
    assert usd(micro) == float(amount)
