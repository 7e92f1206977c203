"""Ready-made features: vectors and sequences of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor, nn

from plait.base.checks import Count
from plait.base.encoder import Encoder
from plait.base.errors import CellError, ConfigError
from plait.base.tokens import Tokens
from plait.encoders.from_scratch import padded
from plait.encoders.scratch_series import sequence

#: Cells of which the mean is learned at a time.
AT_ONCE = 4096


@dataclass(eq=False)
class Vector(Encoder):
    """Passes vectors (D,) and sequences (T, D) on as they are.

    Values that are not finite count as missing: they become the training cells' mean of that feature. A step whose
    values are all missing is no token, and a cell without tokens cannot be read.

    Attributes:
        max_tokens: a longer sequence is averaged into so many equal parts.

    Formula: x, missing values replaced by the mean.
    Shape: (D,) or (T, D) in, (n, T, D) out, filled up with masked zeros.
    Use when: features were computed elsewhere: a sensor, another model, a published set.
    Not when: the columns of the table are the features: make them ``tabular``.

    Example:
        >>> encoder = Vector().fit([np.array([1.0, 3.0])])
        >>> encoder.prepare([np.array([[5.0, np.nan], [6.0, 7.0]])])["x"].tolist()
        [[[5.0, 3.0], [6.0, 7.0]]]
    """

    kinds: ClassVar[tuple[str, ...]] = ("vector",)
    stored: ClassVar[bool] = False
    fits_once: ClassVar[bool] = True
    batch_size: ClassVar[int] = 1024

    max_tokens: Count = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        self._mean: np.ndarray | None = None

    def fit(self, cells: Iterable[Any]) -> Self:
        """Learn the width, which must be one, and the mean of each feature; goes through the cells once."""
        widths: set[int] = set()
        total: Any = 0.0
        count: Any = 0
        left = iter(cells)
        while sequences := [sequence(cell, finite=False) for cell in islice(left, AT_ONCE)]:
            widths |= {each.shape[1] for each in sequences}
            if len(widths) > 1:
                break
            steps = np.concatenate(sequences)
            known = np.isfinite(steps)
            total += np.where(known, steps, 0.0).sum(0, dtype=np.float64)
            count += known.sum(0)
        if len(widths) != 1:
            result = ", ".join(map(str, sorted(widths))) or "no cell"
            raise ConfigError(f"encoder {self.name()}: all vectors must have one width, found {result}")
        self._mean = np.asarray(total / np.maximum(count, 1), dtype=np.float32)
        return self

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``x`` float32 (n, T, D) and ``mask`` bool (n, T)."""
        mean = self._learned()
        sequences = [sequence(cell, finite=False) for cell in cells]
        if len({each.shape for each in sequences}) == 1:
            whole = np.stack(sequences)
            if whole.shape[1] <= self.max_tokens and whole.shape[2] == len(mean) and np.isfinite(whole).all():
                return {"x": whole, "mask": np.ones(whole.shape[:2], dtype=bool)}
        result = [self._filled(each, mean) for each in sequences]
        return dict(
            zip(("x", "mask"), padded(result, max(map(len, result), default=1), len(mean), np.float32), strict=True)
        )

    def _filled(self, steps: np.ndarray, mean: np.ndarray) -> np.ndarray:
        if steps.shape[1] != len(mean):
            raise CellError(f"a vector of width {steps.shape[1]}, expected {len(mean)} as in training")
        known = np.isfinite(steps)
        there = known.any(1)
        if not there.any():
            raise CellError(f"a vector of shape {steps.shape} without one finite number")
        kept: np.ndarray = np.where(known, steps, mean)[there]
        if len(kept) <= self.max_tokens:
            return kept
        return np.stack([part.mean(0) for part in np.array_split(kept, self.max_tokens)])

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        return np.array([len(cell) if np.ndim(cell) == 2 else 1 for cell in cells], dtype=np.int64)

    def module(self) -> nn.Module:
        return _Sequences()

    @property
    def dim(self) -> int:
        return len(self._learned())

    def _learned(self) -> np.ndarray:
        if self._mean is None:
            raise ConfigError(f"encoder {self.name()}: it is not fitted; call fit with the training cells first")
        return self._mean

    def state(self) -> dict[str, Any]:
        return {} if self._mean is None else {"mean": self._mean}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if state:
            self._mean = np.asarray(state["mean"], dtype=np.float32)


class _Sequences(nn.Module):
    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return Tokens(batch["x"].float(), batch["mask"])
