"""What each modality is worth, and whether all of them together ever lose: every data set, every subset, 5 splits.

For each data set and target, and for several seeds, plait's default estimator is fitted on each modality alone, every
pair and all, beside scikit-learn's logistic regression (ridge for numbers, one-versus-rest for several labels) on the
same features of all modalities, concatenated, whose regularisation is chosen within the training part.

Splits: ``random`` is 80/5/15 by rows; ``grouped`` is 80/5/15 with rows of one group (reprints of a card, clips of one
recording, utterances of one video) on one side; ``official`` takes the source's own parts, or its folds in turn. Both
models choose their settings within training and validation part together; the test part is only ever scored.

    PLAIT_DATA=... python benchmarks/subsets.py --data pokemon mosi --seeds 5 --out results/subsets

A run that is already in ``OUT/<data set>.jsonl`` is skipped, so an interrupted command goes on where it stopped;
``--table`` only prints. Start from an empty folder after a change of the estimators. Results on stand-ins are labelled
``(rebuilt)``: they are no numbers on the original.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer, StandardScaler

from plait import FusionClassifier, FusionRegressor, registry
from plait.datasets._base import Dataset, Loaded
from plait.features import Featurizer
from plait.metrics import codes
from plait.metrics import metrics as metrics_of
from plait.schema import Schema
from plait.store import Store
from plait.table import split
from subsets_table import key_of, read, table

NAMES = ("pokemon", "mosi", "issues", "esc10", "av_digits", "movies", "hearthstone_cards", "hearthstone")
FRACTIONS = (0.80, 0.05, 0.15)
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # C of the logistic regression, on standardised features
THRESHOLDS = tuple(np.linspace(0.1, 0.6, 26).tolist())  # as the estimator's own
LARGE = 4000  # rows from which on the baseline's strength is chosen on one fold instead of five
SECONDARY = {
    "classification": ("accuracy", "f1_macro", "balanced_accuracy", "log_loss", "ece"),
    "multilabel": ("f1_samples", "f1_micro", "f1_macro", "map_macro", "log_loss"),
    "regression": ("mae", "rmse", "r2", "spearman"),
}
Outputs = dict[str, np.ndarray]  # input of a metric -> array


@dataclasses.dataclass
class Trial:
    """One target of one data set under one split."""

    dataset: type[Dataset]
    frame: pd.DataFrame
    schema: Schema
    train: np.ndarray
    test: np.ndarray
    seed: int
    store: str
    fixed: bool  # every seed has the same test part
    groups: str | None  # column whose equal values stay together

    @property
    def subsets(self) -> list[tuple[str, ...]]:
        """All first, then each alone, then the pairs."""
        names = tuple(m.name for m in self.schema.modalities)
        sizes = sorted({len(names), 1, min(2, len(names))}, key=lambda size: (size != len(names), size))
        return [subset for size in sizes for subset in itertools.combinations(names, size)]

    @cached_property
    def y(self) -> np.ndarray:
        """The whole target: labels, indicators of all labels, or numbers."""
        column = self.frame[str(self.schema.target)]
        if self.schema.task == "multilabel":
            return MultiLabelBinarizer().fit_transform(column.str.split("|"))
        return column.to_numpy(dtype=float if self.schema.task == "regression" else object)

    @cached_property
    def features(self) -> dict[str, np.ndarray]:
        """What the frozen encoders give: (n, D) per modality; absent rows are zero and flagged."""
        featurizer = Featurizer(self.schema)
        columns = [c for m in self.schema.modalities for c in m.columns]
        featurizer.fit(self.frame.loc[self.train, columns].reset_index(drop=True), None)
        with Store(self.store) as store:
            inputs = featurizer.transform(self.frame[columns], None, store, strict=False, progress=False)
        found = {}
        for name, tokens in inputs.tokens.items():
            absent = ~tokens.present.numpy()
            flag = absent[:, None].astype(np.float32)[:, : int(absent.any())]
            found[name] = np.hstack([tokens.pooled().numpy(), flag])
        return found


def trials(name: str, arguments: argparse.Namespace) -> Iterator[tuple[str, str, int, Trial]]:
    """(target, split, seed, trial) of a data set."""
    cls = registry.find("datasets", name)
    for seed in range(arguments.seeds):
        if seed == 0 or not cls.resplit:  # a data set that is drawn at random is drawn anew for each seed
            loaded = cls().load() if cls.resplit else cls(seed=seed).load()
        official = loaded.split is not None or loaded.folds is not None
        again = ["grouped" if loaded.groups else "random"] if cls.resplit else []
        for kind, target in itertools.product(arguments.splits or ["official"] * official + again, cls.tasks):
            possible = {"official": official, "grouped": loaded.groups is not None, "random": cls.resplit}[kind]
            if possible and (not arguments.targets or target in arguments.targets):
                yield target, kind, seed, make_trial(cls, loaded, target, kind, seed, arguments.store)


def make_trial(cls: type[Dataset], loaded: Loaded, target: str, kind: str, seed: int, store: str) -> Trial:
    """Rows of one split."""
    frame, schema = loaded.of(target)
    fixed = kind == "official" and loaded.split is not None and cls.resplit
    if kind == "official" and loaded.split:
        test = (frame[loaded.split] == "test").to_numpy()
    elif kind == "official":
        folds = sorted(frame[str(loaded.folds)].unique())
        test = (frame[str(loaded.folds)] == folds[seed % len(folds)]).to_numpy()
    else:
        group = loaded.groups if kind == "grouped" else None
        *_, rows = split(frame, FRACTIONS, seed, stratify=target, group=group)
        test = np.isin(np.arange(len(frame)), rows)
    together = None if kind == "random" else loaded.groups
    return Trial(cls, frame, schema, np.flatnonzero(~test), np.flatnonzero(test), seed, store, fixed, together)


def fit_plait(trial: Trial, subset: tuple[str, ...]) -> tuple[Outputs, dict[str, Any]]:
    """The default estimator on some modalities."""
    kept = tuple(m for m in trial.schema.modalities if m.name in subset)
    schema = dataclasses.replace(trial.schema, modalities=kept, target=None)
    x = trial.frame[[c for m in kept for c in m.columns]]
    task = trial.schema.task
    maker = FusionRegressor if task == "regression" else FusionClassifier
    model = maker(modalities=schema, task=task, random_state=trial.seed, store=trial.store, progress=False)
    groups = None if trial.groups is None else trial.frame[trial.groups].to_numpy()[trial.train]
    model.fit(x.iloc[trial.train].reset_index(drop=True), trial.y[trial.train], groups=groups)
    record = {key: model.record_[key] for key in ("trained_weights", "seconds", "peak_memory_mb", "members", "width")}
    test = x.iloc[trial.test].reset_index(drop=True)
    if task == "regression":
        return {"values": model.predict(test)}, record
    probabilities = model.predict_proba(test)
    if task == "multilabel":
        return {"labels": model.predict(test), "probabilities": probabilities}, record
    return classified(trial, probabilities, model.classes_), record


def classified(trial: Trial, probabilities: np.ndarray, classes: np.ndarray) -> Outputs:
    """Probabilities over the classes of training, spread over all classes."""
    everything = np.unique(trial.y)
    spread = np.zeros((len(probabilities), len(everything)))
    spread[:, codes(classes, everything)] = probabilities
    return {"labels": spread.argmax(1), "probabilities": spread}


def fit_linear(trial: Trial, subset: tuple[str, ...]) -> tuple[Outputs, dict[str, Any]]:
    """The baseline on the same features, concatenated and standardised; its strength is chosen on training rows."""
    x = np.hstack([trial.features[name] for name in subset])
    x = StandardScaler().fit(x[trial.train]).transform(x).astype(np.float32)
    train, test, y = x[trial.train], x[trial.test], trial.y[trial.train]
    start = time.perf_counter()
    if trial.schema.task == "regression":
        ridge = RidgeCV(np.logspace(0, 5, 11)).fit(train, y)
        return {"values": ridge.predict(test)}, {"strength": float(ridge.alpha_), "fit": time.perf_counter() - start}
    several = trial.schema.task == "multilabel"
    strength, threshold = chosen(train, y, several, trial.seed)
    model = linear(strength, several).fit(train, y)
    told = {"strength": strength, "fit": round(time.perf_counter() - start, 2)}
    probabilities = model.predict_proba(test)
    if several:
        return {"labels": (probabilities >= threshold).astype(int), "probabilities": probabilities}, told
    return classified(trial, probabilities, model.classes_), told


def chosen(x: np.ndarray, y: np.ndarray, several: bool, seed: int) -> tuple[float, float]:
    """Strength, and threshold for several labels, with the best score on held-out folds (one on large tables)."""
    folds = list(KFold(5, shuffle=True, random_state=seed).split(x))[: 5 if len(x) < LARGE else 1]
    scores: dict[tuple[float, float], float] = defaultdict(float)
    for (fit, held), strength in itertools.product(folds, STRENGTHS):
        model = linear(strength, several).fit(x[fit], y[fit])
        if several:
            probabilities = model.predict_proba(x[held])
            for threshold in THRESHOLDS:
                scores[strength, threshold] += f1(y[held], probabilities >= threshold)
        else:
            scores[strength, 0.5] += float(np.mean(model.predict(x[held]) == y[held]))
    return max(scores, key=scores.__getitem__)


def linear(strength: float, several: bool) -> Any:
    """Logistic regression, one per label where several apply."""
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
    return OneVsRestClassifier(model) if several else model


def f1(y: np.ndarray, labels: np.ndarray) -> float:
    """Mean F1 of the rows."""
    return float(np.mean(2 * (y * labels).sum(1) / np.maximum(1, y.sum(1) + labels.sum(1))))


def score(trial: Trial, outputs: Outputs) -> dict[str, Any]:
    """Metrics of the test part, and the main one per row."""
    task, y = trial.schema.task, trial.y[trial.test]
    truth = codes(y, np.unique(trial.y)) if task == "classification" else y
    known = metrics_of(task)
    told = {name: known[name].score(truth, outputs[known[name].input]).value for name in SECONDARY[task]}
    main = known[trial.dataset.metrics[str(trial.schema.target)]]
    per_row = main.rows(truth, outputs[main.input]) if main.rows else np.zeros(0)
    return {"scores": {k: round(float(v), 6) for k, v in told.items()}, "rows": np.round(per_row, 4).tolist()}


FITS: dict[str, Callable[[Trial, tuple[str, ...]], tuple[Outputs, dict[str, Any]]]] = {
    "plait": fit_plait,
    "linear": fit_linear,
}


def run(name: str, arguments: argparse.Namespace) -> None:
    """Every missing run of a data set, one line each."""
    path = Path(arguments.out) / f"{name}.jsonl"
    done = {key_of(record) for record in read(path)}
    for target, kind, seed, trial in trials(name, arguments):
        for model, subset in itertools.product(arguments.models, trial.subsets):
            if model == "linear" and len(subset) < len(trial.schema.modalities):
                continue  # the baseline is asked of all modalities only
            key = {"data": name, "target": target, "split": kind, "seed": seed, "model": model, "subset": list(subset)}
            if key_of(key) in done:
                continue
            start = time.perf_counter()
            outputs, told = FITS[model](trial, subset)
            told |= {"wall": round(time.perf_counter() - start, 2), "train": len(trial.train), "test": len(trial.test)}
            told |= {
                "all": len(subset) == len(trial.schema.modalities),
                "task": trial.schema.task,
                "fixed": trial.fixed,
            }
            line = json.dumps({**key, **score(trial, outputs), **told})
            with path.open("a") as file:
                file.write(line + "\n")
            print(f"{name} {target} {kind} {seed} {model} {'+'.join(subset)}: {told['wall']} s", flush=True)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--targets", nargs="+", default=[], help="only these targets")
    parser.add_argument("--splits", nargs="+", default=[], choices=["random", "grouped", "official"])
    parser.add_argument("--models", nargs="+", default=list(FITS), choices=list(FITS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", default="results/subsets")
    parser.add_argument("--store", default=None, help="folder of the store of embeddings; default OUT/store")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    arguments = parser.parse_args()
    arguments.store = arguments.store or str(Path(arguments.out) / "store")
    Path(arguments.out).mkdir(parents=True, exist_ok=True)
    for name in [] if arguments.table else arguments.data:
        run(name, arguments)
    text = table([r for name in arguments.data for r in read(Path(arguments.out) / f"{name}.jsonl")])
    (Path(arguments.out) / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
