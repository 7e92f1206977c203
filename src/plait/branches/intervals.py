"""Intervals around predicted numbers: how far the mixture was off on rows that its members had not learned from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plait.base import checks
from plait.base.errors import ModelError
from plait.branches.mixing import HeldOut, mixed
from plait.branches.mixture import Mixture, Pattern
from plait.networks.tasks import Regression

Array = NDArray[Any]
#: Errors that are kept of each pattern of present modalities, evenly spread over their ranks.
KEPT = 101
#: Held-out rows that a pattern needs for errors of its own.
ROWS = 50
#: Coverage that an evaluation shows.
COVERAGE = 0.9


@dataclasses.dataclass(frozen=True)
class Errors:
    """Order statistics of signed errors, as the network sees the target: ``values`` of some of ``rows`` ranks."""

    rows: int
    values: Array

    @classmethod
    def of(cls, errors: Array) -> Errors:
        """Keep a few of the errors (n,)."""
        return cls(len(errors), np.sort(errors)[_ranks(len(errors)) - 1].astype(np.float32))

    def quantiles(self, coverage: float) -> tuple[float, float] | None:
        """Errors between which a new one falls with this probability; None where that takes more rows."""
        rank = (1 - coverage) / 2 * (self.rows + 1)
        if rank < 1 - 1e-9:
            return None
        low, high = np.interp([rank, self.rows + 1 - rank], _ranks(self.rows), self.values)
        return float(low), float(high)


def _ranks(rows: int) -> Array:
    return np.unique(np.linspace(1, rows, KEPT).round().astype(np.int64))


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Split conformal intervals from the held-out predictions of a mixture, one set of errors per pattern of presence.

    Formula: [t'(t(p) + q_a/2), t'(t(p) + q_1-a/2)], q quantiles at ranks (n + 1) a/2 of held-out t(y) - t(p); t is the target's
    transform, a = 1 - coverage.

    Source: Lei et al. 2018, Distribution-Free Predictive Inference for Regression; Barber et al. 2021 (cross-validation).

    Attributes:
        names: modalities in schema order.
        usual: errors on all held-out rows as they are.
        patterns: pattern -> errors on rows that show no more than that; the empty one: where nothing is present.
    """

    names: Pattern
    usual: Errors
    patterns: Mapping[Pattern, Errors]

    @classmethod
    def of(cls, held_out: HeldOut, mixture: Mixture) -> Intervals | None:
        """Learn the errors of a mixture; None where no row was held out."""
        rows = held_out.rows[held_out.weight[held_out.rows] > 0]
        if not len(rows):
            return None
        usual = Errors.of(_errors(held_out, mixture, rows, held_out.names, hidden=False))
        known = {}
        for pattern in (*held_out.outputs, ()):
            whole = held_out.whole(pattern) if pattern else rows
            whole = whole[held_out.weight[whole] > 0]
            if len(whole) >= ROWS:
                known[pattern] = Errors.of(_errors(held_out, mixture, whole, pattern))
        return cls(tuple(held_out.names), usual, known)

    def bounds(self, task: Regression, values: Array, present: Array, coverage: float) -> Array:
        """Lower and upper bound (n, 2) around predicted values (n,), with what is present in each row (n, M).

        Raises:
            ConfigError: no such coverage.
            ModelError: too few rows were held out for it.
        """
        checks.number(coverage, "coverage", 0, 1, above=True, below=True)
        centre = task.encode(values).double()
        result = np.empty((len(values), 2))
        for mask in np.unique(present, axis=0):
            rows = (present == mask).all(1)
            pattern = tuple(name for name, on in zip(self.names, mask, strict=True) if on)
            for side, error in enumerate(self._quantiles(pattern, coverage)):
                result[rows, side] = task.undone(centre[rows] + error).numpy()
        result[:, 0] = np.minimum(result[:, 0], values)
        result[:, 1] = np.maximum(result[:, 1], values)
        return result

    def _quantiles(self, pattern: Pattern, coverage: float) -> tuple[float, float]:
        """Of the pattern itself, else of the largest known within it, else the usual ones."""
        within = sorted((p for p in self.patterns if p and set(p) <= set(pattern)), key=len, reverse=True)
        for errors in (*(self.patterns[p] for p in within or [()] if p in self.patterns), self.usual):
            if (result := errors.quantiles(coverage)) is not None:
                return result
        most = 1 - 2 / (self.usual.rows + 1)
        raise ModelError(
            f"coverage {coverage}: the model had {self.usual.rows} held-out rows, enough for {max(most, 0.0):.3f} at most; "
            "ask for less, or fit on more rows"
        )

    def state(self, arrays: dict[str, Array]) -> list[dict[str, Any]]:
        """JSON values; the errors are added to ``arrays``."""
        result: list[dict[str, Any]] = []
        for place, (pattern, errors) in enumerate([(None, self.usual), *self.patterns.items()]):
            arrays[f"interval.{place}"] = errors.values
            result.append({"pattern": None if pattern is None else list(pattern), "rows": errors.rows})
        return result

    @classmethod
    def restore(
        cls, names: Sequence[str], state: Sequence[Mapping[str, Any]], arrays: Mapping[str, Array]
    ) -> Intervals:
        """Take them back.

        Raises:
            ModelError: the file does not hold what it speaks of.
        """
        known: dict[Pattern | None, Errors] = {}
        for place, one in enumerate(state):
            values = arrays.get(f"interval.{place}")
            if values is None or len(values) != len(_ranks(int(one["rows"]))):
                raise ModelError("model.json: the errors of its intervals are not whole")
            known[None if one["pattern"] is None else tuple(one["pattern"])] = Errors(int(one["rows"]), values)
        if None not in known:
            raise ModelError("model.json: intervals without the usual errors")
        return cls(tuple(names), known[None], {p: errors for p, errors in known.items() if p is not None})


def _errors(held_out: HeldOut, mixture: Mixture, rows: Tensor, pattern: Sequence[str], *, hidden: bool = True) -> Array:
    """Signed errors (n,) of the answer, as the network sees the target."""
    task = held_out.task
    answer = task.decode(mixed(mixture, held_out, rows, pattern, hidden=hidden)).numpy()
    return np.asarray((held_out.target[rows] - task.encode(answer))[:, 0].numpy())
