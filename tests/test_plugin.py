"""The sample plug-in: installed beside plait, its variants are variants like any other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plait import FusionClassifier, Modality, Schema, Study, load
from plait.base import registry
from plait.base.config import to_yaml
from plait.cli import main
from plait.testing import check_fusion
from plait.testing.cells import check_condition, check_encoder

pytest.importorskip("plait_example", reason="pip install ./examples/plugin")

SETTINGS = {"store": "none", "progress": False, "members": 1, "epochs": 40, "width": 16}


def table(rows: int = 60) -> pd.DataFrame:
    """Long words in one class, short ones in the other."""
    kind = np.arange(rows) % 2
    texts = [
        f"{'cat' if k == 0 else 'elephantine'} {'dog' if k == 0 else 'rhinoceroses'} {i}" for i, k in enumerate(kind)
    ]
    return pd.DataFrame({"name": texts, "size": np.arange(rows, dtype=float), "label": np.where(kind == 0, "a", "b")})


def test_its_variants_are_listed() -> None:
    for family, name in (("encoders", "lengths_of_words"), ("fusion", "root_mean_square"), ("conditions", "capitals")):
        assert name in registry.names(family)
        assert [record["name"] for record in registry.describe(family)].count(name) == 1


def test_they_hold_the_contracts() -> None:
    check_encoder(
        registry.find("encoders", "lengths_of_words")(), ["a red house", "two words", "x"], others={"longest": 5}
    )
    check_fusion(registry.find("fusion", "root_mean_square"), {"a": 4, "b": 4})
    schema = Schema((Modality("text", "text", ("name",)),))
    frame = pd.DataFrame({"name": ["a red house", "two words", None, "one two three four"], "other": [1, 2, 3, 4]})
    check_condition(registry.find("conditions", "capitals")(strength=0.7), frame, schema)


def test_a_model_that_uses_them_is_loaded_in_another_process(tmp_path: Path) -> None:
    frame = table()
    modalities = {
        "text": {"kind": "text", "columns": ["name"], "encoder": {"name": "lengths_of_words", "longest": 10}},
        "tabular": {"kind": "tabular", "columns": ["size"], "types": {"size": "number"}},
    }
    model = FusionClassifier(modalities=modalities, fusion="root_mean_square", depth="late", **SETTINGS)
    model.fit(frame, frame["label"]).save(tmp_path / "m")
    expected = model.predict_proba(frame)
    assert (model.predict(frame) == frame["label"]).mean() > 0.8
    np.testing.assert_allclose(load(tmp_path / "m").predict_proba(frame), expected, atol=1e-6)
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    answer = "plait.load(sys.argv[1]).predict_proba(plait.read_table(sys.argv[2])).tolist()"
    code = f"import json, sys, plait; print(json.dumps({answer}))"
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m"), str(tmp_path / "t.jsonl")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    np.testing.assert_allclose(json.loads(told.stdout), expected, atol=1e-6)


def test_they_are_named_in_yaml_and_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table().to_csv(tmp_path / "t.csv", index=False)
    modalities = {
        "text": {"kind": "text", "columns": ["name"], "encoder": "lengths_of_words"},
        "tabular": {"kind": "tabular", "columns": ["size"], "types": {"size": "number"}},
    }
    named = {"target": "label", "modalities": modalities, "settings": {"fusion": "root_mean_square", **SETTINGS}}
    (tmp_path / "schema.yaml").write_text(to_yaml(named))
    fit = ["fit", tmp_path / "t.csv", "--schema", tmp_path / "schema.yaml", "--out", tmp_path / "m", "--no-report"]
    judge = ["evaluate", tmp_path / "m", tmp_path / "t.csv", "--condition", "capitals:text=1.0", "--json"]
    for command in (fit, judge):
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main([str(word) for word in command])
        assert done.value.code == 0
    assert json.loads(capsys.readouterr().out)["conditions"][0]["condition"].startswith("capitals")
    study = {"name": "s", "data": {"table": "t.csv", "schema": "schema.yaml"}, "model": {"fusion": "root_mean_square"}}
    (tmp_path / "study.yaml").write_text(to_yaml(study | {"conditions": {"test": ["clean", "capitals:text=1.0"]}}))
    assert Study.load(tmp_path / "study.yaml").check() == []


def test_a_model_that_uses_them_is_exported(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    frame = table()
    modalities = {
        "text": {"kind": "text", "columns": ["name"], "encoder": "lengths_of_words"},
        "tabular": {"kind": "tabular", "columns": ["size"], "types": {"size": "number"}},
    }
    model = FusionClassifier(modalities=modalities, fusion="root_mean_square", depth="late", **SETTINGS)
    model.fit(frame, frame["label"]).export(tmp_path / "onnx")
    session = runtime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    [probabilities] = session.run(["probabilities"], model.export_inputs(frame))
    np.testing.assert_allclose(probabilities, model.predict_proba(frame), atol=1e-4)
