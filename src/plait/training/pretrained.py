"""An encoder that was trained alone and saved to a folder: frozen, or as a start to go on from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import nn

from plait.base.documents import plain
from plait.base.encoder import Encoder
from plait.base.errors import CellError, ConfigError, ModelError
from plait.base.folders import whole_folder
from plait.store import model_files
from plait.store.model_files import under
from plait.training import history, model_parts
from plait.training.model_parts import FolderEncoder, inner_encoder, inner_state, split_state
from plait.training.pretraining import load, shapes

#: Cells of which at least one must be readable.
_TRIED = 32


@dataclass(eq=False)
class Pretrained(FolderEncoder["Saved"]):
    """What ``plait pretrain`` saved; a model that uses it carries all it needs, without the folder.

    Attributes:
        folder: that ``plait pretrain`` wrote.
        kind: of the cells; filled in where a folder is named as an encoder.

    Formula: the encoder inside, with the weights it was saved with; its temporary head is gone.
    Shape: as the encoder inside gives.
    Source: Task-specific pre-trained encoders in late fusion, sections 6.2 (pretraining) and 1 (transfer to related tasks).
    Use when: an encoder learned on a larger table, or on a related task with other classes.
    Not when: it would learn from this table's own rows: ``train: pretrain`` does that for each fold without looking at the rest.

    Example:
        >>> Pretrained(folder="runs/audio").name()
        'pretrained'
    """

    trainable: ClassVar[bool] = True

    kind: str | None = None

    def read(self) -> Saved:
        saved = read(self.folder)
        if self.kind is not None and saved.kind != self.kind:
            raise ConfigError(f"encoder pretrained: {self.folder} was trained on {saved.kind}, not on {self.kind}")
        return saved

    def restore(self, state: Mapping[str, Any]) -> Saved:
        return Saved.restore(state)

    def fit(self, cells: Sequence[Any]) -> Self:
        """Learn nothing, but refuse a table none of whose cells can be read as those of training.

        Raises:
            ConfigError: other widths, say.
        """
        reasons = []
        for cell in list(cells)[:_TRIED]:
            try:
                self.prepare([cell])
            except CellError as error:
                reasons.append(str(error))
            else:
                return self
        if reasons:
            raise ConfigError(f"encoder pretrained: {self.folder} cannot read this table's cells ({reasons[0]})")
        return self

    def module(self) -> nn.Module:
        return self.held.module()

    def fingerprint(self) -> str:
        """Digest of the folder's content, whatever its path."""
        saved = self.held
        digest = hashlib.blake2b(f"{self.name()} {self.version} {saved.encoder.fingerprint()}".encode(), digest_size=16)
        for name, array in sorted(saved.weights.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


KIND = "PretrainedEncoder"
_WEIGHTS = "weights."


@dataclass(frozen=True)
class Saved:
    """An encoder and its trained weights.

    Attributes:
        encoder: fitted.
        kind: of the cells that it was trained on.
        weights: name -> array, of its module.
        facts: what else is known: ``task``, ``record``, ``columns``, ``history``.
    """

    encoder: Encoder
    kind: str
    weights: Mapping[str, np.ndarray]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def module(self) -> nn.Module:
        """The encoder's network with these weights; it may learn on."""
        module = self.encoder.module()
        load(module, self.weights, f"the pretrained encoder '{self.encoder.name()}'")
        return module

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        weights = {f"{_WEIGHTS}{k}": v for k, v in self.weights.items()}
        return {**inner_state(self.encoder), "kind": self.kind, **weights}

    @classmethod
    def restore(cls, state: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> Saved:
        """Rebuild the encoder from its saved state."""
        return cls(inner_encoder(state, "encoder pretrained"), state["kind"], under(state, _WEIGHTS), facts or {})


def write(saved: Saved, folder: str | Path, epochs: Sequence[Mapping[str, Any]] = ()) -> Path:
    """Write the folder whole, or not at all; an existing model folder is replaced, anything else is refused.

    ``epochs``: records with scores, for ``epoch_metrics.json`` and ``.csv``.
    """
    state = saved.state()
    arrays = split_state(state)[1]
    manifest = {
        "kind": KIND,
        "inner": state["inner"],
        "cells": saved.kind,
        "fingerprint": saved.encoder.fingerprint(),
        "dim": saved.encoder.dim,
        **saved.facts,
    }
    with whole_folder(folder, KIND) as place:
        model_files.write_model(place, manifest, arrays, _card(saved))
        history.write(place, epochs)
    return Path(folder)


def read(folder: str | Path) -> Saved:
    """A pretrained encoder from its folder.

    Raises:
        ModelError: not such a folder, a missing or altered file, weights that are not of that encoder, a newer format, or
            another version of the encoder.
    """
    return model_parts.read(folder, _rebuilt, "pretrain")


def _rebuilt(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Saved:
    if manifest.get("kind") != KIND:
        raise ModelError(f"holds a {manifest.get('kind')}, not a pretrained encoder; plait pretrain writes one")
    facts = {k: v for k, v in manifest.items() if k in ("task", "record", "columns", "history")}
    saved = Saved.restore({"inner": manifest["inner"], "kind": manifest["cells"], **arrays}, facts)
    if not saved.encoder.made(manifest["fingerprint"]):
        raise ModelError(
            f"the encoder '{saved.encoder.name()}' is another one than was trained (version or options differ); install the "
            "version in the folder's README or pretrain it again"
        )
    result, expected = shapes(saved.weights), shapes(saved.encoder.module().state_dict())
    if result != expected or manifest["dim"] != saved.encoder.dim:
        wrong = sorted(name for name in {*result, *expected} if result.get(name) != expected.get(name))
        said = f"{wrong[0]} is {result.get(wrong[0])}, expected {expected.get(wrong[0])}" if wrong else "another width"
        raise ModelError(f"the weights are not of its encoder ({said}); pretrain it again")
    return saved


def _card(saved: Saved) -> str:
    """Markdown text of the folder's ``README.md``."""
    record = saved.facts.get("record", {})
    task = saved.facts.get("task", {})
    lines = [
        f"# {saved.encoder.name()}, pretrained for {plain(task.get('target') or 'y')}",
        "",
        f"An encoder of {saved.kind} ({record.get('trained_weights', 0):,} weights, {saved.encoder.dim} wide), trained alone "
        f"on {record.get('rows', 0):,} rows (data hash `{record.get('data_hash')}`), task: {task.get('name')}, "
        f"seed {record.get('seed')}.",
        "",
        f"Licence of the encoder: {saved.encoder.licence}.",
        "",
        "```",
        "plait fit table.csv --target T --encoder MODALITY=THIS_FOLDER                            # frozen",
        "plait fit table.csv --target T --encoder MODALITY=THIS_FOLDER --train MODALITY=scratch   # learns on",
        "```",
        "",
        "## Versions",
        "",
    ]
    return "\n".join([*lines, *(f"- {name} {version}" for name, version in record.get("versions", {}).items())]) + "\n"
