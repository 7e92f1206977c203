"""The finetuning of one modality's encoder: which rows teach which copy, who embeds whom, and what is kept in the store."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from plait.base.deadline import Deadline
from plait.base.encoder import Cut, Encoder
from plait.base.errors import ConfigError, need
from plait.base.progress import track
from plait.base.tokens import Tokens
from plait.encoders.embed import Column
from plait.networks.tasks import Task
from plait.store import Keep, Memory, Store
from plait.store.record import halved
from plait.training import checkpoint
from plait.training.checkpoint import Trained
from plait.training.lora import CellExamples, Learned, Rows, States, embedded, learn, states
from plait.training.rows import spreadable
from plait.training.settings import Tuning
from plait.training.tuned import Tuned, Weights, packed, unpacked


@dataclass(frozen=True)
class FinetuningTarget:
    """The targets that encoders are finetuned on, and which rows belong together.

    Shape: target as the loss takes it (n, ...); weight, strata and groups (n,); groups None where rows are independent.
    """

    task: Task
    target: Tensor
    weight: Tensor
    strata: np.ndarray
    groups: np.ndarray | None
    seed: int
    end: Deadline = dataclasses.field(default_factory=Deadline)

    @classmethod
    def of(
        cls, task: Task, target: np.ndarray, weight: np.ndarray, groups: np.ndarray | None, seed: int, end: Deadline
    ) -> FinetuningTarget:
        """Of a target as the estimator takes it (n, ...), and weights (n,) on any scale."""
        even = torch.from_numpy(weight).float()
        return cls(task, task.encode(target), even / even.mean(), task.strata(target), groups, seed, end)


class Single:
    """The finetuning of one modality's encoder: a copy per fold, and the tokens of each row by one that has not seen it."""

    def __init__(
        self,
        column: Column,
        base: Encoder,
        tuning: Tuning,
        supervision: FinetuningTarget,
        store: Store | None,
        progress: bool | None,
    ) -> None:
        """Take the rows that have a cell; nothing is computed yet."""
        self.column, self.base, self.tuning = column, base, tuning
        self.supervision, self.progress = supervision, progress
        self.keep: Keep = store if store is not None else Memory(exact=False)
        self.keys: list[bytes] = []
        self._loaded: tuple[Cut, States] | None = None
        self._set_rows()

    def _set_rows(self) -> None:
        """Number the distinct cells, and gather what the rows that have one say of them."""
        self.keys = list(self.column.rows)
        if not self.keys:
            raise ConfigError(f"modality '{self.column.name}': no cell can be read; there is nothing to tune")
        place = np.full(self.column.n, -1, np.int64)
        for number, key in enumerate(self.keys):
            place[self.column.rows[key]] = number
        present, supervision = np.flatnonzero(place >= 0), self.supervision
        chosen = torch.from_numpy(present)
        self.rows = Rows(place[present], supervision.target[chosen], supervision.weight[chosen])
        self.strata = supervision.strata[present]
        self.units = together(self.rows.cell, None if supervision.groups is None else supervision.groups[present])

    def run(self) -> tuple[Tuned, Tokens, dict[str, Any]]:
        """The tuned encoder, the tokens of the rows, and what it cost."""
        key = content_key(
            self.base, self.keys, self.rows, self.units, self.supervision.task, self.tuning, self.supervision.seed
        )
        weights, record, stored = kept_or_tuned(self.keep, key, self.tuning, self._tuned)
        encoder = Tuned(self.base, self.tuning, weights[self.tuning.folds :] or weights)
        tokens = self._tokens(encoder, weights[: self.tuning.folds], key)
        self.column.warn()
        return encoder, tokens, {**record, "from_store": stored}

    def _parts(self) -> tuple[Cut, States]:
        """The two parts of the network, and what the lower one made of the cells; computed when first needed."""
        if self._loaded is None:
            arrays = states(self.base, self.tuning.layers, self.column, self.keep)
            self._set_rows()  # cells that cannot be read have been left out
            self._loaded = self.base.cut(self.tuning.layers), States([arrays[key] for key in self.keys])
        return self._loaded

    def _fold(self) -> np.ndarray:
        """The fold (n,) of each row; of no folds, all rows are in none."""
        if not self.tuning.folds:
            return np.full(len(self.strata), -1)
        return dealt(self.strata, self.units, self.tuning.folds, self.supervision.seed)

    def _tuned(self) -> tuple[list[Weights], dict[str, object]]:
        """An encoder per fold that learns from the other folds, and where it is wanted one that learns from all."""
        start = time.perf_counter()
        need("peft", "tune")
        _, cells = self._parts()
        fold = self._fold()
        learned = []
        with track(self.tuning.encoders, f"{self.column.name}: tuning", "encoders", self.progress) as bar:
            for number in range(self.tuning.encoders):
                learned.append(self._learned(np.flatnonzero(fold != number), cells, number))
                bar.advance(1)
        record = {
            "layers": self.tuning.layers,
            "rows": len(self.rows.cell),
            "epochs": [len(one.history) for one in learned],
            "valid_loss": [min((r["valid_loss"] for r in one.history), default=None) for one in learned],
            "diverged": sum(one.diverged for one in learned),
            "trained_weights": sum(w.numel() for one in learned for w in one.weights.values()),
            "history": [one.history for one in learned],
            "seconds": round(time.perf_counter() - start, 3),
        }
        return [one.weights for one in learned], record

    def _learned(self, chosen: np.ndarray, cells: States, number: int) -> Learned:
        """Tune on the rows ``chosen``, a part of which stops it."""
        cut, _ = self._parts()
        supervision, seed = self.supervision, self.supervision.seed + number
        valid = validation_part(self.strata[chosen], self.units[chosen], self.tuning.validation, seed)
        examples = CellExamples(supervision.task, cells, self.rows.take(chosen[~valid]), self.rows.take(chosen[valid]))
        return learn(cut, self.base.dim, examples, self.tuning, seed, self.column.name, supervision.end.training_over)

    def _tokens(self, encoder: Tuned, folds: Sequence[Weights], key: bytes) -> Tokens:
        """Each row embedded by the encoder that has not seen its fold; without folds by the only one there is.

        They are kept in the store, the held-out ones under a name of their own: what ``predict`` makes of the same cell comes
        from the encoders that it may use.
        """
        fingerprint = f"{key.hex()} held out" if folds else encoder.store_key()
        stored = dict(zip(self.keys, self.keep.get_many(fingerprint, self.keys), strict=True))
        if any(array is None for array in stored.values()):
            made = self._embedded(encoder, folds)
            stored = dict(self.keep.put_many(fingerprint, made, f"{self.base.name()}, tuned"))
        return self._gathered([stored[key] for key in self.keys])

    def _embedded(self, encoder: Tuned, folds: Sequence[Weights]) -> dict[bytes, np.ndarray]:
        cut, cells = self._parts()
        if not folds:
            result = embedded(encoder.uppers(cut.upper), cells, np.arange(len(self.keys)))
            return dict(zip(self.keys, result, strict=True))
        fold_of_cell = np.zeros(len(self.keys), np.int64)
        fold_of_cell[self.rows.cell] = self._fold()
        made: dict[bytes, np.ndarray] = {}
        for number, weights in enumerate(folds):
            chosen = np.flatnonzero(fold_of_cell == number)
            result = embedded(Tuned(self.base, self.tuning, [weights]).uppers(cut.upper), cells, chosen)
            made |= {self.keys[cell]: result[i] for i, cell in enumerate(chosen)}
        return made

    def _gathered(self, arrays: Sequence[np.ndarray | None]) -> Tokens:
        """The cells' tokens in the order of the rows; absent rows are masked."""
        prepared = [halved(array).astype(np.float32) for array in arrays if array is not None]
        longest = max(len(array) for array in prepared)
        x = np.zeros((self.column.n, longest, prepared[0].shape[1]), np.float32)
        mask = np.zeros((self.column.n, longest), bool)
        for key, array in zip(self.keys, prepared, strict=True):
            for row in self.column.rows[key]:
                x[row, : len(array)], mask[row, : len(array)] = array, True
        return Tokens(torch.from_numpy(x), torch.from_numpy(mask))


def together(cells: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """A code (n,) of the rows that stay on one side: those of one group, and those with an equal cell.

    A row's own label is then unseen, and so is every other label of the same cell.

    Shape: cells (n,) the number of each row's distinct cell; groups (n,) integers, or None.

    Example:
        >>> together(np.array([0, 1, 1, 2]), np.array([5, 5, 6, 7])).tolist()
        [0, 0, 0, 1]
    """
    if groups is None:
        return np.unique(cells, return_inverse=True)[1]
    cells, groups = np.unique(cells, return_inverse=True)[1], np.unique(groups, return_inverse=True)[1]
    n, first = len(cells), int(cells.max(initial=0)) + 1
    nodes = first + int(groups.max(initial=0)) + 1
    graph = coo_matrix((np.ones(n), (cells, first + groups)), shape=(nodes, nodes))
    labels = connected_components(graph, directed=False)[1]
    return np.unique(labels[cells], return_inverse=True)[1]


def dealt(strata: np.ndarray, units: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """The part (n,) of each row: classes spread evenly, rows of one unit in one part.

    Raises:
        ConfigError: there are fewer units than parts.
    """
    count = len(np.unique(units))
    if count < parts:
        raise ConfigError(
            f"tune: {count} distinct cells (or groups) cannot be divided into {parts} parts; tune fewer folds"
        )
    result = np.zeros(len(strata), dtype=np.int64)
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(splitter.split(np.zeros(len(strata)), spreadable(strata, parts), units)):
        result[held] = number
    return result


def validation_part(strata: np.ndarray, units: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Bool (n,): about that share of the rows, dealt out as ``dealt`` does."""
    parts = min(max(2, round(1 / share)), len(np.unique(units)))
    held: np.ndarray = dealt(strata, units, parts, seed) == 0
    return held


#: Under this name the store keeps tunings; raise the number when the same content gives other weights.
FINGERPRINT = "plait tunings 2"


def content_key(
    base: Encoder, cells: Sequence[bytes], rows: Rows, units: np.ndarray, task: Task, tuning: Tuning, seed: int
) -> bytes:
    """16 bytes of all that decides a tuning; which rows stay together is a part of it."""
    digest = blake2b(digest_size=16)
    words = [base.fingerprint(), dataclasses.asdict(tuning), seed, task.name, task.out_dim]
    digest.update(json.dumps(words, sort_keys=True).encode())
    digest.update(b"".join(cells))
    for array in (rows.cell, units, rows.target.numpy(), rows.weight.numpy()):
        digest.update(str((array.dtype, array.shape)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.digest()


def kept_or_tuned(
    keep: Keep, key: bytes, tuning: Tuning, make: Callable[[], tuple[Sequence[Weights], dict[str, Any]]]
) -> tuple[list[Weights], dict[str, Any], bool]:
    """The updates of every encoder, the record of what they cost, and whether they were kept already.

    What is not kept, or is broken there, is made; processes wait for each other (``checkpoint.found_or_made``).
    """

    def trained() -> Trained:
        weights, record = make()
        return Trained(packed(weights), record)

    def fits(one: Trained) -> bool:
        return _fits(one.weights, tuning)

    result, stored = checkpoint.found_or_made(keep, FINGERPRINT, key, trained, fits, "tuned weights")
    return unpacked(result.weights), dict(result.about), stored


def _fits(arrays: Mapping[str, np.ndarray], tuning: Tuning) -> bool:
    """Whether there is an update of this rank for every encoder that is tuned, each with both halves."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for name, array in arrays.items():
        number, _, target = name.partition(".")
        names[number].add(target)
        axis = {"A": 0, "B": 1}.get(target[-1:])
        if axis is None or array.ndim <= axis or array.shape[axis] != tuning.rank or not np.isfinite(array).all():
            return False
    return sorted(names) == sorted(map(str, range(tuning.encoders))) and len(set(map(frozenset, names.values()))) == 1
