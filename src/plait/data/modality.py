"""Names of modalities: which can be keys everywhere, and how a usable one is made of a column's name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from plait.base import notebook
from plait.base.encoder import KINDS
from plait.base.errors import ConfigError, nearest
from plait.data.dates import unknown_directives
from plait.data.remote import check_kept

#: What a name may be: it stands in dotted options (``encoders.NAME.width``), in lists joined by ``+`` and in paths.
_NAME = re.compile(r"\w(?:[\w -]*\w)?")
_EXPECTED = "expected letters, digits, '_', '-' and spaces between them"
#: Networks are kept in dictionaries of torch, whose own attributes are no keys.
_TORCH = nn.ModuleDict()


def name_problem(name: object, kind: object = "") -> str | None:
    """What is wrong with a modality's name, in words that end with what to do; None where nothing is.

    Example:
        >>> name_problem("front.image")
        "its name holds '.'; expected letters, digits, '_', '-' and spaces between them; name it 'front_image'"
    """
    if not isinstance(name, str):
        return f"its name must be text, found {name!r}; quote it"
    if _NAME.fullmatch(name):
        message = f"its name is one that torch keeps for itself; name it '{usable(name, str(kind))}'"
        return message if hasattr(_TORCH, name) else None
    odd = sorted({c for c in name if not re.match(r"[\w -]", c)})
    held = "holds " + ", ".join(map(repr, odd)) if odd else f"is {name!r}"
    return f"its name {held}; {_EXPECTED}; name it '{usable(name, str(kind))}'"


def usable(name: str, kind: str) -> str:
    """The name nearest to one that cannot be used.

    Example:
        >>> usable("front/image", "image"), usable("type", "image"), usable("...", "image")
        ('front_image', 'type_image', 'image')
    """
    result = re.sub(r"[^\w-]+", "_", name).strip("_-") or kind or "modality"
    return f"{result}_{kind or 1}" if hasattr(_TORCH, result) else result


def distinct_names(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """A usable name for each wanted one and its kind, no two alike; those that are usable and wanted first stay.

    Example:
        >>> distinct_names([("a.b", "image"), ("a_b", "audio"), ("a/b", "image")])
        ['a_b_2', 'a_b', 'a_b_3']
    """
    taken = {name for name, kind in wanted if name_problem(name, kind) is None}
    kept: set[str] = set()
    result = []
    for name, kind in wanted:
        if name not in taken or name in kept:
            first = usable(name, kind)
            numbered = (f"{first}_{number}" for number in range(2, len(wanted) + len(taken) + 2))
            name = next(n for n in (first, *numbered) if n not in taken)
            taken.add(name)
        kept.add(name)
        result.append(name)
    return result


#: How an encoder comes by its weights.
TRAIN = ("frozen", "pretrain", "scratch", "tuned")
TASKS = ("classification", "multilabel", "regression")
#: How the reason begins for which identifiers are left out.
IDENTIFIER = "an identifier"
#: What a tabular column may be; ``date`` may carry its format (``date %d/%m/%Y``), ``ordinal`` its order (``ordinal S < M``).
TYPES = ("number", "category", "code", "ordinal", "boolean", "date", "list")


@dataclass(frozen=True)
class Modality:
    """One column, or a group of columns, of one kind.

    Attributes:
        name: what the modality is called everywhere: letters, digits, ``_``, ``-`` and spaces between them.
        kind: one of ``KINDS``.
        columns: the table's columns; text and code columns are joined into one string per row, media columns give a
            token each.
        encoder: a name, or a mapping ``{name: ..., option: ...}``; None takes the best installed one for the kind.
        train: ``frozen``, ``scratch``, ``pretrain`` (alone on the same task first, then with the others), or ``tuned`` (the last
            layers of a pretrained one adapted to the task, then frozen).
        root: folder or zip archive that relative paths of this modality start from; None takes the table's.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    encoder: str | Mapping[str, Any] | None = None
    train: str = "frozen"
    root: str | None = None

    def __post_init__(self) -> None:
        if said := name_problem(self.name, self.kind):
            raise ConfigError(f"modality {self.name!r}: {said}")
        if self.kind not in KINDS:
            raise ConfigError(f"modality '{self.name}': unknown kind '{self.kind}': {nearest(self.kind, KINDS)}")
        if self.train not in TRAIN:
            raise ConfigError(f"modality '{self.name}': unknown train '{self.train}': {nearest(self.train, TRAIN)}")
        if not self.columns:
            raise ConfigError(f"modality '{self.name}': it has no columns; name at least one")
        twice = sorted({c for c in self.columns if self.columns.count(c) > 1})
        if twice:
            raise ConfigError(f"modality '{self.name}': columns named twice: {', '.join(twice)}")

    @property
    def learns(self) -> bool:
        """Its encoder learns with the networks; a tuned one has learned before them."""
        return self.train not in ("frozen", "tuned")


@dataclass(frozen=True)
class Schema:
    """The modalities of a table, its target, and why the other columns are left out.

    Attributes:
        modalities: in the order of the table.
        target: the column to predict, or None.
        task: ``classification``, ``multilabel`` or ``regression``.
        ignored: column -> reason.
        types: tabular column -> one of ``TYPES``; a column without one is looked at when the encoder is fitted.
        root: folder or zip archive that relative paths start from, unless a modality has its own.
        notes: column -> what it was taken for and why.
        doubts: column -> what was seen and not guessed at.
    """

    modalities: tuple[Modality, ...]
    target: str | None = None
    task: str = "classification"
    ignored: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    root: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict, compare=False)
    doubts: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for place in (self.root, *(m.root for m in self.modalities)):
            check_kept(place, "root")
        names = [m.name for m in self.modalities]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ConfigError(f"modalities named twice: {', '.join(twice)}")
        if self.task not in TASKS:
            raise ConfigError(f"unknown task '{self.task}': {nearest(self.task, TASKS)}")
        for column, value in self.types.items():
            if value.partition(" ")[0] not in TYPES or (" " in value and not value.startswith(("date %", "ordinal "))):
                raise ConfigError(
                    f"column '{column}': unknown type '{value}': {nearest(value.partition(' ')[0], TYPES)}"
                )
            if value.startswith("date %") and (unknown := unknown_directives(value)):
                raise ConfigError(
                    f"column '{column}': type '{value}': no date has {', '.join(map(repr, unknown))}; write it as in "
                    "'date %d/%m/%Y %H:%M'"
                )
        for modality in self.modalities:
            if self.target in modality.columns:
                raise ConfigError(f"modality '{modality.name}': holds the target '{self.target}'; remove it there")

    def _repr_html_(self) -> str:
        """A notebook's view: each column, what it is taken for and why, and what is doubtful."""
        rows = [
            {"column": c, "modality": m.name, "kind": m.kind, "type": self.types.get(c, ""), **self._said(c)}
            for m in self.modalities
            for c in m.columns
        ]
        target = f"predicts '{self.target}' ({self.task})" if self.target is not None else "no target"
        left = [{"column": c, "left out because": why} for c, why in self.ignored.items()]
        out = [notebook.heading("not used"), notebook.table(left)] if left else []
        return notebook.box(f"{len(self.modalities)} modalities; {target}", notebook.table(rows, 200), *out)

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Columns that are left out because nearly every row has a value of its own there, as a number or a name."""
        return tuple(name for name, reason in self.ignored.items() if reason.startswith(IDENTIFIER))

    def _said(self, column: str) -> dict[str, str]:
        doubt = {"check": self.doubts[column]} if column in self.doubts else {}
        return {"why": self.notes.get(column, ""), **doubt}

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that a modality has, once, also where it serves in several."""
        return tuple(dict.fromkeys(c for m in self.modalities for c in m.columns))

    def types_of(self, modality: Modality) -> dict[str, str]:
        """The types of the columns of a tabular modality, as far as they are told."""
        return {c: self.types[c] for c in modality.columns if c in self.types}
