"""Every kind of model folder answers in a process that has done nothing else, as ``plait predict`` is one.

Where a model was fitted, all that it needs was imported long ago; a folder that can be read only there is of no use.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import plait
import tiny_tabicl
from golden.make import SMALL, TABULAR, TEXT, VECTOR, table
from plait import FusionClassifier, FusionRegressor, Modality, ModalityAligner, Schema
from plait.estimators.target_models import TargetModels

#: Each line of its input, (folder, rows, way, out), is answered by a child that has imported nothing of plait before.
SERVER = """
import contextlib, json, os, sys, traceback
import numpy, pandas, safetensors.torch, sklearn.linear_model, torch, typer  # none of them is plait's
def answer(folder, rows, way, out):
    os.chdir(os.path.dirname(rows))  # where files beside the rows are found
    if way == "command":
        from plait.cli import main
        return main(["predict", folder, rows, "--out", out, "--no-proba", "--store", "none"])
    import plait
    model = plait.load(folder)
    frame = plait.read_table(rows)
    result = model.transform(frame) if hasattr(model, "transform") else model.predict(frame)
    parts = result if hasattr(result, "items") else {"": result}
    with open(out, "w") as file:
        json.dump({name: numpy.asarray(x).tolist() for name, x in parts.items()}, file)
for line in sys.stdin:
    child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    told, code = json.loads(line), 1
    with open(told[-1] + ".log", "w") as log, contextlib.redirect_stderr(log), contextlib.redirect_stdout(log):
        try:
            answer(*told)
            code = 0
        except BaseException as error:
            traceback.print_exc()
            code = error.code or 0 if isinstance(error, SystemExit) else 1
    os._exit(code)
"""
#: What these answer is held by ``test_golden.py``; here they are read where nothing was imported.
GOLDEN = sorted(p.parent for p in (Path(__file__).parent / "golden").glob("*/*/expected.json"))
FRAME = pd.concat([table(i) for i in range(3)], ignore_index=True)  # trees want eighty rows in a fold
LABELS = Schema((Modality("name", "text", ("name",), {"name": "cnn_text", "width": 4}),), "label")
ONE: dict[str, Any] = {**SMALL, "members": 1, "epochs": 1, "width": 4}
MIXED: dict[str, Any] = {**ONE, "modalities": {"text": TEXT, "tabular": TABULAR, "reading": VECTOR}}
RATHER: dict[str, Any] = {"stage": {"epochs": 1, "width": 8}, "store": "none", "progress": False}


def _fitted(place: Path, **settings: Any) -> Any:
    return FusionClassifier(**{**MIXED, **settings}).fit(FRAME, FRAME["label"])


def _of_protocol(place: Path, protocol: str, **settings: Any) -> Any:
    model = FusionClassifier(protocol=protocol, **{**MIXED, **settings})
    return model.fit(FRAME, FRAME["label"], valid=(FRAME[:40], FRAME["label"][:40]))


def _conv_lstm(place: Path) -> Any:
    modalities = {"reading": {**VECTOR, "encoder": "vector"}}
    network = {"name": "conv_lstm", "dense": 4, "least_steps": 1}
    return _of_protocol(place, "early-fusion-conv-lstm", modalities=modalities, network=network)


def _trees(place: Path, engine: str) -> Any:
    pytest.importorskip(engine)
    return _fitted(place, branches=({"name": "trees", "engine": engine, "rounds": 3},))


def _tabicl(place: Path) -> Any:
    pytest.importorskip("tabicl")
    weights = tiny_tabicl.write(place)
    return _fitted(place, branches=({"name": "tabicl", "weights_from": str(weights), "estimators": 1},))


def _targets(place: Path) -> Any:
    number = FusionRegressor(**MIXED).fit(FRAME, FRAME["price"])
    return TargetModels({"label": _fitted(place), "price": number})


def _aligner(place: Path, **settings: Any) -> Any:
    return ModalityAligner(modalities={"text": TEXT, "reading": VECTOR}, **RATHER, **settings).fit(FRAME)


def _with_aligned(place: Path) -> Any:
    """An encoder that was aligned, with the aligner's folder away."""
    folder = _aligner(place, protocol="context-based-fusion").save(place / "aligner")
    model = _fitted(place, encoders={"text": str(folder)})
    shutil.rmtree(folder)
    return model


def _with_pretrained(place: Path) -> Any:
    settings = {"store": "none", "pretrain": {"epochs": 1}, "progress": False}
    plait.pretrain(FRAME, LABELS, settings, out=place / "text")
    return _fitted(place, encoders={"text": str(place / "text")})


KINDS: dict[str, Callable[[Path], Any]] = {
    "early-fusion-contrastive": partial(_of_protocol, protocol="early-fusion-contrastive"),
    "late-fusion-pretrained-encoders": partial(_of_protocol, protocol="late-fusion-pretrained-encoders"),
    "early-fusion-conv-lstm": _conv_lstm,
    "context-based-fusion": partial(_aligner, protocol="context-based-fusion"),
    "lightgbm": partial(_trees, engine="lightgbm"),
    "catboost": partial(_trees, engine="catboost"),
    "tabicl": _tabicl,
    "targets": _targets,
    "aligned": _with_aligned,
    "pretrained": _with_pretrained,
}


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _answered(server: subprocess.Popen[str], folder: Path, rows: Path, way: str, out: Path) -> str:
    """What a process that knows nothing says of the rows."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps([str(folder), str(rows), way, str(out)]) + "\n")
    server.stdin.flush()
    code = server.stdout.readline().strip()
    assert code == "0", Path(f"{out}.log").read_text()
    return out.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_this_version_answers_by_library_and_by_command(
    server: subprocess.Popen[str], kind: str, tmp_path: Path
) -> None:
    model = KINDS[kind](tmp_path)
    folder, rows = model.save(tmp_path / "model"), tmp_path / "rows.jsonl"
    FRAME[:20].to_json(rows, orient="records", lines=True)
    frame = plait.read_table(rows)
    answered = json.loads(_answered(server, folder, rows, "library", tmp_path / "library.json"))
    result = model.transform(frame) if isinstance(model, ModalityAligner) else model.predict(frame)
    expected = result if isinstance(result, Mapping) else {"": result}
    assert answered.keys() == expected.keys()
    for name, values in expected.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(answered[name], values, atol=2e-3)
        else:
            np.testing.assert_array_equal(answered[name], values.tolist())
    if not isinstance(model, ModalityAligner):
        lines = _answered(server, folder, rows, "command", tmp_path / "command.jsonl").splitlines()
        assert len(lines) == len(frame)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda f: f"{f.parent.name}-{f.name}")
def test_a_golden_folder_answers(server: subprocess.Popen[str], golden: Path, tmp_path: Path) -> None:
    way = "library" if golden.name in ("aligner", "space") else "command"
    assert _answered(server, golden / "model", golden / "inputs.jsonl", way, tmp_path / "out.jsonl")
