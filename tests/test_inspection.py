"""Inspection: formulas against naive loops and known answers; embeddings of every kind of model; the page; bad input."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plait import FusionClassifier, FusionRegressor
from plait.base.errors import ConfigError, ModelError, PlaitError, PlaitWarning, TableError
from plait.cli import main
from plait.data import schema as schemas
from plait.workflow.fit import Command, fit_table
from plait.workflow.inspection.embeddings import ALL, embeddings, project
from plait.workflow.inspection.inspecting import compare_runs, inspect
from plait.workflow.inspection.measures import (
    alignment,
    class_alignment,
    debiased_cka,
    linear_cka,
    linear_probe,
    uniformity,
)
from plait.workflow.inspection.page import write_inspection
from plait.workflow.inspection.result import HeldOut
from refusing import refused
from study_tiny import SCHEMA, table

QUICK = {"members": 2, "epochs": 3, "width": 8, "store": "none", "progress": False}
DRAWS = np.random.default_rng(0)


# -- formulas -----------------------------------------------------------------------------------------------------------


def rotation(d: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))[0]


@pytest.mark.parametrize("cka", [linear_cka, debiased_cka])
def test_cka_of_a_rotation_is_one(cka):
    x = DRAWS.normal(size=(40, 6))
    assert math.isclose(cka(x, 5 * x @ rotation(6) + 3), 1.0, abs_tol=1e-9)
    assert math.isnan(cka(x, np.ones((40, 2))))
    assert not math.isclose(cka(x, x @ np.diag([1, 9, 1, 1, 1, 1])), 1.0, abs_tol=1e-2)  # no rotation


def test_cka_of_independent_noise_is_near_zero_only_when_debiased():
    found = [(debiased_cka(a, b), linear_cka(a, b)) for a, b in DRAWS.normal(size=(20, 2, 50, 200))]
    debiased, biased = np.mean(found, axis=0)
    assert abs(debiased) < 0.03
    assert biased > 0.7


def test_cka_equals_the_sums_written_out():
    x, y = DRAWS.normal(size=(7, 3)), DRAWS.normal(size=(7, 2))
    n = len(x)

    def biased(a, b):
        h = np.eye(n) - 1 / n
        return np.trace(a @ a.T @ h @ b @ b.T @ h)

    assert math.isclose(linear_cka(x, y), biased(x, y) / math.sqrt(biased(x, x) * biased(y, y)), abs_tol=1e-9)

    def unbiased(a, b):
        k = [[0.0 if i == j else float(a[i] @ a[j]) for j in range(n)] for i in range(n)]
        m = [[0.0 if i == j else float(b[i] @ b[j]) for j in range(n)] for i in range(n)]
        trace = sum(k[i][j] * m[j][i] for i in range(n) for j in range(n))
        sums = sum(map(sum, k)) * sum(map(sum, m)) / ((n - 1) * (n - 2))
        cross = sum(k[i][j] * m[j][q] for i in range(n) for j in range(n) for q in range(n))
        return (trace + sums - 2 / (n - 2) * cross) / (n * (n - 3))

    told = unbiased(x, y) / math.sqrt(unbiased(x, x) * unbiased(y, y))
    assert math.isclose(debiased_cka(x, y), told, abs_tol=1e-9)
    assert math.isnan(debiased_cka(x[:3], y[:3]))
    with pytest.raises(ValueError, match="the same rows"):
        linear_cka(x, y[:5])


def test_alignment_and_uniformity_equal_their_loops():
    x, y = DRAWS.normal(size=(9, 4)), DRAWS.normal(size=(9, 4))
    u, v = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    assert math.isclose(alignment(x, y), sum(float(((a - b) ** 2).sum()) for a, b in zip(u, v, strict=True)) / 9)
    pairs = [(i, j) for i in range(9) for j in range(i)]
    told = math.log(sum(math.exp(-2 * float(((u[i] - u[j]) ** 2).sum())) for i, j in pairs) / len(pairs))
    assert math.isclose(uniformity(x), told, abs_tol=1e-9)
    classes = np.arange(9) % 2
    same = [(i, j) for i, j in pairs if classes[i] == classes[j]]
    found = class_alignment(x, classes[:, None] == classes[None])
    assert math.isclose(found, sum(float(((u[i] - u[j]) ** 2).sum()) for i, j in same) / len(same), abs_tol=1e-9)


def test_alignment_and_uniformity_of_known_clouds():
    x = DRAWS.normal(size=(300, 64))
    assert alignment(x, 3 * x) == pytest.approx(0.0, abs=1e-12)
    assert alignment(x, -x) == pytest.approx(4.0)
    assert uniformity(np.ones((5, 3))) == pytest.approx(0.0)  # collapsed
    assert uniformity(x) == pytest.approx(-4.0, abs=0.15)  # all at right angles: squared distance 2
    assert uniformity(np.abs(x)) > uniformity(x) + 0.5  # one corner of the sphere
    assert math.isnan(uniformity(x[:1]))
    assert math.isnan(class_alignment(x[:3], np.eye(3, dtype=bool)))
    with pytest.raises(ValueError, match="in one space"):
        alignment(x, x[:, :3])


def test_a_probe_reads_what_is_linear_and_nothing_else():
    x = DRAWS.normal(size=(600, 4))
    linear, xor = (x[:, 0] > 0).astype(int), ((x[:, 0] > 0) ^ (x[:, 1] > 0)).astype(int)
    assert linear_probe(x[:400], linear[:400], x[400:], linear[400:], "classification").value > 0.95
    probe = linear_probe(x[:400], xor[:400], x[400:], xor[400:], "classification")
    assert 0.35 < probe.value < 0.65
    assert probe.low < probe.value < probe.high
    assert (probe.rows, probe.test_rows) == (400, 200)
    assert probe.chance == max(xor[400:].mean(), 1 - xor[400:].mean()) or probe.chance < 0.6
    assert math.isnan(linear_probe(x[:5], linear[:5], x[5:], linear[5:], "classification").value)
    value = x @ [1.0, 2.0, 0.0, -1.0]
    assert linear_probe(x[:400], value[:400], x[400:], value[400:], "regression").value > 0.99
    both = np.stack([linear, x[:, 2] > 0, np.zeros(600)], 1).astype(int)
    assert linear_probe(x[:400], both[:400], x[400:], both[400:], "multilabel").value > 0.7


def test_pca_keeps_distances():
    line = np.outer(np.arange(12.0), [0.0, 3.0, 4.0])
    flat = project(line, "pca")
    np.testing.assert_allclose(flat[:, 1], 0, atol=1e-5)
    np.testing.assert_allclose(np.diff(flat[:, 0]), 5, atol=1e-4)
    with pytest.raises(ConfigError, match="did you mean 'tsne'"):
        project(line, "tnse")


@pytest.mark.parametrize("way", ["tsne", "umap"])
def test_projections_keep_neighbours_and_repeat(way: str):
    if way == "umap":
        pytest.importorskip("umap")
    two = np.concatenate([DRAWS.normal(size=(20, 5)), DRAWS.normal(size=(20, 5)) + 30])
    points = project(two, way, seed=1)
    np.testing.assert_array_equal(points, project(two, way, seed=1))
    inner = np.linalg.norm(points[:20] - points[:20].mean(0), axis=1).max()
    assert np.linalg.norm(points[:20].mean(0) - points[20:].mean(0)) > inner


# -- models -------------------------------------------------------------------------------------------------------------


def schema(**train: str) -> schemas.Schema:
    found = schemas.from_yaml(SCHEMA)
    told = found.modalities
    for name, word in train.items():
        told = tuple(schemas.Modality(m.name, m.kind, m.columns, None, word) if m.name == name else m for m in told)
    return schemas.from_dict(
        {**schemas.to_dict(found), "modalities": schemas.to_dict(schemas.Schema(told))["modalities"]}
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a frozen model and of one whose text encoder learned."""
    place = tmp_path_factory.mktemp("models")
    frame = table(120)
    frame.to_csv(place / "tiny.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        for name, told, settings in (
            ("frozen", schema(), {"depth": "late", "branches": ("joint",)}),
            ("scratch", schema(text="scratch"), {"members": 1}),
            ("pretrain", schema(text="pretrain"), {"members": 1, "pretrain": {"epochs": 1}}),
        ):
            command = f"plait fit {place / 'tiny.csv'} --target label"
            fit_table(frame, told, {**QUICK, **settings}, out=place / name, report=False, command=Command(command))
    return {**{name: place / name for name in ("frozen", "scratch", "pretrain")}, "table": place / "tiny.csv"}


@pytest.mark.parametrize("network", ["fusion", "branches"])
def test_embeddings_are_what_the_network_computes(network):
    frame = table(60)
    frame.loc[:4, "text"] = None
    settings = (
        {"depth": "late", "fusion": "gated", "branches": ("joint",)}
        if network == "fusion"
        else {"branches": ("linear",)}
    )
    model = FusionClassifier(modalities=schema(), **{**QUICK, **settings}).fit(
        frame.drop(columns="label"), frame["label"]
    )
    found = {(e.modality, e.place): e for e in embeddings(model, frame, member=1)}
    if network == "branches":
        assert set(found) == {("tabular", "encoder"), ("text", "encoder")}
        return
    assert {p for m, p in found if m == "text"} == {"encoder", "own", "joint"}
    assert {p for m, p in found if m == ALL} == {"fused", "joint"}
    text = found["text", "joint"]
    assert not text.present[:5].any()
    assert not text.x[:5].any()
    branches = model.members_.members[1]
    inputs = model._inputs(frame)
    head = branches.networks["joint"].head
    import torch

    told = head(torch.from_numpy(found[ALL, "joint"].x)).detach().numpy()
    np.testing.assert_allclose(told, branches.outputs(inputs)["joint"].numpy(), atol=1e-4)
    alone = branches.outputs(inputs.only(["text"]))["joint"].numpy()
    np.testing.assert_allclose(head(torch.from_numpy(text.x)).detach().numpy()[5:], alone[5:], atol=1e-4)
    np.testing.assert_allclose(found["text", "encoder"].x[5:], inputs.tokens["text"].pooled().numpy()[5:], atol=1e-6)
    with pytest.raises(ConfigError, match="member 7"):
        embeddings(model, frame, member=7)


def test_two_runs_side_by_side(runs, tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    from test_report import check_alone

    frame = pd.read_csv(runs["table"])
    found = inspect(runs["frozen"], frame, runs["scratch"], names=["froz<en", "scratch"])
    write_inspection(found, tmp_path)
    assert found.unseen == {"froz<en": True, "scratch": True}
    assert not set(found.rows.number[: found.rows.train]) & set(found.rows.number[found.rows.train :])
    told = found.measures.set_index(["run", "modality", "place"])
    assert told.loc[("scratch", "text", "encoder"), "width"] > 0
    assert (told["train_rows"] == found.rows.train).all()
    same = found.cka.set_index(["a", "b"])["cka"]
    assert same["tabular · encoder", "tabular · encoder"] == pytest.approx(1.0)  # both frozen, of the same rows
    what = found.comparison.set_index("what")
    assert {"accuracy, all modalities", "accuracy, text alone", "seconds, train", "trained weights"} <= set(what.index)
    row = what.loc["accuracy, all modalities"]
    assert row["scratch - froz<en"] == pytest.approx(row["scratch"] - row["froz<en"])
    assert row["scratch - froz<en: low"] <= row["scratch - froz<en"] <= row["scratch - froz<en: high"]
    seen = check_alone((tmp_path / "report.html").read_text("utf-8"))
    assert "What one has over the other" in seen.text
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    assert {"probes.svg", "cka.svg", "pca-1.svg", "tsne-2.svg"} <= names
    json.dumps(found.to_dict(), allow_nan=False)
    stored = pd.read_csv(tmp_path / "tables" / "measures.csv")
    assert list(stored["probe"]) == pytest.approx(list(found.measures["probe"]), nan_ok=True)


def test_a_pretrained_run_shows_what_pretraining_cost(runs):
    frame = pd.read_csv(runs["table"])
    found = inspect(runs["scratch"], frame, runs["pretrain"], projections=["pca"])
    costs = found.comparison.set_index("what")
    assert costs.loc["seconds, pretrain", "pretrain"] > 0
    assert math.isnan(costs.loc["seconds, pretrain", "scratch"])
    cka = found.cka.set_index(["a", "b"])["cka"]
    assert cka["text · encoder", "text · encoder"] < 0.999  # not the same encoder
    assert found.measures["probe"].notna().all()


def test_exported_embeddings_come_back(runs, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(runs["table"])
    found = inspect(runs["frozen"], frame, projections=["pca"])
    write_inspection(found, tmp_path)
    mine = next(e for e in found.embeddings["frozen"] if (e.modality, e.place) == ("text", "own"))
    stored = pd.read_parquet(tmp_path / "embeddings" / "frozen" / "text.parquet")
    np.testing.assert_array_equal(np.stack(stored["own"]), mine.x)
    assert list(stored["class"]) == list(frame["label"][stored["row"]])
    assert (stored["part"] == "test").sum() == len(frame) - found.rows.train
    monkeypatch.setattr("plait.workflow.inspection.page.find_spec", lambda name: None)
    from plait.workflow.inspection.page import write_embeddings

    write_embeddings(tmp_path / "npz", found.embeddings["frozen"], found.rows)
    with np.load(tmp_path / "npz" / "text.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["own"], mine.x)
        assert list(archive["row"]) == list(stored["row"])


def test_rows_that_a_model_may_have_seen_are_said(runs):
    frame = pd.read_csv(runs["table"])
    with pytest.warns(PlaitWarning, match="fitted on other rows"):
        found = inspect(runs["frozen"], frame, held_out=HeldOut(seed=5), projections=["pca"])
    assert found.unseen == {"frozen": False}


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_other_tasks(task, tmp_path):
    frame = table(80)
    words = {
        "multilabel": ["a|b" if v > 1 else "a" if v > 0 else "b" for v in frame["size"]],
        "regression": frame["size"] * 2 + 1.03,
    }
    frame["label"] = words[task]
    told = schemas.from_dict({**schemas.to_dict(schema()), "task": task})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        done = fit_table(frame, told, QUICK)
        found = inspect(done.model, frame, projections=["pca"])
        write_inspection(found, tmp_path / "out")
    assert found.task == task
    assert found.measures["probe"].notna().all()
    assert found.measures["class_alignment"].notna().all() == (task == "multilabel")


def test_runs_of_two_tasks_are_not_compared():
    frame = table(40)
    x = frame[["size", "weight"]]
    a = FusionClassifier(**QUICK).fit(x, frame["label"])
    b = FusionRegressor(**QUICK).fit(x, frame["size"])
    with pytest.raises(ConfigError, match="different tasks"):
        compare_runs({"a": a, "b": b}, frame)


# -- bad input ----------------------------------------------------------------------------------------------------------


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert not stop.value.code


def test_the_command_line(runs, tmp_path, capsys):
    run("inspect", runs["frozen"], "--out", tmp_path / "out", "--json", "--projection", "pca")
    told = json.loads(capsys.readouterr().out)  # the table is known from the fit
    assert told["unseen"] == {"frozen": True}
    assert (tmp_path / "out" / "tables" / "measures.csv").exists()
    run("inspect", runs["frozen"], runs["frozen"], "--out", tmp_path / "two", "--projection", "pca")
    assert "frozen (2) - frozen (1)" in capsys.readouterr().out


def test_bad_input_is_one_line(runs, tmp_path, capsys):
    frame = pd.read_csv(runs["table"])
    refused(capsys, "nowhere", "inspect", tmp_path / "nowhere", "--table", runs["table"])
    (tmp_path / "empty").mkdir()
    refused(capsys, "empty", "inspect", tmp_path / "empty", "--table", runs["table"])
    refused(capsys, "pcaa", "inspect", runs["frozen"], "--projection", "pcaa", "--out", tmp_path / "o")
    told = {
        "size": frame.drop(columns="size"),
        "'label'": frame.drop(columns="label"),
        "at least 10": frame.head(6),
        "the same in all": frame.assign(label="pos"),
    }
    for number, (complaint, bad) in enumerate(told.items()):
        bad.to_csv(tmp_path / f"{number}.csv", index=False)
        arguments = ("--table", tmp_path / f"{number}.csv", "--out", tmp_path / "o")
        refused(capsys, complaint, "inspect", runs["frozen"], *arguments)
    refused(capsys, "member 9", "inspect", runs["frozen"], "--member", "9", "--out", tmp_path / "o")
    refused(capsys, "no column 'who'", "inspect", runs["frozen"], "--group", "who", "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()
    place = shutil.copytree(runs["frozen"], tmp_path / "moved") / "model.json"
    from plait.estimators.estimators import load
    from plait.workflow.inspection.result import table_of

    model = load(place.parent)
    assert table_of(model) == runs["table"]
    model.record_["command"] = "plait fit /nowhere/tiny.csv --target label"
    assert table_of(model) is None


def test_models_that_do_not_fit(runs):
    frame = pd.read_csv(runs["table"])
    other = FusionClassifier(modalities=schema(), **QUICK).fit(frame, frame["owner"])
    other.schema_ = schemas.from_dict({**schemas.to_dict(schema()), "target": "owner"})
    with pytest.raises(ConfigError, match="two models of one target"):
        inspect(runs["frozen"], frame, other)
    with pytest.raises(ConfigError, match="names"):
        inspect(runs["frozen"], frame, names=["a", "b"])
    with pytest.raises(ModelError, match="not fitted"):
        inspect(FusionClassifier(), frame)
    bare = FusionClassifier(**QUICK).fit(frame[["size", "weight"]], frame["label"].to_numpy())
    with pytest.raises(TableError, match="without a schema"):
        inspect(bare, frame)
    assert issubclass(ModelError, PlaitError)
