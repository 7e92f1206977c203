"""Every option of every family: nothing that only looks like a value is taken, and what is usual passes."""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest

from plait import FusionClassifier
from plait.alignment.aligner import ModalityAligner
from plait.base import checks, config, registry
from plait.base.errors import ConfigError, PlaitError
from plait.base.fusion import resolve
from plait.estimators.base import FusionEstimator
from plait.estimators.settings import check_settings, check_value
from plait.networks.conv_lstm_layer import ConvLSTMOptions
from plait.study import Study
from plait.training.settings import Pretraining, Thawing, Tuning

#: Options that are of another kind than numbers, flags or choices: names, mappings and folders, which their families read.
OWNERS: dict[str, tuple[Any, Any]] = {
    **{f"encoders.{n}": (registry.find("encoders", n),) * 2 for n in registry.names("encoders")},
    **{f"conditions.{n}": (registry.find("conditions", n),) * 2 for n in registry.names("conditions")},
    **{f"alignment.{n}": (registry.find("alignment", n),) * 2 for n in registry.names("alignment")},
    **{
        f"datasets.{n}": (registry.find("datasets", n).__init__, registry.find("datasets", n))
        for n in registry.names("datasets")
    },
    **{
        f"fusion.{n}": (registry.find("fusion", n).__init__, lambda _n=n, **told: resolve({"name": _n, **told}))
        for n in registry.names("fusion")
    },
    "network": (ConvLSTMOptions, ConvLSTMOptions),
    "pretrain": (Pretraining, Pretraining),
    "tune": (Tuning, Tuning),
    "thaw": (Thawing, Thawing),
    "estimator": (FusionEstimator, lambda **told: check_settings(FusionClassifier(**told))),
    "aligner": (ModalityAligner, lambda **told: checks.check(ModalityAligner(**told))),
}


#: Of these NaN is a strength that is not told, as where their ratio or quality is.
NOT_TOLD = ("conditions.background_noise", "conditions.jpeg", "conditions.white_noise")


def options(owner: Any) -> dict[str, Any]:
    """Option -> its annotation."""
    hints = checks.hints_of(owner)
    if dataclasses.is_dataclass(owner):
        return {f.name: hints[f.name] for f in dataclasses.fields(owner) if f.init}
    names = [n for n, p in inspect.signature(owner).parameters.items() if n not in ("self", "dims", "level")]
    return {n: hints[n] for n in names if n in hints}


def wrong_values(hint: Any) -> Iterator[Any]:
    """What an annotation does not allow."""
    for part in checks.alternatives(hint):
        kind = typing.get_args(part)[0] if typing.get_origin(part) is Annotated else part
        bounds = next((b for b in typing.get_args(part)[1:] if isinstance(b, checks.Within)), checks.Within())
        if kind in (int, float):
            yield from (math.nan, True, "3", [3], 10**400 if kind is int else "much")
            if not bounds.infinite:
                yield from (math.inf, -math.inf)
            if kind is int:
                yield from (1.5, np.float64(2.0))
            if math.isfinite(bounds.low):
                yield bounds.low if bounds.above else bounds.low - 1
            if math.isfinite(bounds.high):
                yield bounds.high if bounds.below else bounds.high + 1
        elif kind is bool:
            yield from (1, "yes", math.nan)
        elif typing.get_origin(kind) is Literal:
            yield from ("nothing of the kind", math.nan, True)
        elif kind is str:
            yield from (3, math.nan, True)


OPTIONS = [(family, name) for family, (owner, _) in OWNERS.items() for name in options(owner)]


def test_numbers_of_every_family_are_declared_with_their_bounds() -> None:
    """A number without bounds would take minus a million."""
    bare = [
        f"{family}.{name}"
        for family, (owner, _) in OWNERS.items()
        for name, hint in options(owner).items()
        if {int, float} & set(checks.alternatives(hint))
    ]
    assert bare == []
    assert len(OPTIONS) > 150


@pytest.mark.parametrize("family", OWNERS)
def test_every_option_refuses_what_it_does_not_allow(family: str) -> None:
    owner, make = OWNERS[family]
    for name, hint in options(owner).items():
        for value in wrong_values(hint):
            if checks.problem(value, hint) is None:  # another part of the annotation allows it
                continue
            if name == "strength" and value is math.nan and family in NOT_TOLD:
                continue
            with pytest.raises(ConfigError) as caught:
                make(**{name: value})
            assert name in str(caught.value), (name, value)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", OWNERS)
def test_what_is_usual_passes(family: str) -> None:
    make = OWNERS[family][1]
    make(**({"anchors": ["text"]} if family == "alignment.hardest_negatives" else {}))


def test_choices_are_those_that_there_are() -> None:
    from plait.alignment.context import OPERATIONS
    from plait.alignment.losses import LOSSES
    from plait.datasets.av_digits import WAYS

    told = {
        "alignment.context": ("operation", OPERATIONS),
        "alignment.plain_heads": ("loss", LOSSES),
        "datasets.av_digits": ("parts", WAYS),
    }
    for family, (name, known) in told.items():
        assert set(typing.get_args(options(OWNERS[family][0])[name])) == set(known)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        FusionClassifier(epochs=0, dropout=2, learning_rate=math.nan, fusion="conct", tune={"rank": 0}).fit(
            pd.DataFrame({"a": [1.0, 2.0] * 20}), [0, 1] * 20
        )
    for said in ("epochs must", "dropout must", "learning_rate must", "did you mean 'concat'", "rank must"):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("width=2020-13-45", "width must be a whole number from 1 to 1,000,000 or match, found '2020-13-45'"),
        ("random_state=-1", "random_state must be a whole number from 0"),
        ("random_state=99999999999", "random_state must be a whole number from 0 to 4,294,967,295"),
        ("epochs=0", "epochs must be a whole number from 1, found 0"),
        ("learning_rate=.nan", "learning_rate must be a number above 0, found nan"),
        ("learning_rate=1e400", "learning_rate must be a number above 0, found inf"),
        ("learning_rate=fast", "learning_rate must be a number above 0, found 'fast'"),
        ("members=1.5", "members must be a whole number"),
        ("batch_size=0", "batch_size must be a whole number from 1"),
        ("dropout=2", "dropout must be a number from 0 to below 1"),
        ("dropout=1.0", "dropout must be a number from 0 to below 1"),
        ("max_weights=-1", "max_weights must be a whole number from 1"),
        ("weight_decay=-1", "weight_decay must be a number from 0"),
        ("strict=yes", "strict must be true or false, found 'yes'; YAML 1.2 has only true and false"),
        ("align.a={anchors: [b], input_dropout: 2}", "unknown field 'input_dropout'"),
        ("align.a={anchors: [b], weight_decay: -1}", "weight_decay must be a number from 0, found -1"),
        ("align.a={anchors: [b], dropout: 1.0}", "dropout must be a number from 0 to below 1, found 1.0"),
        ("align.a={anchors: [b], joint: .inf}", "joint must be a number above 0, found inf"),
        ("network={name: conv_lstm, kernel: 2.5}", "kernel must be a whole number"),
        ("encoders.text={name: minilm, max_tokens: 0}", "max_tokens must be a whole number from 3 to 512, found 0"),
        ("pretrain={text: {epochs: -3}}", "epochs must be a whole number from 1, found -3"),
        ("thaw={after: -1}", "after must be a whole number from 0, found -1"),
        ("modality_dropout=1.2", "modality_dropout must be a number from 0 to 1"),
        ("class_weight={a: -1}", "class_weight of 'a' must be a number from 0, found -1"),
    ],
)
def test_an_assignment_is_checked_like_a_keyword(assignment: str, said: str) -> None:
    told = config.override({}, [assignment])
    with pytest.raises(ConfigError) as caught:
        check_settings(FusionClassifier(**told))
    assert said in str(caught.value)


def test_numbers_are_numbers_in_assignments() -> None:
    told = config.override({}, ["align.a={anchors: [b], learning_rate: 1e-4}", "learning_rate=1e-4"])
    check_settings(FusionClassifier(**told))
    assert told["learning_rate"] == 1e-4
    assert check_value("pretrain.epochs", 0) == "pretrain: epochs must be a whole number from 1, found 0"


def test_numbers_of_numpy_are_numbers() -> None:
    check_settings(FusionClassifier(epochs=np.int64(3), dropout=np.float32(0.1), random_state=np.random.RandomState(0)))
    with pytest.raises(ConfigError, match="dropout must"):
        check_settings(FusionClassifier(dropout=np.float32("nan")))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("seeds: 1000000000", "seeds must be a whole number from 1 to 10,000, found 1000000000"),
        ("seeds: [0, -1]", "must be a whole number from 0"),
        ("seeds: [99999999999]", "must be a whole number from 0 to 4,294,967,295"),
        ("seeds: 1.5", "seeds must be a whole number"),
        ("seeds: .nan", "seeds must be a whole number"),
        ("budget: {minutes: .inf}", "minutes must be a number from 0, found inf"),
        ("budget: {trained_weights: 1.5}", "trained_weights must be a whole number"),
        ("split: {kind: kfold, folds: 1000000000}", "folds must be a whole number from 2 to 1,000"),
        ("model: {epochs: 0}", "epochs must be a whole number from 1, found 0"),
        ("model: {encoders: {text: {name: minilm, max_tokens: 0}}}", "max_tokens must be a whole number from 3"),
        ("grid: {dropout: [0.1, .nan]}", "dropout must be a number from 0 to below 1, found nan"),
        (
            f"grid: {{width: [1, 2, 3], layers: [1, 2], epochs: {[*range(1, 9001)]}}}",
            "270,000 runs",
        ),
    ],
)
def test_a_study_is_bounded_before_anything_is_expanded(field: str, said: str, tmp_path: Any) -> None:
    (tmp_path / "s.yaml").write_text(f"name: s\ndata: {{table: t.csv, target: y}}\n{field}\n")
    try:
        found = " ".join(m.text for m in Study.load(tmp_path / "s.yaml").check(data=False))
    except PlaitError as error:
        found = str(error)
    assert said in found
