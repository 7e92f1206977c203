"""A condition that removes whole modalities from rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from plait.base import config
from plait.base.checks import Share
from plait.base.errors import ConfigError
from plait.conditions.base import Condition, text_form
from plait.conditions.cells import row_keys

if TYPE_CHECKING:
    from plait.data.modality import Modality, Schema

_OPTIONS = ("strength", "modality", "seed", "rates", "patterns")
#: A pattern of rows that have nothing.
NOTHING = "nothing"


@dataclass(kw_only=True)
class Absent(Condition):
    """Removes whole modalities from rows: each at its own rate, or by patterns of what stays present.

    What is drawn follows from the row's content. A row that lacks a modality at one rate lacks it at every higher rate.
    Rates are drawn independently, so a row may lose everything; ``patterns`` say exactly which combinations there are.

    Attributes:
        rates: modality or kind -> chance that a row lacks it; ``modality`` alone stands for a rate of 1.
        patterns: what is present, joined by ``+`` (``image+text``; ``nothing``) -> share of the rows; the remaining rows
            stay as they are. Modalities that a row has not do not come back.
        strength: rates and shares are multiplied by it.

    Formula: row i lacks m where u(i, m) < strength * rate(m), u uniform.
    Shape: any column; its cells become None (numbers: NaN).
    Source: Troitskii, Task-Specific Pre-Trained Encoders (final year project, UCD), sections 6.1.3 and 7.3.4.
    Use when: it must be known what a model is worth where something is missing.
    Not when: all subsets are to be judged on all rows: ``evaluate`` does so from one encoding.

    Example:
        >>> Absent(rates={"image": 0.5}).label, Absent(patterns={"image+text": 0.6, "text": 0.4}).options()
        ('absent:image=0.5', {'patterns': {'image+text': 0.6, 'text': 0.4}})
    """

    kinds = ("text", "image", "audio", "video", "code", "tabular", "vector")
    measure = "chance of a row to lack a modality"

    rates: Mapping[str, Share] = field(default_factory=dict)
    patterns: Mapping[str, Share] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse rates and shares outside of 0..1, and rates together with patterns."""
        values = [o for o in ("modality", "rates", "patterns") if getattr(self, o)]
        if len(values) > 1:
            raise ConfigError(f"condition absent: {' and '.join(values)} are given; keep one")
        super().__post_init__()
        for option in ("rates", "patterns"):
            table = getattr(self, option)
            setattr(self, option, {str(name): float(value) for name, value in table.items()})
        if sum(self.patterns.values()) > 1 + 1e-9:
            raise self.refusal("patterns", "shares of at most 1 together")

    @classmethod
    def from_options(cls, options: Mapping[str, Any], where: str) -> Self:
        """Build from a mapping of options; ``{image: 0.5}`` is short for ``{rates: {image: 0.5}}``."""
        rates = {name: value for name, value in options.items() if name not in _OPTIONS}
        mapping = {name: value for name, value in options.items() if name in _OPTIONS}
        if rates:
            mapping["rates"] = {**(mapping.get("rates") or {}), **rates}
        return config.build(cls, mapping, where)

    def options(self) -> dict[str, Any]:
        """The strength only if it is more than a factor of 1."""
        result = super().options()
        if self.strength == 1 and (self.rates or self.patterns):
            result.pop("strength")
        return result

    @property
    def label(self) -> str:
        """The condition in one line, as the command line takes it."""
        value = self.options()
        short = {} if set(self.rates) & set(_OPTIONS) else value.pop("rates", {})
        return text_form(self.name(), value.pop("modality", None), {**short, **value})

    @property
    def axes(self) -> dict[str, Any]:
        """``strength`` is the greatest rate, or the share of rows that follow a pattern."""
        named = self.modality or "+".join(self.rates) or ("patterns" if self.patterns else "all")
        whole = sum(self.patterns.values()) if self.patterns else max(self.rates.values(), default=1.0)
        return {"kind": self.name(), "modality": named, "strength": self.strength * whole}

    @property
    def idle(self) -> bool:
        """Whether no rate is above 0, so that nothing is removed."""
        return bool(self.axes["strength"] == 0)

    def targets(self, schema: Schema) -> list[Modality]:
        """The modalities that may be taken away."""
        if self.patterns:
            _ = [self._present(pattern, schema) for pattern in self.patterns]
            return list(schema.modalities)
        if not self.rates:
            return super().targets(schema)
        for name in self.rates:
            if not any(name in (m.name, m.kind) for m in schema.modalities):
                raise self.unknown_modality(name, schema)
        return [m for m in schema.modalities if m.name in self.rates or m.kind in self.rates]

    def columns(
        self, frame: pd.DataFrame, schema: Schema, chosen: list[Modality], root: str | None
    ) -> Mapping[str, Any]:
        """Columns of the chosen modalities, emptied where they are taken away."""
        keys = row_keys(frame, schema, root)
        gone = self._by_pattern(keys, schema) if self.patterns else {m.name: self._by_rate(keys, m) for m in chosen}
        return {c: _without(frame[c], gone[m.name]) for m in chosen for c in m.columns}

    def _by_rate(self, keys: list[bytes], modality: Modality) -> np.ndarray:
        rate = self.rates.get(modality.name, self.rates.get(modality.kind, 1.0))
        return np.array([self._uniform(key, modality.name) for key in keys]) < self.strength * rate

    def _by_pattern(self, keys: list[bytes], schema: Schema) -> dict[str, np.ndarray]:
        """Which rows lack each modality: every row follows one pattern, or none."""
        bounds = np.cumsum([self.strength * share for share in self.patterns.values()])
        bounds[np.isclose(bounds, 1.0)] = 1.0  # sums of shares such as 0.1 fall short by a rounding
        followed = np.searchsorted(bounds, [self._uniform(key, "pattern") for key in keys], side="right")
        lacks = [{m.name for m in schema.modalities} - self._present(p, schema) for p in self.patterns] + [set()]
        return {m.name: np.array([m.name in lacks[i] for i in followed], bool) for m in schema.modalities}

    def _present(self, pattern: str, schema: Schema) -> set[str]:
        """Names of the modalities of a pattern."""
        if pattern == NOTHING:
            return set()
        named = [part.strip() for part in pattern.split("+")]
        for name in named:
            if not any(name in (m.name, m.kind) for m in schema.modalities):
                raise self.unknown_modality(name, schema)
        return {m.name for m in schema.modalities if m.name in named or m.kind in named}

    def _uniform(self, key: bytes, what: str) -> float:
        value = blake2b(f"{self.name()} {self.version} {self.seed} {what} ".encode() + key, digest_size=8)
        return int.from_bytes(value.digest(), "little") / 2**64


def _without(series: pd.Series, gone: np.ndarray) -> pd.Series:
    """A column whose cells are None where the modality is removed."""
    if not gone.any():
        return series
    if series.dtype.kind in "iu" and float(series.abs().max()) < 2**53:
        series = series.astype(float)  # whole numbers have no NaN
    if series.dtype.kind in "fM":
        return series.mask(gone)
    return series.astype(object).mask(gone, None)
