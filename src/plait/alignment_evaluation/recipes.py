"""An aligner on the data sets of the paper: what is compared, and how."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from plait.aligner import ModalityAligner
from plait.aligner_cells import Cells
from plait.alignment._cosine import unit
from plait.alignment_evaluation.paraphrase import Paraphrase, paraphrase
from plait.alignment_evaluation.probe import LOOKS, fine_tuning, linear_probe
from plait.alignment_evaluation.retrieval import Retrieval, both_ways
from plait.alignment_evaluation.sentence_similarity import SentenceSimilarity, sentence_similarity
from plait.alignment_evaluation.zero_shot import top_k
from plait.datasets.cifar10 import Cifar10
from plait.datasets.flickr8k import Flickr8k
from plait.datasets.mrpc import Mrpc
from plait.datasets.stsb import Stsb

#: The classes of CIFAR-10 in the order of their numbers.
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def caption_pairs(
    root: str | Path | None = None, photographs: int | None = None, seed: int = 0, first: int | None = None
) -> pd.DataFrame:
    """Pairs of captions of one photograph of Flickr8k: columns ``a``, ``b``, ``photograph``; four pairs of five captions.

    Captions are put in random order before, so that none is always on one side. ``photographs`` are drawn, from the ``first``
    so many of the file (of 8,091) where that is told.
    """
    captions = pd.read_csv(Flickr8k.file(root, "flickr8k_1k", "flickr8k_all_captions.csv"))
    rng = np.random.default_rng(seed)
    names = captions["image"].unique()[:first]
    if photographs is not None:
        names = rng.permutation(names)[:photographs]
    captions = captions[captions["image"].isin(names)]
    captions = captions.iloc[rng.permutation(len(captions))]
    rows = [
        (one, two, name)
        for name, group in captions.groupby("image", sort=True)
        for one, two in itertools.pairwise(group["caption"])
    ]
    return pd.DataFrame(rows, columns=["a", "b", "photograph"])


def sentence_cosines(aligner: ModalityAligner, a: Iterable[str], b: Iterable[str]) -> dict[str, np.ndarray]:
    """Cosines (n,) of sentence pairs, one way per key, for an aligner of text encoders.

    ``NAME alone``: the frozen encoder; ``NAME aligned``: its vectors in the space; ``across``: the first sentence by one encoder
    and the second by the other, the mean over both ways; ``joined``: each sentence as the mean of its aligned vectors;
    ``concatenated``: the frozen encoders' vectors beside each other, the fusion that costs nothing.
    """
    names = list(aligner.modality_names_)
    sides: list[dict[str, Cells]] = [{n: list(part) for n in names} for part in (a, b)]
    raw = [{n: _units(v) for n, v in aligner.features(side).items()} for side in sides]
    moved = [aligner.transform(side) for side in sides]
    found = {f"{n} alone": _rowwise(raw[0][n], raw[1][n]) for n in names}
    found["concatenated"] = np.mean([_rowwise(raw[0][n], raw[1][n]) for n in names], axis=0)
    found |= {f"{n} aligned": _rowwise(moved[0][n], moved[1][n]) for n in names}
    across = [_rowwise(moved[0][m], moved[1][n]) for m, n in itertools.permutations(names, 2)]
    joined = [_units(np.sum([side[n] for n in names], axis=0)) for side in moved]
    return {**found, "across": np.mean(across, axis=0), "joined": _rowwise(joined[0], joined[1])}


def sts_b(
    aligner: ModalityAligner, root: str | Path | None = None, rows: int | None = None, part: str = "test"
) -> dict[str, SentenceSimilarity]:
    """Sentence similarity on a part of STS-B, one result per way of ``sentence_cosines``."""
    frame = _sample(_part(Stsb().load(root).frame, part), rows)
    cosines = sentence_cosines(aligner, frame["a"], frame["b"])
    return {name: sentence_similarity(found, frame["score"].to_numpy()) for name, found in cosines.items()}


def parts_of_mrpc(root: str | Path | None = None, rows: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """So many training rows of MRPC, for the threshold (None: all), and all of its test part."""
    frame = Mrpc().load(root).frame
    return _sample(_part(frame, "train"), rows), _part(frame, "test")


def mrpc(aligner: ModalityAligner, root: str | Path | None = None, rows: int | None = None) -> dict[str, Paraphrase]:
    """Paraphrase on MRPC: the threshold from the training part, the result on the test part; ``rows`` of each, for a look."""
    parts = [_sample(part, rows) for part in parts_of_mrpc(root)]
    train, test = (sentence_cosines(aligner, p["a"], p["b"]) for p in parts)
    same = [(p["paraphrase"] == "yes").to_numpy() for p in parts]
    return {name: paraphrase(train[name], same[0], test[name], same[1]) for name in train}


def flickr8k(aligner: ModalityAligner, frame: pd.DataFrame) -> dict[str, Retrieval]:
    """Retrieval both ways among rows of Flickr8k that the aligner has not seen; each photograph counts once as an image."""
    things = pd.factorize(frame["photograph"])[0]
    once = ~frame["photograph"].duplicated().to_numpy()
    images = aligner.transform({"image": frame.loc[once, ["image"]]})["image"]
    texts = aligner.transform({"text": frame[["caption"]]})["text"]
    return both_ways(images, texts, things[once], things, ("image", "text"))


@dataclass(frozen=True)
class ImageClasses:
    """What ``cifar10`` gives: top-k without training, and accuracy after epochs with frozen and with learning vectors."""

    zero_shot: Mapping[int, float]
    linear_probe: Mapping[int, float]
    encoder_probe: Mapping[int, float]
    fine_tuning: Mapping[int, float]


def cifar10(
    aligner: ModalityAligner,
    root: str | Path | None = None,
    train_rows: int | None = None,
    test_rows: int | None = None,
    *,
    templates: Sequence[str] = ("{}", "a photo of a {}."),
    looks: Sequence[int] = LOOKS,
    image: str = "image",
    tuned_rows: int | None = None,
) -> ImageClasses:
    """Zero-shot classes, linear probe (also of the frozen encoder, without any alignment) and fine-tuning on CIFAR-10.

    ``tuned_rows``: how many of the training rows fine-tuning sees, by far the dearest part; 0: it is left out.
    """
    frame = Cifar10().load(root).frame
    parts = [_sample(_part(frame, p), n) for p, n in (("train", train_rows), ("test", test_rows))]
    classes = [_numbers(p["label"]) for p in parts]
    cells: list[Any] = [{image: list(p["image"])} for p in parts]
    zero = top_k(aligner.classify(cells[1], CIFAR10, templates), classes[1])
    moved = [aligner.transform(c)[image] for c in cells]
    raw = [aligner.features(c)[image] for c in cells]
    few = slice(tuned_rows)
    batches = [{"x": torch.from_numpy(x)} for x in (raw[0][few], raw[1])]
    tuned = (
        fine_tuning(aligner.network_, image, batches[0], classes[0][few], batches[1], classes[1], looks=looks)
        if tuned_rows != 0 and any(p.requires_grad for p in aligner.network_.parameters())
        else {}
    )
    probes = [linear_probe(x[0], classes[0], x[1], classes[1], looks=looks) for x in (moved, raw)]
    return ImageClasses(zero, probes[0], probes[1], tuned)


def _numbers(labels: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(labels):
        return labels.to_numpy().astype(np.int64)
    return np.array([CIFAR10.index(str(name)) for name in labels])


def _part(frame: pd.DataFrame, part: str) -> pd.DataFrame:
    return frame[frame["split"] == part].reset_index(drop=True)


def _sample(frame: pd.DataFrame, rows: int | None) -> pd.DataFrame:
    """So many rows, drawn with a fixed seed (files are in the order of their sources); None: all."""
    if rows is None or rows >= len(frame):
        return frame
    return frame.iloc[np.sort(np.random.default_rng(0).permutation(len(frame))[:rows])].reset_index(drop=True)


def _units(vectors: np.ndarray) -> np.ndarray:
    found: np.ndarray = unit(torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))).numpy()
    return found


def _rowwise(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found: np.ndarray = (a * b).sum(1)
    return found
