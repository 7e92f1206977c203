"""Numbers among options: one wording, and nothing that only looks like a number."""

from __future__ import annotations

import math
from typing import Any

import pytest

from plait.alignment.context import ContextFusion
from plait.base import checks
from plait.base.errors import ConfigError
from plait.encoders.tabular import Tabular


@pytest.mark.parametrize("value", [True, 1.0, "3", None, 0, 9, math.nan])
def test_what_is_no_whole_number_within_bounds(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        checks.whole(value, "encoder cnn: size", 1, 8)
    assert str(caught.value) == f"encoder cnn: size must be a whole number from 1 to 8, found {value!r}"


@pytest.mark.parametrize("value", [True, "0.5", None, -0.1, 1.5, math.nan, [0.5]])
def test_what_is_no_number_within_bounds(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        checks.number(value, "mlp: dropout", 0, 1)
    assert str(caught.value) == f"mlp: dropout must be a number from 0 to 1, found {value!r}"


def test_bounds_belong_to_it_unless_it_must_be_above() -> None:
    assert (checks.whole(1, "x", 1, 8), checks.whole(8, "x", 1, 8), checks.whole(10**9, "x")) == (1, 8, 10**9)
    assert (checks.number(0, "x"), checks.number(1, "x", 0, 1), checks.number(1e-9, "x", above=True)) == (
        0.0,
        1.0,
        1e-9,
    )
    with pytest.raises(ConfigError, match="^x must be a number above 0, found 0$"):
        checks.number(0, "x", above=True)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"held_out": "much"}, "alignment context: held_out must be a number from 0 to below 1, found 'much'"),
        ({"learning_rate": "fast"}, "alignment context: learning_rate must be a number above 0, found 'fast'"),
        ({"epochs": True}, "alignment context: epochs must be a whole number from 1, found True"),
    ],
)
def test_words_where_numbers_belong_are_one_line_and_no_traceback(told: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ContextFusion(**told)
    with pytest.raises(ConfigError, match="min_count must be a whole number from 1, found True"):
        Tabular(min_count=True)
