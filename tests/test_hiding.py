"""What is hidden from training rows: rates, patterns, and what cannot be meant."""

import numpy as np
import pandas as pd
import pytest
import torch

from plait.base.errors import ConfigError
from plait.training.rows import Hiding, for_modalities, hiding

NAMES = ["image", "tabular", "text"]


def shares(hidden: Hiding) -> dict[str, float]:
    """Pattern of what is shown -> share of 20,000 rows."""
    shown = hidden.shown(NAMES, (20_000,), torch.Generator().manual_seed(0)).numpy()
    named = pd.Series(["+".join(np.array(NAMES)[row]) for row in shown])
    found: dict[str, float] = named.value_counts(normalize=True).to_dict()
    return found


def test_rates_are_independent() -> None:
    found = shares(Hiding({"text": 0.5, "image": 0.2}))
    expected = {"image+tabular+text": 0.4, "image+tabular": 0.4, "tabular+text": 0.1, "tabular": 0.1}
    assert found.keys() == expected.keys()
    assert all(abs(found[k] - v) < 0.015 for k, v in expected.items()), found


def test_patterns_are_shares_of_rows() -> None:
    found = shares(hiding({"patterns": {"text": 0.3, "tabular+image": 0.2}}, NAMES))
    expected = {"text": 0.3, "image+tabular": 0.2, "image+tabular+text": 0.5}
    assert found.keys() == expected.keys()
    assert all(abs(found[k] - v) < 0.015 for k, v in expected.items()), found
    assert shares(hiding({"patterns": dict.fromkeys(NAMES, 1 / 3)}, NAMES)).keys() == set(NAMES)  # none sees all


def test_one_modality_is_never_hidden_and_nothing_hides_nothing() -> None:
    assert not Hiding({"text": 0.9}).hides(["text"])
    assert not Hiding({"text": 0.0}).hides(NAMES)
    assert not Hiding(patterns={"text": 0.0}).hides(NAMES)
    assert Hiding(patterns={"text": 0.1}).hides(NAMES)


def test_a_subset_keeps_what_its_modalities_are_shown() -> None:
    told = {"patterns": {"text": 0.3, "text+image": 0.2, "tabular": 0.1}}
    assert for_modalities(told, ("text", "tabular")) == {"patterns": {"text": 0.5, "tabular": 0.1}}
    assert for_modalities({"text": 0.3, "image": 0.1}, ("text",)) == {"text": 0.3}
    assert for_modalities(0.2, ("text",)) == 0.2
    for wrong in ({"patterns": 0.5}, {"patterns": {"text": 0.1}, "image": 0.2}):
        assert for_modalities(wrong, ("text",)) == wrong  # nothing is dropped in silence: the estimator refuses it


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"txet": 0.5}, "modality_dropout: unknown field 'txet' (did you mean 'text'?)"),
        ({"text": 1.5}, "modality_dropout of 'text': 1.5; expected a chance from 0 to 1"),
        (-0.1, "modality_dropout of 'image': -0.1; expected a chance from 0 to 1"),
        ({"patterns": {"text+vidoe": 0.5}}, "modality_dropout.patterns 'text+vidoe': unknown field 'vidoe'"),
        ({"patterns": {"text": 0.7, "image": 0.6}}, "shares of 1.3 together; expected at most 1"),
        ({"patterns": {"text": True}}, "share of 'text': True; expected a chance from 0 to 1"),
        ({"patterns": 0.5}, "modality_dropout.patterns: 0.5; expected what is shown and a share"),
        ({"patterns": {"text": 0.1}, "image": 0.2}, "patterns and rates (image) are given; keep one"),
    ],
)
def test_what_cannot_be_meant(told: object, line: str) -> None:
    with pytest.raises(ConfigError) as stop:
        hiding(told, NAMES)  # type: ignore[arg-type]
    assert line in str(stop.value)
