"""What the campaign works on: a small table with pictures and sounds, a schema, a study, a paper, a model of each kind."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from process import run

ROWS = 60
_WORDS = (("red apple", "sour lemon", "green pear"), ("blue sky", "deep sea", "cold night"))
SCHEMA = {
    "target": "label",
    "task": "classification",
    "modalities": {
        "tabular": {"kind": "tabular", "columns": ["size", "weight"]},
        "text": {"kind": "text", "columns": ["text"], "encoder": {"name": "hashed_ngrams", "width": 64}},
    },
    "ignored": {"owner": "who", "picture": "not here", "sound": "not here"},
}
_MEDIA = {
    "picture": {"kind": "image", "columns": ["picture"], "encoder": "pixel_statistics"},
    "sound": {"kind": "audio", "columns": ["sound"], "encoder": "logmel"},
}
#: What keeps a model small enough to be fitted in a second.
SMALL = ["--members", "1", "--epochs", "3", "--set", "width=8", "--set", "branches=[joint]"]


def make(folder: Path, models: bool = True) -> Path:
    """A folder with all inputs; and the models and the study that commands are given."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "media").mkdir(parents=True)
    _tables(folder)
    dump = lambda name, value: (folder / name).write_text(yaml.safe_dump(value, sort_keys=False))  # noqa: E731
    dump("s.yaml", SCHEMA)
    dump("media.yaml", {**SCHEMA, "modalities": {**SCHEMA["modalities"], **_MEDIA}, "ignored": {"owner": "who"}})
    study = {
        "name": "tiny",
        "data": {"table": "t.csv", "schema": "s.yaml"},
        "model": {"members": 1, "epochs": 2, "branches": ["joint"], "width": 8},
        "grid": {"depth": ["early", "late"]},
        "seeds": 3,
        "split": {"kind": "holdout", "fractions": [0.7, 0.3]},
        "metrics": ["accuracy", "log_loss"],
    }
    dump("study.yaml", study)
    recipe = {key: value for key, value in study.items() if key != "grid"}
    _paper(folder / "on_insects", {**recipe, "name": "made", "seeds": 2})
    begun = (
        ["fit", "t.csv", "--schema", "s.yaml", "--out", "m", "--no-report", *SMALL],
        ["fit", "t.csv", "--schema", "media.yaml", "--out", "media_model", "--no-report", *SMALL],
        ["study", "run", "study.yaml", "--out", "ran", "--engine", "inline"],
    )
    for arguments in begun if models else ():
        ended = run([*arguments, "--store", "store"], folder)
        if ended.code:
            raise SystemExit(f"the campaign cannot begin: {' '.join(arguments)}: {ended.err}")
    return folder


def _tables(folder: Path) -> None:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, ROWS)
    said = [_WORDS[v if draw.random() < 0.85 else 1 - v][draw.integers(3)] + f" {i}" for i, v in enumerate(y)]
    frame = pd.DataFrame(
        {
            "size": (draw.normal(size=ROWS) + 1.5 * y).round(4),
            "weight": draw.normal(size=ROWS).round(4),
            "text": said,
            "owner": [f"o{i % 12}" for i in range(ROWS)],
            "picture": [f"media/{i % 6}.png" for i in range(ROWS)],
            "sound": [f"media/{i % 6}.wav" for i in range(ROWS)],
            "label": np.where(y, "pos", "neg"),
        }
    )
    _media(folder / "media", draw)
    with zipfile.ZipFile(folder / "media.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted((folder / "media").iterdir()):
            packed.write(path, f"media/{path.name}")
    for name in ("t.csv", "t.tsv", "t.csv.gz"):
        frame.to_csv(folder / name, index=False, sep="\t" if name == "t.tsv" else ",")
    (folder / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in frame.to_dict(orient="records")))
    frame.to_parquet(folder / "t.parquet", index=False)
    frame.to_feather(folder / "t.arrow")
    pd.concat([frame] * 20).to_csv(folder / "long.csv", index=False)


def _media(folder: Path, draw: np.random.Generator) -> None:
    import wave

    from PIL import Image

    for i in range(6):
        Image.fromarray(draw.integers(0, 255, (24, 20, 3), np.uint8)).save(folder / f"{i}.png")
        with wave.open(str(folder / f"{i}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((draw.normal(size=2000) * 3000).astype("<i2").tobytes())


def _paper(folder: Path, recipe: dict[str, Any]) -> None:
    (folder / "recipes").mkdir(parents=True)
    for name in ("t.csv", "s.yaml"):
        shutil.copyfile(folder.parent / name, folder / "recipes" / name)
    data = [{"table": "t.csv", "schema": "s.yaml", "name": "insects/y"}]
    (folder / "recipes" / "made.yaml").write_text(
        yaml.safe_dump({**recipe, "format": 1, "data": data, "variants": {"paper": {}, "late": {"depth": "late"}}})
    )
    column = {"name": "insects", "data": "Insects", "ours": "insects/y", "same": True}
    row = {"name": "network", "variant": "paper", "values": [0.2]}
    table = {"name": "table1", "title": "Accuracy", "status": "there", "recipes": ["made"], "columns": [column]}
    paper = {"format": 1, "title": "On insects", "citation": "A. Nt", "elements": [{**table, "rows": [row]}]}
    (folder / "paper.yaml").write_text(yaml.safe_dump(paper))
