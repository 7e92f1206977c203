"""What each column is: modalities, their kinds, the target; inferred, edited as YAML, validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plait.encoders._base import KINDS
from plait.errors import ConfigError, nearest

#: How an encoder comes by its weights.
TRAIN = ("frozen", "scratch")


@dataclass(frozen=True)
class Modality:
    """One column, or a group of columns, of one kind.

    Attributes:
        name: what the modality is called everywhere; a key, never part of a class name.
        kind: one of ``KINDS``.
        columns: the table's columns; text and code columns are joined into one string per row, media columns give a token each.
        encoder: a name, or a mapping ``{name: ..., option: ...}``; None takes the best installed one for the kind.
        train: ``frozen`` or ``scratch``.
        root: folder or zip archive that relative paths of this modality start from; None takes the table's.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    encoder: str | Mapping[str, Any] | None = None
    train: str = "frozen"
    root: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no table could satisfy."""
        if self.kind not in KINDS:
            raise ConfigError(f"modality '{self.name}': unknown kind '{self.kind}': {nearest(self.kind, KINDS)}")
        if self.train not in TRAIN:
            raise ConfigError(f"modality '{self.name}': unknown train '{self.train}': {nearest(self.train, TRAIN)}")
        if not self.columns:
            raise ConfigError(f"modality '{self.name}': it has no columns; name at least one")


@dataclass(frozen=True)
class Schema:
    """The modalities of a table, its target, and why the other columns are left out.

    Attributes:
        modalities: in the order of the table.
        target: the column to predict, or None.
        task: ``classification``, ``multilabel`` or ``regression``.
        ignored: column -> reason.
        types: tabular column -> ``number``, ``category``, ``boolean``, ``date`` or ``list``.
    """

    modalities: tuple[Modality, ...]
    target: str | None = None
    task: str = "classification"
    ignored: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
