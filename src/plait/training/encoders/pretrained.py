"""An encoder that was trained alone and saved: frozen, or as a start to go on from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from torch import nn

from plait.base.encoder import KINDS, Encoder
from plait.base.errors import CellError, ConfigError

if TYPE_CHECKING:
    from plait.training.pretraining.folder import Saved

#: Cells of which at least one must be readable.
_TRIED = 32


@dataclass(eq=False)
class Pretrained(Encoder):
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

    kinds: ClassVar[tuple[str, ...]] = KINDS
    trainable: ClassVar[bool] = True
    licence: ClassVar[str] = "Apache-2.0; the encoder inside has its own"

    folder: str = ""
    kind: str | None = None

    def __post_init__(self) -> None:
        """Nothing is read before it is needed."""
        super().__post_init__()
        self._saved: Saved | None = None

    @property
    def saved(self) -> Saved:
        """What is inside."""
        return self._loaded()

    def _loaded(self) -> Saved:
        if self._saved is None:
            if not self.folder:
                raise ConfigError("encoder pretrained: name the folder of a pretrained encoder (option folder)")
            from plait.training.pretraining.folder import read

            self._saved = read(self.folder)
            if self.kind is not None and self._saved.kind != self.kind:
                raise ConfigError(
                    f"encoder pretrained: {self.folder} was trained on {self._saved.kind}, not on {self.kind}"
                )
        return self._saved

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

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        """As the encoder inside says."""
        return self._loaded().encoder.lengths(cells)

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """As the encoder inside does."""
        return self._loaded().encoder.prepare(cells)

    def module(self) -> nn.Module:
        """The network with its saved weights."""
        return self._loaded().module()

    @property
    def dim(self) -> int:
        """As of the encoder inside."""
        return self._loaded().encoder.dim

    def state(self) -> dict[str, Any]:
        """The encoder inside and its weights."""
        if self._saved is None and not self.folder:
            return {}
        return self._loaded().state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take it back; the folder is not looked at."""
        if state:
            from plait.training.pretraining.folder import Saved

            self._saved = Saved.restore(state)

    def fingerprint(self) -> str:
        """Of what the folder holds, wherever it lies."""
        saved = self._loaded()
        digest = hashlib.blake2b(f"{self.name()} {self.version} {saved.encoder.fingerprint()}".encode(), digest_size=16)
        for name, array in sorted(saved.weights.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
