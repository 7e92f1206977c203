"""The rows that aligned spaces are judged by: labelled tables, sentence pairs, pairs and captions of other data sets."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.alignment.aligner import ModalityAligner
from plait.base import registry
from plait.base.errors import ConfigError, nearest
from plait.data import schema as schemas
from plait.data.cells import media_columns
from plait.data.modality import Schema
from plait.data.table import read_table
from plait.datasets.flickr8k import Flickr8k

#: The classes of CIFAR-10 in the order of their numbers, which stand in for them in some copies.
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
#: Column of the rows of another data set that are about one thing.
_THING = "the thing"
#: Files of captions of Flickr8k: of its first 1,000 photographs, and of all.
_CAPTIONS = ("captions.csv", "flickr8k_all_captions.csv")

#: Cells of a modality, and the class of each (n,).
Judging = tuple[dict[str, Any], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A table with a target, and which of its rows are learned from (``train``) and judged by (``test``)."""

    name: str
    frame: pd.DataFrame
    schema: Schema
    parts: pd.Series

    def part(self, part: str, rows: int | None = None) -> pd.DataFrame:
        """So many rows of a part, drawn with a fixed seed; None: all."""
        return _sample(self.frame[(self.parts == part).to_numpy()].reset_index(drop=True), rows)

    def cells(self, aligner: ModalityAligner, name: str, frame: pd.DataFrame) -> Judging:
        """Cells of the aligner's modality ``name`` and class names (n,)."""
        kinds = {m.name: m.kind for m in aligner.schema_.modalities}
        columns = [m.columns for m in self.schema.modalities if m.kind == kinds.get(name)]
        if not columns:
            theirs = sorted({m.kind for m in self.schema.modalities})
            fitting = [n for n, kind in kinds.items() if kind in theirs]
            raise ConfigError(
                f"{self.name} needs an {' or '.join(theirs)} modality; '{name}' is none ({nearest(name, fitting)})"
            )
        return {name: list(frame[columns[0][0]])}, frame[str(self.schema.target)].astype(str).to_numpy()

    def both(
        self, aligner: ModalityAligner, name: str, train_rows: int | None, rows: int | None
    ) -> tuple[Judging, Judging]:
        """The same of so many rows of the training and of the test part."""
        train, test = self.part("train", train_rows), self.part("test", rows)
        return self.cells(aligner, name, train), self.cells(aligner, name, test)

    def sentences(self, part: str, rows: int | None) -> tuple[list[str], list[str], pd.Series]:
        """Both sentences and the target of so many rows of a part; the two text modalities of the table."""
        given = self.schema.modalities
        if [m.kind for m in given] != ["text", "text"]:
            raise ConfigError(
                f"{self.name}: expected two text modalities, found {', '.join(f'{m.name} ({m.kind})' for m in given)}"
            )
        frame = self.part(part, rows)
        a, b = (list(frame[m.columns[0]]) for m in given)
        return a, b, frame[str(self.schema.target)]


@lru_cache(maxsize=4)
def labelled(dataset: str, root: str | None = None, place: str | None = None) -> Labelled:
    """A data set by name (``cifar100``, ``cifar100/fine``), or a table of one's own (``photographs.csv/label``).

    Rows without an official part are judged by where a draw of a fifth, the same each time, puts them. Read once for all fits of
    a process; ``place`` is where the environment says that data sets lie.
    """
    name, _, target = dataset.rpartition("/") if dataset.count("/") and "." in dataset else dataset.partition("/")
    if name in registry.names("datasets"):
        result = registry.find("datasets", name)().load(root)
        frame, schema = result.of(target or next(iter(result.schemas)))
        split = result.split
    elif Path(name).is_file() and target:
        frame = read_table(Path(name))
        schema = schemas.infer(frame.drop(columns="split", errors="ignore"), target, root=str(Path(name).parent))
        split = "split" if "split" in frame.columns else None
        frame = frame.assign(
            **{c: _beside(frame[c], Path(name).absolute().parent) for c in media_columns(schema.modalities)}
        )
    else:
        known = nearest(name, registry.names("datasets"))
        raise ConfigError(f"no data set '{name}' ({known}), nor a table of that name; a table is named FILE/TARGET")
    if schema.target is None:
        raise ConfigError(f"{dataset}: it has no target to judge by")
    if pd.api.types.is_numeric_dtype(frame[schema.target]) and name == "cifar10":
        frame = frame.assign(**{schema.target: [CIFAR10[int(i)] for i in frame[schema.target]]})
    if split is not None:
        return Labelled(dataset, frame, schema, frame[split])
    test = np.random.default_rng(0).permutation(len(frame)) < len(frame) // 5
    return Labelled(dataset, frame, schema, pd.Series(np.where(test, "test", "train"), index=frame.index))


def _beside(cells: pd.Series, folder: Path) -> pd.Series:
    """Paths that are relative to the folder of their table, whole."""
    return cells.map(lambda cell: str(folder / cell) if isinstance(cell, str) and (folder / cell).is_file() else cell)


def pairs_to_search(
    aligner: ModalityAligner, dataset: str, root: str | Path | None, rows: int | None
) -> tuple[pd.DataFrame, str | None]:
    """The pairs of a data set under the aligner's own columns, and the column whose equal values are about one thing."""
    loaded = registry.find("datasets", dataset)().load(root)
    theirs = list(next(iter(loaded.schemas.values())).modalities)
    frame, columns = _sample(loaded.frame, rows), {}
    for mine in aligner.schema_.modalities:
        fitting = [m for m in theirs if m.kind == mine.kind]
        if not fitting:
            kinds = ", ".join(m.kind for m in theirs)
            raise ConfigError(
                f"retrieval in {dataset}: no {mine.kind} for '{mine.name}'; it has {kinds or 'none left'}"
            )
        theirs.remove(fitting[0])
        columns[mine.columns[0]] = frame[fitting[0].columns[0]]
    if loaded.groups is None:
        return pd.DataFrame(columns), None
    return pd.DataFrame(columns).assign(**{_THING: frame[loaded.groups]}), _THING


def other_captions(root: str | Path | None, count: int) -> list[str]:
    """So many captions of the photographs of Flickr8k that are not among its first 1,000: of no picture that there is."""
    values = [pd.read_csv(Flickr8k.file(root, "flickr8k_1k", name)) for name in _CAPTIONS]
    result = values[1][~values[1]["image"].isin(values[0]["image"])].reset_index(drop=True)
    return [str(caption) for caption in _sample(result, count)["caption"]]


def _sample(frame: pd.DataFrame, rows: int | None) -> pd.DataFrame:
    """So many rows, drawn with a fixed seed (files are in the order of their sources); None: all."""
    if rows is None or rows >= len(frame):
        return frame
    return frame.iloc[np.sort(np.random.default_rng(0).permutation(len(frame))[:rows])].reset_index(drop=True)
