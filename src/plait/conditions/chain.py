"""Several conditions applied in turn, such as noise on the image and then on the sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from plait.base.errors import ConfigError
from plait.conditions.base import Condition

if TYPE_CHECKING:
    import pandas as pd

    from plait.data.modality import Modality, Schema


@dataclasses.dataclass(kw_only=True)
class Chain(Condition):
    """Applies conditions in turn, each to the result of the one before; a chain has no strength of its own.

    Attributes:
        parts: the conditions, in order.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    measure: ClassVar[str] = "the greatest of its parts"
    most: ClassVar[float] = float("inf")

    parts: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        """Take the greatest strength, so that 0 still says that nothing is changed."""
        if not self.parts:
            raise ConfigError("a chain of conditions without a condition; name at least one")
        self.strength = max(part.axes["strength"] for part in self.parts)
        super().__post_init__()

    def to_dict(self) -> Any:
        """A list of what the parts give."""
        return [part.to_dict() for part in self.parts]

    @property
    def label(self) -> str:
        """The parts' labels, with `` + `` between them."""
        return " + ".join(part.label for part in self.parts)

    @property
    def axes(self) -> dict[str, Any]:
        """Kinds and modalities joined by `` + ``; for a plot over two strengths take those of ``parts``."""
        values = [part.axes for part in self.parts]
        joined = {key: " + ".join(dict.fromkeys(str(t[key]) for t in values)) for key in ("kind", "modality")}
        return {**joined, "strength": self.strength}

    def at(self, strength: float) -> Self:
        """Raise ConfigError: a chain has no single strength to change."""
        raise ConfigError(f"the chain '{self.label}' has no strength of its own; change its parts")

    def targets(self, schema: Schema) -> list[Modality]:
        """What any of its parts changes."""
        named = {m.name for part in self.parts for m in part.targets(schema)}
        return [m for m in schema.modalities if m.name in named]

    def fit(self, frame: pd.DataFrame, schema: Schema, root: str | None = None) -> Self:
        """Every part learns from the training rows as they are."""
        for part in self.parts:
            part.fit(frame, schema, root)
        return self

    def apply(self, frame: pd.DataFrame, schema: Schema, root: str | None = None) -> pd.DataFrame:
        """One after the other."""
        for part in self.parts:
            frame = part.apply(frame, schema, root)
        return frame

    def columns(
        self, frame: pd.DataFrame, schema: Schema, chosen: list[Modality], root: str | None
    ) -> Mapping[str, Any]:
        """All columns of the chosen modalities, through every part."""
        changed = self.apply(frame, schema, root)
        return {c: changed[c] for m in chosen for c in m.columns}
