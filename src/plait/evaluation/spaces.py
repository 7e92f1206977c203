"""What a space can be judged by, each with its options: the evaluations that a study names."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, cast

import numpy as np
import pandas as pd

from plait.alignment.aligner import TEMPLATES, ModalityAligner
from plait.alignment.network import units
from plait.alignment.pairs import Cells, exploded
from plait.base import checks
from plait.base.config import check_fields
from plait.base.errors import ConfigError, TableError, nearest
from plait.evaluation.probes import LOOKS, fine_tuning, linear_probe
from plait.evaluation.similarity import TOP, OfClass, Retrieval, paraphrase, retrieval, sentence_similarity, top_k
from plait.evaluation.space_rows import Labelled, labelled, other_captions, pairs_to_search

#: Rows that are judged by, or learned from.
Rows = Annotated[int, checks.Within(10, checks.MOST)]


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of an evaluation: a direction of a search, a way to compare two sentences.

    Attributes:
        metrics: by name; the first is what spaces are compared by.
        frozen: no alignment is in it, so that it is the same for every stage.
        curves: name -> {place: value}.
        rows: of each test row (n,): a cosine where there is ``truth``, else 1 where the answer is right and 0 where it is not.
        truth: of each test row (n,): the score that cosines should follow.
        chance: share of the commonest class among the test rows, which one answer for all would reach in the first metric.
    """

    name: str
    metrics: Mapping[str, float]
    frozen: bool = False
    curves: Mapping[str, Mapping[Any, float]] = dataclasses.field(default_factory=dict)
    rows: np.ndarray | None = None
    truth: np.ndarray | None = None
    chance: float | None = None


@dataclasses.dataclass(frozen=True)
class Asked:
    """What an evaluation is given.

    Attributes:
        held: rows that it has not seen; None where it has seen all.
        groups: their column whose equal values are about one thing; None: each row is a thing.
        root: folder of the data sets; None: ``$PLAIT_DATA``.
    """

    aligner: ModalityAligner
    held: pd.DataFrame | None = None
    groups: str | None = None
    root: str | None = None


def retrieved(
    requested: Asked, *, dataset: str | None = None, rows: Rows | None = None, distractors: checks.Natural = 0
) -> list[Part]:
    """Retrieval among held-out rows, between every two modalities in both directions.

    ``dataset``: among the pairs of another data set in their place, all of them or ``rows``, none of which was learned from.
    ``distractors``: once more with so many captions of other photographs of Flickr8k among the texts that are searched, for
    curves that run as far as the paper's.
    """
    aligner, held, groups = requested.aligner, requested.held, requested.groups
    if dataset is not None:
        held, groups = pairs_to_search(aligner, dataset, requested.root, rows)
    if held is None:
        raise TableError(
            "retrieval: no rows are held out; take split: kfold or holdout, or name a dataset to search in"
        )
    result = searched(aligner, held, groups)
    if distractors:
        others = other_captions(requested.root, distractors)
        for way, one in searched(aligner, held, groups, others).items():
            if way.endswith(f" to {aligner.reader().name}"):
                result[f"{way} among {distractors:,} others"] = one
    parts = []
    for way, one in result.items():
        values = {f"R@{k}": share for k, share in one.recall.items()}
        values |= {"median rank": one.median_rank, "gallery": one.gallery}
        parts.append(Part(way, values, curves={"found": one.found, "precision": one.precision}))
    return parts


def searched(
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
    for pair in itertools.combinations(vectors, 2):
        for a, b in (pair, pair[::-1]):
            judged[f"{a} to {b}"] = retrieval(vectors[a], vectors[b], things[a], things[b])
    return judged


def _first_of_each(frame: pd.DataFrame, columns: list[str], thing: np.ndarray) -> np.ndarray:
    seen = set()
    kept = np.zeros(len(frame), dtype=bool)
    for place, cells in enumerate(zip(thing.tolist(), *(frame[c] for c in columns), strict=True)):
        key = tuple(c if isinstance(c, str | int | float) else id(c) for c in cells)
        kept[place] = key not in seen
        seen.add(key)
    return kept


def sentences(requested: Asked, *, dataset: str = "stsb", rows: Rows | None = None) -> list[Part]:
    """Sentence similarity on the test part of STS-B or its like, one part per way to compare two sentences."""
    a, b, scores = _labelled(requested, dataset).sentences("test", rows)
    truth = scores.to_numpy(np.float64)
    parts = []
    for way, cosines in sentence_cosines(requested.aligner, a, b).items():
        one = sentence_similarity(cosines, truth)
        result = {"pearson": one.pearson, "spearman": one.spearman, "within 0.1": float(one.overall[0])}
        result |= {f"within 0.1, {i} to {i + 1}": share for i, share in zip(range(TOP), one.at(0.1), strict=True)}
        curves = {"accuracy, all": dict(zip(one.tolerances, one.overall, strict=True))}
        for place, line in enumerate(one.accuracy):
            if not np.isnan(line).any():
                curves[f"accuracy, {place} to {place + 1}"] = dict(zip(one.tolerances, line, strict=True))
        result |= {f"within {t}": float(one.overall[np.abs(one.tolerances - t).argmin()]) for t in (0.2, 0.5)}
        parts.append(Part(way, result, _frozen(way), curves, cosines, truth))
    return parts


def sentence_cosines(aligner: ModalityAligner, a: Iterable[str], b: Iterable[str]) -> dict[str, np.ndarray]:
    """Cosines (n,) of sentence pairs, one way per key, for an aligner of text encoders.

    ``NAME alone``: the frozen encoder; ``NAME aligned``: its vectors in the space; ``across``: the first sentence by one encoder
    and the second by the other, the mean over both ways; ``joined``: each sentence as the mean of its aligned vectors;
    ``concatenated``: the frozen encoders' vectors beside each other, the fusion that costs nothing. NAME is the encoder's, or
    the modality's where two have the same encoder.
    """
    other = [m.name for m in aligner.schema_.modalities if m.kind != "text"]
    if other:
        raise ConfigError(f"sentences are read by text modalities only; '{other[0]}' is none")
    names = list(aligner.modality_names_)
    said = [aligner.encoders_[n].name() for n in names]
    options = dict(zip(names, said if len(set(said)) == len(said) else names, strict=True))
    sides: list[dict[str, Cells]] = [{n: list(part) for n in names} for part in (a, b)]
    raw = [{n: units(v) for n, v in aligner.features(side).items()} for side in sides]
    moved = [aligner.transform(side) for side in sides]
    result = {f"{options[n]} alone": _rowwise(raw[0][n], raw[1][n]) for n in names}
    result["concatenated"] = np.mean([_rowwise(raw[0][n], raw[1][n]) for n in names], axis=0)
    result |= {f"{options[n]} aligned": _rowwise(moved[0][n], moved[1][n]) for n in names}
    across = [_rowwise(moved[0][m], moved[1][n]) for m, n in itertools.permutations(names, 2)]
    joined = [units(np.sum([side[n] for n in names], axis=0)) for side in moved]
    return {**result, "across": np.mean(across, axis=0), "joined": _rowwise(joined[0], joined[1])}


def _frozen(way: str) -> bool:
    """Whether a way of ``sentence_cosines`` has no alignment in it."""
    return way.endswith(" alone") or way == "concatenated"


def _rowwise(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    result: np.ndarray = (a * b).sum(1)
    return result


def paraphrases(
    requested: Asked, *, dataset: str = "mrpc", rows: Rows | None = None, train_rows: Rows | None = None
) -> list[Part]:
    """Paraphrase on the test part of MRPC, QQP or their like, one part per way; ``train_rows`` choose the threshold."""
    known = _labelled(requested, dataset)
    pairs = [known.sentences("train", train_rows), known.sentences("test", rows)]
    moved = [sentence_cosines(requested.aligner, a, b) for a, b, _ in pairs]
    same = [target.isin(["yes", 1, True]).to_numpy() for _, _, target in pairs]
    parts = []
    for way in moved[0]:
        one = paraphrase(moved[0][way], same[0], moved[1][way], same[1])
        right = ((moved[1][way] > one.threshold) == same[1]).astype(np.float64)
        learned = float(((moved[0][way] > one.threshold) == same[0]).mean())
        result = {"accuracy": one.accuracy, **_of("different", one.different), **_of("same", one.same)}
        result |= {"threshold": one.threshold, "accuracy, training part": learned}
        parts.append(Part(way, result, _frozen(way), rows=right, chance=_commonest(same[1])))
    return parts


def _commonest(classes: np.ndarray) -> float:
    return float(np.unique(classes, return_counts=True)[1].max() / len(classes))


def _labelled(requested: Asked, dataset: str) -> Labelled:
    return labelled(dataset, requested.root, os.environ.get("PLAIT_DATA"))


def title_of(spec: Mapping[str, object]) -> str:
    """What an evaluation is called among its study's: its name, and the data set where one is named."""
    return " ".join(str(spec[key]) for key in ("name", "dataset") if key in spec)


def _of(name: str, of_class: OfClass) -> dict[str, float]:
    return {f"{name}, {key}": value for key, value in vars(of_class).items()}


def named(
    requested: Asked,
    *,
    dataset: str = "cifar10",
    rows: Rows | None = None,
    templates: Sequence[str] = TEMPLATES,
    image: str = "image",
) -> list[Part]:
    """Zero-shot classes of the test part of a labelled table, top-1 to top-5."""
    known, aligner = _labelled(requested, dataset), requested.aligner
    x, y = known.cells(aligner, image, known.part("test", rows))
    classes = sorted({str(label) for label in known.frame[str(known.schema.target)]})
    truth = np.searchsorted(classes, y)
    probabilities = aligner.classify(x, [name.replace("_", " ") for name in classes], templates)
    right = (np.nan_to_num(probabilities).argmax(1) == truth) & ~np.isnan(probabilities).any(1)
    shares = {f"top-{k}": share for k, share in top_k(probabilities, truth).items()}
    return [Part("zero-shot", shares, rows=right.astype(np.float64), chance=_commonest(y))]


def probed(
    requested: Asked,
    *,
    dataset: str = "cifar10",
    rows: Rows | None = None,
    train_rows: Rows | None = None,
    epochs: Sequence[checks.Count] = LOOKS,
    image: str = "image",
) -> list[Part]:
    """Linear probes over epochs on a labelled table: of the aligned vectors, and of what the encoder gives without alignment."""
    aligner, parts = requested.aligner, []
    (train, classes), (test, truth) = _labelled(requested, dataset).both(aligner, image, train_rows, rows)
    for name, of in (("aligned", aligner.transform), ("encoder alone", aligner.features)):
        over = linear_probe(of(train)[image], classes, of(test)[image], truth, looks=epochs)
        frozen = aligner.stage_.frozen and name == "encoder alone"
        parts.append(Part(name, _last_first(over), frozen, {"accuracy": over}, chance=_commonest(truth)))
    return parts


def tuned(
    requested: Asked,
    *,
    dataset: str = "cifar10",
    rows: Rows | None = None,
    train_rows: Rows | None = None,
    epochs: Sequence[checks.Count] = LOOKS,
    image: str = "image",
) -> list[Part]:
    """Fine-tuning over epochs on a labelled table: what was aligned learns on; nothing where it cannot."""
    aligner, network = requested.aligner, requested.aligner.network_
    (train, classes), (test, truth) = _labelled(requested, dataset).both(aligner, image, train_rows, rows)
    if not any(p.requires_grad for p in network.parameters()):  # a stage in closed form
        return []
    sides = [(aligner.inputs(cells)[image], y) for cells, y in ((train, classes), (test, truth))]
    rate, size = (1e-3, 256) if aligner.stage_.frozen else (1e-4, 32)
    over = fine_tuning(network, image, *sides, looks=epochs, learning_rate=rate, batch_size=size)
    return [Part("fine-tuned", _last_first(over), curves={"accuracy": over}, chance=_commonest(truth))]


def _last_first(over: Mapping[int, float]) -> dict[str, float]:
    """Accuracy after the most epochs is what is compared; the others follow."""
    last = max(over)
    return {f"{n} epochs": over[n] for n in (last, *(n for n in over if n != last))}


#: Name in a study file -> what it does; its keywords are its options.
EVALUATIONS: dict[str, Callable[..., list[Part]]] = {
    "retrieval": retrieved,
    "sentence_similarity": sentences,
    "paraphrase": paraphrases,
    "zero_shot": named,
    "linear_probe": probed,
    "fine_tuning": tuned,
}


def check_evaluation(spec: Mapping[str, object]) -> None:
    """Refuse an evaluation that there is not, and options that it does not have."""
    name = str(spec.get("name"))
    if name not in EVALUATIONS:
        raise ConfigError(f"unknown evaluation '{name}': {nearest(name, EVALUATIONS)}")
    options = {k: v for k, v in spec.items() if k != "name"}
    known = [key for key in inspect.signature(EVALUATIONS[name]).parameters if key != "requested"]
    check_fields(options, known, f"evaluation '{name}'")
    checks.check_call(EVALUATIONS[name], options, f"evaluation '{name}'")
    if empty := [key for key, value in options.items() if value == []]:
        raise ConfigError(f"evaluation '{name}': {empty[0]}: the list is empty; name at least one, or leave it out")
    for template in cast(Sequence[str], options.get("templates", ())):
        if "{}" not in template:
            raise ConfigError(
                f"evaluation '{name}': templates: expected texts with {{}} where the name goes: {template!r}"
            )


def judged(spec: Mapping[str, object], requested: Asked) -> list[Part]:
    """The parts of one evaluation."""
    return EVALUATIONS[str(spec["name"])](requested, **{k: v for k, v in spec.items() if k != "name"})
