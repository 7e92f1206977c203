"""The contract of every encoder: cells of one modality in, ``Tokens`` out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from torch import nn

from plait.base import checks, registry
from plait.base.errors import ConfigError
from plait.base.inputs import Columns

#: Every kind of modality.
KINDS = ("text", "image", "audio", "video", "code", "tabular", "vector")

#: What encoders are given, by kind: text and code ``str``; image, audio and video ``plait.data.media.Blob`` or an array that is
#: already decoded; vector an array (D,) or (T, D); tabular the rows themselves as a DataFrame.
Cells = Sequence[Any]


@dataclasses.dataclass(eq=False)
class Encoder(registry.Named, ABC):
    """Turns the cells of one modality into Tokens.

    A subclass is a dataclass whose fields are its options (plain JSON values). Frozen encoders are run once and their
    output is stored; of trainable ones ``prepare`` is run once and ``module`` learns with the model.
    """

    kinds: ClassVar[tuple[str, ...]]
    #: Raise it whenever the output changes: it is part of the store's key.
    version: ClassVar[int] = 1
    #: Earlier versions whose models may still be read: the output differs only for cells that they got wrong.
    same_as: ClassVar[tuple[int, ...]] = ()
    #: Raise it when numbers change by rounding alone: what the store holds is made anew, models fitted before still load.
    arithmetic: ClassVar[int] = 1
    #: The extra of plait that brings what is imported, or None when the base install has it.
    extra: ClassVar[str | None] = None
    #: Licence of the code and, where they differ, of the weights.
    licence: ClassVar[str] = "Apache-2.0"
    #: It gives useful features without being trained (its weights are given, or it has none).
    frozen: ClassVar[bool] = True
    #: ``module()`` has parameters that learn.
    trainable: ClassVar[bool] = False
    #: Its tokens are the cells themselves, too many to keep as floats: like those of one that learns they are made batch by
    #: batch from what ``prepare`` gives, and enter a network unscaled.
    raw: ClassVar[bool] = False
    #: ``fit`` goes through the cells once, so that they need not be in memory together: it is given an iterator.
    fits_once: ClassVar[bool] = False
    #: A frozen one's output is kept in the store (False: cheaper to compute than to keep).
    stored: ClassVar[bool] = True
    #: Layers, counted from the end, that ``train: tuned`` may adapt to a task (see ``cut``); 0: it cannot be tuned. Encoders
    #: whose model is an option have a property in its place, which looks at the model.
    tunable: ClassVar[int] = 0
    #: Whether it may ask the network for what it names (see ``fetch_nothing``).
    may_fetch = True
    #: How many weights a frozen one brings, where that is known without loading them.
    frozen_weights: ClassVar[int | None] = None
    #: Options that a later version brought: at their default they are no part of ``options``, so that models and embeddings made
    #: before are still this encoder's.
    later: ClassVar[tuple[str, ...]] = ()
    #: Cells that are prepared and encoded at a time.
    batch_size: ClassVar[int] = 64
    #: Sum of ``lengths`` in one batch at most, so that a batch of long cells takes no more than a second or two.
    batch_length: ClassVar[int | None] = None

    #: Whether batches are prepared and computed side by side, one core each (faster where layers are small): ``prepare`` and the
    #: module then serve several threads at once, and a batch's numbers do not depend on the cores.
    side_by_side: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.check(self, f"encoder {self.name()}")

    def options(self) -> dict[str, Any]:
        """The options this encoder was made with, as JSON values."""
        usual = {field.name: field.default for field in dataclasses.fields(self) if field.name in self.later}
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in usual or v != usual[k]}

    def fit(self, cells: Cells) -> Self:
        """Learn statistics or a vocabulary from the present training cells; most encoders have none."""
        return self

    @abstractmethod
    def prepare(self, cells: Cells) -> dict[str, np.ndarray]:
        """Turn cells (all present) into arrays whose first axis is the cell; deterministic, no weights needed.

        Raises:
            CellError: a cell cannot be read. The caller then finds out which by asking one at a time.
        """

    def columns(self, cells: Cells) -> Columns | None:
        """The plain view of the cells that trees take beside the tokens; None: there is none."""
        return None

    def prepare_with_columns(self, cells: Cells) -> tuple[dict[str, np.ndarray], Columns | None]:
        """``prepare`` and ``columns``; an encoder that has both reads its cells once."""
        return self.prepare(cells), self.columns(cells)

    @abstractmethod
    def module(self) -> nn.Module:
        """The network: ``forward(dict of tensors as prepared) -> Tokens``. Loads the weights, so it is called late."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width D of the tokens."""

    @property
    def picture(self) -> tuple[int, int] | None:
        """Height and width, where tokens are the places of a picture, row by row; None for all others."""
        return None

    def lengths(self, cells: Cells) -> np.ndarray:
        """Relative cost of each cell (n,): cells of like length are put into one batch."""
        return np.zeros(len(cells), dtype=np.int64)

    def weights_id(self) -> str:
        """What tells one set of weights from another (a hash, or package and version); empty without weights."""
        return ""

    def cut(self, layers: int) -> Cut:
        """The network of ``module`` in two, above and below the last ``layers``; both together give what it gives.

        Raises:
            ConfigError: it cannot be tuned.
        """
        raise ConfigError(
            f"encoder {self.name()}: it cannot be tuned ({layers} layers were asked for); set train: frozen"
        )

    def state(self) -> dict[str, Any]:
        """What ``fit`` learned: arrays and JSON values; enough for ``load_state`` to restore it exactly."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` gave."""

    def made(self, fingerprint: str) -> bool:
        """Whether a fingerprint is this encoder's, or that of an earlier version of it which may still be read."""
        if fingerprint == self.fingerprint():
            return True
        return any(fingerprint == self._digest_of(version) for version in self.same_as)

    def store_key(self) -> str:
        """What the store knows its output by."""
        return self.fingerprint() if self.arithmetic == 1 else f"{self.fingerprint()} {self.arithmetic}"

    def fetch_nothing(self) -> Self:
        """Ask no network, nor let an encoder inside ask it: a file named this one, which somebody else may have written."""
        self.may_fetch = False
        for part in vars(self).values():
            if isinstance(part, Encoder):
                part.fetch_nothing()
        return self

    def fingerprint(self) -> str:
        """Hex digest of all that decides the output: name, version, options, weights, fitted state."""
        return self._digest_of(self.version)

    def _digest_of(self, version: int) -> str:
        digest = hashlib.blake2b(digest_size=16)
        values = [self.name(), version, self.options(), self.weights_id()]
        digest.update(json.dumps(values, sort_keys=True, default=str).encode())
        for key, value in sorted(self.state().items()):
            digest.update(key.encode())
            if isinstance(value, np.ndarray):
                digest.update(str((value.dtype, value.shape)).encode() + np.ascontiguousarray(value).tobytes())
            else:
                digest.update(json.dumps(value, sort_keys=True).encode())
        return digest.hexdigest()


class WrappedEncoder(Encoder):
    """An encoder around another one, which reads the cells."""

    @property
    @abstractmethod
    def inner(self) -> Encoder:
        """The one inside."""

    def prepare(self, cells: Cells) -> dict[str, np.ndarray]:
        """The same as the wrapped encoder's."""
        return self.inner.prepare(cells)

    def columns(self, cells: Cells) -> Columns | None:
        """The same as the wrapped encoder's."""
        return self.inner.columns(cells)

    def prepare_with_columns(self, cells: Cells) -> tuple[dict[str, np.ndarray], Columns | None]:
        """The same as the wrapped encoder's."""
        return self.inner.prepare_with_columns(cells)

    def lengths(self, cells: Cells) -> np.ndarray:
        """The same as the wrapped encoder's."""
        return self.inner.lengths(cells)

    @property
    def dim(self) -> int:
        """That of the encoder inside."""
        return self.inner.dim


@dataclass(frozen=True)
class Cut:
    """What ``Encoder.cut`` gives.

    Attributes:
        lower: prepared tensors -> ``Tokens`` (B, T, D'): what goes into the last layers, as sequences with their masks; in
            the number type that the processor is fastest in.
        upper: these ``Tokens`` -> the encoder's own ``Tokens``; its weights in float32 and not learning.
        targets: names of the linear maps and convolutions within ``upper`` that may be adapted.
    """

    lower: nn.Module
    upper: nn.Module
    targets: tuple[str, ...]
