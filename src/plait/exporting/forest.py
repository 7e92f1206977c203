"""The branch of trees as a graph: every tree is walked down at once, a level at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from plait.base.inputs import Inputs
from plait.branches.features import PlainFeatures
from plait.branches.forest import LEVELS, Forest
from plait.branches.trees import UNSEEN, Trees
from plait.store.model_files import under

_NAN = float("nan")


class TreesGraph(nn.Module):
    """A fitted branch ``trees``: rows as networks see them, and plain columns -> raw outputs (n, out_dim)."""

    def __init__(self, branch: Trees) -> None:
        super().__init__()
        arrays, self.facts = branch.state()
        self.features = _FeaturesGraph(under(arrays, "features."), self.facts["names"])
        names = [f.name for f in dataclasses.fields(Forest)]
        forests = [Forest(**{n: arrays[f"forest.{i}.{n}"] for n in names}) for i in range(len(self.facts["rounds"]))]
        self.forests = nn.ModuleList([_ForestGraph(forest) for forest in forests])

    def forward(self, inputs: Inputs) -> Tensor:
        """(n, out_dim), as ``Trees.outputs``."""
        x = self.features(inputs)
        out = torch.cat([forest(x) for forest in self.forests], 1).float()
        if self.facts["task"] != "classification":
            return out
        if out.shape[1] == 1:
            out = functional.pad(out, (1, 0))
        seen, many = self.facts["seen"], self.facts["out_dim"]
        if len(seen) == many:
            return out
        known = out[:, : len(seen)].log_softmax(1)
        place = {label: i for i, label in enumerate(seen)}
        columns = [known[:, place[i]] if i in place else torch.full_like(known[:, 0], UNSEEN) for i in range(many)]
        return torch.stack(columns, 1)


class _FeaturesGraph(nn.Module):
    """``PlainFeatures`` in tensors."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], names: list[str]) -> None:
        super().__init__()
        self.known = PlainFeatures()
        self.known.load_state(dict(arrays), names)
        self.tables: dict[tuple[str, str, int], str] = {}
        for kind, tables in (("category", self.known.categories), ("encoding", self.known.encodings)):
            for (name, place), table in tables.items():
                key = f"{kind}{len(self.tables)}"
                self.tables[kind, name, place] = key
                values = np.where(table < 0, np.nan, table) if kind == "category" else table
                self.register_buffer(key, torch.from_numpy(values.astype(np.float32)))
        for place, (name, axes) in enumerate(self.known.axes.items()):
            self.tables["axes", name, 0] = f"axes{place}"
            self.register_buffer(f"axes{place}", torch.from_numpy(axes))

    def _table(self, kind: str, name: str, place: int) -> Tensor:
        result: Tensor = getattr(self, self.tables[kind, name, place])
        return result

    def forward(self, inputs: Inputs) -> Tensor:
        parts = []
        for name, place in self.known.categories:
            table, codes = self._table("category", name, place), inputs.columns[name].codes[:, place]
            parts.append(table[torch.where(codes < 0, table.shape[0] - 1, codes)][:, None])
        parts += [columns.numbers for columns in inputs.columns.values()]
        for name, place in self.known.encodings:
            table, codes = self._table("encoding", name, place), inputs.columns[name].codes[:, place]
            result = table[torch.where(codes < 0, table.shape[0] - 1, codes)]
            parts.append(_nan_where((codes < 0)[:, None], result))
        for name, tokens in inputs.tokens.items():
            if name in inputs.columns:
                continue
            x, more = tokens.pooled(), inputs.words.get(name, 0)
            words, x = x[:, x.shape[1] - more :], x[:, : x.shape[1] - more]
            x = x @ self._table("axes", name, 0) if name in self.known.axes else x
            parts.append(_nan_where(~tokens.present[:, None], torch.cat([x, words], 1)))
        parts += [_nan_where(~t.present[:, None], t.pooled()) for t in inputs.compared.values()]
        parts.append(torch.stack([inputs.present[name] for name in self.known.names], 1).float())
        x = torch.cat(parts, 1)
        return torch.where(torch.isnan(x), x, x.clamp(-3e38, 3e38))


def _nan_where(gone: Tensor, x: Tensor) -> Tensor:
    return torch.where(gone, torch.full_like(x, _NAN), x)


class _ForestGraph(nn.Module):
    """``Forest`` in tensors: as many steps as the longest way down."""

    base: Tensor
    roots: Tensor
    column: Tensor
    threshold: Tensor
    branches: Tensor
    values: Tensor
    sets: Tensor
    left: Tensor
    unknown_right: Tensor

    def __init__(self, forest: Forest) -> None:
        super().__init__()
        self.rounds, self.outputs = forest.roots.shape
        self.depth, width = int(forest.shape[1]), max(1, int(forest.shape[0]))
        leaf, parted = forest.feature < 0, forest.feature >= 2 * width
        kind = np.where(leaf, 0, forest.feature)
        own = np.arange(len(leaf))
        sides = np.stack([np.where(leaf, own, own + 1), np.where(leaf, own, forest.right)], 1).ravel()
        bits = np.unpackbits(forest.left, axis=1, bitorder="little")
        arrays = {
            "base": forest.base.astype(np.float64),
            "roots": forest.roots.ravel().astype(np.int64),
            "column": (kind % width).astype(np.int64),
            "unknown_right": (kind // width % 2 == 1),
            "threshold": np.where(leaf | parted, 0.0, forest.number).astype(np.float32),
            "values": np.where(leaf, forest.number, 0.0).astype(np.float64),
            "branches": sides.astype(np.int64),
            "sets": np.where(parted, forest.number, -1.0).astype(np.int64),
            "left": np.vstack([bits, np.zeros((1, LEVELS), np.uint8)]).astype(bool).ravel(),
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)))

    def forward(self, x: Tensor) -> Tensor:
        """(n, outputs), in double precision, as the trees are summed."""
        start = x[:, :1].double() * 0
        start = torch.where(torch.isnan(start), torch.zeros_like(start), start)
        if not self.rounds:
            return start + self.base
        node = (start + self.roots.double()).long()  # (n, trees)
        for _ in range(self.depth):
            value = torch.gather(x, 1, self.column[node])
            unknown = torch.isnan(value)
            right = value > self.threshold[node]
            sets = self.sets[node]
            level = torch.where(unknown, torch.zeros_like(value), value).clamp(0, LEVELS - 1).long()
            goes_left = self.left[torch.where(sets < 0, torch.zeros_like(sets), sets) * LEVELS + level]
            # Not torch.where: onnxruntime has none of truth values.
            right = ((sets < 0) & right) | ((sets >= 0) & ~goes_left)
            right = (unknown & self.unknown_right[node]) | (~unknown & right)
            node = self.branches[2 * node + right.long()]
        leaves = self.values[node].reshape(-1, self.rounds, self.outputs)
        return leaves.sum(1) + self.base
