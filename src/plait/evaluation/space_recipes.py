"""What aligned spaces are judged by: sentence pairs, retrieval, and zero-shot classes, probes, fine-tuning on labelled tables."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from plait.alignment.aligner import ModalityAligner
from plait.alignment.network import unit
from plait.alignment.pairs import Cells, exploded
from plait.base import registry
from plait.base.errors import ConfigError, nearest
from plait.data import schema as schemas
from plait.data.modality import Schema
from plait.data.table import read_table
from plait.datasets.flickr8k import Flickr8k
from plait.evaluation.probes import LOOKS, fine_tuning, linear_probe
from plait.evaluation.similarity import Retrieval, both_ways, top_k

#: The classes of CIFAR-10 in the order of their numbers, which stand in for them in some copies.
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
#: How their names are read.
TEMPLATES = ("{}", "a photo of a {}.")
#: What ``probes`` calls the vectors of the space, and those of the encoder without any alignment.
SPACE, ENCODER = "aligned", "encoder alone"
#: Column of the rows of another data set that are about one thing.
_THING = "the thing"


# -- sentences ---------------------------------------------------------------------------------------------------------


def sentence_cosines(aligner: ModalityAligner, a: Iterable[str], b: Iterable[str]) -> dict[str, np.ndarray]:
    """Cosines (n,) of sentence pairs, one way per key, for an aligner of text encoders.

    ``NAME alone``: the frozen encoder; ``NAME aligned``: its vectors in the space; ``across``: the first sentence by one encoder
    and the second by the other, the mean over both ways; ``joined``: each sentence as the mean of its aligned vectors;
    ``concatenated``: the frozen encoders' vectors beside each other, the fusion that costs nothing. NAME is the encoder's, or
    the modality's where two have the same encoder.

    Raises:
        ConfigError: a modality is not text.
    """
    other = [m.name for m in aligner.schema_.modalities if m.kind != "text"]
    if other:
        raise ConfigError(f"sentences are read by text modalities only; '{other[0]}' is none")
    names = list(aligner.modality_names_)
    said = [aligner.encoders_[n].name() for n in names]
    options = dict(zip(names, said if len(set(said)) == len(said) else names, strict=True))
    sides: list[dict[str, Cells]] = [{n: list(part) for n in names} for part in (a, b)]
    raw = [{n: _units(v) for n, v in aligner.features(side).items()} for side in sides]
    moved = [aligner.transform(side) for side in sides]
    result = {f"{options[n]} alone": _rowwise(raw[0][n], raw[1][n]) for n in names}
    result["concatenated"] = np.mean([_rowwise(raw[0][n], raw[1][n]) for n in names], axis=0)
    result |= {f"{options[n]} aligned": _rowwise(moved[0][n], moved[1][n]) for n in names}
    across = [_rowwise(moved[0][m], moved[1][n]) for m, n in itertools.permutations(names, 2)]
    joined = [_units(np.sum([side[n] for n in names], axis=0)) for side in moved]
    return {**result, "across": np.mean(across, axis=0), "joined": _rowwise(joined[0], joined[1])}


def is_frozen(way: str) -> bool:
    """Whether a way of ``sentence_cosines`` has no alignment in it."""
    return way.endswith(" alone") or way == "concatenated"


def sentence_pairs(known: Labelled, part: str, rows: int | None) -> tuple[list[str], list[str], pd.Series]:
    """Both sentences and the target of so many rows of a part; the two text modalities of a data set.

    Raises:
        ConfigError: it has others.
    """
    given = known.schema.modalities
    if [m.kind for m in given] != ["text", "text"]:
        raise ConfigError(
            f"{known.name}: expected two text modalities, found {', '.join(f'{m.name} ({m.kind})' for m in given)}"
        )
    frame = known.part(part, rows)
    a, b = (list(frame[m.columns[0]]) for m in given)
    return a, b, frame[str(known.schema.target)]


# -- retrieval ---------------------------------------------------------------------------------------------------------


def retrieved(
    aligner: ModalityAligner, frame: pd.DataFrame, group: str | None, others: Sequence[str] = ()
) -> dict[str, Retrieval]:
    """Retrieval between every two modalities, both ways, among rows that the aligner has not seen.

    Rows with equal values in the column ``group`` show one thing; a cell that a thing has in several rows (the photograph of
    five captions) is searched and asked for once. ``others`` are texts about other things, which are searched too.
    """
    frame, result = exploded(frame, aligner.schema_, group)
    thing = result.numpy()
    vectors, things = {}, {}
    for modality in aligner.schema_.modalities:
        once = _first_of_each(frame, list(modality.columns), thing)
        vectors[modality.name] = aligner.transform({modality.name: frame.loc[once]})[modality.name]
        things[modality.name] = thing[once]
    if others:
        name = aligner.reader().name
        vectors[name] = np.concatenate([vectors[name], aligner.transform({name: list(others)})[name]])
        things[name] = np.concatenate([things[name], -1 - np.arange(len(others))])  # nobody asks for them
    judged: dict[str, Retrieval] = {}
    for a, b in itertools.combinations(vectors, 2):
        judged |= both_ways(vectors[a], vectors[b], things[a], things[b], (a, b))
    return judged


def pairs_to_search(
    aligner: ModalityAligner, dataset: str, root: str | Path | None, rows: int | None
) -> tuple[pd.DataFrame, str | None]:
    """The pairs of a data set under the aligner's own columns, and the column whose equal values are about one thing.

    Raises:
        ConfigError: there is no such data set, or it has no modality of a kind that the aligner has.
    """
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


_CAPTIONS = ("captions.csv", "flickr8k_all_captions.csv")


def _first_of_each(frame: pd.DataFrame, columns: list[str], thing: np.ndarray) -> np.ndarray:
    seen = set()
    kept = np.zeros(len(frame), dtype=bool)
    for place, cells in enumerate(zip(thing.tolist(), *(frame[c] for c in columns), strict=True)):
        key = tuple(c if isinstance(c, str | int | float) else id(c) for c in cells)
        kept[place] = key not in seen
        seen.add(key)
    return kept


# -- labelled tables ---------------------------------------------------------------------------------------------------


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

    def classes(self) -> list[str]:
        """Names of the classes, in the order of their labels."""
        return sorted({str(label) for label in self.frame[str(self.schema.target)]})

    def cells(self, aligner: ModalityAligner, name: str, frame: pd.DataFrame) -> Judging:
        """Cells of the aligner's modality ``name`` and class names (n,).

        Raises:
            ConfigError: neither has a modality of this kind.
        """
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


@lru_cache(maxsize=4)
def labelled(dataset: str, root: str | None = None, place: str | None = None) -> Labelled:
    """A data set by name (``cifar100``, ``cifar100/fine``), or a table of one's own (``photographs.csv/label``).

    Rows without an official part are judged by where a draw of a fifth, the same each time, puts them. Read once for all fits of
    a process; ``place`` is where the environment says that data sets lie.

    Raises:
        PlaitError: it cannot be read, or has no such target.
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
        frame = frame.assign(**{c: _beside(frame[c], Path(name).absolute().parent) for c in _media(schema)})
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


def _media(schema: Schema) -> list[str]:
    return [column for m in schema.modalities if m.kind in ("image", "audio", "video") for column in m.columns]


def _beside(cells: pd.Series, folder: Path) -> pd.Series:
    """Paths that are relative to the folder of their table, whole."""
    return cells.map(lambda cell: str(folder / cell) if isinstance(cell, str) and (folder / cell).is_file() else cell)


def zero_shot(
    aligner: ModalityAligner,
    known: Labelled,
    rows: int | None = None,
    *,
    templates: Sequence[str] = TEMPLATES,
    image: str = "image",
) -> tuple[dict[int, float], np.ndarray]:
    """Top-k accuracy on the test part by the names of its classes, and which rows are right at once (n,)."""
    x, y = known.cells(aligner, image, known.part("test", rows))
    names = known.classes()
    truth = np.searchsorted(names, y)
    probabilities = aligner.classify(x, [name.replace("_", " ") for name in names], templates)
    right = (np.nan_to_num(probabilities).argmax(1) == truth) & ~np.isnan(probabilities).any(1)
    return top_k(probabilities, truth), right.astype(np.float64)


def probes(
    aligner: ModalityAligner, image: str, train: Judging, test: Judging, *, looks: Sequence[int] = LOOKS
) -> dict[str, dict[int, float]]:
    """Linear probes over epochs: of the space, and of what the encoder gives before it."""
    (a, classes), (b, truth) = train, test
    given = {SPACE: [aligner.transform(x)[image] for x in (a, b)]}
    given[ENCODER] = [aligner.features(x)[image] for x in (a, b)]
    return {name: linear_probe(x[0], classes, x[1], truth, looks=looks) for name, x in given.items()}


def tuned(
    aligner: ModalityAligner, image: str, train: Judging, test: Judging, *, looks: Sequence[int] = LOOKS
) -> dict[int, float]:
    """Fine-tuning over epochs: the aligned network learns with a classifier; its encoder too, if it was trained with it.

    Empty for a stage in closed form, which has no weights that learn.
    """
    if not any(p.requires_grad for p in aligner.network_.parameters()):
        return {}
    (a, classes), (b, truth) = train, test
    one, two = (aligner.inputs(x)[image] for x in (a, b))
    rate, size = (1e-3, 256) if aligner.stage_.frozen else (1e-4, 32)
    network = aligner.network_
    return fine_tuning(network, image, (one, classes), (two, truth), looks=looks, learning_rate=rate, batch_size=size)


# -- rows --------------------------------------------------------------------------------------------------------------


def _sample(frame: pd.DataFrame, rows: int | None) -> pd.DataFrame:
    """So many rows, drawn with a fixed seed (files are in the order of their sources); None: all."""
    if rows is None or rows >= len(frame):
        return frame
    return frame.iloc[np.sort(np.random.default_rng(0).permutation(len(frame))[:rows])].reset_index(drop=True)


def _units(vectors: np.ndarray) -> np.ndarray:
    result: np.ndarray = unit(torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))).numpy()
    return result


def _rowwise(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    result: np.ndarray = (a * b).sum(1)
    return result
