"""What an inspection gives, and the rows it looks at: which a probe learns from and which it is judged on."""

from __future__ import annotations

import dataclasses
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base import notebook
from plait.base.errors import PlaitWarning, TableError, warn
from plait.data.labels import codes_of, label_text
from plait.data.rows import data_hash
from plait.data.targets import with_target
from plait.data.values import nulls
from plait.store.model_files import plain_values
from plait.workflow.inspection.embeddings import Embedding
from plait.workflow.rows import split_rows

#: Rows below which nothing can be said.
LEAST = 10


@dataclass(frozen=True)
class Rows:
    """Rows of a table, split.

    Attributes:
        frame: those with a target, training rows first.
        train: how many are training rows.
        y: codes (n,), -1 where the model does not know the class; indicators (n, C); or values (n,).
        labels: what the codes or columns mean; empty for a number.
        task: of the model.
        digests: hashes of the training rows, all of them: as they are fitted, and with the target (as before version 0.2).
        number: (n,) each row's place in the table that was given, from 0.
    """

    frame: pd.DataFrame
    train: int
    y: np.ndarray
    labels: tuple[str, ...]
    task: str
    digests: tuple[str, str]
    number: np.ndarray

    @property
    def is_train(self) -> np.ndarray:
        """(n,) bool."""
        return np.arange(len(self.frame)) < self.train

    def names(self) -> list[str]:
        """What each row is, as text: its class, its labels, or its value."""
        if self.task == "classification":
            return [self.labels[c] if c >= 0 else "(unknown)" for c in self.y]
        if self.task == "multilabel":
            return ["|".join(label for label, on in zip(self.labels, row, strict=True) if on) for row in self.y]
        return [repr(float(v)) for v in self.y]

    def together(self, places: np.ndarray) -> np.ndarray:
        """(n, n) bool: rows of one class, or with a label in common; nothing for a number."""
        y = self.y[places]
        if self.task == "classification":
            return np.asarray((y[:, None] == y[None]) & (y >= 0)[:, None])
        if self.task == "multilabel":
            return np.asarray(y @ y.T > 0)
        return np.zeros((len(y), len(y)), dtype=bool)


@dataclass(frozen=True)
class HeldOut:
    """How test rows are held out; what is None is taken from the model, as ``plait fit`` kept it.

    Attributes:
        test_fraction: share of the rows.
        split_column: a column that says ``test`` instead.
        group: a column whose equal values stay on one side.
        seed: of the split, of probes and of pictures.
    """

    test_fraction: float | None = None
    split_column: str | None = None
    group: str | None = None
    seed: int | None = None


def rows_for(model: Any, frame: pd.DataFrame, held_out: HeldOut | None = None, *, most: int = 5000) -> Rows:
    """Split a table as ``plait fit`` did; large parts are thinned with the seed.

    What is not told is taken from the model: ``plait fit`` keeps what it split by.
    """
    kept = held_out_by(model)
    by: dict[str, Any] = {k: kept.get(k) if v is None else v for k, v in vars(held_out or HeldOut()).items()}
    target = model.schema_.target
    if target is None:
        raise TableError("the model does not know its target's column; it was fitted from Python without a schema")
    holes = nulls(frame[target]) if target in frame.columns else np.zeros(len(frame), bool)
    number = np.flatnonzero(~np.asarray(holes))
    frame = with_target(frame, target).reset_index(drop=True)
    if len(frame) < LEAST:
        raise TableError(f"{len(frame)} rows with a '{target}'; at least {LEAST} are needed to inspect a model")
    seed = int(by["seed"] or 0)
    fraction = 0.15 if by["test_fraction"] is None else float(by["test_fraction"])
    train, test = split_rows(frame, model.schema_, fraction, by["split_column"], by["group"], seed)
    seen = frame.iloc[train].reset_index(drop=True)
    digests = data_hash(seen.drop(columns=target)), data_hash(seen)
    rng = np.random.default_rng(seed)
    train, test = (
        np.sort(rng.choice(part, most, replace=False)) if len(part) > most else part for part in (train, test)
    )
    both = np.concatenate([train, test])
    chosen = frame.iloc[both].reset_index(drop=True)
    y = model.target_of(chosen)
    labels = tuple(label_text(c) for c in model.labels)
    if model.task_ == "classification":
        y = codes_of(y, model.labels)
    if model.task_ != "multilabel" and len(np.unique(y)) < 2:
        raise TableError(f"'{target}' is the same in all {len(chosen)} rows; nothing tells them apart")
    return Rows(chosen, len(train), y, labels, model.task_, digests, number[both])


def held_out_by(model: Any) -> Mapping[str, Any]:
    """What ``plait fit`` held rows out by: as it was kept, or as its command says."""
    kept = model.record_.get("held_out")
    return dict(kept) if isinstance(kept, Mapping) else {"seed": model.random_state}


def table_of(model: Any) -> Path | None:
    """The table that ``plait fit`` was called with, if it is still where it was."""
    parts = shlex.split(str(model.record_.get("command") or ""))
    if len(parts) > 2 and parts[1] == "fit" and Path(parts[2]).is_file():
        return Path(parts[2])
    return None


def fit_parts(model: Any, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
    """Places of the rows that a model learned from, and of those that judged it, in the table of its ``plait fit``.

    Args:
        model: fitted.
        frame: rows that have a target.

    Returns:
        None where it is another table, or the model was fitted otherwise.
    """
    by, record = held_out_by(model), model.record_
    if "test_fraction" not in by or len(frame) != record["rows"] + record.get("test_rows", 0):
        return None
    frame = frame.drop(columns=by.get("other_targets") or [], errors="ignore")
    named = [name for name in (by["split_column"], by["group"]) if name is not None]
    if not set(named) <= set(frame.columns):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)  # said when it was fitted
        try:
            train, test = split_rows(
                frame, model.schema_, by["test_fraction"], by["split_column"], by["group"], int(by["seed"] or 0)
            )
        except TableError:  # the table of the fit could be split so
            return None
    target = model.schema_.target
    used = {column for modality in model.schema_.modalities for column in modality.columns}
    seen = (frame if target in used else frame.drop(columns=target)).iloc[train]
    return (train, test) if data_hash(seen) == record.get("data_hash") else None


def never_seen(model: Any, rows: Rows) -> bool:
    """Whether the model was fitted on exactly this split's training rows, so that it has not seen the test rows."""
    return model.record_.get("data_hash") in rows.digests


def warn_seen(names: list[str]) -> None:
    """Say, once, whose test rows may have been training rows."""
    warn(
        f"{', '.join(names)}: fitted on other rows than this split's training rows, so that test rows may have been seen; "
        "probes of encoders that learned are then too good (give the split of the fit: --test-fraction, --split-column, "
        "--group, --seed)"
    )


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        runs: names, the first being the one that others are compared with.
        task: of the models.
        target: column.
        rows: the rows and their split.
        embeddings: run -> its representations.
        measures: a row per representation (``plait.workflow.inspection.measures``).
        alignment: of each pair of modalities in each run's joint space.
        cka: between all representations: of one run with itself, of two runs with each other.
        comparison: of the runs: scores, each modality alone, costs.
        pictures: run -> way -> name of representation -> (places of rows, their points (n, 2)).
        unseen: run -> whether the test rows are known not to have been training rows.
        command: what to run to do it again, or nothing.
    """

    runs: tuple[str, ...]
    task: str
    target: str
    rows: Rows
    embeddings: Mapping[str, Sequence[Embedding]]
    measures: pd.DataFrame
    alignment: pd.DataFrame
    cka: pd.DataFrame
    comparison: pd.DataFrame
    pictures: Mapping[str, Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]]
    unseen: Mapping[str, bool]
    command: str = ""

    def __repr__(self) -> str:
        return f"inspection of {', '.join(self.runs)} ('{self.target}')\n{self.measures.to_string()}"

    def _repr_html_(self) -> str:
        """The same in a notebook, with the comparison of the runs."""
        parts = {"representations": self.measures, "runs": self.comparison}
        shown = [
            p for name, t in parts.items() for p in (notebook.heading(name), notebook.table(notebook.records_of(t)))
        ]
        return notebook.box(f"inspection of {', '.join(self.runs)} ('{self.target}')", *shown)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the embeddings themselves are in their files."""
        tables = {n: getattr(self, n).to_dict("records") for n in ("measures", "alignment", "cka", "comparison")}
        options = {
            "runs": list(self.runs),
            "task": self.task,
            "target": self.target,
            "unseen": dict(self.unseen),
            **tables,
        }
        options |= {"train_rows": self.rows.train, "test_rows": len(self.rows.frame) - self.rows.train}
        plain: dict[str, Any] = plain_values(options)
        return plain
