"""Rows that show one thing in two or more modalities: from tables and lists of cells to what a stage learns from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, TableError, nearest
from plait.base.tokens import Tokens
from plait.data import schema
from plait.data.modality import Modality, Schema
from plait.encoders.featurize import Featurizer
from plait.store import Store
from plait.training.lora import Lower

#: Fewer rows than this are not split: a handful of held-out rows would decide at random.
ENOUGH = 50
#: What a network is given of one modality: ``{"x": features (n, D)}``, or what its encoder prepared.
Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Pairs:
    """Rows with the modalities of one thing each.

    Attributes:
        x: modality -> its batch; what absent rows hold never matters.
        present: modality -> (n,) bool.
        cell: modality -> (n,) integers, equal where the cells are equal.
        thing: (n,) integers, equal where rows are about one thing (five captions of one photograph).
    """

    x: Mapping[str, Batch]
    present: Mapping[str, Tensor]
    cell: Mapping[str, Tensor]
    thing: Tensor

    @classmethod
    def of(
        cls, x: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None, thing: Tensor | None = None
    ) -> Pairs:
        """Build pairs from features (n, D) of each modality; equal features are equal cells."""
        n = len(next(iter(x.values())))
        there = {name: torch.ones(n, dtype=torch.bool) for name in x} | dict(present or {})
        clean = {name: f.masked_fill(~there[name][:, None], 0.0) for name, f in x.items()}
        cell = {name: numbered(f) for name, f in clean.items()}
        thing = torch.arange(n) if thing is None else thing
        return cls({name: {"x": f} for name, f in clean.items()}, there, cell, thing)

    def __len__(self) -> int:
        return len(self.thing)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities."""
        return tuple(self.x)

    @property
    def dims(self) -> dict[str, int]:
        """Width of each modality's features; 0 where it has none but what its encoder prepared."""
        return {n: batch["x"].shape[-1] if set(batch) <= {"x", "mask"} else 0 for n, batch in self.x.items()}

    def pooled(self) -> Pairs:
        """The same with one vector in place of tokens."""
        x = {name: {"x": pooled(batch)} if "mask" in batch else batch for name, batch in self.x.items()}
        return dataclasses.replace(self, x=x)

    def take(self, rows: Tensor) -> Pairs:
        """The given rows (indices or a bool mask)."""
        return Pairs(
            {name: {k: t[rows] for k, t in batch.items()} for name, batch in self.x.items()},
            {name: there[rows] for name, there in self.present.items()},
            {name: cell[rows] for name, cell in self.cell.items()},
            self.thing[rows],
        )

    def both(self, a: str, b: str) -> Tensor:
        """(n,) bool: rows that have both."""
        return self.present[a] & self.present[b]

    def labels(self, a: str, b: str, rows: Tensor) -> Tensor:
        """(N, 3) for the chosen rows: those that share a thing, a cell of ``a`` or of ``b`` are no negatives."""
        return torch.stack([self.thing[rows], self.cell[a][rows], self.cell[b][rows]], 1)

    def split(
        self, share: float, values: Sequence[tuple[str, str]], generator: torch.Generator
    ) -> tuple[Pairs, Pairs | None]:
        """Rows to learn from and rows to judge by: a thing is on one side only; None where there is too little to judge by."""
        things = torch.unique(self.thing)
        count = round(len(things) * share)
        if len(self) < ENOUGH or count < 2 or len(things) - count < 2:
            return self, None
        held = torch.isin(self.thing, things[torch.randperm(len(things), generator=generator)[:count]])
        judged = self.take(held)
        if not any(int(judged.both(a, b).sum()) > 1 for a, b in values):
            return self, None
        return self.take(~held), judged

    def check(self, values: Sequence[tuple[str, str]]) -> None:
        """Refuse pairs from which nothing can be learned."""
        for a, b in values:
            rows = self.both(a, b)
            count = int(rows.sum())
            if count < 2:
                raise TableError(f"alignment of '{a}' with '{b}': {count} rows have both; at least two are needed")
            for name in (a, b):
                if len(torch.unique(self.cell[name][rows])) < 2:
                    same = f"all {count} cells of '{name}' are the same; there is nothing to tell apart"
                    raise TableError(f"alignment of '{a}' with '{b}': {same}")
            if len(torch.unique(self.thing[rows])) < 2:
                raise TableError(f"alignment of '{a}' with '{b}': all {count} rows are about one thing")


def pooled(batch: Batch) -> Tensor:
    """Vectors (B, D): the mean over the tokens that are there, or the vectors as they are."""
    if "mask" not in batch:
        return batch["x"]
    return Tokens(batch["x"].float(), batch["mask"]).pooled()


def numbered(*arrays: Tensor) -> Tensor:
    """(n,) integers, equal where the rows of all arrays (n, ...) are equal to the bit."""
    rows = [np.ascontiguousarray(array.numpy()).reshape(len(array), -1) for array in arrays]
    seen: dict[bytes, int] = {}
    result = []
    for place in range(len(rows[0])):
        digest = hashlib.blake2b(b"".join(part[place].tobytes() for part in rows), digest_size=16).digest()
        result.append(seen.setdefault(digest, len(seen)))
    return torch.tensor(result, dtype=torch.int64)


#: What a caller may give of one modality: a table with its columns, or cells one after another.
Cells = pd.DataFrame | Sequence[Any] | str


def schema_of(
    schema_given: Mapping[str, object] | Schema | None, frame: pd.DataFrame, root: str | None, group: str | None
) -> Schema:
    """The modalities that were told, or inferred from the table, without the column ``group`` where two are left.

    Where too few are left the group is a modality itself: a table of captions has its pictures there, and nowhere else.
    """
    if isinstance(schema_given, Schema):
        result = schema_given
    elif schema_given is not None:
        result = schema.from_dict({"modalities": schema_given}, "modalities")
    else:
        result = schema.infer(frame.drop(columns=[group]) if group in frame.columns else frame, root=root)
        if group in frame.columns and len(result.modalities) < 2:
            result = schema.infer(frame, root=root)
        schema.tell_unused(result, frame, (group,))
    learning = [m.name for m in result.modalities if m.train != "frozen"]
    if learning:
        raise ConfigError(f"modality '{learning[0]}': an aligner takes frozen encoders; set train: frozen")
    return result


def table_of(modality: Modality, cells: Cells) -> pd.DataFrame:
    """Cells of one modality as a table with its columns; a list fills the first, the others stay empty."""
    if isinstance(cells, pd.DataFrame):
        gone = [c for c in modality.columns if c not in cells.columns]
        if gone:
            raise TableError(f"modality '{modality.name}': the table has no column {', '.join(map(repr, gone))}")
        return cells[list(modality.columns)].reset_index(drop=True)
    if modality.kind == "tabular":
        raise TableError(f"modality '{modality.name}' is tabular: give a DataFrame with {', '.join(modality.columns)}")
    if not isinstance(cells, str | bytes) and not isinstance(cells, Iterable):
        raise TableError(f"modality '{modality.name}': expected cells or a table, found {type(cells).__name__}")
    listed = [cells] if isinstance(cells, str | bytes) else list(cells)
    column = np.empty(len(listed), dtype=object)  # arrays and lists stay cells of their own
    for row, cell in enumerate(listed):
        column[row] = None if isinstance(cell, float) and np.isnan(cell) else cell
    empty = np.full(len(listed), None, dtype=object)
    return pd.DataFrame({c: column if place == 0 else empty for place, c in enumerate(modality.columns)})


def by_modality(schema: Schema, cells: Mapping[str, Cells] | pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Modality -> table, all of one length."""
    known = {m.name: m for m in schema.modalities}
    if isinstance(cells, pd.DataFrame):
        whole = [m.name for m in schema.modalities if set(m.columns) <= set(map(str, cells.columns))]
        if not whole:
            raise TableError("the table has the columns of none of the modalities: " + ", ".join(known))
        return {name: table_of(known[name], cells) for name in whole}
    if not isinstance(cells, Mapping) or not cells:
        raise ConfigError(f"expected modality -> cells for one of {', '.join(known)}, found {type(cells).__name__}")
    for name in cells:
        if name not in known:
            raise ConfigError(f"the aligner has no modality '{name}': {nearest(str(name), known)}")
    tables = {name: table_of(known[name], result) for name, result in cells.items()}
    lengths = {name: len(table) for name, table in tables.items()}
    if len(set(lengths.values())) > 1:
        raise TableError("modalities of different length: " + ", ".join(f"{n} {k}" for n, k in lengths.items()))
    return tables


def exploded(frame: pd.DataFrame, schema: Schema, group: str | None) -> tuple[pd.DataFrame, Tensor]:
    """One row per caption, and what each row is about.

    A text cell that is a list (five captions of one photograph) becomes as many rows about one thing; rows with equal
    values in the column ``group`` are about one thing, too.
    """
    if group is not None and group not in frame.columns:
        raise TableError(f"the table has no column '{group}' to group by; {nearest(group, map(str, frame.columns))}")
    for modality in schema.modalities:
        table_of(modality, frame[:0])  # its columns are there
    frame = frame.reset_index(drop=True)
    if group is None:
        thing = np.arange(len(frame))
    else:
        try:
            codes = pd.factorize(frame[group])[0]
        except TypeError:
            raise TableError(f"column '{group}': rows are grouped by plain values, found lists or mappings") from None
        thing = np.where(codes >= 0, codes, len(frame) + np.arange(len(frame)))  # without a group: a thing of its own
    for modality in schema.modalities:
        column = modality.columns[0]
        several = any(isinstance(v, list | tuple | np.ndarray) for v in frame[column])
        if several and modality.kind in ("text", "code"):
            lists = frame[column].map(lambda v: list(v) if isinstance(v, tuple | np.ndarray) else v)
            frame = frame.assign(**{column: lists}).explode(column)
            thing = thing[frame.index.to_numpy()]
            frame = frame.reset_index(drop=True)
    return frame, torch.from_numpy(thing.astype(np.int64))


def features_of(
    modality: Modality,
    encoder: Encoder,
    table: pd.DataFrame,
    root: str | None,
    store: Store | None,
    *,
    takes: str = "vectors",
    strict: bool = False,
    progress: bool | None = None,
) -> tuple[Batch, Tensor]:
    """What the network of a stage ``takes`` of one modality, and (n,) which rows have it.

    ``vectors`` of a frozen encoder, its ``tokens``, or of one that is trained what it ``prepared``.
    """
    encoder = Lower(encoder, 0) if takes == "tokens" else encoder
    single = Featurizer(Schema((modality,)), {modality.name: encoder})
    if takes == "prepared":  # the stage trains what is frozen elsewhere
        single.schema = Schema((dataclasses.replace(modality, train="scratch"),))
    inputs = single.transform(table, root, store, strict=strict, progress=progress)
    present = inputs.present[modality.name]
    if takes == "tokens":  # half precision: five captions of a thousand photographs are a gigabyte of patches
        given = inputs.tokens[modality.name]
        return {"x": given.x.clamp(-6e4, 6e4).half(), "mask": given.mask}, present
    if takes == "vectors":
        return {"x": inputs.tokens[modality.name].pooled().float()}, present
    return dict(inputs.prepared[modality.name]), present


def pairs_of(batches: Mapping[str, tuple[Batch, Tensor]], thing: Tensor) -> Pairs:
    """Rows to learn from; cells that are equal to the bit are no negatives of each other."""
    x = {
        name: {k: t.masked_fill(~there.view(-1, *[1] * (t.ndim - 1)), 0) for k, t in batch.items()}
        for name, (batch, there) in batches.items()
    }
    cell = {name: numbered(*batch.values()) for name, batch in x.items()}
    return Pairs(x, {name: there for name, (_, there) in batches.items()}, cell, thing)


def prompts(names: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """One list of texts per name.

    Example:
        >>> prompts(["cat", "dog"], ["a {}."])
        [['a cat.'], ['a dog.']]
    """
    listed = [names] if isinstance(names, str) else [str(name) for name in names]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if len(listed) < 2 or twice:
        raise ConfigError(f"names: expected two or more different ones, found {', '.join(twice or listed) or 'none'}")
    if not all(name.strip() for name in listed):
        raise ConfigError("names: one is empty; expected a class in words, as in 'a dog'")
    if isinstance(templates, str) or not templates:
        raise ConfigError("templates: expected a list of texts, as in ['a photo of a {}']")
    for template in templates:
        if "{}" not in template:
            raise ConfigError(f"template '{template}': it has no {{}} where the name goes")
    return [[template.replace("{}", name) for template in templates] for name in listed]
