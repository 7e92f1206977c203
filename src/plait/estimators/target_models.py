"""Models of several targets of one table, as one: they answer together and lie in one folder."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from plait.base.documents import checksum
from plait.base.errors import ConfigError, ModelError
from plait.base.folders import whole_folder
from plait.base.parts import write_file
from plait.estimators import modelfile
from plait.estimators.base import FusionEstimator, loaded
from plait.estimators.fit_settings import NO_STORE
from plait.store import model_files

KIND = model_files.TARGETS
#: Folders of a front page, and names that Windows keeps for itself, which no target's folder may be called.
_TAKEN = (
    "figures",
    "tables",
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)),
)


class TargetModels(Mapping[str, FusionEstimator]):
    """Target -> its model; ``predict`` answers for all of them.

    Example:
        >>> import pandas as pd
        >>> from plait import FusionClassifier
        >>> table = pd.DataFrame({"size": [1.0, 2.0, 8.0, 9.0] * 10})
        >>> quick = FusionClassifier(store="none", epochs=2, members=1, branches=("joint",))
        >>> models = TargetModels({"big": quick.fit(table, ["no", "no", "yes", "yes"] * 10)})
        >>> list(models), models.predict_proba(table)["big"].shape
        (['big'], (40, 2))
    """

    def __init__(self, models: Mapping[str, FusionEstimator]) -> None:
        if not models:
            raise ConfigError("a set of models needs at least one target")
        self._models = dict(models)

    def __getitem__(self, target: str) -> FusionEstimator:
        return self._models[target]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def predict(self, X: object, *, partial: bool | None = None) -> dict[str, np.ndarray]:
        """Target -> what its model's ``predict`` gives; equal cells are encoded once for all."""
        with self.sharing() as models:
            return {target: model.predict(X, partial=partial) for target, model in models.items()}

    def predict_proba(self, X: object, *, partial: bool | None = None) -> dict[str, np.ndarray]:
        """Target -> probabilities (n, C), of the targets that are classes."""
        with self.sharing() as models:
            proba = {t: m.predict_proba for t, m in models.items() if m.task_ != "regression"}
            return {target: answer(X, partial=partial) for target, answer in proba.items()}

    @contextmanager
    def sharing(self) -> Iterator[dict[str, FusionEstimator]]:
        """The models with a store that all of them use; where they keep nothing, one that goes with the block."""
        if all(model.store != NO_STORE for model in self._models.values()) or len(self) < 2:
            yield dict(self._models)
            return
        with tempfile.TemporaryDirectory(prefix="plait-") as folder:
            models = {target: copy.copy(model) for target, model in self._models.items()}
            for model in models.values():
                model.store = folder if model.store == NO_STORE else model.store
            yield models

    def save(self, folder: str | Path) -> Path:
        """Write a folder with a sub-folder per target, each a model folder of its own, and a manifest."""
        with whole_folder(folder, "Fusion") as place:
            for target, name in folders_of(list(self)).items():
                (place / name).mkdir()
                modelfile.write(self[target], place / name)
            self.write_manifest(place)
        return Path(folder)

    def write_manifest(self, place: Path) -> None:
        """Write into a folder which target lies in which sub-folder."""
        names = folders_of(list(self))
        targets = [{"target": t, "folder": names[t], "task": model.task_} for t, model in self.items()]
        manifest: dict[str, Any] = {"format": model_files.FORMAT, "kind": KIND, "targets": targets}
        manifest["checksum"] = checksum(manifest)
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        write_file(place / model_files.MANIFEST, text.encode("utf-8", "backslashreplace"))


def folders_of(targets: Sequence[str]) -> dict[str, str]:
    """Target -> the name of its sub-folder: letters, digits, dashes; no two alike, in upper or lower case.

    Example:
        >>> folders_of(["price", "a/b", "a b", "Price"])
        {'price': 'price', 'a/b': 'a_b', 'a b': 'a_b_2', 'Price': 'Price_2'}
    """
    result: dict[str, str] = {}
    taken = set(_TAKEN)
    for target in targets:
        plain = re.sub(r"[^\w-]+", "_", target)[:60].strip("_") or "target"
        numbered = (f"{plain}_{number}" for number in range(2, len(targets) + len(_TAKEN) + 2))
        name = next(n for n in (plain, *numbered) if n.casefold() not in taken)
        taken.add(name.casefold())
        result[target] = name
    return result


def holds_targets(folder: str | Path) -> bool:
    """Whether a folder holds a model per target."""
    return (Path(folder) / model_files.MANIFEST).is_file() and model_files.read_manifest(Path(folder)).get(
        "kind"
    ) == KIND


def load_targets(folder: str | Path) -> TargetModels:
    """The models of a folder with a sub-folder per target.

    Raises:
        ModelError: the manifest, or a model, is broken.
    """
    entries = model_files.read_manifest(Path(folder)).get("targets")
    if not isinstance(entries, list) or not entries:
        raise ModelError(f"{folder}: its {model_files.MANIFEST} names no targets; copy the folder again")
    models = {}
    for entry in entries:
        name = entry.get("folder") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
            raise ModelError(f"{folder}: its {model_files.MANIFEST} names a sub-folder {name!r}; copy the folder again")
        model = loaded(Path(folder) / name)
        if not isinstance(model, FusionEstimator):
            raise ModelError(f"{Path(folder) / name}: holds a {type(model).__name__}, not the model of a target")
        models[str(entry.get("target"))] = model
    return TargetModels(models)
