"""Writes one small folder per kind of model with what it answers: ``python tests/golden/make.py [KIND ...]``.

A folder ``tests/golden/VERSION/KIND`` holds ``model`` (as ``save`` wrote it), ``inputs.jsonl`` with its files beside it, and
``expected.json``. Later versions must read each for ever (``tests/test_golden.py``), so folders are added, never made again.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from PIL import Image

import plait
from plait import FusionClassifier, FusionRegressor, ModalityAligner
from plait.data.schema_yaml import from_dict
from plait.data.table import read_table

ROWS = 48
SMALL: dict[str, Any] = {"store": "none", "progress": False, "members": 2, "epochs": 3, "width": 6, "components": 8}
WORDS = ("iron gate", "wood chair", "glass bowl", "paper kite")


def table(seed: int = 0) -> pd.DataFrame:
    """Rows of a text, numbers, categories, dates, lists, a vector, and three kinds of target; some cells are empty."""
    rng = np.random.default_rng(seed)
    kind = np.arange(ROWS) % 4
    frame = pd.DataFrame(
        {
            "name": [f"{WORDS[k]} number {i} of the {'old' if i % 3 else 'new'} house" for i, k in enumerate(kind)],
            "size": np.round(kind + rng.normal(size=ROWS), 2),
            "maker": [f"maker {'abcdef'[k + i % 3]}" for i, k in enumerate(kind)],
            "sold": [f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(ROWS)],
            "marks": [["x", "y"] if k % 2 else ["y", "z"] for k in kind],
            "reading": [list(np.round(k + rng.normal(size=5), 3)) for k in kind],
            "label": ["ab"[k // 2] for k in kind],
            "price": np.round(10 * kind + rng.normal(size=ROWS), 2),
            "tags": [["p"] if k == 0 else ["p", "q"] if k < 3 else [] for k in kind],
        }
    )
    frame.loc[3, "name"] = None
    frame.loc[5, ["size", "maker"]] = None
    return frame


def with_pictures(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """A small picture of each row in a file."""
    rng = np.random.default_rng(1)
    (folder / "pictures").mkdir(parents=True)
    for i in range(len(frame)):
        pixels = (40 * (i % 4) + rng.integers(0, 60, (12, 12, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{i:02}.png")
    return frame.assign(picture=[f"pictures/{i:02}.png" for i in range(len(frame))])


def with_sounds(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """A short tone of each row in a file."""
    rng = np.random.default_rng(2)
    (folder / "sounds").mkdir(parents=True)
    for i in range(len(frame)):
        time = np.arange(700) / 8000
        wave = 0.3 * np.sin(2 * np.pi * 300 * (1 + i % 4) * time) + 0.02 * rng.normal(size=len(time))
        soundfile.write(folder / "sounds" / f"{i:02}.wav", wave, 8000)
    return frame.assign(sound=[f"sounds/{i:02}.wav" for i in range(len(frame))])


TABULAR = {"kind": "tabular", "columns": ["size", "maker", "sold", "marks"]}
TABULAR["types"] = {"size": "number", "maker": "category", "sold": "date", "marks": "list"}  # type: ignore[assignment]
TEXT = {"kind": "text", "columns": ["name"], "encoder": {"name": "hashed_ngrams", "width": 32}}
VECTOR = {"kind": "vector", "columns": ["reading"]}


def _mixed(**settings: Any) -> dict[str, Any]:
    return {**SMALL, "modalities": {"text": TEXT, "tabular": TABULAR, "reading": VECTOR}, **settings}


def classes(frame: pd.DataFrame, folder: Path) -> Any:
    """One class; the default branches over text, table and vector."""
    return FusionClassifier(**_mixed()).fit(frame, frame["label"])


def rare(frame: pd.DataFrame, folder: Path) -> Any:
    """One class, one in six of one kind; the mixture's weights leave the shares alone."""
    return FusionClassifier(**_mixed()).fit(frame, np.where(np.arange(len(frame)) % 6, "usual", "rare"))


def number(frame: pd.DataFrame, folder: Path) -> Any:
    """A number."""
    return FusionRegressor(**_mixed()).fit(frame, frame["price"])


def labels(frame: pd.DataFrame, folder: Path) -> Any:
    """Several labels."""
    return FusionClassifier(**_mixed(task="multilabel")).fit(frame, frame["tags"])


def late_attention(frame: pd.DataFrame, folder: Path) -> Any:
    """Late fusion by attention."""
    return FusionClassifier(**_mixed(depth="late", fusion="attention")).fit(frame, frame["label"])


def decision(frame: pd.DataFrame, folder: Path) -> Any:
    """Fusion of decisions, the joint branch alone."""
    settings = _mixed(depth="decision", fusion="mean", branches=("joint",))
    return FusionClassifier(**settings).fit(frame, frame["label"])


def aligned_before(frame: pd.DataFrame, folder: Path) -> Any:
    """The table is pulled towards the text before anything else learns."""
    return FusionClassifier(**_mixed(align={"tabular": ["text"]})).fit(frame, frame["label"])


def scratch(frame: pd.DataFrame, folder: Path) -> Any:
    """A picture encoder that learns from scratch beside a table."""
    image = {
        "kind": "image",
        "columns": ["picture"],
        "encoder": {"name": "cnn", "size": 16, "width": 4},
        "train": "scratch",
    }
    settings = {**SMALL, "modalities": {"image": image, "tabular": TABULAR}, "root": "."}
    return FusionClassifier(**settings).fit(with_pictures(frame, folder), frame["label"])


def pictures(frame: pd.DataFrame, folder: Path) -> Any:
    """Frozen statistics of pictures beside a text."""
    image = {"kind": "image", "columns": ["picture"], "encoder": "pixel_statistics"}
    settings = {**SMALL, "modalities": {"image": image, "text": TEXT}, "root": "."}
    return FusionClassifier(**settings).fit(with_pictures(frame, folder), frame["label"])


def tuned_alone(frame: pd.DataFrame, folder: Path) -> Any:
    """A text encoder that is trained alone on the task first."""
    text = {**TEXT, "encoder": {"name": "cnn_text", "width": 8}, "train": "pretrain"}
    settings = {**SMALL, "modalities": {"text": text, "reading": VECTOR}, "pretrain": {"epochs": 2}}
    return FusionClassifier(**settings).fit(frame, frame["label"])


def conv_lstm(frame: pd.DataFrame, folder: Path) -> Any:
    """The convolutional LSTM over small grey pictures and short sounds."""
    frame = with_sounds(with_pictures(frame, folder), folder)
    settings = {
        **SMALL,
        "modalities": {
            "image": {"kind": "image", "columns": ["picture"]},
            "audio": {"kind": "audio", "columns": ["sound"]},
        },
        "network": {"name": "conv_lstm", "dense": 8, "least_steps": 3},
        "encoders": {
            "image": {"name": "pixels", "size": 6, "channels": 1},
            "audio": {"name": "spectrogram", "window": 128, "stride": 128, "rate": 8000},
        },
        "width": 4,
        "branches": ("joint",),
        "root": ".",
    }
    return FusionClassifier(**settings).fit(frame, frame["label"])


def trees(frame: pd.DataFrame, folder: Path) -> Any:
    """Boosted trees beside networks; three times the rows, since trees want eighty in a fold."""
    frame = pd.concat([frame, table(1), table(2)], ignore_index=True)
    return FusionClassifier(**_mixed(branches=("joint", {"name": "trees", "rounds": 6}))).fit(frame, frame["label"])


def amounts(frame: pd.DataFrame, folder: Path) -> Any:
    """A skewed amount by its logarithm, by trees alone, with intervals."""
    frame = pd.concat([frame, table(1), table(2)], ignore_index=True)
    settings = _mixed(branches=({"name": "trees", "rounds": 6},), target_transform="log")
    return FusionRegressor(**settings).fit(frame, np.exp(frame["price"].abs() / 10))


def intervals(frame: pd.DataFrame, folder: Path) -> Any:
    """A number with intervals, of a network and linear maps, its absolute error tuned; by ranks."""
    settings = _mixed(metric="mae", target_transform="quantile", branches=("joint", "linear"))
    return FusionRegressor(**settings).fit(frame, frame["price"])


def costs(frame: pd.DataFrame, folder: Path) -> Any:
    """Answers that cost differently, joined late by gates, with modalities hidden at random."""
    settings = _mixed(metric="cost", costs={"a": {"b": 5.0}}, fusion="gated", depth="late", modality_dropout=0.3)
    return FusionClassifier(**settings).fit(frame, frame["label"])


def compared(frame: pd.DataFrame, folder: Path) -> Any:
    """Two texts of one encoder, which are also compared: the same name twice in one class."""
    frame["other"] = frame["name"].where(frame.index % 3 > 0, frame["name"].iloc[::-1].to_numpy())
    rows = pd.concat([frame] * 8, ignore_index=True).fillna({"name": "none"})
    rows["name"] = rows["name"] + [f" {chr(97 + i % 23)}{i % 17}" for i in range(len(rows))]
    rows["other"] = rows["name"].where(rows.index % 2 > 0, rows["name"].sample(frac=1, random_state=0).to_numpy())
    both = {"text": TEXT, "other": {**TEXT, "columns": ["other"]}}
    settings = {**SMALL, "modalities": both, "branches": ("joint",)}
    return FusionClassifier(**settings).fit(rows, np.where(rows.index % 2 > 0, "same", "not"))


def looks(frame: pd.DataFrame, folder: Path) -> Any:
    """Words of a text, how it looks, and its frequent words by themselves beside what its encoder gives."""
    rng = np.random.default_rng(4)
    known = np.array([a + b + c for a in "bdgk" for b in "aeiou" for c in ("nt", "rk", "mp")] + " ".join(WORDS).split())
    drawn, breaks = rng.integers(0, len(known), (400, 12)), rng.integers(0, 6, 400)
    ends = [rng.permutation(["\n"] * n + [" "] * (12 - n)) for n in breaks]
    text = ["".join(w + e for w, e in zip(known[d], end, strict=True)) for d, end in zip(drawn, ends, strict=True)]
    rows = pd.DataFrame({"name": text, "reading": [[float(x)] * 5 for x in rng.normal(size=400)]})
    given = {"text": {**TEXT, "encoder": {"name": "hashed_ngrams", "width": 4}}, "reading": VECTOR}
    label = np.where(np.isin(drawn, [0, 9, 17]).any(1), "word", np.where(breaks > 2, "lines", "plain"))
    return FusionClassifier(**{**SMALL, "epochs": 10, "modalities": given}).fit(rows, label)


def heads(frame: pd.DataFrame, folder: Path) -> Any:
    """Two columns in one text, and what a ridge on the words of both together and of each answers; some heads are empty."""
    rng = np.random.default_rng(5)
    known = np.array([a + b + c for a in "bdgk" for b in "aeiou" for c in ("nt", "rk", "mp")])
    drawn = rng.integers(0, len(known), (400, 12))
    body = pd.Series([" ".join(known[d]) for d in drawn])
    rows = pd.DataFrame({"head": [" ".join(known[d[:3]]) for d in drawn[::-1]], "body": body})
    rows["reading"] = [[float(x)] * 5 for x in rng.normal(size=400)]
    rows.loc[rows.index % 10 == 9, "head"] = None
    frame[["head", "body"]] = rows[["head", "body"]].head(len(frame))
    given = {"text": {**TEXT, "columns": ["head", "body"], "encoder": {"name": "hashed_ngrams", "width": 4}}}
    label = np.where((drawn[::-1, :3] < 20).any(1) & rows["head"].notna(), "head", "none")
    return FusionClassifier(**{**SMALL, "epochs": 10, "modalities": {**given, "reading": VECTOR}}).fit(rows, label)


def fed(frame: pd.DataFrame, folder: Path) -> Any:
    """A text encoder that was trained alone before, from its folder."""
    text = {**TEXT, "encoder": {"name": "cnn_text", "width": 8}, "train": "scratch"}
    schema = from_dict({"modalities": {"text": text}, "target": "label", "task": "classification"}, "schema")
    settings = {**SMALL, "pretrain": {"epochs": 2}}
    plait.pretrain(frame[["name", "label"]], schema, settings, modality="text", out=folder / "encoder")
    given = {"text": {"kind": "text", "columns": ["name"], "encoder": "./encoder"}, "reading": VECTOR}
    return FusionClassifier(**SMALL | {"modalities": given}).fit(frame, frame["label"])


def space(frame: pd.DataFrame, folder: Path) -> Any:
    """One space that a network has learned."""
    stage = {"name": "context", "width": 8, "epochs": 2}
    settings = {"modalities": {"text": TEXT, "reading": VECTOR}, "stage": stage, "store": "none", "progress": False}
    return ModalityAligner(**settings).fit(frame)


def aligner(frame: pd.DataFrame, folder: Path) -> Any:
    """One space for text and vector."""
    settings = {"modalities": {"text": TEXT, "reading": VECTOR}, "stage": "cca", "store": "none", "progress": False}
    return ModalityAligner(**settings).fit(frame)


KINDS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    f.__name__: f
    for f in (
        classes,
        rare,
        number,
        labels,
        late_attention,
        decision,
        aligned_before,
        scratch,
        pictures,
        tuned_alone,
        conv_lstm,
        trees,
        amounts,
        intervals,
        costs,
        compared,
        looks,
        heads,
        fed,
        space,
        aligner,
    )
}


def answers(model: Any, frame: pd.DataFrame) -> dict[str, Any]:
    """What a model says of rows: for every subset of modalities, or the place of each cell in the space."""
    if isinstance(model, ModalityAligner):
        return {name: np.asarray(x).tolist() for name, x in model.transform(frame).items()}
    return {"+".join(subset): x.tolist() for subset, x in model.predict_subsets(frame).items()}


def read(folder: Path) -> Any:
    """The model of a golden folder; its files are beside it."""
    model = plait.load(folder / "model")
    model.set_params(store="none", root=str(folder), progress=False)
    return model


def write(kind: str, folder: Path) -> None:
    """One golden folder."""
    folder.mkdir(parents=True)
    folder = folder.absolute()
    frame = table()
    with contextlib.chdir(folder):  # no path of this machine in a model
        model = KINDS[kind](frame, Path())
    model.save(folder / "model")
    for name, ending in (("picture", "png"), ("sound", "wav")):
        if (folder / f"{name}s").is_dir():
            frame[name] = [f"{name}s/{i:02}.{ending}" for i in range(len(frame))]
    frame.to_json(folder / "inputs.jsonl", orient="records", lines=True)
    (folder / "expected.json").write_text(json.dumps(answers(read(folder), read_table(folder / "inputs.jsonl"))))


if __name__ == "__main__":
    for name in sys.argv[1:] or KINDS:
        write(name, Path(__file__).parent / plait.__version__ / name)
