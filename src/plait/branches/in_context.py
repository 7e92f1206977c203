"""Tabular foundation models: they answer from the training rows themselves, which they are shown with every question."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.base.branch import FittedBranch, FoldRows
from plait.base.checks import Count
from plait.base.errors import ConfigError, ModelError, need
from plait.base.inputs import Inputs
from plait.branches.features import COMPONENTS, PlainFeatures
from plait.encoders.hub_files import ALLOW
from plait.store.model_files import under

Array = NDArray[Any]
#: Labels beyond which one question per label would cost more than all other branches together.
MOST_LABELS = 5
#: Training rows of a member from which there is something to be shown.
FEWEST = 20
#: Log-probability of a class that no training row has, and bounds of what is said of others.
UNSEEN, FLOOR = -15.0, 1e-6


@dataclasses.dataclass(eq=False)
class InContext(FittedBranch):
    """What all of them share: the matrix they are shown, where weights lie, what they decline, how answers become outputs.

    A variant says its package, the names of its checkpoints and how its estimator is made; see ``tabicl``.
    """

    weights_from: str | None = None
    components: Count = COMPONENTS
    estimators: Count = 4
    most_rows: Count = 10_000

    #: The repository on the hub, and the checkpoint's name there for classes and for a number.
    hub: ClassVar[str] = ""
    files: ClassVar[tuple[str, str]] = ("", "")
    #: Classes and columns that it takes at most.
    limits: ClassVar[tuple[int, int]] = (10, 500)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._features = PlainFeatures(self.components)
        self._facts: dict[str, Any] = {}
        self._arrays: dict[str, Array] = {}
        self._models: dict[int, Any] = {}
        self._may_fetch = True

    @abstractmethod
    def estimator(self, path: Path, *, regression: bool, seed: int, first: int) -> Any:
        """A new estimator in scikit-learn's way; ``first``: so many columns are categories."""

    def most_classes(self, path: Path) -> int:
        """Classes that the checkpoint takes."""
        return self.limits[0]

    def values(self, model: Any, x: Array) -> Any:
        """What an estimator of a number answers (n,)."""
        return model.predict(x)

    def check(self) -> None:
        """Weights must be named; nothing is fetched unless the user named a place on the hub."""
        if self.weights_from is None:
            raise ConfigError(
                f"branch {self.name()}: weights_from is not given; expected a folder or file with its checkpoint, or a name on "
                f"the hub ({self.hub}; licence: {self.licence})"
            )

    def declines(self, rows: FoldRows) -> str | None:
        """Too many or too few rows, classes or labels."""
        if not rows.inputs.columns and not rows.inputs.tokens:
            return "all encoders learn: there is nothing that it could see"
        if not FEWEST <= len(rows.fold) <= self.most_rows:
            return f"{len(rows.fold)} rows to learn from; it takes {FEWEST} to {self.most_rows} (most_rows)"
        if rows.task == "multilabel" and rows.out_dim > MOST_LABELS:
            return f"{rows.out_dim} labels; it is asked about up to {MOST_LABELS}"
        if rows.task == "classification":
            most = self.most_classes(self._checkpoint(regression=False))
            if rows.out_dim > most:
                return f"{rows.out_dim} classes; its checkpoint takes {most}"
        return None

    def fit(self, rows: FoldRows) -> None:
        """Keep the training rows, which are all that it learns; the checkpoint is tried on them."""
        x = self._features.fit(rows)
        fill = np.zeros(x.shape[1], np.float32)
        known = ~np.isnan(x).all(0)
        fill[known] = np.nanmedian(x[:, known], axis=0)
        if x.shape[1] > self.limits[1]:
            raise ConfigError(
                f"branch {self.name()}: {x.shape[1]} columns; it takes {self.limits[1]}: lower components"
            )
        target = rows.target[rows.fold].numpy()
        path = self._checkpoint(regression=rows.task == "regression")
        self._arrays = {"x": np.where(np.isnan(x), fill, x), "y": target.reshape(len(target), -1), "fill": fill}
        self._facts = {
            "task": rows.task,
            "out_dim": rows.out_dim,
            "seed": rows.seed,
            "names": self._features.names,
            "first": len(self._features.categories),
            "weights": digest_of(path),
        }
        self._model(0)

    def _model(self, place: int) -> Any:
        """The estimator of one target, ready to answer; made when first asked for."""
        if place not in self._models:
            regression = self._facts["task"] == "regression"
            path = self._checkpoint(regression=regression)
            if digest_of(path) != self._facts["weights"]:
                raise ModelError(
                    f"{path}: not the checkpoint that this model was fitted with; put that one in its place"
                )
            y = self._arrays["y"][:, place]
            where = f"branch {self.name()}: {path}"
            try:
                model = self.estimator(
                    path, regression=regression, seed=self._facts["seed"], first=self._facts["first"]
                )
                model.fit(self._arrays["x"], y if regression else y.astype(np.int64))
            except (AssertionError, KeyError, TypeError, RuntimeError, ValueError) as error:
                said = (str(error).strip() or type(error).__name__).splitlines()[0]
                package = str(self.package)
                raise ModelError(
                    f"{where}: {package} {version(package)} cannot use this checkpoint ({said[:150]}); expected "
                    f"{self.files[int(regression)]}, or another of the same version of {self.hub}"
                ) from error
            self._models[place] = model
        return self._models[place]

    def outputs(self, inputs: Inputs) -> Tensor:
        """Raw outputs (n, out_dim): log-probabilities, log-odds, or standardised values."""
        x = self._features(inputs)
        x = np.where(np.isnan(x), self._arrays["fill"], x)
        targets = range(self._arrays["y"].shape[1])
        return torch.from_numpy(np.hstack([self._answers(x, place) for place in targets])).float()

    def _answers(self, x: Array, place: int) -> Array:
        """(n, 1) values or log-odds, or (n, out_dim) log-probabilities."""
        y, task = self._arrays["y"][:, place], self._facts["task"]
        width = self._facts["out_dim"] if task == "classification" else 1
        seen = np.unique(y).astype(np.int64) if task != "regression" else y
        if not len(x):
            return np.zeros((0, width))
        if len(seen) == 1:
            return _at(seen if task == "classification" else [], np.zeros((len(x), 1)), width)
        model = self._model(place)
        if task == "regression":
            return np.asarray(self.values(model, x), np.float64).reshape(len(x), 1)
        logs = np.log(np.clip(np.asarray(model.predict_proba(x), np.float64).reshape(len(x), -1), FLOOR, 1.0))
        return logs[:, 1:] - logs[:, :1] if task == "multilabel" else _at(seen, logs, width)

    def _checkpoint(self, *, regression: bool) -> Path:
        """Where the weights lie.

        Raises:
            ConfigError: nowhere.
        """
        self.check()
        return checkpoint(self.name(), str(self.weights_from), self.files[int(regression)], download=self._may_fetch)

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """The rows that it is shown, and how columns become numbers; the checkpoint stays where it is."""
        return self._arrays | {f"features.{k}": v for k, v in self._features.state().items()}, self._facts

    def load_state(self, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
        """Take them back, as a file has them, which fetches nothing."""
        self._facts, self._models, self._may_fetch = dict(facts), {}, False
        self._arrays = {k: v for k, v in arrays.items() if not k.startswith("features.")}
        self._features.load_state(under(arrays, "features."), self._facts["names"])


def _at(seen: Sequence[int] | Array, logs: Array, width: int) -> Array:
    """Log-probabilities of the classes that were seen among all."""
    result = np.full((len(logs), width), UNSEEN)
    result[:, seen] = logs
    return result


def checkpoint(branch: str, place: str, name: str, *, download: bool) -> Path:
    """The checkpoint in a folder (of that name, else of its family), a file itself, or one on the hub.

    Raises:
        ConfigError: it is not there; on the hub it is only fetched when the user's own word names it.
    """
    path = Path(place).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        family = re.match(r"[a-z]+(-[a-z]+|-v\d+-[a-z]+)?", name)[0]  # type: ignore[index]  # names begin with a word
        chosen = [path / name, *sorted(path.glob(f"{family}*"), reverse=True)]
        if (result := next((one for one in chosen if one.is_file()), None)) is None:
            raise ConfigError(f"branch {branch}: {place} has no checkpoint; expected {name} or another {family}*")
        return result
    if place.startswith((".", "~", "/")) or place.count("/") != 1:
        raise ConfigError(f"branch {branch}: weights_from: no such folder or file as {place}")
    hub = need("huggingface_hub", "hub")
    try:
        cached = not download and os.environ.get(ALLOW) != "1"
        return Path(hub.hf_hub_download(place, name, local_files_only=cached))
    except (OSError, ValueError) as error:
        said = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"branch {branch}: {name} of '{place}' is not in the hub's cache and was not fetched ({said}); give a folder, or "
            f"connect once (a model's file fetches nothing unless {ALLOW}=1)"
        ) from error


def read_plain(branch: str, path: Path) -> Any:
    """What a checkpoint of torch holds, read without running code.

    Raises:
        ModelError: it holds more than numbers and words, or cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        said = str(error).strip().splitlines()[0][:100]
        raise ModelError(
            f"branch {branch}: {path} cannot be read as a checkpoint of numbers ({said}); anything else is not loaded, as it "
            "could run code"
        ) from error


def digest_of(path: Path) -> str:
    """Hash of a file; read again when it changes."""
    about = path.stat()
    return _digest(path, about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _digest(path: Path, size: int, time: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
