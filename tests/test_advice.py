"""Advice: the race, the choice, the words, the command line and ``fusion="auto"``."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait import FusionClassifier, FusionRegressor, load
from plait.base import deadline
from plait.base.errors import ConfigError
from plait.base.parts import claimed, let_go, shared_folder
from plait.cli import main
from plait.data import schema
from plait.data.dropped import REASON
from plait.data.modality import Modality, Schema
from plait.study import advice
from plait.study.advice import Contest, advise, evidence_folder, fit_command, merged, winner_of
from plait.study.answer import pareto
from plait.study.designs import DEFAULT, Racing, candidates, noises
from plait.study.folder import StudyFolder
from plait.study.results import Results
from study_tiny import study

LIGHT = {"members": 1, "epochs": 3, "width": 8, "encoders": {"text": "hashed_ngrams"}}


def table(n: int = 90) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    warm, big = rng.integers(0, 2, n), rng.integers(0, 2, n)
    return pd.DataFrame(
        {
            "story": [f"this {'red' if w else 'blue'} thing has the number {i} on it" for i, w in enumerate(warm)],
            "size": big * 3 + rng.normal(size=n),
            "label": np.array(["a", "b", "c", "d"])[2 * warm + big],
        }
    )


def line(variant: str, seed: int, value: float | None, status: str = "done") -> dict[str, Any]:
    told = {"condition": "clean", "present": ["text"], "metrics": {"accuracy": value}}
    return {
        "status": status,
        "variant": variant,
        "dataset": "t",
        "seed": seed,
        "split": 0,
        "subset": ["text"],
        "train_rows": 80,
        "test_rows": 20,
        "evaluations": [told],
    }


def lines(**scores: list[float]) -> list[dict[str, Any]]:
    return [line(name, seed, value) for name, found in scores.items() for seed, value in enumerate(found)]


class Told:
    """As much of ``Results`` as the choice looks at."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self.lines = found


def test_the_surely_worse_leave_and_the_others_stay() -> None:
    race = Racing("accuracy", lower=False, kept=["kept"])
    far = [0.50, 0.52, 0.49, 0.51]
    found = lines(best=[0.90, 0.91, 0.89, 0.90], close=[0.89, 0.91, 0.90, 0.88], far=far, kept=far, new=[0.1, 0.1])
    assert race(found) == {"far"}
    assert race(found[:2]) == set()
    assert race([*found, line("failed", 0, None), line("failed", 1, 0.1, "failed")]) == {"far"}
    errors = lines(best=[0.10, 0.11, 0.09], far=[0.9, 0.92, 0.91])
    assert Racing("accuracy", lower=True)(errors) == {"far"}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({DEFAULT: [0.80, 0.81, 0.79], "other": [0.90, 0.91, 0.90]}, "other"),
        ({DEFAULT: [0.80, 0.81, 0.79], "other": [0.81, 0.79, 0.81]}, DEFAULT),  # within one standard error
        ({DEFAULT: [0.80, 0.81, 0.79], "other": [0.70, 0.71, 0.70]}, DEFAULT),
        ({DEFAULT: [0.80, 0.81, 0.79, 0.8], "lucky": [0.99]}, DEFAULT),  # on one split only
    ],
)
def test_the_simpler_is_taken_on_a_tie(scores: Mapping[str, list[float]], expected: str) -> None:
    told: Any = Told(lines(**scores))
    assert winner_of(told, Racing("accuracy", lower=False)) == expected


def test_designs_fit_the_modalities() -> None:
    one = Schema((Modality("text", "text", ("a",)),), target="y")
    assert not [c for c in candidates(one) if c.question in ("fusion", "alignment")]
    two = Schema((Modality("text", "text", ("a",)), Modality("tabular", "tabular", ("b",))), target="y")
    found = {c.name: c.settings for c in candidates(two)}
    assert found[DEFAULT] == {}
    assert found["late gated"] == {"depth": "late", "fusion": "gated"}
    assert found["tabular aligned"] == {"align": {"tabular": ["text"]}}
    assert set(noises(two)) == {"text", "tabular"}


def test_regimes_are_tried_where_there_are_any() -> None:
    learning = Schema((Modality("sound", "audio", ("a",), encoder="spectrogram_cnn", train="scratch"),), target="y")
    found = {c.name: c.settings for c in candidates(learning) if c.question == "regime"}
    still = {"train": {"sound": "pretrain"}, "pretrain": {"sound": {"frozen": True}}}
    assert found == {"sound pretrained first": {"train": {"sound": "pretrain"}}, "sound pretrained, then frozen": still}
    found = {
        c.name: c.settings for c in candidates(learning, {"train": {"audio": "pretrain"}}) if c.question == "regime"
    }
    assert found == {"sound from scratch": {"train": {"sound": "scratch"}}, "sound pretrained, then frozen": still}
    text = Schema((Modality("words", "text", ("a",), encoder="minilm"),), target="y")
    tuned = [c for c in candidates(text) if c.question == "regime"]
    assert [c.settings for c in tuned] == ([{"train": {"words": "tuned"}}] if find_spec("peft") else [])
    assert all(c.minutes > 10 for c in tuned)  # not in a race of the usual length
    frozen = Schema((Modality("words", "text", ("a",)), Modality("table", "tabular", ("b",))), target="y")
    learned = {c.name: c.settings for c in candidates(frozen) if c.question == "regime" and "tuned" not in c.name}
    encoder = {"encoders": {"words": "cnn_text"}}
    assert learned == {
        "words from scratch": {**encoder, "train": {"words": "scratch"}},
        "words pretrained first": {**encoder, "train": {"words": "pretrain"}},
    }
    poolings = {
        c.settings["fusion"] for c in candidates(frozen) if c.name.startswith("late ") and "fusion" in c.settings
    }
    assert poolings == {"sum", "mean", "max", "gated", "attention"}
    settled = candidates(text, {"encoders": {"words": "hashed_ngrams"}})
    assert not [c for c in settled if c.question in ("regime", "encoder")]


def test_no_other_design_beats_those_on_the_front() -> None:
    def run(name: str, score: float, seconds: float, text: float, image: float) -> dict[str, Any]:
        made = line(name, 0, score) | {"subset": ["text", "image"], "seconds": {"fit": seconds, "pretrain": 1.0}}
        made["evaluations"] = [
            {"condition": "clean", "present": list(kept), "metrics": {"accuracy": value}}
            for kept, value in ((("text", "image"), score), (("text",), text), (("image",), image))
        ]
        return made

    runs = [
        run("best", 0.9, 9.0, 0.8, 0.3),
        run("robust", 0.8, 9.0, 0.7, 0.5),
        run("quick", 0.7, 1.0, 0.6, 0.4),
        run("beaten", 0.7, 2.0, 0.6, 0.4),
    ]
    found = pareto(runs, "accuracy", Racing("accuracy", lower=False).scores(runs), 1.0)
    assert found["label"].tolist() == ["best", "robust", "quick", "beaten"]
    assert found["front"].tolist() == [True, True, True, False]
    assert found["alone"].tolist() == [0.3, 0.5, 0.4, 0.4]
    assert found["seconds"].tolist() == [10.0, 10.0, 2.0, 3.0]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three designs: how many there are changes nothing but the time."""
    names = (DEFAULT, "late gated", "tabular aligned")
    monkeypatch.setattr(advice, "candidates", lambda *told: [c for c in candidates(*told) if c.name in names])


@pytest.mark.usefixtures("few")
def test_ten_lines_with_evidence_and_a_command_that_runs(tmp_path: Path) -> None:
    frame = table()
    frame.to_csv(tmp_path / "things.csv", index=False)
    found = schema.infer(frame, target="label")
    given = advise(frame, found, minutes=5, splits=2, out=tmp_path / "advice", settings=LIGHT, table="things.csv")
    assert 4 <= len(given.lines) <= 10
    assert given.lines[-1] == f"use: {given.command}"
    assert set(given.race["label"]) == {DEFAULT, "late gated", "tabular aligned"}
    assert set(given.modalities["subset"]) == {"text+tabular", "text", "tabular"}
    assert "clean" in set(given.conditions["condition"])
    assert len(given.conditions) == 3
    assert any("without it" in told for told in given.lines)
    assert any("no other is as good in score, time" in told for told in given.lines)
    assert given.pareto["front"].any()
    assert given.pareto["alone"].notna().all()
    assert any("alone gives" in told for told in given.lines)
    shown = given._repr_html_()  # in a notebook: the lines, the command, and every design of the race
    assert "the race" in shown
    assert all(html.escape(told) in shown for told in (*given.lines, *given.race["label"]))
    assert repr(given) == "\n".join([*given.lines, given.command])
    again = advise(frame, found, minutes=5, splits=2, out=tmp_path / "advice", settings=LIGHT, table="things.csv")
    assert again.lines == given.lines  # nothing was run twice, and nothing differs
    json.dumps(given.to_dict())


@pytest.mark.usefixtures("few")
def test_a_race_goes_on_with_more_minutes(tmp_path: Path) -> None:
    frame = table()
    found = schema.infer(frame, target="label")
    with pytest.raises(ConfigError, match="before anything was encoded.*give more --minutes"):
        advise(frame, found, minutes=1e-5, splits=1, out=tmp_path, settings=LIGHT)
    advise(frame, found, minutes=5, splits=1, out=tmp_path, settings=LIGHT)
    begun = Results.open(tmp_path / "race")
    advise(frame, found, minutes=40, splits=2, out=tmp_path, settings=LIGHT)
    more = Results.open(tmp_path / "race")
    assert more.spec.model == begun.spec.model
    assert {line["run"] for line in begun.lines} < {line["run"] for line in more.lines}


@pytest.mark.usefixtures("few")
def test_a_race_whose_fits_all_failed_begins_anew(tmp_path: Path) -> None:
    """Its fits had as little time as it was given then."""
    frame = table()[["size", "label"]]  # nothing to encode
    found = schema.infer(frame, target="label")
    with pytest.raises(ConfigError, match="too short to train"):
        advise(frame, found, minutes=1e-5, splits=1, out=tmp_path)
    assert Results.open(tmp_path / "race").lines
    advise(frame, found, minutes=5, splits=1, out=tmp_path, settings={"members": 1, "epochs": 3, "width": 8})


@pytest.mark.usefixtures("few")
def test_a_race_that_another_process_has_just_begun_is_not_deleted(tmp_path: Path) -> None:
    """It has no line yet; whoever comes second joins it."""
    frame = table()
    found = schema.infer(frame, target="label")
    with pytest.raises(ConfigError, match="give more --minutes"):
        advise(frame, found, minutes=1e-5, splits=1, out=tmp_path, settings=LIGHT)
    held = shared_folder(tmp_path / "race")  # as whoever runs a study in it
    begun = (tmp_path / "race").stat().st_ino
    with pytest.raises(ConfigError, match="too short to train"):  # as is said of that race
        advise(frame, found, minutes=5, splits=1, out=tmp_path, settings=LIGHT)
    let_go(held)
    assert (tmp_path / "race").stat().st_ino == begun


def test_whoever_runs_a_study_holds_its_folder(tmp_path: Path) -> None:
    folder, made = StudyFolder(tmp_path / "s"), study(tmp_path)
    about = {"name": made.name, "identity": "0", "data": {}, "runs": 1}
    folder.begin(made.spec, about)
    with claimed(tmp_path / "s") as abandoned:
        assert not abandoned
    other = StudyFolder(tmp_path / "s")
    with pytest.raises(ConfigError, match="running this study already"):
        other.begin(made.spec, about)
    folder.close()
    with claimed(tmp_path / "s") as abandoned:
        assert abandoned
    with pytest.raises(ConfigError, match="holds another study"):
        other.begin(made.spec, {**about, "name": "other"})
    with claimed(tmp_path / "s") as abandoned:
        assert abandoned


@pytest.mark.usefixtures("few")
def test_a_race_that_goes_on_may_have_another_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = table()
    found = schema.infer(frame, target="label")
    for winner in (DEFAULT, "late gated"):
        monkeypatch.setattr(advice, "winner_of", lambda *told, winner=winner: winner)
        given = advise(frame, found, minutes=5, splits=1, out=tmp_path, settings=LIGHT)
        assert given.variant == winner
        assert (evidence_folder(tmp_path, winner) / "results.jsonl").is_file()


@pytest.mark.usefixtures("few")
def test_without_time_for_evidence_the_race_still_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, spent = Contest.study, {"budget": {"minutes": 1e-9}}
    monkeypatch.setattr(
        Contest, "study", lambda own, name, model: usual(own, name, model) | (spent if name == "evidence" else {})
    )
    frame = table()
    given = advise(frame, schema.infer(frame, target="label"), minutes=5, splits=2, out=tmp_path, settings=LIGHT)
    assert set(given.race["label"]) == {DEFAULT, "late gated", "tabular aligned"}
    assert given.modalities.empty
    assert given.conditions.empty
    assert any("no time was left" in line for line in given.lines)
    assert given.lines[-1] == f"use: {given.command}"
    json.dumps(given.to_dict())


@pytest.mark.usefixtures("few")
def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(60).to_csv(tmp_path / "things.csv", index=False)
    settings = ["--set", "members=1", "--set", "epochs=2", "--set", "width=8", "--set", "encoders.text=hashed_ngrams"]
    command = ["advise", str(tmp_path / "things.csv"), "--target", "label", "--out", str(tmp_path / "o"), *settings]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--minutes", "5", "--splits", "1", "--workers", "1"])
    assert not stop.value.code
    told = capsys.readouterr().out.splitlines()
    assert told[-2].startswith("use: plait fit ")
    assert told[-1].startswith("evidence: plait study report ")
    with pytest.raises(SystemExit) as stop:
        main([*command, "--minutes", "0"])
    assert stop.value.code == 2


@pytest.mark.usefixtures("few")
def test_minutes_count_from_the_start_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table(60).to_csv(tmp_path / "things.csv", index=False)
    command = [
        "advise",
        str(tmp_path / "things.csv"),
        "--target",
        "label",
        "--out",
        str(tmp_path / "o"),
        "--minutes",
        "5",
    ]
    began = deadline.now() - 300  # libraries and the table took it all
    monkeypatch.setattr("plait.cli.advise.now", lambda: began)
    with pytest.raises(SystemExit) as stop:
        main([*command, "--splits", "1", "--workers", "1", "--set", "encoders.text=hashed_ngrams"])
    assert stop.value.code == 2
    assert "minutes 5: too short to train anything: 5 min " in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_what_the_user_has_settled_is_not_tried_again() -> None:
    assert merged({"encoders": {"text": "a"}}, {"encoders": {"text": "a"}}) == {"encoders": {"text": "a"}}
    assert merged({"depth": "late"}, {}) == {"depth": "late"}


def test_settings_become_options_of_fit() -> None:
    told = Schema((Modality("text", "text", ("a",)),), "my label", ignored={"id": REASON, "same": "constant"})
    settings = {"branches": ["joint"], "align": {"tabular": ["text"]}, "modality_dropout": 0.5, "drop": ["a,b"]}
    assert fit_command("t.csv", told, settings) == (
        "plait fit t.csv --target 'my label' --drop id --drop a,b --set 'branches=[joint]' --set 'align.tabular=[text]' "
        "--set modality_dropout=0.5"
    )


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_auto_takes_what_the_race_advises(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = table(80)
    label = frame.pop("label")
    seen: dict[str, Any] = {}

    def pretend(rows: pd.DataFrame, found: Schema, **told: Any) -> Any:
        seen.update(told, task=found.task, target=rows[str(found.target)].tolist())

        return SimpleNamespace(settings={"depth": "late", "fusion": "gated", "branches": ["joint"]})

    monkeypatch.setattr("plait.study.auto.advise", pretend)
    kind = FusionRegressor if task == "regression" else FusionClassifier
    y: Any = label.to_numpy()
    if task == "multilabel":
        y = np.eye(4, dtype=int)[pd.factorize(label)[0]] | np.eye(4, dtype=int)[0]
    elif task == "regression":
        y = frame["size"].to_numpy()
    model = kind(fusion={"name": "auto", "minutes": 2}, store="none", task=task, **LIGHT).fit(frame, y)
    assert seen["minutes"] == 2
    assert seen["task"] == task
    assert seen["settings"]["members"] == 1
    assert len(seen["target"]) == 80
    assert model.advised_ == {**LIGHT, "depth": "late", "fusion": "gated", "branches": ("joint",)}
    assert model.get_params()["fusion"] == {"name": "auto", "minutes": 2}  # as scikit-learn wants it
    model.save(tmp_path / "m")
    restored: Any = load(tmp_path / "m")
    assert restored.fusion == "gated"
    np.testing.assert_allclose(restored.decoded(frame), model.decoded(frame), rtol=1e-5)


def test_a_race_without_time_is_refused() -> None:
    with pytest.raises(ConfigError, match="minutes"):
        FusionClassifier(fusion={"name": "auto", "minutes": 0}, store="none").fit(table(), table()["label"])
    with pytest.raises(ConfigError, match="minutes"):
        FusionClassifier(fusion={"name": "auto", "minuts": 1}, store="none").fit(table(), table()["label"])


@pytest.mark.usefixtures("few")
def test_evidence_that_was_not_measured_is_not_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advice, "fit_seconds", lambda *told: 1e9)  # one fit would take longer than what is left
    table(60).to_csv(tmp_path / "things.csv", index=False)
    settings = ["--set", "members=1", "--set", "epochs=1", "--set", "width=8", "--set", "encoders.text=hashed_ngrams"]
    command = ["advise", str(tmp_path / "things.csv"), "--target", "label", "--out", str(tmp_path / "o"), *settings]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--minutes", "5", "--splits", "1", "--workers", "1"])
    assert not stop.value.code
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == f"evidence: plait study report {tmp_path / 'o' / 'race'}"
    assert not list((tmp_path / "o").glob("evidence*"))
    assert "; 0 designs" not in "\n".join(told)
