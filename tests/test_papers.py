"""Protocols, papers and ``plait reproduce``."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

import plait
from plait import FusionClassifier, Study, papers
from plait.base import config
from plait.base.config import to_yaml
from plait.base.errors import ConfigError, PlaitWarning, TableError
from plait.base.tokens import Tokens
from plait.cli import main
from plait.encoders.scale import Scaler
from plait.estimators.fit_settings import FitSettings
from plait.papers import holding, pictures
from plait.papers.holding import Line, Reproduction
from plait.papers.page import weights as weights_figure
from plait.papers.paper import WEIGHTS, Column, Element, Row, originals, to_type
from plait.study import recipes
from plait.training.optimiser import AdamW, StepRule

PROTOCOL = "early-fusion-contrastive"


def insects(rows: int = 120, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Text, a category that stands in the text too, and a number; the class needs both."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=rows),
            "kind": rng.choice(["ant", "bee", "cow"], rows),
            "words": rng.choice(["the red house", "a blue tree", "some green sea"], rows),
        }
    )
    return frame, np.where((frame["kind"] == "cow") ^ (frame["size"] > 0), "x", "y")


MODALITIES = {
    "text": {"kind": "text", "columns": ["words", "kind"], "encoder": "hashed_ngrams"},
    "table": {"kind": "tabular", "columns": ["size", "kind"]},
}


def model(**fields: object) -> FusionClassifier:
    given = {"protocol": PROTOCOL, "modalities": MODALITIES, "store": "none", "epochs": 15, "width": 32} | fields
    return FusionClassifier(**given)


# -- the protocol as one name ------------------------------------------------------------------------------------------


def test_it_trains_one_network_on_exactly_the_training_rows_and_the_given_rows_choose() -> None:
    frame, y = insects()
    frame = pd.concat([frame[:60], frame[:4], frame[60:]], ignore_index=True)  # four rows twice: they stay eight
    y = np.concatenate([y[:60], y[:4], y[60:]])
    fitted = model().fit(frame[:84], y[:84], valid=(frame[84:104], y[84:104]))
    record = fitted.record_
    assert (record["distinct_rows"], record["validation_rows"], record["members"]) == (84, 20, 1)
    assert fitted.history_[0]["batches"] == {"train": 3, "valid": 1}  # 84 rows by 32
    assert fitted.members_.mixture.weights == {
        pattern: {"joint": 1.0} for pattern in [("text", "table"), ("text",), ("table",)]
    }
    # Raw logits of features as the encoders give them, and nothing else.
    inputs = fitted.features_.transform(frame[104:], None, None, strict=False, progress=False)
    raw = fitted.members_.members[0].outputs(inputs)["joint"]
    np.testing.assert_allclose(fitted.predict_proba(frame[104:]), raw.softmax(-1).numpy(), atol=1e-6)
    assert fitted.score(frame[104:], y[104:]) > 0.6


def test_validation_rows_teach_nothing_but_choose() -> None:
    frame, y = insects()
    rows, valid = (frame[:80], y[:80]), (frame[80:110], y[80:110])
    one = model(patience=1000).fit(*rows, valid=valid)
    other = model(patience=1000).fit(*rows, valid=(valid[0], np.where(valid[1] == "x", "y", "x")))
    assert [r["train_loss"] for r in one.history_] == [r["train_loss"] for r in other.history_]
    assert [r["valid_loss"] for r in one.history_] != [r["valid_loss"] for r in other.history_]
    assert not np.allclose(one.predict_proba(frame[110:]), other.predict_proba(frame[110:]))  # another epoch was chosen


def test_what_is_given_beside_it_wins_even_where_it_is_the_default() -> None:
    estimator = FusionClassifier(protocol=PROTOCOL, modality_dropout=0.2, scale=True)
    assert (estimator.modality_dropout, estimator.scale, estimator.members) == (0.2, True, 1)
    assert clone(estimator).get_params() == estimator.get_params()
    later = FusionClassifier(members=3).set_params(protocol=PROTOCOL, optimiser="adamw")
    assert (later.optimiser, later.schedule, later.members) == ("adamw", "constant", 1)
    assert config.protocol_settings(PROTOCOL).keys() <= estimator.get_params().keys()


def test_a_model_of_a_protocol_is_saved_and_loaded(tmp_path: Path) -> None:
    frame, y = insects()
    fitted = model().fit(frame[:80], y[:80], valid=(frame[80:], y[80:]))
    loaded = plait.load(fitted.save(tmp_path / "model"))
    assert (loaded.protocol, loaded.validation) == (PROTOCOL, "given")
    np.testing.assert_allclose(loaded.predict_proba(frame), fitted.predict_proba(frame), atol=1e-6)


def test_bad_protocols_and_validation_rows_are_one_line() -> None:
    frame, y = insects()
    with pytest.raises(ConfigError, match=f"unknown protocol 'early-fusion-contrast': did you mean '{PROTOCOL}'"):
        FusionClassifier(protocol="early-fusion-contrast").fit(frame, y)
    with pytest.raises(ConfigError, match=r"pass valid=\(X, y\)"):
        model().fit(frame, y)
    with pytest.raises(ConfigError, match="take validation: given"):
        FusionClassifier(store="none").fit(frame, y, valid=(frame, y))
    with pytest.raises(TableError, match="valid has 5 rows and 4 targets"):
        model().fit(frame, y, valid=(frame[:5], y[:4]))
    with pytest.warns(PlaitWarning, match="2 of 22 validation rows hold a class that no training row has"):
        model(epochs=1).fit(frame[:80], y[:80], valid=(frame[80:102], np.array(["z", "z", *y[82:102]])))


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        (StepRule("adam", "constant", 0.0), lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1)),
        (StepRule("adamw", "constant", 0.0), lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1)),
    ],
    ids=["adam", "adamw"],
)
def test_an_optimiser_at_a_constant_rate_is_that_of_torch(rule: StepRule, theirs: object) -> None:
    layers = []
    for make in (lambda p: AdamW(p, 0.01, 0.1, 40, warmup=0.0, rule=rule), theirs):
        torch.manual_seed(0)
        layer, x = torch.nn.Linear(4, 3), torch.randn(8, 4) * 100  # gradients far above any clipping
        optimiser = make(layer.parameters())
        for _ in range(20):
            layer.zero_grad()
            layer(x).square().sum().backward()
            optimiser.step()
        layers.append(layer.weight.detach())
    torch.testing.assert_close(*layers)


def test_a_plain_scaler_changes_nothing_but_may_reduce() -> None:
    tokens = Tokens.of_vectors(torch.randn(50, 6) * 100 + 7)
    assert torch.equal(Scaler(6, standardise=False).fit(tokens)(tokens).x, tokens.x)
    reduced = Scaler(2, standardise=False).fit(tokens)
    assert reduced(tokens).x.shape == (50, 1, 2)
    assert torch.equal(Scaler.restore(reduced.state())(tokens).x, reduced(tokens).x)


def test_the_parts_of_a_study_may_be_files(tmp_path: Path) -> None:
    frame, y = insects(150)
    frame["y"] = y
    for name, part in (("train", frame[:90]), ("valid", frame[90:110]), ("test", frame[110:])):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    spec = {
        "name": "parts",
        "data": {"table": "train.csv", "valid": "valid.csv", "test": "test.csv", "target": "y"},
        "model": {"protocol": PROTOCOL, "width": 16, "epochs": 3},
        "variants": {"paper": {}, "scaled": {"scale": True}},
        "seeds": 1,
    }
    results = Study.from_dict(spec, base=tmp_path).run(tmp_path / "out", engine="inline", store=str(tmp_path / "store"))
    assert set(results.runs["status"]) == {"done"}
    assert set(results.runs["train_rows"]) == {110}
    assert set(results.runs["test_rows"]) == {40}
    assert set(results.runs["set.scale"]) == {True, False}  # the protocol's own value, not the estimator's
    bad = Study.from_dict({**spec, "data": {"table": "train.csv", "valid": "valid.csv", "target": "y"}}, base=tmp_path)
    assert any("valid: without test" in mistake.text for mistake in bad.check(data=False))


def test_a_column_in_two_modalities_goes_the_whole_way(tmp_path: Path) -> None:
    """Text made of textual and categorical columns (section 4.1.1), whose categories stand in the table, too."""
    frame, y = insects()
    frame["y"] = y
    schema = plait.schema.from_dict({"modalities": MODALITIES, "target": "y", "task": "classification"})
    settings = {"protocol": PROTOCOL, "store": "none", "epochs": 3, "width": 16}
    outcome = plait.fit_table(frame, schema, settings, out=tmp_path / "model", report=False)
    assert {(row["modality"], row["column"]) for row in outcome.importance.to_dict("records")} >= {("table", "kind")}
    assert outcome.model.record_["validation_rows"] == round(0.05 * 120)  # a third as many as test rows
    loaded = plait.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.predict_proba(frame), outcome.model.predict_proba(frame), atol=1e-6)


def test_a_split_without_validation_rows_is_a_mistake_of_the_study(tmp_path: Path) -> None:
    spec = {"name": "s", "data": {"dataset": "pokemon", "target": "type_1"}, "model": {"protocol": PROTOCOL}}
    for split in ({"kind": "kfold"}, {"kind": "holdout", "fractions": [0.8, 0.2]}):
        [mistake] = Study.from_dict({**spec, "split": split}).check(data=False)
        assert "chosen by validation rows (validation: given)" in mistake.text
    assert not Study.from_dict(spec).check(data=False)
    # Official parts are only known with the table.
    frame, y = insects(60)
    schema = plait.schema.from_dict({"modalities": MODALITIES, "target": "y", "task": "classification"})
    parts = frame.assign(y=y, part=["train"] * 40 + ["test"] * 20)
    given = {**spec, "data": {"frame": "f"}, "split": {"kind": "official", "column": "part"}, "seeds": 1}
    study = Study.from_dict(given, frames={"f": (parts, schema)})
    reasons = study.run(tmp_path / "out", engine="inline", store="none").status()["reasons"]
    assert "official has no validation rows" in next(iter(reasons))


def test_features_may_enter_an_alignment_as_they_are() -> None:
    frame, y = insects()
    align = {"table": {"anchors": ["text"], "standardise": False, "epochs": 2}}
    fitted = model(align=align, epochs=1).fit(frame[:80], y[:80], valid=(frame[80:], y[80:]))
    standard = fitted.enhancers_["table"].network.state_dict()
    assert all(not v.any() for k, v in standard.items() if k.endswith("mean"))
    assert all((v == 1).all() for k, v in standard.items() if k.endswith("scale"))


def test_the_command_line_takes_the_parts_as_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame, y = insects(150)
    frame["y"] = y
    files = {name: str(tmp_path / f"{name}.csv") for name in ("train", "valid", "test")}
    for name, rows in (("train", frame[:90]), ("valid", frame[90:110]), ("test", frame[110:])):
        rows.to_csv(files[name], index=False)
    told = ["fit", files["train"], "--target", "y", "--protocol", PROTOCOL, "--valid", files["valid"]]
    out = ["--out", str(tmp_path / "model"), "--no-report", "--store", "none", "--epochs", "2", "--set", "width=16"]
    assert run([*told, *out]) == 2
    assert "--valid: which rows judge?" in capsys.readouterr().err
    assert run([*told, *out, "--test", files["test"], "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["record"]["rows"], result["record"]["validation_rows"]) == (90, 20)
    assert result["evaluation"]["rows"] == 40


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


# -- papers ------------------------------------------------------------------------------------------------------------


def made_paper(folder: Path, **changes: object) -> Path:
    """A paper of two tables and a figure on generated rows."""
    (folder / "recipes").mkdir(parents=True)
    frame, y = insects(150)
    frame["y"] = y
    frame.to_csv(folder / "recipes" / "insects.csv", index=False)
    recipe = {
        "name": "made",
        "format": 1,
        "data": [
            {"table": "insects.csv", "target": "y", "name": "insects/y"},
            {"dataset": "pokemon", "target": "type_1", "root": "nowhere"},
        ],
        "model": {"protocol": PROTOCOL, "width": 16, "epochs": 30},
        "variants": {"paper": {}, "one epoch": {"epochs": 1, "learning_rate": 1e-6}},
        "seeds": 2,
        "metrics": ["accuracy"],
    }
    column = {"name": "insects", "data": "Insects", "ours": "insects/y", "same": True}
    table = {
        "name": "table1",
        "title": "Accuracy",
        "status": "there",
        "recipes": ["made"],
        "columns": [column, {"name": "birds", "data": "Birds"}],
        "rows": [
            {"name": "network", "variant": "paper", "values": [0.2, 0.5]},
            {"name": "untrained", "variant": "one epoch", "values": [0.1, 0.4]},
            {"name": "rival", "cited": True, "values": [0.99, 0.9]},
        ],
        "orders": [["network", "untrained"]],
    }
    figure = {"name": "figure1", "title": "A drawing", "status": "not_there", "why": "it is a drawing"}
    paper = {"format": 1, "title": "On insects", "citation": "A. Nt", "elements": [table, figure]}
    for place, value in changes.items():
        kind, _, field = place.partition("__")
        {"recipe": recipe, "table": table, "figure": figure, "paper": paper}[kind][field] = value
    (folder / "paper.yaml").write_text(to_yaml(paper))
    (folder / "recipes" / "made.yaml").write_text(to_yaml(recipe))
    return folder


def test_a_paper_is_reproduced_and_resumed(tmp_path: Path) -> None:
    folder, out = made_paper(tmp_path / "on_insects"), tmp_path / "out"
    run = {"out": out, "store": str(tmp_path / "store"), "engine": "inline"}
    result = papers.reproduce(folder, **run)
    lines = {line.cell: line for line in result.lines}
    network = lines["network, insects"]
    assert (network.paper, network.data, network.our_data, network.seeds) == (0.2, "Insects", "insects/y", 2)
    assert network.low <= network.ours <= network.high
    assert network.verdict == "held"
    untrained = lines["untrained, insects"]  # it reaches the paper's 0.1, as does one answer for all
    assert (untrained.verdict, untrained.reason) == ("not decided", "ours is no better than the majority")
    assert lines["network, birds"].verdict == "not there"
    assert (lines["rival, insects"].verdict, lines["rival, insects"].ours) == ("cited", None)
    assert lines["network above untrained, insects"].order
    assert [line.verdict for line in result.lines if line.element == "figure1"] == ["not there"]
    [not_run] = result.not_run
    assert "pokemon.csv is not there (Pokemon (rebuilt) comes from https" in not_run
    page = result.page.read_text()
    assert page.index("table1: Accuracy") < page.index("figure1: A drawing")
    assert [text in page for text in ("it is a drawing", "Pokemon (rebuilt)", 'src="http')] == [True, True, False]
    # Claims stand in the study, too; and what was done is not done again, nor when it was killed in between.
    study = next(out.glob("made-insects-y"))
    assert "value: 0.2" in (study / "study.yaml").read_text()
    lines_file = study / "results.jsonl"
    whole = lines_file.read_text().splitlines(keepends=True)
    lines_file.write_text("".join(whole[:-1]))  # as if it had been killed before the last run was done
    again = papers.reproduce(folder, **run)
    assert lines_file.read_text().splitlines(keepends=True)[: len(whole) - 1] == whole[:-1]
    assert [(line.cell, line.ours) for line in again.lines] == [(line.cell, line.ours) for line in result.lines]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paper__format": 2}, "on_insects/paper.yaml: format 2 is of another plait"),
        ({"recipe__format": 7}, "format 7 is of another plait"),
        ({"table__recipes": ["mad"]}, "table1: no recipe 'mad': did you mean 'made'"),
        (
            {"table__rows": [{"name": "network", "values": [0.2]}]},
            "table1, row 'network', column 'birds': a claim without a number, found None",
        ),
        ({"figure__why": ""}, "figure1: status not_there, and no why:"),
        ({"figure__status": "gone"}, "figure1: status 'gone'"),
        ({"table__orders": [["network", "birds"]]}, "table1: orders: no row 'birds'"),
        ({"table__orders": 1e300}, "table1: orders: expected a list, found float"),  # the campaign: mutations 262
        ({"table__orders": [["network"]]}, "table1: orders: expected pairs of rows, found ['network']"),
        ({"table__columns": None}, "table1: columns: expected a list, found NoneType"),
        ({"table__recipes": [3]}, "table1: recipes must be a list of text, found (3,)"),
        ({"figure__status": {}}, "figure1: status must be text, found {}"),
        ({"paper__quick": {"made": 3}}, "on_insects/paper.yaml: quick of 'made' must be a mapping, found 3"),
        ({"recipe__variants": {"paper": {"protocol": "early"}}}, "unknown protocol 'early'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_mistake_in_a_paper_is_one_line(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        papers.reproduce(made_paper(tmp_path / "on_insects", **changes), out=tmp_path / "out", engine="inline")
    assert "\n" not in str(error.value)


def test_unknown_papers_and_elements_name_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="unknown paper 'early-fusion-contrastiv': did you mean 'early-fusion-contr"):
        papers.reproduce("early-fusion-contrastiv")
    assert run(["reproduce", "early-fusion-contrastive", "--only", "tabel4"]) == 2
    assert "has no element 'tabel4': did you mean 'table4'?" in capsys.readouterr().err
    assert run(["reproduce"]) == 2
    assert "plait reproduce --list names them" in capsys.readouterr().err


def test_the_papers_and_their_elements_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reproduce", "--list"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()[1:]] == papers.names()
    assert run(["reproduce", "early-fusion-contrastive", "--list", "--json"]) == 0
    elements = [record["element"] for record in json.loads(capsys.readouterr().out)]
    assert elements[:8] == ["figure1", *(f"table{n}" for n in range(1, 7)), "figure2"]


def test_every_recipe_of_a_paper_belongs_to_an_element_or_stands_beside_one() -> None:
    for name in papers.names():
        paper = papers.read(name)
        used = {recipe for element in paper.elements for recipe in element.recipes}
        assert used <= set(recipes()), name
        for element in paper.elements:  # every claim names a variant that its recipe has
            variants = {v.label for recipe in element.recipes for v in Study.load(recipe).variants}
            named = {
                str(row.variant).partition(", trained: ")[0] for row in element.rows if row.variant not in (None, "-")
            }
            assert not element.recipes or named <= variants, (name, element.name)


def test_the_ablation_ends_at_the_default() -> None:
    variants = Study.load("early_fusion_ablation").variants
    paper, default = config.protocol_settings(PROTOCOL), FitSettings()
    assert {k: v for k, v in variants[0].model.items() if k != "protocol"} == paper
    last = variants[-1].model
    assert {k: tuple(last[k]) if k == "branches" else last[k] for k in paper} == {k: getattr(default, k) for k in paper}
    for before, after in itertools.pairwise(variants):  # cumulative: nothing is taken back
        changed = {k for k in paper if after.model[k] != before.model[k]}
        assert [before.model[k] for k in changed] == [paper[k] for k in changed], after.label
        assert changed, after.label


def test_quick_is_small_and_holds_no_number_against_the_paper(tmp_path: Path) -> None:
    folder = made_paper(tmp_path / "on_insects", recipe__seeds=5, paper__quick={"made": {"data": {"rows": 60}}})
    result = papers.reproduce(folder, quick=True, out=tmp_path / "out", store=str(tmp_path / "store"), engine="inline")
    lines = {line.cell: line for line in result.lines}
    assert (lines["network, insects"].seeds, lines["network, insects"].verdict) == (2, "not testable here")
    runs = result.results["made"]["insects/y"].runs
    assert set(runs["status"]) == {"done"}
    assert set(runs["train_rows"] + runs["test_rows"]) == {60}
    assert result.results["made"]["insects/y"].spec.model["epochs"] == 8


def spaces_at(*shares: Sequence[float], chance: float = 0.5) -> tuple[Element, SimpleNamespace]:
    """An element of one evaluation of aligned vectors, and runs that reached these shares on four folds, a row each."""
    column = {"name": "top-1", "data": "d", "ours": "d", "same": True, "metric": "top-1", "evaluation": "zero_shot d"}
    names = [f"v{place}" for place in range(len(shares))]
    rows = [Row(name, (0.4 - 0.1 * place,), name, condition="zero-shot") for place, name in enumerate(names)]
    element = Element("table4", "Names", "there", "", ("r",), (Column(**column),), tuple(rows), orders=(("v0", "v1"),))
    common = {"status": "done", "dataset": "d", "seed": 0, "train_rows": 90, "test_rows": 30}
    lines = [
        {**common, "split": fold, "run": f"{name}-{fold}", "variant": name, "evaluations": [told]}
        for name, row in zip(names, shares, strict=True)
        for fold, share in enumerate(row)
        for told in [
            {"condition": "zero_shot d: zero-shot", "frozen": False, "metrics": {"top-1": share}, "chance": chance}
        ]
    ]
    return element, SimpleNamespace(lines=lines)


def test_a_score_that_no_run_reached_is_said(tmp_path: Path) -> None:
    folder = made_paper(tmp_path / "on_insects")
    paper, recipe = config.read_yaml(folder / "paper.yaml"), config.read_yaml(folder / "recipes" / "made.yaml")
    column = paper["elements"][0]["columns"][0]
    paper["elements"][0]["columns"] = [{**column, "metric": f"epochs_to_{s}:accuracy"} for s in (0.1, 1.1)]
    recipe |= {"data": recipe["data"][0], "seeds": 1}
    recipe["model"] |= {"record_epochs": True, "epochs": 2}
    (folder / "paper.yaml").write_text(to_yaml(paper))
    (folder / "recipes" / "made.yaml").write_text(to_yaml(recipe))
    lines = papers.reproduce(folder, "table1", out=tmp_path / "out", store="none", engine="inline").lines
    network = [(line.ours, line.verdict, line.reason) for line in lines if line.cell.startswith("network, ")]
    assert network == [(1.0, "not testable here", "other data"), (None, "not decided", "no run of ours reached 1.1")]


@pytest.mark.parametrize(
    ("shares", "verdicts", "why"),
    [
        (
            ((0.5, 0.49, 0.51, 0.5), (0.5, 0.49, 0.51, 0.5)),
            ["not decided"] * 3,
            "both no better than the commonest class",
        ),
        (((0.9, 0.91, 0.9, 0.92), (0.5, 0.49, 0.51, 0.5)), ["held", "not decided", "held"], "ours +0.407"),
        (((0.9, 0.91, 0.9, 0.92), (0.8, 0.82, 0.8, 0.81)), ["held"] * 3, "ours +0.100"),
    ],
)
def test_nothing_is_concluded_from_spaces_that_answer_no_better_than_one_class(
    shares: tuple[Sequence[float], ...], verdicts: list[str], why: str
) -> None:
    element, results = spaces_at(*shares)
    found = holding.lines(element, {"r": {"d": results}})
    assert [line.verdict for line in found] == verdicts
    assert found[-1].reason.startswith(why)


def test_a_row_of_which_nothing_is_ours_is_in_no_order() -> None:
    element, results = spaces_at((0.9, 0.91, 0.9, 0.92), (0.8, 0.82, 0.8, 0.81))
    rows = (element.rows[0], dataclasses.replace(element.rows[1], original=True))
    found = holding.lines(dataclasses.replace(element, rows=rows), {"r": {"d": results}})
    assert [(line.cell, line.verdict) for line in found] == [("v0", "held"), ("v1", "not there")]


# -- rivals ------------------------------------------------------------------------------------------------------------


def paper_with_rivals(folder: Path) -> Path:
    """A table whose rivals are an operator over the same features and AutoGluon Tabular, both on all modalities alone."""
    made_paper(folder)
    paper, recipe = config.read_yaml(folder / "paper.yaml"), config.read_yaml(folder / "recipes" / "made.yaml")
    told = {"modalities": MODALITIES, "target": "y", "task": "classification"}
    (folder / "recipes" / "schema.yaml").write_text(to_yaml(told))
    recipe["data"] = {"table": "insects.csv", "schema": "schema.yaml", "name": "insects/y"}
    gluon = {"estimator": "autogluon", "minutes": 0.1, "subsets": "full"}
    recipe["variants"] = {"paper": {}, "gate": {"fusion": "mag", "subsets": "full"}, "gluon": gluon}
    recipe |= {"modalities": {"subsets": "all"}, "metrics": ["accuracy", "log_loss"]}
    [table, _] = paper["elements"]
    table["rows"] = [
        {"name": "network", "variant": "paper", "values": [0.2, 0.5]},
        {"name": "GATE", "variant": "gate", "like": "its gate over the same features", "values": [0.1, 0.4]},
        {"name": "GLUON", "variant": "gluon", "like": "AutoGluon Tabular", "values": [0.1, 0.4]},
    ]
    table |= {"orders": [["network", "GATE"]], "also": ["log_loss"]}
    (folder / "paper.yaml").write_text(to_yaml(paper))
    (folder / "recipes" / "made.yaml").write_text(to_yaml(recipe))
    return folder


def test_a_rival_of_which_a_part_is_ours_runs_and_is_never_held_against_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "autogluon", None)  # not installed
    folder = paper_with_rivals(tmp_path / "on_insects")
    run = {"out": tmp_path / "out", "store": str(tmp_path / "store"), "engine": "inline"}
    result = papers.reproduce(folder, "table1", **run)
    lines = {line.cell: line for line in result.lines}
    gate, gluon = lines["GATE, insects"], lines["GLUON, insects"]
    assert (gate.verdict, gate.reason) == ("not testable here", "ours is its gate over the same features")
    assert gate.low <= gate.ours <= gate.high
    assert lines["network, insects"].verdict == "held"
    assert (gluon.verdict, gluon.ours) == ("not run", None)
    assert 'pip install "plait[bench]"' in gluon.reason
    assert any("2 runs failed" in text and "autogluon" in text for text in result.not_run)
    assert not [line for line in result.lines if "not decided" in line.reason]  # once, in the verdict
    runs = result.results["made"]["insects/y"].runs
    assert runs["variant"].value_counts().to_dict() == {
        "paper": 6,
        "gate": 2,
        "gluon": 2,
    }  # two seeds; gate on all alone
    assert "value: 0.1" not in (tmp_path / "out" / "made-insects-y" / "study.yaml").read_text()  # no claim of the study
    page = result.page.read_text()
    assert "GATE (ours: its gate over the same features)" in page
    beside = pd.read_csv(tmp_path / "out" / "tables" / "table1-log_loss.csv").set_index("row")
    assert list(beside.index) == ["network", "GATE (ours: its gate over the same features)"]
    # Once it is there, the same command runs what failed and nothing else.
    monkeypatch.setitem(sys.modules, "autogluon", ModuleType("autogluon"))
    monkeypatch.setitem(sys.modules, "autogluon.tabular", fake_autogluon())
    again = papers.reproduce(folder, "table1", **run)
    answered = {line.cell: line for line in again.lines}["GLUON, insects"]
    assert (answered.verdict, answered.seeds) == ("not testable here", 2)
    assert answered.ours > 0.45  # the share of the class that it answers
    first, second = result.results["made"]["insects/y"], again.results["made"]["insects/y"]
    assert [line["run"] for line in second.lines if line["variant"] != "gluon"] == [
        line["run"] for line in first.lines if line["variant"] != "gluon"
    ]


def fake_autogluon() -> ModuleType:
    """What plait calls of AutoGluon: it answers every class by its share, and says what it was told."""

    class TabularPredictor:
        def __init__(self, label: str, *, problem_type: str, eval_metric: str, path: str, verbosity: int) -> None:
            assert (problem_type, eval_metric, Path(path).is_dir()) == ("binary", "log_loss", True)
            self.label = label

        def fit(self, frame: pd.DataFrame, *, presets: str, time_limit: float, **told: object) -> TabularPredictor:
            assert (presets, time_limit, told["dynamic_stacking"]) == ("best_quality", 6.0, False)  # 0.1 minutes
            assert any(isinstance(kind, pd.CategoricalDtype) for kind in frame.dtypes)
            assert frame.notna().any().all()
            self.share = frame[self.label].value_counts(normalize=True).sort_index()
            return self

        def predict_proba(self, frame: pd.DataFrame, as_multiclass: bool) -> pd.DataFrame:
            assert self.label not in frame
            return pd.DataFrame([self.share.to_numpy()] * len(frame), columns=self.share.index)

    module = ModuleType("autogluon.tabular")
    module.TabularPredictor = TabularPredictor  # type: ignore[attr-defined]
    return module


def test_a_variant_is_kept_to_modalities_that_there_are(tmp_path: Path) -> None:
    spec = {"name": "s", "data": {"dataset": "pokemon", "target": "type_1"}, "variants": {"one": {"subsets": "ful"}}}
    [mistake] = Study.from_dict(spec).check(data=False)
    assert "subsets: expected full, singles, pairs or a list of lists of modalities, found 'ful'" in mistake.text
    for value in ("full", [["text"], ["text", "image"]]):
        assert not Study.from_dict({**spec, "variants": {"one": {"subsets": value}}}).check(data=False)


# -- pictures of numbers -----------------------------------------------------------------------------------------------


def drawn_paper(folder: Path, **draws: object) -> Path:
    """A paper whose table has times beside scores, and pictures of both."""
    columns = [
        {"name": "accuracy", "data": "Insects", "ours": "insects/y", "metric": "accuracy"},
        {"name": "training", "data": "Insects", "ours": "insects/y", "metric": "seconds_training"},
        {"name": "dearer", "data": "Insects", "ours": "insects/y", "metric": "change:storage_mb/one epoch"},
    ]
    rows = [
        {"name": "untrained", "variant": "one epoch", "values": [0.5, 10, 0.0]},
        {"name": "network", "variant": "paper", "values": [0.6, 40, 0.25]},
    ]
    table = {
        "name": "table2",
        "title": "Numbers",
        "status": "there",
        "recipes": ["made"],
        "columns": columns,
        "rows": rows,
    }
    figures = [
        {"name": f"figure{place}", "title": "A figure", "status": "there", "recipes": ["made"], "draws": told}
        for place, told in enumerate(draws.values(), 2)
    ]
    place = made_paper(folder)
    paper = config.read_yaml(place / "paper.yaml")
    paper["elements"] = [table | {"draws": {"figure": "bars"}}, *figures]
    (place / "paper.yaml").write_text(to_yaml(paper))
    recipe = config.read_yaml(place / "recipes" / "made.yaml")
    recipe["data"] = recipe["data"][0]
    recipe["model"] |= {"record_epochs": True, "epochs": 3}
    (place / "recipes" / "made.yaml").write_text(to_yaml(recipe))
    return place


def test_figures_are_drawn_of_the_papers_numbers_and_ours(tmp_path: Path) -> None:
    folder = drawn_paper(
        tmp_path / "on_insects",
        changes={"figure": "changes", "of": ["table2"], "columns": ["accuracy", "dearer"]},
        stacked={"figure": "stacked", "of": ["table2"], "parts": ["training"]},
        points={"figure": "points", "x": ["table2", "training"], "y": ["table2", "accuracy"]},
        epochs={
            "figure": "epochs",
            "metrics": ["accuracy"],
            "variants": ["paper", "one epoch"],
            "patterns": ["", "text"],
        },
        boxes={"figure": "boxes", "rows": [["words", "numbers"], ["network"]], "caption": "A made drawing"},
    )
    run = {"out": tmp_path / "out", "store": str(tmp_path / "store"), "engine": "inline"}
    result = papers.reproduce(folder, **run)
    assert {line.cell: line.ours for line in result.lines}["untrained, dearer"] == 0.0  # against itself
    names = {path.stem for path in (tmp_path / "out" / "figures").glob("*.svg")}
    assert names == {
        *("table2-accuracy", "table2-training", "table2-dearer", "figure2-changes-paper", "figure2-changes-ours"),
        *("figure3-parts-paper", "figure3-parts-ours", "figure4-points-paper", "figure4-points-ours"),
        *("figure5-accuracy-all", "figure6-boxes"),
    }
    assert "A made drawing" in result.page.read_text()
    shape = pd.read_csv(tmp_path / "out" / "tables" / "table2-shape.csv")  # rows and columns as the paper has them
    assert shape["row"].tolist() == ["untrained", "network"]
    assert shape["accuracy, paper"].tolist() == [0.5, 0.6]
    ours = {line.cell: line.ours for line in result.lines}
    assert shape["accuracy, ours"].tolist() == [ours["untrained, accuracy"], ours["network, accuracy"]]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"figure": "bar"}, "figure2: draws: no figure 'bar': did you mean 'bars'"),
        ({"figure": "stacked", "part": ["x"]}, "figure2: draws: stacked: missing a required argument: 'parts'"),
        (
            {"figure": "stacked", "of": ["table2"], "parts": ["trainig"]},
            "table2: draws: no column 'trainig': did you mean 'tra",
        ),
        ({"figure": "changes", "of": ["table3"], "columns": []}, "has no element 'table3': did you mean 'table2'"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_one_line(told: dict[str, object], message: str, tmp_path: Path) -> None:
    folder = drawn_paper(tmp_path / "on_insects", told=told)
    with pytest.raises(ConfigError, match=re.escape(message)):
        papers.reproduce(folder, "figure2", out=tmp_path / "out", store=str(tmp_path / "store"), engine="inline")


def test_a_wide_picture_stands_alone(tmp_path: Path) -> None:
    """Two that are as wide as the page would be cut beside each other; small ones share a row."""
    made = config.read_yaml(made_paper(tmp_path / "on_insects") / "paper.yaml")
    drawings = {"figure1": {"figure": "bars"}, "figure2": {"figure": "boxes", "rows": [["a"] * 8]}}
    rows = {}
    for name, told in drawings.items():
        made["elements"][1] = made["elements"][0] | {"name": name, "draws": told, "orders": []}
        (tmp_path / "on_insects" / "paper.yaml").write_text(to_yaml(made))
        paper = papers.read(tmp_path / "on_insects")
        drawn = pictures.draw(Reproduction(paper, list(paper.elements), [], [], {}, tmp_path), paper.elements[1])
        rows[name] = [[one.wide for one in row.pictures] for row in drawn]
    assert rows == {"figure1": [[False, False]], "figure2": [[True]]}


def test_weights_are_numbers_that_can_be_read(tmp_path: Path) -> None:
    """Axes of powers of ten: labels have no formulas, which would be printed as they are written."""
    paper = papers.read(made_paper(tmp_path / "on_insects"))
    lines = [
        Line("figure2", name, WEIGHTS, weights, "Insects") for name, weights in (("network", 5e5), ("rival", 3.65e8))
    ]
    figure = weights_figure(Reproduction(paper, list(paper.elements), lines, [], {}, tmp_path), lines)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    assert "mathdefault" not in drawn.getvalue()
    assert {"1M", "100M"} <= {text.get_text() for text in figure.axes[0].get_xticklabels()}


def test_real_data_keep_their_names(data_root: Path, tmp_path: Path) -> None:
    """MOSI is the paper's own, but for the utterances that have no class; a stand-in is never called by the paper's name."""
    lines = papers.reproduce("early-fusion-contrastive", "table2", out=tmp_path).lines
    ours = {line.cell: (line.paper, line.ours, line.our_data, line.verdict) for line in lines if line.ours is not None}
    assert ours["CMU-MOSI, classes"] == (2, 2.0, "CMU-MOSI, binary", "held")
    assert ours["CMU-MOSI, test"][3] == "not held"  # 656 of 686: neutral ones have no place in two classes
    assert papers.holding.label("pokemon/type_1") == "Pokemon (rebuilt), type_1"


def test_a_reader_who_owns_the_data_runs_the_originals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuG's own files, tiny, take the place of the rebuilt table in table 4, under the paper's name of it."""
    from PIL import Image

    folder = tmp_path / "data" / "mug" / "Pokemon-primary_type"
    folder.mkdir(parents=True)
    (folder / "info.json").write_text(json.dumps({"label": "Kind"}))
    rng = np.random.default_rng(0)
    for part, rows in (("train", 48), ("dev", 12), ("test", 12)):
        kinds = rng.choice(["fire", "water"], rows)
        names = [f"{part}_images/{i}.png" for i in range(rows)]
        with zipfile.ZipFile(folder / f"{part}_images.zip", "w") as archive:
            for name, kind in zip(names, kinds, strict=True):
                cell = io.BytesIO()
                Image.new("RGB", (8, 8), (250, 10, 10) if kind == "fire" else (10, 10, 250)).save(cell, "PNG")
                archive.writestr(name, cell.getvalue())
        words = [f"it burns and it is a {k} being of kind {i}" for i, k in enumerate(kinds)]
        told = {"Image Path": names, "Text": words, "Hue": rng.choice(["red", "blue"], rows), "Cost": rng.random(rows)}
        pd.DataFrame(told | {"Kind": kinds}).to_csv(folder / f"{part}.csv", index=False)
    monkeypatch.setenv("PLAIT_DATA", str(tmp_path / "data"))
    paper = papers.read("early-fusion-contrastive")
    quick = {"model": {"encoders": {"text": "hashed_ngrams", "image": "pixel_statistics"}, "epochs": 5, "width": 16}}
    quick |= {
        "modalities": {"subsets": [["text"], ["text", "image", "tabular"]]},
        "variants": {"pulled": {"epochs": 2}},
    }
    monkeypatch.setattr(papers.running, "read", lambda name: dataclasses.replace(paper, quick={"mug_original": quick}))
    result = papers.reproduce(paper.name, "table4", quick=True, out=tmp_path / "out", store="none", engine="inline")
    lines = {line.cell: line for line in result.lines}
    text = lines["T, pkm_t1"]
    assert (text.our_data, text.seeds, text.verdict) == ("MuG pkm_t1", 2, "not testable here")
    assert text.low <= text.ours <= text.high
    assert lines["T, pkm_t2"].verdict == "not run"
    assert any("mug_original, MuG hs_mr: data set 'mug'" in text for text in result.not_run)
    study = (tmp_path / "out" / "mug_original-MuG-pkm_t1" / "study.yaml").read_text()
    assert "categories_in_text: true" in study


def test_an_evaluation_on_data_that_are_not_here_is_counted_and_the_others_are_made(tmp_path: Path) -> None:
    folder = made_paper(tmp_path / "on_insects")
    words = ["red ant", "blue bee", "green cow", "old dog", "new elk"]
    rng = np.random.default_rng(0)
    told = [" ".join(rng.permutation(words)[:3]) for _ in range(60)]
    pd.DataFrame({"a": told, "b": [text[::-1] for text in told]}).to_csv(folder / "recipes" / "pairs.csv", index=False)
    text = {"kind": "text", "encoder": {"name": "hashed_ngrams", "width": 32}}
    (folder / "recipes" / "pairs.yaml").write_text(
        to_yaml({"modalities": {"a": {**text, "columns": ["a"]}, "b": {**text, "columns": ["b"]}}})
    )
    recipe = {
        "name": "made",
        "format": 1,
        "space": {"evaluations": ["retrieval", *({"name": n, "dataset": "qqp"} for n in ("paraphrase", "retrieval"))]},
        "data": {"table": "pairs.csv", "schema": "pairs.yaml", "name": "pairs"},
        "variants": {"cca": {"stage": "cca"}},
        "seeds": 2,
        "split": {"kind": "holdout", "fractions": [0.8, 0.2]},
    }
    (folder / "recipes" / "made.yaml").write_text(to_yaml(recipe))
    result = papers.reproduce(folder, "table1", out=tmp_path / "out", store="none", engine="inline")
    gone = "qqp: QQP is not here; plait data fetch qqp --accept-licence"
    assert result.not_run == [f"made, pairs: {name} {gone}" for name in ("paraphrase", "retrieval")]
    measured = result.results["made"]["pairs"]
    assert set(measured.runs["status"]) == {"done"}
    assert {line["condition"].partition(": ")[0] for one in measured.lines for line in one["evaluations"]} == {
        "retrieval"
    }
    assert (tmp_path / "out" / "made-pairs-without-qqp").is_dir()  # with it, it is another study


def test_a_reader_who_owns_a_table_has_its_rows_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MulDIC's own files, tiny: training rows that choose are counted among those to learn from, as the paper has two parts."""
    for part, rows in (("train", 40), ("test", 10)):
        for kind in ("bug", "feature"):
            file = tmp_path / "muldic" / "Roslyn" / f"{part}_data" / f"Roslyn_{part}_{kind}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            told = {"title": [f"{kind} {i}" for i in range(rows)], "code": "x = 1", "label": kind}
            pd.DataFrame(told).to_csv(file, index=False)
    monkeypatch.setenv("PLAIT_DATA", str(tmp_path))
    lines = papers.reproduce("early-fusion-contrastive", "table3", out=tmp_path / "out").lines
    found = {line.cell: (line.ours, line.verdict) for line in lines}
    assert found["Roslyn, train"] == (80, "not held")
    assert found["Roslyn, classes"] == (2, "held")
    assert found["Flutter, train"] == (None, "not run")


def test_the_page_says_what_a_reader_who_owns_the_data_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_DATA", str(tmp_path))
    for name in papers.names():
        paper = papers.read(name)
        said = {element for one in originals(paper, paper.elements) for element in one.elements}
        for element in paper.elements:
            ours = {column.original for column in element.columns} | {row.own for row in element.rows}
            assert element.name in said or not ours - {None}, f"{name}, {element.name}"
    paper = papers.read("context-based-fusion")
    told = {one.label: one.how for one in originals(paper, paper.chosen("table2"))}
    assert told["QQP"] == "plait data fetch qqp --accept-licence"
    command = 'pip install "plait[hub,text]" && plait reproduce context-based-fusion --only table2'
    assert to_type(paper, paper.chosen("table2")) == command
    page = papers.reproduce("early-fusion-contrastive", "table3", out=tmp_path / "out").page.read_text()
    assert "by hand from https://github.com/chang26/MulDIC: muldic/VS Code" in " ".join(page.split())
    assert "plait reproduce early-fusion-contrastive --only table3" in page


def test_pictures_of_numbers_take_no_name_of_a_papers_own() -> None:
    own = {str(e.draws["figure"]) for e in papers.read("early-fusion-conv-lstm").elements if e.draws}
    assert own
    assert not own & set(papers.paper.PICTURES)
