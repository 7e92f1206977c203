"""Damaged and hostile model folders, results and tables: one clear line each, whatever was changed."""

from __future__ import annotations

import collections
import copy
import io
import json
import os
import random
import shutil
import signal
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import plait
from plait import FusionClassifier
from plait.base import registry
from plait.base.errors import PlaitError
from plait.cli import main
from plait.data import schema
from plait.data.archive import open_archive
from plait.data.table import read_table
from plait.store import model_files
from refusing import refused

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    3,
    10**6,
    1e300,
    "",
    "x",
    "\x00",
    [],
    [[]],
    {},
    {"a": 1},
    [None],
    "0.5",
    -0.5,
)


def table(rows: int = 60) -> tuple[pd.DataFrame, list[str]]:
    draw = np.random.default_rng(0)
    side = draw.integers(0, 2, rows)
    frame = pd.DataFrame(
        {
            "size": side + draw.normal(0, 0.5, rows),
            "shape": np.where(side, "round", "flat"),
            "story": [f"{'bright day' if s else 'dark night'} {i}" for i, s in enumerate(side)],
        }
    )
    return frame, ["yes" if s else "no" for s in side]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame, y = table()
    fields: dict[str, Any] = {
        "modalities": {
            "numbers": {"kind": "tabular", "columns": ["size", "shape"]},
            "text": {"kind": "text", "columns": ["story"], "encoder": {"name": "hashed_ngrams", "width": 64}},
        },
        "align": {"numbers": {"anchors": ["text"], "epochs": 1}},
        "members": 2,
        "width": 8,
        "epochs": 2,
        "store": "none",
        "progress": False,
    }
    return FusionClassifier(**fields).fit(frame, y).save(tmp_path_factory.mktemp("models") / "m")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def mutated(manifest: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    told = copy.deepcopy(manifest)
    for _ in range(draw.choice((1, 1, 2))):
        path = draw.choice([p for p in places(told) if p])
        parent = told
        for key in path[:-1]:
            parent = parent[key]
        if draw.random() < 0.3:
            del parent[path[-1]]
        else:
            parent[path[-1]] = draw.choice(ODD)
    return told


def damaged(arrays: dict[str, np.ndarray], draw: random.Random) -> dict[str, np.ndarray]:
    told = dict(arrays)
    name = draw.choice(sorted(told))
    way = draw.randrange(6)
    if way == 0:
        del told[name]
    elif way == 1:
        told[name] = np.full_like(told[name], np.nan if told[name].dtype.kind == "f" else 127)
    elif way == 2:
        told[name] = np.concatenate([np.atleast_1d(told[name])] * 2)
    elif way == 3:
        told[name] = told[name].astype("float64" if told[name].dtype.kind != "f" else "int64")
    elif way == 4:
        told[name] = told[name].reshape(-1)[:-1]
    else:
        told[name] = np.zeros((0, 3), np.float32)
    return told


def rewritten(source: Path, place: Path, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> Path:
    """A folder whose digests fit, as a stranger can make one."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place)
    kept = {k: v for k, v in manifest.items() if k not in ("checksum", "weights")}
    model_files.write_model(place, kept, arrays, "# card\n")
    return place


TRIALS = 60


def test_a_model_that_was_tampered_with_is_one_clear_line(model: Path, tmp_path: Path) -> None:
    """Seeded changes of the manifest and of the arrays: it loads and predicts, or says in one line what is wrong."""
    manifest, arrays = model_files.read_model(model)
    frame, _ = table(8)
    draw = random.Random(0)
    traces = collections.Counter()
    refused = 0
    for number in range(TRIALS):
        told = mutated(manifest, draw) if number % 3 else manifest
        held = arrays if number % 3 else damaged(arrays, draw)
        rewritten(model, tmp_path / "m", told, held)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                again = plait.load(tmp_path / "m")
                if hasattr(again, "predict_proba"):
                    again.progress = False
                    assert np.isfinite(again.predict_proba(frame)).all()
        except PlaitError as error:
            refused += 1
            assert str(error)
        except Exception as error:  # noqa: BLE001 - what the test counts
            import traceback

            where = traceback.extract_tb(error.__traceback__)[-1]
            traces[f"{type(error).__name__} {str(error)[:90]} {where.filename[-40:]}:{where.lineno}"] += 1
    assert not traces, chr(10).join(f"{n} {t}" for t, n in traces.most_common())
    assert refused > TRIALS / 4


@pytest.mark.parametrize(
    "text", ['{"format": 1, "a": ' + "[" * 100_000, '{"format": NaN}', '{"format": true}', "[]", "9" * 5000]
)
def test_a_manifest_that_is_none(text: str, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "m")
    (tmp_path / "m" / "model.json").write_text(text)
    with pytest.raises(PlaitError, match="model.json"):
        plait.load(tmp_path / "m")


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_file_of_a_model_that_never_ends_is_not_read(name: str, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "m")
    for replace in (lambda path: path.symlink_to("/dev/zero"), lambda path: os.mkfifo(path), lambda path: path.mkdir()):
        path = tmp_path / "m" / name
        path.unlink()
        replace(path)
        with pytest.raises(PlaitError, match=rf"{name}: it is a .*copy the folder again"):
            plait.load(tmp_path / "m")
        path.rmdir() if path.is_dir() else path.unlink()
        path.touch()


def test_a_model_that_is_larger_than_it_says_is_not_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(model, tmp_path / "m")
    size = (model / "model.json").stat().st_size
    monkeypatch.setenv("PLAIT_MAX_MANIFEST_BYTES", str(size - 1))
    with pytest.raises(
        PlaitError, match=f"model.json: .*at most {size - 1:,} bytes of a model.json are read; set PLAIT_"
    ):
        plait.load(tmp_path / "m")
    monkeypatch.setenv("PLAIT_MAX_MANIFEST_BYTES", str(size))
    plait.load(tmp_path / "m")
    os.truncate(tmp_path / "m" / "weights.safetensors", 1 << 42)  # a hole, of which nothing is on the disk
    with pytest.raises(PlaitError, match="4398046511104 bytes, expected"):
        plait.load(tmp_path / "m")


@pytest.mark.parametrize("key", ["store", "checkpoint", "tensorboard"])
def test_nothing_is_written_where_a_strangers_model_says(
    key: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, arrays = model_files.read_model(model)
    manifest["settings"][key] = str(tmp_path / "theirs")
    monkeypatch.setenv("PLAIT_STORE", str(tmp_path / "mine"))
    again = plait.load(rewritten(model, tmp_path / "m", manifest, arrays))
    again.progress = False
    assert len(again.predict(table(5)[0])) == 5
    assert not (tmp_path / "theirs").exists()
    assert getattr(again, key) is None
    assert (tmp_path / "mine").exists() == (key == "store")  # the model of the others keeps nothing


def test_a_saved_model_does_not_carry_the_store_of_its_fit(tmp_path: Path) -> None:
    frame, y = table()
    fields: dict[str, Any] = {"members": 1, "width": 8, "epochs": 1, "progress": False}
    text = {"text": {"kind": "text", "columns": ["story"], "encoder": "hashed_ngrams"}}
    fitted = FusionClassifier(modalities=text, store=str(tmp_path / "fit"), **fields).fit(frame, y)
    saved = fitted.save(tmp_path / "m")
    assert plait.load(saved).store is None
    assert str(tmp_path / "fit") not in (saved / "model.json").read_text()


def test_a_file_never_makes_the_network_be_asked(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked: list[Any] = []
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *a, **k: asked.append(a))
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **k: asked.append(a))
    manifest, arrays = model_files.read_model(model)
    for commit in (None, "0" * 40):
        options = {"model": "evil/tracker", "revision": commit, "prompt": "", "max_tokens": 0}
        manifest["encoders"]["text"] |= {"name": "sentence_transformer", "options": options, "state": {}}
        if commit:  # a fingerprint that fits needs no look at the weights
            encoder = registry.find("encoders", "sentence_transformer")(**options)
            manifest["encoders"]["text"]["fingerprint"] = encoder.fingerprint()
        rewritten(model, tmp_path / "m", manifest, arrays)
        with pytest.raises(PlaitError, match="nothing is fetched on the word of a file.*PLAIT_DOWNLOAD=1"):
            plait.load(tmp_path / "m").predict(table(5)[0])
    assert asked == []
    monkeypatch.setenv("PLAIT_DOWNLOAD", "1")
    with pytest.raises(PlaitError):
        plait.load(tmp_path / "m").predict(table(5)[0])
    assert asked, "who asks for it gets it"


def test_an_encoder_inside_one_that_a_file_names_asks_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked: list[Any] = []
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *a, **k: asked.append(a))
    inside = {"name": "transformers_image", "model": "evil/tracker"}
    encoder = registry.find("encoders", "video_frames")(image_encoder=inside)
    with pytest.raises(PlaitError, match="nothing is fetched on the word of a file"):
        encoder.fetch_nothing().module()
    assert asked == []
    with pytest.raises(PlaitError, match="could not be fetched"):
        registry.find("encoders", "video_frames")(image_encoder=inside).module()
    assert asked, "the user's own word is asked for"


def test_results_that_were_changed_are_left_out_or_named(tmp_path: Path) -> None:
    """Seeded changes of a results file and of predictions: a report, or one line."""
    from plait.study import Results
    from study_results import Plan, make

    source = make(
        tmp_path / "s",
        Plan(skill=lambda place: 0.7, variants={"a": {"depth": "early"}, "b": {"depth": "late"}}, seeds=(0, 1)),
    )
    lines = [json.loads(line) for line in (source / "results.jsonl").read_text().splitlines()]
    draw = random.Random(0)
    for _ in range(60):
        told = [mutated(line, draw) if number == 0 else line for number, line in enumerate(lines)]
        (source / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = Results.open(source)
            found.runs, found.frame, found.status(), found.summary()
    (source / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = lines[0]["run"]
    for content in (b"", b"PK", b"x" * 100):
        (source / "runs" / run / "predictions.npz").write_bytes(content)
        with pytest.raises(PlaitError, match="is damaged"):
            Results.open(source).predictions(run)
    for name, text in (("study.json", "[" * 10**5), ("study.json", '{"format": 1, "name": 3, "runs": 1}')):
        (source / name).write_text(text)
        with pytest.raises(PlaitError, match=r"study\.json"):
            Results.open(source)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.jsonl", '{"a": ' + "9" * 4301 + "}\n", "line 1: not valid JSON"),
        ("t.jsonl", '{"a": ' + "[" * 100_000 + "}\n", "line 1: not valid JSON"),
        ("t.parquet", "PAR1" + "x" * 100 + "PAR1", "not a readable Parquet file"),
    ],
)
def test_a_table_that_is_damaged(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PlaitError, match=said):
        read_table(tmp_path / name)


def test_a_cell_of_brackets_is_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{'[' * 3000}{']' * 3000},{i}\n" for i in range(20)))
    assert schema.infer(read_table(tmp_path / "t.csv")) is not None


def test_a_mixture_without_weights_is_refused_and_one_without_a_pattern_gives_the_prior(
    model: Path, tmp_path: Path
) -> None:
    """Found by the campaign: mutations 507."""
    manifest, arrays = model_files.read_model(model)
    mixtures = [value for path in places(manifest) if (value := _at(manifest, path)) and path[-1:] == ("mixture",)]
    assert mixtures
    frame, _ = table(8)
    for mixture in mixtures:
        mixture["weights"] = [entry for entry in mixture["weights"] if entry["pattern"] != ["text"]]
    again = plait.load(rewritten(model, tmp_path / "m", manifest, arrays))
    again.progress = False
    answers = again.predict_proba(frame.assign(size=np.nan, shape=None))
    assert (answers == answers[0]).all()
    assert np.isfinite(answers).all()
    for mixture in mixtures:
        mixture["weights"][0]["weights"] = {}
    with pytest.raises(PlaitError, match="mixture: no weights for"):
        plait.load(rewritten(model, tmp_path / "m", manifest, arrays)).predict(frame)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"], ids=["UTF-8", "the C locale"])
def test_half_a_surrogate_pair_is_printed(errors: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the campaign: mutations 154."""
    (tmp_path / "s.yaml").write_text('"\\ud83d": 1\n')
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", errors))
    with pytest.raises(SystemExit) as stop:
        main(["study", "check", str(tmp_path / "s.yaml")])
    sys.stdout.flush()
    assert stop.value.code == 2
    assert rb"\ud83d" in out.getvalue()


def test_a_signal_that_the_parser_meets_is_said_with_its_own_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found by the campaign: kills 8; the parser makes 130 of any signal, and says nothing."""

    def app(args: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 5)
        except KeyboardInterrupt:
            raise SystemExit(130) from None

    monkeypatch.setattr("plait.cli.app", app)
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "stopped: by a signal\n"


@pytest.mark.parametrize("kind", ["tabular", "text"])
def test_a_column_that_the_table_does_not_have_is_named_by_encode(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found by the campaign: mutations 1030. What is to be predicted need not be there."""
    (tmp_path / "t.csv").write_text("size\n" + "".join(f"{i}\n" for i in range(20)))
    text = f"target: label\nmodalities: {{a: {{kind: {kind}, columns: [sise], encoder: ENCODER}}}}\n"
    encoder = "tabular" if kind == "tabular" else "hashed_ngrams"
    (tmp_path / "s.yaml").write_text(text.replace("ENCODER", encoder))
    command = ["encode", tmp_path / "t.csv", "--schema", tmp_path / "s.yaml", "--store", "none"]
    refused(capsys, "column 'sise' of modality 'a' is missing; did you mean 'size'?", *command)


def test_an_archive_whose_member_has_no_name_is_read(tmp_path: Path) -> None:
    """Found by the fuzzer: archive."""
    nameless = zipfile.ZipInfo("x")
    nameless.filename = ""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(nameless, "")
        packed.writestr("b.txt", "word")
    assert list(open_archive(tmp_path / "a.zip").members) == ["b.txt"]


def test_a_manifest_without_a_kind_is_refused(model: Path, tmp_path: Path) -> None:
    """Found by the fuzzer: model."""
    manifest, arrays = model_files.read_model(model)
    del manifest["kind"]
    with pytest.raises(PlaitError, match="kind"):
        plait.load(rewritten(model, tmp_path / "m", manifest, arrays))


def test_numbers_that_no_file_of_ours_holds_are_refused_or_taken_as_they_are(model: Path, tmp_path: Path) -> None:
    """Found by the fuzzer (model) and the campaign (mutations 7923)."""
    frame, _ = table(8)
    manifest, arrays = model_files.read_model(model)
    for path in [path for path in places(manifest) if path[-1:] == ("mixture",)]:
        for entry in _at(manifest, path)["weights"]:
            entry["weights"] = dict.fromkeys(entry["weights"], 10**30)
    again = plait.load(rewritten(model, tmp_path / "m", manifest, arrays))
    again.progress = False
    assert np.isfinite(again.predict_proba(frame)).all()
    text = (model / "model.json").read_text()
    (tmp_path / "m" / "model.json").write_text('{"odd": 1e999, ' + text[text.index("{") + 1 :])
    with pytest.raises(PlaitError, match="its content was altered"):
        plait.load(tmp_path / "m")


def test_an_arrow_file_whose_text_is_damaged_is_refused(tmp_path: Path) -> None:
    """Found by the campaign: mutations 4440."""
    pytest.importorskip("pyarrow")
    pd.DataFrame({"name": ["anchovy", "pepper"]}).to_feather(tmp_path / "t.arrow", compression="uncompressed")
    data = (tmp_path / "t.arrow").read_bytes()
    assert data.count(b"anchovy") == 1
    (tmp_path / "t.arrow").write_bytes(data.replace(b"anchovy", b"anch\xff\xffy"))
    with pytest.raises(PlaitError, match="not a readable Arrow file"):
        read_table(tmp_path / "t.arrow")
