"""``align`` of an estimator: from Python, YAML and the command line, saved and loaded, and all that it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from plait import FusionClassifier, FusionRegressor
from plait.alignment import enhancement
from plait.alignment.batches import loss_of
from plait.alignment.network import AlignmentNetwork, unit
from plait.alignment.pairs import Pairs
from plait.base import config
from plait.base.errors import ConfigError
from plait.base.inputs import Inputs
from plait.cli import main
from plait.data.modality import Modality, Schema
from plait.study import Study
from plait.workflow.fit import make_model

WORDS = ["iron", "wood", "glass", "paper", "stone", "wool"]
SCHEMA = Schema(
    (
        Modality("tabular", "tabular", ("size", "weight", "hue")),
        Modality("text", "text", ("name",), {"name": "hashed_ngrams", "width": 64}),
        Modality("code", "code", ("source",), "code_statistics"),
    ),
    "label",
)
QUICK = {"members": 1, "epochs": 3, "store": "none", "width": 16, "progress": False}
LIGHT = {"anchors": ["text"], "epochs": 3}


def things(n: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(WORDS), n)
    frame = pd.DataFrame(
        {
            "size": kind % 3 + 0.1 * rng.normal(size=n),
            "weight": kind // 3 + 0.1 * rng.normal(size=n),
            "hue": rng.normal(size=n),
            "name": [f"{WORDS[k]} thing {i}" for i, k in enumerate(kind)],
            "source": [f"def f{i}(x):\n    return x + {k}\n" for i, k in enumerate(kind)],
            "label": [WORDS[k] for k in kind],
        }
    )
    frame.loc[::7, "name"] = None
    frame.loc[3::9, ["size", "weight", "hue"]] = np.nan
    return frame


FRAME = things()


def model(**spec: object) -> FusionClassifier:
    return FusionClassifier(**{"modalities": SCHEMA, **QUICK, **spec})


def fitted(**spec: object) -> FusionClassifier:
    return model(**spec).fit(FRAME, FRAME["label"])


def test_a_modality_is_replaced_by_what_the_projector_makes_of_it(tmp_path: Path) -> None:
    plain, found = fitted(), fitted(align={"tabular": {**LIGHT, "width": 5}})
    assert plain.scalers_["tabular"].dim != 5
    assert found.scalers_["tabular"].dim == 5
    record = found.record_["align"]["tabular"]
    assert record["anchors"] == ["text"]
    assert record["trained_weights"] > 0
    assert found.record_["trained_weights"] > record["trained_weights"]
    assert (found.absent(FRAME) == plain.absent(FRAME)).all()
    found.save(tmp_path / "m")
    again = FusionClassifier.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict_proba(FRAME), found.predict_proba(FRAME))
    assert again.get_params()["align"] == {"tabular": {"anchors": ["text"], "epochs": 3, "width": 5}}


def test_anchors_are_not_needed_to_predict() -> None:
    found = fitted(align={"tabular": LIGHT}, partial=True)
    without = found.predict_proba(FRAME.drop(columns=["name"]))
    assert np.isfinite(without).all()
    np.testing.assert_allclose(without[0], found.predict_subsets(FRAME, [["tabular", "code"]])[("tabular", "code")][0])


def test_own_features_can_be_kept_beside() -> None:
    plain = fitted()
    kept = fitted(align={"tabular": {**LIGHT, "width": 5, "keep": True}})
    assert kept.scalers_["tabular"].dim == plain.scalers_["tabular"].dim + 5


def separation(network: AlignmentNetwork, pairs: Pairs) -> float:
    """How much nearer a modality is to its own anchor than to others'."""
    rows = pairs.both("tabular", "text")
    with torch.no_grad():
        similar = (
            unit(network("tabular", pairs.take(rows).x["tabular"], "text"))
            @ unit(network("text", pairs.take(rows).x["text"])).T
        )
    return float(similar.diagonal().mean() - similar.mean())


@pytest.mark.parametrize("keep", [False, True])
def test_a_projector_learns_with_the_classifier(tmp_path: Path, keep: bool) -> None:
    spec = {"tabular": {"anchors": ["text"], "joint": 3.0, "keep": keep, "width": 6}}
    found = fitted(align=spec, epochs=8)
    assert "tabular" not in found.scalers_
    assert found.record_["align"] == {"tabular": {"anchors": ["text"], "joint": 3.0}}
    again = FusionClassifier.load(found.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.predict_proba(FRAME), found.predict_proba(FRAME))
    barely = fitted(align={"tabular": {**spec["tabular"], "joint": 1e-9}}, epochs=8)
    network = found.members_.members[0].encoders["tabular"].network
    pairs = enhancement.pairs_of(raw(found), ("tabular", "text"))
    assert separation(network, pairs) > separation(barely.members_.members[0].encoders["tabular"].network, pairs) + 0.02


def raw(model: FusionClassifier) -> Inputs:
    return model.features_.transform(FRAME, None, None, strict=False, progress=False)


def test_the_joint_loss_is_the_weight_times_that_of_the_stage() -> None:
    (spec,) = enhancement.parse({"tabular": {"anchors": ["text", "code"], "joint": 0.5, "dropout": 0.0}}, SCHEMA)
    inputs = raw(fitted())
    found = enhancement.fit([spec], inputs, 0, False)
    torch.manual_seed(0)
    module = found["tabular"].encoder.module()
    ready = enhancement.apply(found, inputs, training=True)
    module.train()(ready.prepared["tabular"])
    pairs = enhancement.pairs_of(inputs, spec.names)
    expected = 0.5 * loss_of(module.network, spec.stage.contrast(), spec.stage.pairs_of(spec.names), pairs, 1000)
    assert float(module.own_loss.detach()) == pytest.approx(expected, abs=1e-5)
    module.eval()(enhancement.apply(found, inputs).prepared["tabular"])
    assert module.own_loss is None


def test_several_modalities_and_anchors_of_any_kind() -> None:
    found = fitted(
        align={"tabular": {"anchors": ["text", "code"], "epochs": 2}, "code": {"anchors": "text", "epochs": 2}}
    )
    assert set(found.record_["align"]) == {"tabular", "code"}
    assert found.enhancers_["tabular"].spec.stage.anchors == ("text", "code")


def test_the_seed_decides() -> None:
    spec = {"tabular": LIGHT}
    one, two, other = (fitted(align=spec, random_state=s).enhancers_["tabular"].network for s in (0, 0, 1))
    weights = [n.projectors["0"].linear.weight for n in (one, two, other)]
    assert (weights[0] == weights[1]).all()
    assert (weights[0] != weights[2]).any()


def test_a_list_in_python_yaml_and_an_assignment_are_one() -> None:
    from_python = model(align={"tabular": ["text", "code"]})
    from_yaml = make_model(SCHEMA, config.parse_yaml("align: {tabular: [text, code]}"))
    assigned = make_model(SCHEMA, config.override({}, ["align.tabular=[text, code]"]))
    assert from_python.align == from_yaml.align == assigned.align


def test_the_command_line_aligns(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    command = [
        "fit",
        str(tmp_path / "t.csv"),
        "--target",
        "label",
        "--out",
        str(tmp_path / "m"),
        "--no-report",
        "--store",
        "none",
        "--epochs",
        "2",
        "--members",
        "1",
        "--encoder",
        "text=hashed_ngrams",
        "--set",
        "width=16",
        "--set",
        "align.tabular.anchors=[text]",
        "--set",
        "align.tabular.epochs=2",
    ]
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 0
    assert FusionClassifier.load(tmp_path / "m").record_["align"]["tabular"]["anchors"] == ["text"]


def test_a_number_is_predicted_too() -> None:
    table = FRAME.assign(label=FRAME["weight"].fillna(0.0))
    schema = Schema(SCHEMA.modalities, "label", "regression")
    found = FusionRegressor(**{"modalities": schema, **QUICK, "align": {"tabular": LIGHT}}).fit(table, table["label"])
    assert np.isfinite(found.predict(table)).all()


@pytest.mark.parametrize(
    ("align", "match"),
    [
        ({"tabular": ["tabular"]}, "its own anchor"),
        ({"tabular": ["tekst"]}, "did you mean 'text'"),
        ({"tabullar": ["text"]}, "did you mean 'tabular'"),
        ({"tabular": []}, "list of anchors"),
        ({"tabular": {"negatives": 3}}, "list of anchors"),
        ({"tabular": {"anchors": ["text"], "negativs": 3}}, "did you mean 'negatives'"),
        ({"tabular": {"anchors": ["text"], "temperature": 5.0}}, "temperature"),
        ({"tabular": {"anchors": ["text"], "keep": "yes"}}, "keep"),
        ({"tabular": {"anchors": ["text"], "joint": 0}}, "joint"),
        ("tabular", "align must be a mapping"),
    ],
)
def test_what_cannot_be_aligned_is_refused_before_anything_is_encoded(align: object, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        fitted(align=align)


def test_a_modality_that_learns_cannot_be_aligned() -> None:
    learning = Modality("text", "text", ("name",), "cnn_text", "scratch")
    schema = Schema((SCHEMA.modalities[0], learning), "label")
    with pytest.raises(ConfigError, match="only frozen"):
        fitted(modalities=schema, align={"tabular": ["text"]})


@pytest.mark.parametrize("drop", [False, True])
def test_a_joint_alignment_goes_with_validation_rows_that_are_given(drop: bool) -> None:
    align = {"tabular": {"anchors": ["text"], "joint": 0.5, "drop": drop}}
    valid = (FRAME[40:], FRAME["label"][40:])
    found = model(align=align, validation="given").fit(FRAME[:40], FRAME["label"][:40], valid=valid)
    again = model(align=align, validation="given").fit(FRAME[:40], FRAME["label"][:40], valid=valid)
    assert found.record_["align"]["tabular"]["joint"] == 0.5
    assert np.isfinite(found.predict_proba(FRAME)).all()
    np.testing.assert_array_equal(found.predict_proba(FRAME), again.predict_proba(FRAME))


@pytest.mark.parametrize("joint", [None, 0.5])
def test_anchors_can_teach_and_be_dropped(tmp_path: Path, joint: float | None) -> None:
    spec = {"anchors": ["text", "code"], "drop": True} | ({"epochs": 3} if joint is None else {"joint": joint})
    found = fitted(align={"tabular": spec})
    assert found.modality_names_ == ("tabular",)
    alone = FRAME[["size", "weight", "hue"]]
    np.testing.assert_array_equal(found.predict_proba(alone), found.predict_proba(FRAME))
    again = FusionClassifier.load(found.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.predict_proba(alone), found.predict_proba(alone))
    some = fitted(align={"tabular": {**LIGHT, "anchors": ["text", "code"], "drop": ["code"]}})
    assert some.modality_names_ == ("tabular", "text")
    seen = fitted(align={"tabular": {**LIGHT, "anchors": ["text", "code"]}}).enhancers_["tabular"].network
    dropped = some.enhancers_["tabular"].network
    assert all((a == b).all() for a, b in zip(seen.parameters(), dropped.parameters(), strict=True))


@pytest.mark.parametrize(
    ("align", "match"),
    [
        ({"tabular": {"anchors": ["text"], "drop": ["code"]}}, "some of the anchors text"),
        ({"tabular": {"anchors": ["text"], "drop": 3}}, "some of the anchors text"),
        ({"tabular": {"anchors": ["text"], "drop": True}, "text": ["code"]}, "cannot be pulled itself"),
    ],
)
def test_anchors_that_cannot_be_dropped(align: object, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        fitted(align=align)


def test_a_study_drops_the_anchors_outside_a_subset(tmp_path: Path) -> None:
    spec = {
        "name": "pulled",
        "data": {"frame": "things", "target": "label"},
        "model": {**{k: v for k, v in QUICK.items() if k not in ("store", "progress")}},
        "variants": {"without": {}, "pulled": {"align": {"tabular": {**LIGHT, "drop": True}}}},
        "modalities": {"subsets": [["tabular"], ["tabular", "text"]]},
        "seeds": 1,
        "metrics": ["accuracy"],
    }
    study = Study.from_dict(spec, frames={"things": (FRAME, SCHEMA)})
    aligned = {run.subset: run.model.get("align") for run in study.runs if run.variant == "pulled"}
    assert aligned[("tabular",)]["tabular"]["drop"] == ["text"]
    assert aligned[("tabular", "text")]["tabular"]["drop"] == []
    runs = study.run(tmp_path / "out", store="none", view=False).runs
    assert (runs["status"] == "done").all()
    weights = runs.pivot(index="variant", columns="subset", values="trained_weights")
    assert (weights.loc["pulled"] > weights.loc["without"]).all()
