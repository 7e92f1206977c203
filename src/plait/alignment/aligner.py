"""``ModalityAligner``: several frozen encoders, one space; fit on rows that show one thing in two or more modalities."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from plait.alignment import file
from plait.alignment.base import Alignment, make_stage
from plait.alignment.batches import mined_pairs
from plait.alignment.index import Hit, Index
from plait.alignment.network import AlignmentNetwork, unit, units
from plait.alignment.pairs import (
    Batch,
    Cells,
    Pairs,
    by_modality,
    exploded,
    features_of,
    pairs_of,
    prompts,
    schema_of,
    table_of,
)
from plait.base import checks, config
from plait.base.checks import MOST, Seed, Within
from plait.base.config import CheckedFields
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, ModelError, TableError, nearest, warn
from plait.base.machine import seeded
from plait.base.progress import step
from plait.data import schema
from plait.data.modality import Modality, Schema
from plait.data.remote import check_kept
from plait.data.table import as_frame
from plait.encoders.featurize import Featurizer, check_found_again
from plait.store import Store

#: Each class is the mean over these (Radford et al. 2021, section 3.1.4, use 80; these are their plainest).
TEMPLATES = ("{}", "a photo of a {}.")
#: Temperature of the probabilities where a stage has learned none.
HEAT = 0.07
#: Rows that go through the network at a time.
PIECE = 4096


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class ModalityAligner(CheckedFields, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """One space for modalities whose encoders know nothing of each other, learned from rows that show one thing in several.

    Attributes:
        modalities: name -> ``{kind, columns, encoder, root}``, or a ``Schema``; None infers them from the table.
        encoders: modality or kind -> encoder name, or ``{name: ..., option: ...}``; overrides ``modalities``.
        root: folder or zip archive that relative media paths start from.
        stage: how they are aligned (``plait list alignment``), or ``{name: ..., option: ...}``.
        group: column whose equal values are about one thing (its rows are no negatives of each other).
        protocol: a paper's model and training as one name (``context-based-fusion``): it sets the stage; what is given beside
            it wins. None: plait's own.
        mine: pairs are made anew, of texts whose similarity is above this (0.7 in Faye et al.), from the cells of both text
            modalities; None: the rows are the pairs.
        things: learn from so many things, drawn by the seed; None: all. For curves of what more pairs bring.
        strict: an unreadable cell is an error instead of an absent cell.
        store: folder of the store of embeddings; None: the user's cache; ``none``: keep nothing.
        progress: show progress; None: only on a terminal.
        random_state: seed of everything random.
        schema_: once fitted, as are all that follow: the modalities; ``modality_names_``: their names in its order.
        stage_: how they were aligned.
        encoders_: modality -> its encoder.
        network_: takes each modality into the space.
        history_: one record per epoch, or the one of a stage in closed form.
        record_: what the fit took: pairs, seconds, versions, data hash.
        index_: what ``search`` looks in, once ``index`` was called.

    Source: Faye et al., Context-Based Multimodal Fusion (stage ``context``); the other stages name their own.

    Example:
        >>> words = [f"{w} {i}" for i, w in enumerate(["ant", "bee", "cow", "dog"] * 5)]
        >>> pairs = pd.DataFrame({"name": words, "size": [float(i % 4) + i / 100 for i in range(20)]})
        >>> modalities = {"text": {"kind": "text", "columns": ["name"], "encoder": "hashed_ngrams"}}
        >>> modalities |= {"number": {"kind": "tabular", "columns": ["size"]}}
        >>> aligner = ModalityAligner(modalities=modalities, stage="cca", store="none").fit(pairs)
        >>> aligner.similarity({"text": ["a cow", "a dog"]}, {"number": pairs[["size"]]}).shape
        (2, 20)
    """

    modalities: Mapping[str, Any] | Schema | None = None
    encoders: Mapping[str, Any] | None = None
    root: str | None = None
    stage: str | Mapping[str, Any] = "cca"
    group: str | None = None
    protocol: str | None = None
    mine: Annotated[float, Within(0.0, 1.0)] | None = None
    things: Annotated[int, Within(2, MOST)] | None = None
    strict: bool = False
    store: str | None = None
    progress: bool | None = None
    random_state: Seed | None = 0

    def __new__(cls, *args: Any, **fields: Any) -> Self:
        """Remember which fields are given beside a protocol."""
        self = super().__new__(cls, *args, **fields)
        if fields.get("protocol") is not None:
            self._given = fields
        return self

    def __post_init__(self) -> None:
        """Take the fields of the protocol, if there is one; ``fit`` refuses one that there is not."""
        for name, value in config.with_protocol(self.__dict__.pop("_given", {}), "aligner").items():
            if value != getattr(self, name):  # what is the same stays the same object: scikit-learn's clone wants it
                setattr(self, name, value)

    # -- fitting ---------------------------------------------------------------------------------------------------

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Fit on a table whose rows hold two or more modalities of one thing each; absent cells are left out.

        A text cell may be a list of captions.

        Raises:
            PlaitError: the table or a setting cannot be used; the message says what to do.
        """
        X = as_frame(X)
        if not isinstance(X, pd.DataFrame):
            raise TableError(f"expected a DataFrame of pairs, found {type(X).__name__}")
        checks.check(self)
        with seeded(self._seed):  # networks are made in several places; what they draw is never the user's
            self._fit(X)
        return self

    def _fit(self, X: pd.DataFrame) -> None:
        frame = X.set_axis([str(c) for c in X.columns], axis=1)
        twice = list(dict.fromkeys(frame.columns[frame.columns.duplicated()]))
        if twice:
            raise TableError(f"column {', '.join(map(repr, twice))} is given twice; rename or drop one")
        if self.protocol is not None:
            config.protocol_settings(self.protocol, "aligner")
        self.stage_: Alignment = make_stage(self.stage)
        check_kept(self.root, "root")
        self.schema_: Schema = schema_of(self.modalities, frame, self.root, self.group)
        self.stage_.pairs_of(self.modality_names_)
        frame, thing = exploded(frame, self.schema_, self.group)
        if self.mine is not None:
            store = None if self.store == "none" else self.store
            frame, thing = mined_pairs(frame, thing, self.schema_, self.mine, store)
        frame, thing = self._drawn(frame, thing)
        schema.validate(self.schema_, frame)
        features = Featurizer(self.schema_, self.encoders)
        check_found_again(features.encoders)
        features.fit(frame, self.root)
        self.encoders_: dict[str, Encoder] = features.encoders
        start = time.perf_counter()
        batches = self._batches({m.name: table_of(m, frame) for m in self.schema_.modalities})
        pairs = pairs_of(batches, thing)
        seconds = {"encode": round(time.perf_counter() - start, 3)}
        busy = time.process_time()
        self._learn(pairs)
        seconds["align"] = round(time.perf_counter() - start - seconds["encode"], 3)
        seconds["align, processor"] = round(time.process_time() - busy, 3)
        self.record_: dict[str, Any] = file.record_of(self, len(X), pairs, seconds)
        self.__dict__.pop("index_", None)

    def _drawn(self, frame: pd.DataFrame, thing: torch.Tensor) -> tuple[pd.DataFrame, torch.Tensor]:
        """The rows of as many things as are to be learned from."""
        known = torch.unique(thing)
        if self.things is None or self.things >= len(known):
            return frame, thing
        drawn = torch.randperm(len(known), generator=torch.Generator().manual_seed(self._seed))[: self.things]
        kept = torch.isin(thing, known[drawn])
        return frame[kept.numpy()].reset_index(drop=True), thing[kept]

    @property
    def _seed(self) -> int:
        return int(self.random_state or 0)

    def _learn(self, pairs: Pairs) -> None:
        with seeded(self._seed):
            self.network_: AlignmentNetwork = self.stage_.network_over(self.encoders_, pairs.dims)
        step("align", self.progress)
        self.history_ = self.stage_.fit(self.network_, pairs, seed=self._seed, progress=self.progress)

    def _batches(self, tables: Mapping[str, pd.DataFrame]) -> dict[str, tuple[Batch, torch.Tensor]]:
        known, takes = {m.name: m for m in self.schema_.modalities}, self.stage_.takes
        with contextlib.nullcontext() if self.store == "none" else Store(self.store) as store:
            given = partial(features_of, root=self.root or self.schema_.root, store=store, strict=self.strict)
            given = partial(given, progress=self.progress)
            return {n: given(known[n], e := self.encoders_[n], table, takes=takes(e)) for n, table in tables.items()}

    # -- use -------------------------------------------------------------------------------------------------------

    @property
    def modality_names_(self) -> tuple[str, ...]:
        """The modalities in schema order."""
        return tuple(m.name for m in self.schema_.modalities)

    def transform(self, cells: Mapping[str, Cells] | pd.DataFrame) -> dict[str, np.ndarray]:
        """Vectors (n, D) of length one for each modality that is given; zeros where a cell is absent.

        Args:
            cells: modality -> cells (or a table of its columns), or a table with the columns of some modalities.
        """
        return {name: self._vectors(name, batch, there) for name, (batch, there) in self._read(cells).items()}

    def _read(self, cells: Mapping[str, Cells] | pd.DataFrame) -> dict[str, tuple[Batch, torch.Tensor]]:
        check_is_fitted(self, "network_")
        return self._batches(by_modality(self.schema_, cells))

    @torch.inference_mode()
    def _vectors(self, name: str, batch: Batch, there: torch.Tensor) -> np.ndarray:
        result = torch.zeros(len(there), self.network_.out_dim)
        rows = there.nonzero()[:, 0]
        piece = PIECE if self.stage_.frozen else 64
        for start in range(0, len(rows), piece):
            part = rows[start : start + piece]
            result[part] = unit(self.network_(name, {k: t[part] for k, t in batch.items()})).float()
        return result.numpy()

    def inputs(self, cells: Mapping[str, Cells] | pd.DataFrame) -> dict[str, Batch]:
        """What the network takes of each modality: ``{"x": features}``, tokens with their ``mask``, or what was prepared."""
        return {name: batch for name, (batch, _) in self._read(cells).items()}

    def features(self, cells: Mapping[str, Cells] | pd.DataFrame) -> dict[str, np.ndarray]:
        """What the frozen encoders give, before any alignment: (n, D) each, zeros where a cell is absent."""
        return {
            name: self.network_.features(name, batch).float().masked_fill(~there[:, None], 0.0).numpy()
            for name, (batch, there) in self._read(cells).items()
        }

    def joined(self, cells: Mapping[str, Cells] | pd.DataFrame) -> np.ndarray:
        """One vector (n, D) of length one per row: the mean over the modalities that it has, zeros where it has none."""
        return units(np.sum(list(self.transform(cells).values()), axis=0))

    def similarity(self, a: Mapping[str, Cells] | pd.DataFrame, b: Mapping[str, Cells] | pd.DataFrame) -> np.ndarray:
        """Cosine similarities (n, m) of the rows of ``a`` and of ``b``; zero where one is absent."""
        result: np.ndarray = self.joined(a) @ self.joined(b).T
        return result

    def index(
        self, cells: Mapping[str, Cells] | pd.DataFrame, labels: Sequence[object] | None = None, *, how: str = "exact"
    ) -> Index:
        """Make rows searchable; the index is kept as ``index_`` and saved with the aligner.

        Args:
            cells: what can be found.
            labels: what a search answers with, JSON values; None: row numbers.
            how: ``exact``, or ``approximate`` (hnswlib or faiss).
        """
        self.index_ = Index(self.joined(cells), labels, how=how)
        return self.index_

    def search(self, query: Mapping[str, Cells] | pd.DataFrame, k: int = 10) -> list[list[Hit]]:
        """The k most similar rows of the index for each query, best first.

        Raises:
            TableError: there is no index, it is empty, ``k`` is larger than it, or a query is absent.
            ConfigError: the query is of a modality that the aligner does not have.
        """
        check_is_fitted(self, "network_")
        if not hasattr(self, "index_"):
            raise TableError("the index is empty: nothing was put in; call index with the cells to be found")
        return self.index_.search(self.joined(query), k)

    def classify(
        self,
        cells: Mapping[str, Cells] | pd.DataFrame,
        names: Sequence[str],
        templates: Sequence[str] = TEMPLATES,
        *,
        by: str | None = None,
    ) -> np.ndarray:
        """Probabilities (n, C) of names that were never learned: which text does a row resemble?

        A row that is absent gets none: its probabilities are NaN, and a warning says how many there are.

        Args:
            cells: rows of any modality.
            names: of the classes.
            templates: each with ``{}`` where the name goes; a class is the mean over its texts.
            by: the text modality that reads the names; None: the only one.
        """
        check_is_fitted(self, "network_")
        reader = self.reader(by)
        texts = prompts(names, templates)
        vectors = self.transform({reader.name: [text for row in texts for text in row]})[reader.name]
        classes = unit(torch.from_numpy(vectors.reshape(len(names), len(templates), -1).sum(1)))
        temperature = self.network_.temperature
        heat = HEAT if temperature is None else float(temperature().detach())
        rows = torch.from_numpy(self.joined(cells))
        result: np.ndarray = (rows @ classes.T / heat).softmax(1).numpy()
        absent = ~rows.any(1).numpy()
        result[absent] = np.nan
        if absent.any():
            value = "its cell is" if absent.sum() == 1 else "their cells are"
            shown = ", ".join(map(str, np.flatnonzero(absent)[:5])) + ", ..." * bool(absent.sum() > 5)
            warn(f"{absent.sum():,} of {len(rows):,} rows get no name, for {value} absent or unreadable (row {shown})")
        return result

    def reader(self, by: str | None = None) -> Modality:
        """The text modality that reads names: the one told, or the only one."""
        texts = {m.name: m for m in self.schema_.modalities if m.kind == "text"}
        if by is not None and by not in texts:
            raise ConfigError(f"by '{by}': not a text modality of the aligner; {nearest(by, texts)}")
        if by is None and len(texts) != 1:
            raise ConfigError(
                f"the aligner has {len(texts)} text modalities ({', '.join(texts) or 'none'}); say which reads the names (by)"
            )
        return texts[by] if by is not None else next(iter(texts.values()))

    # -- saving ----------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the aligner to a folder (no pickle); an existing model folder is replaced, anything else is refused."""
        check_is_fitted(self, "network_")
        return file.save(self, folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """An aligner from its folder, checked before anything is used.

        Raises:
            ModelError: the folder is broken, holds another kind of model, or was made with another version of an encoder.
        """
        result = file.load(cls, folder)
        if not isinstance(result, cls):
            raise ModelError(
                f"{folder}: holds a {type(result).__name__}; expected an aligner of plait align ({cls.__name__})"
            )
        return result
