"""Sensitivity: ranges, regimes, budgets by hand, a search that a kill does not change, the page, bad input."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait.base import registry
from plait.base.errors import ConfigError, PlaitError, PlaitWarning, TableError
from plait.cli import main
from plait.data import schema as schemas
from plait.study import Results, Study
from plait.study.ranges import SearchSpec, read_ranges, read_regimes, schema_for, storage_problem
from plait.study.samplers import Trial
from plait.study.samplers.tpe import STARTUP
from plait.study.search import read_search, rows_of, sensitivity
from plait.study.sensitivity import budgets
from plait.study.subjects import Finished
from plait.study.subjects.search import Search
from refusing import refused
from study_tiny import SCHEMA, table
from study_tiny import study as tiny_study

optuna = pytest.importorskip("optuna")

QUICK = {"members": 1, "epochs": 2, "width": 8, "branches": ["joint"]}
RANGES = {"learning_rate": "1e-4..1e-1,log", "batch_size": [16, 32], "dropout": "0..0.6"}


def tiny() -> schemas.Schema:
    return schemas.from_yaml(SCHEMA)


def instead(monkeypatch: pytest.MonkeyPatch, score: Any) -> list[dict[str, Any]]:
    """Trials that fit nothing: ``score(settings)`` is what they give; the settings of each."""
    seen: list[dict[str, Any]] = []

    def called(self: Search, table: Any, run: Any, *_: Any) -> Finished:
        seen.append({**run.model})
        value = score(run.model)
        line = {"status": "done", "train_rows": 48, "test_rows": 12, "weights": {"trained": 10, "frozen": 0}}
        names = {"condition": "clean", "present": list(run.subset), "metrics": {"accuracy": value}}
        return Finished({**line, "evaluations": [names]})

    monkeypatch.setattr(Search, "execute", called)
    return seen


def hill(settings: dict[str, Any]) -> float:
    return float(1 - 0.1 * (math.log10(settings["learning_rate"]) + 2.5) ** 2 - 0.05 * settings["dropout"])


# -- ranges and regimes -------------------------------------------------------------------------------------------------


def test_ranges_in_every_form():
    told = {
        "learning_rate": "1e-4..1e-1 log",
        "batch_size": "16..256,log",
        "dropout": "0..1",
        "depth": ["early", "late"],
    }
    rate, batch, dropout, depth = read_ranges({**told, "dropout": {"low": 0, "high": "5e-1"}})
    assert (rate.low, rate.high, rate.log, rate.whole) == (1e-4, 0.1, True, False)
    assert (batch.low, batch.high, batch.log, batch.whole) == (16, 256, True, True)
    assert (dropout.low, dropout.high, dropout.whole) == (0, 0.5, False)
    assert depth.choices == ("early", "late")
    assert not read_ranges(told)[2].whole  # 0..1 of a share is not two whole numbers
    assert [r.field for r in read_ranges(None)] == ["learning_rate", "batch_size", "dropout"]
    assert read_ranges([f"{k}={v}" for k, v in told.items() if isinstance(v, str)])[0] == rate
    assert read_ranges(["encoders.text.width=32..64"])[0].whole


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ({"learning_rat": "1..2"}, "did you mean 'learning_rate'"),
        ({"learning_rate": "1e-1..1e-4"}, "upside down"),
        ({"learning_rate": "0..1e-1,log"}, "starts above 0"),
        ({"learning_rate": "1e-4..x"}, "not a number"),
        ({"learning_rate": "1e-4..1e-1,lgo"}, "only 'log'"),
        ({"batch_size": "1.5..8"}, "whole numbers"),
        ({"depth": ["early"]}, "no choice"),
        ({"dropout": 3}, "expected low..high"),
        ({"dropout": {"low": 0, "hihg": 1}}, "did you mean 'high'"),
        ({"dropout": {"low": 0}}, "expected a number"),
        ({"random_state": "0..9"}, "unknown field"),
        ({}, "nothing to vary"),
        (["dropout"], "expected field=low..high"),
        (["dropout=0..1", "dropout=0..1"], "given twice"),
    ],
)
def test_bad_ranges(told, complaint):
    with pytest.raises(ConfigError, match=complaint):
        read_ranges(told)


def test_regimes():
    assert [r.train for r in read_regimes(["frozen", "scratch"])] == ["frozen", "scratch"]
    assert read_regimes(None)[0].train is None
    found = read_regimes(
        {"late": {"train": "scratch", "depth": "late"}, "mixed": {"train": {"text": "scratch"}}, "plain": None}
    )
    assert found[0].settings == {"depth": "late"}
    plain = schemas.from_dict(
        {"modalities": {"text": {"kind": "text", "columns": ["text"]}, "n": {"kind": "tabular", "columns": ["size"]}}}
    )
    assert [m.train for m in schema_for(found[0], plain).modalities] == ["scratch", "frozen"]
    assert [m.train for m in schema_for(found[1], plain).modalities] == ["scratch", "frozen"]
    assert schema_for(found[2], plain) == plain
    assert [m.train for m in schema_for(read_regimes(["frozen"])[0], schema_for(found[0], plain)).modalities] == [
        "frozen"
    ] * 2
    for told, complaint in [
        (["scrach"], "did you mean 'scratch'"),
        ({"a": {"trian": "frozen"}}, "did you mean 'train'"),
        ({"a": 3}, "expected settings"),
        ([], "none is named"),
    ]:
        with pytest.raises(ConfigError, match=complaint):
            read_regimes(told)
    with pytest.raises(ConfigError, match="unknown field 'audio'"):
        schema_for(read_regimes({"a": {"train": {"audio": "scratch"}}})[0], plain)
    with pytest.raises(ConfigError, match="no modality has an encoder"):
        schema_for(read_regimes(["scratch"])[0], tiny())  # hashed_ngrams has nothing to train


# -- results ------------------------------------------------------------------------------------------------------------


def test_budgets_by_hand():
    scores = {"a": [0.5, math.nan, 0.795, 0.8], "b": [0.9, 0.2, 0.1, 0.895]}
    rows = [
        {"regime": n, "trial": i + 1, "state": "failed" if math.isnan(s) else "done", "score": s, "seconds": 2.0}
        for n, told in scores.items()
        for i, s in enumerate(told)
    ]
    a, b = budgets(pd.DataFrame(rows), lower=False).to_dict("records")
    assert (a["best"], a["trials_to_near"], a["seconds_to_near"], a["failed"]) == (0.8, 3, 6.0, 1)
    assert math.isnan(a["trials_to_any"])
    assert (b["trials_to_near"], b["trials_to_any"], b["tolerant"], b["seconds"]) == (1, 1, 0.5, 8.0)
    lower = budgets(pd.DataFrame(rows), lower=True).set_index("regime")
    assert lower.loc["a", "trials_to_any"] != lower.loc["a", "trials_to_any"]
    assert lower.loc["b", "trials_to_near"] == 3


def test_a_search_judges_on_rows_it_did_not_fit(tmp_path, monkeypatch):
    fitted: list[pd.DataFrame] = []
    from plait.estimators.estimators import FusionClassifier
    from plait.workflow import fit as workflow

    fit = FusionClassifier.fit
    monkeypatch.setattr(FusionClassifier, "fit", lambda s, x, y, **k: (fitted.append(x), fit(s, x, y, **k))[1])
    frame = table(100)
    train, test = workflow.split_rows(frame, tiny(), 0.2, None, None, 0)
    given = frame.iloc[train].reset_index(drop=True)
    found = sensitivity(
        given, tiny(), ranges=RANGES, settings=QUICK, trials=2, out=tmp_path, store="none", splits=2, report=False
    )
    assert list(found.trials["state"]) == ["done", "done"]
    assert found.trials["learning_rate"].between(1e-4, 1e-1).all()
    assert set(found.trials["batch_size"]) <= {16, 32}
    results = Results.open(tmp_path)
    held = [results.predictions(run).rows for run in results.runs["run"]]
    assert len(fitted) == len(held) == 4
    for x, rows in zip(fitted, held, strict=True):
        assert not set(x["text"]) & set(given["text"].iloc[rows])
        assert len(x) + len(rows) == len(given)
        assert not set(x["text"]) & set(frame["text"].iloc[test])
    scores = results.frame.set_index("run")["value"]
    assert found.trials["score"][0] == pytest.approx(scores[results.runs["run"][:2]].mean())


def test_a_killed_search_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    def go(folder: str, trials: int = 14) -> pd.DataFrame:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return sensitivity(
                table(60), tiny(), ranges=RANGES, regimes={"a": None, "b": {"layers": 1}}, settings=QUICK,
                trials=trials, out=tmp_path / folder, report=False,
            ).trials.drop(columns=["seconds", "cpu_seconds"])  # fmt: skip

    instead(monkeypatch, hill)
    whole = go("whole")
    assert len(whole) == 28
    calls = 0

    def dying(settings: dict[str, Any]) -> float:
        nonlocal calls
        calls += 1
        if calls == 23:
            raise KeyboardInterrupt
        return hill(settings)

    instead(monkeypatch, dying)
    with pytest.raises(KeyboardInterrupt):
        go("killed")
    lines = tmp_path / "killed" / "results.jsonl"
    lines.write_bytes(lines.read_bytes() + b'{"run": "4')  # torn by the kill
    seen = instead(monkeypatch, hill)
    pd.testing.assert_frame_equal(go("killed"), whole)
    assert len(seen) == 28 - 22
    assert not instead(monkeypatch, hill)
    pd.testing.assert_frame_equal(go("killed"), whole)  # nothing is left to do
    more = go("killed", 15)
    pd.testing.assert_frame_equal(more[more["trial"] < 15].reset_index(drop=True), whole)
    first = whole[whole["trial"] <= STARTUP]
    a, b = (first[first["regime"] == n].reset_index(drop=True) for n in "ab")
    pd.testing.assert_series_equal(a["learning_rate"], b["learning_rate"])  # the same draws in every regime
    assert set(whole.columns) >= {"dropout", "batch_size"}


def test_a_search_is_a_study_with_one_folder(tmp_path, monkeypatch):
    instead(monkeypatch, hill)
    import pickle

    for name in ("dumps", "loads", "dump", "load"):
        monkeypatch.setattr(pickle, name, lambda *_, **__: pytest.fail("pickled"))
    sensitivity(table(60), tiny(), ranges=RANGES, trials=2, out=tmp_path, report=False)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(line["variant"], line["trial"]) for line in lines] == [("as told", 0), ("as told", 1)]
    assert Results.open(tmp_path).status()["done"] == 2
    with pytest.raises(ConfigError, match=r"another state of its file \(changed: seeds\)"):
        sensitivity(table(60), tiny(), ranges=RANGES, trials=2, out=tmp_path, seed=1, report=False)
    with pytest.raises(ConfigError, match="the data rows/label has changed"):
        sensitivity(table(61), tiny(), ranges=RANGES, trials=2, out=tmp_path, report=False)
    old = tmp_path / "old"
    old.mkdir()
    (old / "journal.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="holds a search of plait 0.1.*name another folder"):
        sensitivity(table(60), tiny(), ranges=RANGES, trials=2, out=old, report=False)


SEARCH = {
    "name": "tuned",
    "search": {"ranges": {"dropout": [0.0, 0.5], "depth": ["early", "late"]}, "trials": 9, "sampler": "grid"},
    "grid": None,
    "variants": {"a": {}, "b": {"layers": 1}},
    "split": {"kind": "official", "column": "part"},
    "metrics": ["accuracy"],
    "seeds": [3],
}


def of_a_file(folder: Path, **changes: Any) -> Study:
    frame = table(90).assign(part=["test" if i % 3 == 0 else "train" for i in range(90)])
    frame.to_csv(folder / "tiny.csv", index=False)
    (folder / "tiny.yaml").write_text(SCHEMA.replace("owner: who", "owner: who, part: which"))
    return tiny_study(folder, **{**SEARCH, **changes})


def test_a_study_file_may_search_with_several_workers(tmp_path):
    one = of_a_file(tmp_path)
    assert not one.check()
    assert len(one.runs) == 6  # the first three trials of both variants depend on no score
    results = one.run(tmp_path / "out", workers=2)
    assert results.status() | {"reasons": {}} == {
        "name": "tuned", "runs": 8, "done": 8, "failed": 0, "stopped": 0, "waiting": 0, "reasons": {},
    }  # fmt: skip
    assert set(results.runs["train_rows"] + results.runs["test_rows"]) == {60}
    rows = np.concatenate([results.predictions(run).rows for run in results.runs["run"]])
    assert (rows % 3 != 0).all()  # the official test part is never judged on
    drawn = results.runs.groupby("variant")[["set.dropout", "set.depth"]].apply(lambda v: set(map(tuple, v.to_numpy())))
    assert drawn["a"] == drawn["b"] == {(0.0, "early"), (0.0, "late"), (0.5, "early"), (0.5, "late")}
    assert list(results.summary()["regime"]) == ["a", "b"]
    more = of_a_file(tmp_path, search={**SEARCH["search"], "trials": 10}).run(tmp_path / "out", engine="inline")
    assert more.status()["done"] == 8  # there are no more combinations


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seeds": 2}, "seeds: a search has one"),
        ({"modalities": {"subsets": "all"}}, "modalities: a search compares settings alone"),
        ({"variants": {"a": {"depth": "late"}}}, "'depth' is searched for too"),
        ({"search": {"ranges": {"depth": ["early", "laet"]}}}, "did you mean 'late'"),
        ({"search": {"ranges": {"dropuot": "0..1"}}}, "did you mean 'dropout'"),
        ({"search": {"sampler": "gird"}}, "did you mean 'grid'"),
        ({"search": {"trails": 3}}, "did you mean 'trials'"),
    ],
)
def test_mistakes_of_a_searching_study(tmp_path, changes, match):
    with pytest.raises(ConfigError, match=match):
        of_a_file(tmp_path, **changes).require()


@pytest.mark.parametrize("name", ["grid", "random", "tpe"])
def test_samplers_draw_from_the_ranges_alike_each_time(name):
    spec = SearchSpec(read_ranges({**RANGES, "width": "8..64,log"}), trials=14, sampler=name)
    sampler = registry.find("samplers", name)(spec, 0, lower=False)
    assert [sampler.needs(n) for n in (0, 9, 12)] == [0, 0, 12 if name == "tpe" else 0]
    before: list[Trial] = []
    for number in range(sampler.most):
        drawn = sampler.draw(number, before[: sampler.needs(number)])
        assert drawn == sampler.draw(number, before[: sampler.needs(number)])
        assert 1e-4 <= drawn["learning_rate"] <= 1e-1
        assert drawn["batch_size"] in (16, 32)
        assert isinstance(drawn["width"], int)
        assert 8 <= drawn["width"] <= 64
        before.append(Trial(drawn, None if number == 1 else hill(drawn)))
    assert len({tuple(t.drawn.values()) for t in before}) == len(before)
    batch = registry.find("samplers", "tpe")(dataclasses.replace(spec, batch=4), 0, lower=False)
    assert [batch.needs(n) for n in (9, 10, 12, 15, 16)] == [0, 10, 12, 12, 16]


def test_importance_names_the_field_that_matters(tmp_path, monkeypatch):
    instead(monkeypatch, lambda s: float(math.log10(s["learning_rate"]) + 0.001 * s["dropout"]))
    found = sensitivity(table(60), tiny(), ranges=RANGES, trials=12, out=tmp_path, sampler="random", report=False)
    shares = found.importance.set_index("field")["share"]
    assert shares.idxmax() == "learning_rate"
    assert shares["learning_rate"] > 0.7
    assert shares.sum() == pytest.approx(1)
    assert found.best("as told")["learning_rate"] == found.trials["learning_rate"].max()


def test_failed_trials(tmp_path, monkeypatch):
    def sometimes(settings: dict[str, Any]) -> float:
        if settings["learning_rate"] > 1e-2 or settings.get("layers") == 1:
            raise PlaitError("training diverged")
        return hill(settings)

    seen = instead(monkeypatch, sometimes)
    regimes = {"good": None, "bad": {"layers": 1}}
    with pytest.warns(PlaitWarning, match="not one of 3 trials of 'bad' succeeded \\(training diverged\\)"):
        found = sensitivity(table(60), tiny(), ranges=RANGES, regimes=regimes, trials=8, out=tmp_path, report=False)
    assert list(found.budgets["regime"]) == ["good"]
    assert 0 < (found.trials["state"] == "failed").sum() < len(found.trials)
    assert set(found.trials.loc[found.trials["state"] == "failed", "reason"]) == {"training diverged"}
    assert len(seen) == 11
    assert list(found.to_dict()["best"]) == ["good"]
    instead(monkeypatch, lambda settings: (_ for _ in ()).throw(PlaitError("no way")))
    with pytest.raises(ConfigError, match="not one of 3 trials of 'as told' succeeded \\(no way\\)"):
        sensitivity(table(60), tiny(), ranges=RANGES, trials=8, out=tmp_path / "none", report=False)


@pytest.mark.filterwarnings("error")
def test_the_page(tmp_path, monkeypatch):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    from test_report import check_alone

    instead(monkeypatch, hill)
    ranges = {**RANGES, "depth": ["early", "late"]}
    regimes = {"<b>frozen": {"train": "frozen"}, "other": {"layers": 1}}
    found = sensitivity(table(60), tiny(), ranges=ranges, regimes=regimes, trials=12, out=tmp_path, command="plait x")
    seen = check_alone((tmp_path / "report.html").read_text("utf-8"))
    assert "<b>frozen” came within 1 % of its best" in seen.text
    names = {p.name for p in (tmp_path / "figures").glob("*.svg")}
    assert names == {"budget-trials.svg", "budget-seconds.svg", "importance.svg"} | {
        f"response-{f}.svg" for f in ("learning-rate", "batch-size", "dropout", "depth")
    }
    drawn = (tmp_path / "figures" / "response-learning-rate.svg").read_text("utf-8")
    assert "0.001" in drawn
    assert "mathdefault" not in drawn
    stored = pd.read_csv(tmp_path / "tables" / "trials.csv")
    np.testing.assert_allclose(stored["score"], found.trials["score"])
    assert json.loads((tmp_path / "summary.json").read_text())["metric"] == "accuracy"


# -- files and the command line -----------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    table(90).to_csv(tmp_path / "tiny.csv", index=False)
    (tmp_path / "tiny.yaml").write_text(SCHEMA)
    told = {
        "data": {"table": "tiny.csv", "schema": "tiny.yaml"},
        "model": QUICK,
        "ranges": RANGES,
        "regimes": ["frozen"],
        "trials": 3,
    }
    (tmp_path / "search.yaml").write_text(json.dumps(told))
    return tmp_path


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert not stop.value.code


def test_the_command_line_and_the_file_are_the_same(files, capsys, monkeypatch):
    instead(monkeypatch, hill)
    run("sensitivity", files / "search.yaml", "--out", files / "a", "--json", "--no-report")
    a = json.loads(capsys.readouterr().out)
    flags = [f"--range={k}={json.dumps(v) if isinstance(v, list) else v}" for k, v in RANGES.items()]
    sets = [f"--set={k}={json.dumps(v)}" for k, v in QUICK.items()]
    told = ["--schema", files / "tiny.yaml", "--regime", "frozen", "--trials", "3", *flags, *sets]
    run("sensitivity", files / "tiny.csv", *told, "--out", files / "b", "--json", "--no-report")
    b = json.loads(capsys.readouterr().out)
    assert [t["score"] for t in a["trials"]] == [t["score"] for t in b["trials"]]
    assert {k: v for k, v in a["told"].items() if k != "schema"} == {
        k: v for k, v in b["told"].items() if k != "schema"
    }
    run("sensitivity", files / "tiny.csv", *told, "--out", files / "b", "--no-report")
    assert "best settings" in capsys.readouterr().out


def test_official_parts_stay_with_the_data_set(files, data_root):
    given = rows_of({"dataset": "av_digits", "options": {"pairs": 30, "test_pairs": 10}}, files, str(data_root))
    assert given.official
    assert given.group == "recording"
    assert set(given.frame["split"]) == {"train"}
    assert len(given.frame) == 30


def test_bad_input_is_one_line(files, capsys):
    usual = ("sensitivity", files / "tiny.csv", "--schema", files / "tiny.yaml", "--out", files / "o")
    refused(capsys, "upside down", *usual, "--range", "dropout=0.5..0.1")
    refused(capsys, "starts above 0", *usual, "--range", "learning_rate=0..1,log")
    refused(capsys, "did you mean 'dropout'", *usual, "--range", "dropuot=0..1")
    refused(capsys, "did you mean 'scratch'", *usual, "--regime", "scatch")
    refused(capsys, "trials must be", *usual, "--trials", "0")
    refused(capsys, "did you mean 'tpe'", *usual, "--sampler", "tpee")
    refused(capsys, "did you mean 'accuracy'", *usual, "--metric", "acuracy")
    refused(capsys, "valid_fraction must be", *usual, "--valid-fraction", "1.5")
    refused(capsys, "splits must be", *usual, "--splits", "0")
    frame = table(60)
    told = {"'size'": frame.drop(columns="size"), "'label'": frame.drop(columns="label"), "at least 10": frame.head(8)}
    told["the same in all"] = frame.assign(label="pos")
    for number, (complaint, bad) in enumerate(told.items()):
        bad.to_csv(files / f"{number}.csv", index=False)
        refused(capsys, complaint, "sensitivity", files / f"{number}.csv", *usual[2:])
    (files / "bad.yaml").write_text("data: {table: tiny.csv, target: label}\ntrails: 3\n")
    refused(capsys, "did you mean 'trials'", "sensitivity", files / "bad.yaml", "--out", files / "o")
    (files / "none.yaml").write_text("trials: 3\n")
    refused(capsys, "data: expected", "sensitivity", files / "none.yaml", "--out", files / "o")
    with pytest.raises(ConfigError, match="did you mean 'table'"):
        (files / "tabel.yaml").write_text("data: {tabel: x, dataset: pokemon}\n")
        read_search(files / "tabel.yaml")
    with pytest.raises(TableError, match="no column 'who'"):
        sensitivity(frame, tiny(), out=files / "o", group="who")
    with pytest.raises(ConfigError, match="did you mean 'sampler'"):
        sensitivity(frame, tiny(), out=files / "o", smapler="tpe")
    # a setting that no trial can use
    refused(
        capsys,
        "did you mean 'concat'",
        *usual,
        "--set",
        "fusion=concta",
        "--trials",
        "3",
        "--regime",
        "frozen",
        "--no-report",
    )


# -- Optuna's storages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["sqlite:///{}/trials.db", "{}/deep/trials.log"])
def test_trials_are_kept_in_a_storage_and_taken_up_from_it(address, tmp_path, monkeypatch):
    seen = instead(monkeypatch, hill)
    storage = address.format(tmp_path)
    settings = {"ranges": {**RANGES, "depth": ["early", "late"]}, "store": "none", "report": False, "view": False}
    settings |= {"storage": storage, "settings": QUICK, "sampler": "random"}
    first = sensitivity(table(), tiny(), out=tmp_path / "a", trials=3, splits=2, **settings)
    assert len(seen) == 6
    (name,) = optuna.get_all_study_names(storage=opened(storage))
    kept = optuna.load_study(study_name=name, storage=opened(storage))
    assert [t.value for t in kept.trials] == pytest.approx(first.trials["score"].tolist())
    assert kept.best_params["depth"] in ("early", "late")  # its own words, not their places
    again = sensitivity(table(), tiny(), out=tmp_path / "elsewhere", trials=4, splits=2, **settings)
    assert len(seen) == 8  # one more trial; the others were there
    plain = sensitivity(table(), tiny(), out=tmp_path / "b", trials=4, splits=2, **{**settings, "storage": None})
    fields = ["trial", "score", "learning_rate", "batch_size", "dropout", "depth"]
    pd.testing.assert_frame_equal(again.trials[fields], plain.trials[fields])
    kept.enqueue_trial({"dropout": 0.1})  # somebody else's trial is none of ours
    kept.add_trial(optuna.trial.create_trial(value=9.0))
    sensitivity(table(), tiny(), out=tmp_path / "c", trials=4, splits=2, **settings)
    assert len(seen) == 16
    other = table().assign(size=0.5)
    sensitivity(other, tiny(), out=tmp_path / "d", trials=2, splits=2, **settings)
    assert len(seen) == 20  # other rows are another search
    assert len(optuna.get_all_study_names(storage=opened(storage))) == 2


def opened(storage: str) -> Any:
    if "://" in storage:
        return storage
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage))


def test_a_killed_search_completes_its_storage(tmp_path, monkeypatch):
    storage, calls = f"sqlite:///{tmp_path}/t.db", []

    def stopping(settings):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return None if len(calls) == 2 else hill(settings)

    instead(monkeypatch, stopping)
    settings = {"ranges": RANGES, "store": "none", "report": False, "view": False, "sampler": "random"}
    settings |= {"trials": 6, "out": tmp_path / "a", "settings": QUICK}
    with pytest.raises(KeyboardInterrupt):
        sensitivity(table(), tiny(), **settings)  # without a storage so far
    with pytest.warns(PlaitWarning, match="1 of 6 trials failed"):
        sensitivity(table(), tiny(), storage=storage, **settings)
    (name,) = optuna.get_all_study_names(storage=storage)
    kept = optuna.load_study(study_name=name, storage=storage)
    assert [t.state.name for t in kept.trials] == ["COMPLETE", "FAIL", *["COMPLETE"] * 4]


def test_a_study_file_and_the_command_line_name_a_storage(files, monkeypatch):
    seen = instead(monkeypatch, hill)
    storage = f"sqlite:///{files}/t.db"
    told = ("sensitivity", files / "search.yaml", "--no-report", "--storage", storage, "--out")
    run(*told, files / "a")
    run(*told, files / "b")
    assert len(seen) == 3
    file = {**json.loads((files / "search.yaml").read_text()), "storage": storage}
    (files / "again.yaml").write_text(json.dumps(file))
    run("sensitivity", files / "again.yaml", "--no-report", "--out", files / "c")
    assert len(seen) == 3
    searching = {"search": {**SEARCH["search"], "ranges": {"learning_rate": "1e-3..1e-2", "dropout": "0..1"}}}
    searching["search"] |= {"storage": storage, "trials": 2}
    of_a_file(files, **searching).run(files / "study", engine="inline")
    names = optuna.get_all_study_names(storage=storage)
    assert [name.rpartition(",")[0] for name in names] == [
        "search, rows/label, frozen",
        "tuned, tiny/label, a",
        "tuned, tiny/label, b",
    ]


def test_a_file_of_keys_and_a_way_to_log_in_are_no_password() -> None:
    assert storage_problem("postgresql://me@host:5432/db?sslkey=/home/me/key.pem&authSource=admin") is None
    assert "holds a password" in str(storage_problem("postgresql://host/db?password=hers"))


@pytest.mark.parametrize(
    ("storage", "complaint"),
    [
        ("postgresql://me:secret@host/db", "holds a password"),
        ("", "expected an address"),
        ("nodriver://x/y", "storage nodriver://x/y: cannot be opened"),
        ("sqlite:////no/such/folder/t.db", "cannot be opened"),
        ("{}/notes.txt", "cannot be opened"),
    ],
)
def test_bad_storages(storage, complaint, tmp_path, monkeypatch):
    instead(monkeypatch, hill)
    (tmp_path / "notes.txt").write_text("no journal\n")
    with pytest.raises(ConfigError, match=complaint) as caught:
        told = storage.format(tmp_path)
        sensitivity(table(), tiny(), out=tmp_path / "a", trials=3, report=False, view=False, storage=told)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
