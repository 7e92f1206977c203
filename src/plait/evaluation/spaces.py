"""What a space can be judged by, each with its options: the evaluations that a study names."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, cast

import numpy as np
import pandas as pd

from plait.alignment.aligner import ModalityAligner
from plait.base import checks
from plait.base.config import check_fields
from plait.base.errors import ConfigError, TableError, nearest
from plait.evaluation import space_recipes
from plait.evaluation.probes import LOOKS
from plait.evaluation.similarity import TOP, OfClass, paraphrase, sentence_similarity

#: Rows that are judged by, or learned from.
Rows = Annotated[int, checks.Within(10, checks.MOST)]


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of an evaluation: a direction of a search, a way to compare two sentences.

    Attributes:
        name: of the part.
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
        aligner: fitted.
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
    held, groups = requested.held, requested.groups
    if dataset is not None:
        held, groups = space_recipes.pairs_to_search(requested.aligner, dataset, requested.root, rows)
    if held is None:
        raise TableError(
            "retrieval: no rows are held out; take split: kfold or holdout, or name a dataset to search in"
        )
    result = space_recipes.retrieved(requested.aligner, held, groups)
    if distractors:
        text = requested.aligner.reader().name
        others = space_recipes.other_captions(requested.root, distractors)
        more = space_recipes.retrieved(requested.aligner, held, groups, others)
        result |= {
            f"{way} among {distractors:,} others": one for way, one in more.items() if way.endswith(f" to {text}")
        }
    return [
        Part(
            way,
            {
                **{f"R@{k}": share for k, share in one.recall.items()},
                "median rank": one.median_rank,
                "gallery": one.gallery,
            },
            curves={"found": one.found, "precision": one.precision},
        )
        for way, one in result.items()
    ]


def sentences(requested: Asked, *, dataset: str = "stsb", rows: Rows | None = None) -> list[Part]:
    """Sentence similarity on the test part of STS-B or its like, one part per way to compare two sentences."""
    a, b, scores = space_recipes.sentence_pairs(_labelled(requested, dataset), "test", rows)
    truth = scores.to_numpy(np.float64)
    parts = []
    for way, cosines in space_recipes.sentence_cosines(requested.aligner, a, b).items():
        one = sentence_similarity(cosines, truth)
        result = {"pearson": one.pearson, "spearman": one.spearman, "within 0.1": float(one.overall[0])}
        result |= {f"within 0.1, {i} to {i + 1}": share for i, share in zip(range(TOP), one.at(0.1), strict=True)}
        curves = {"accuracy, all": dict(zip(one.tolerances, one.overall, strict=True))}
        for place, line in enumerate(one.accuracy):
            if not np.isnan(line).any():
                curves[f"accuracy, {place} to {place + 1}"] = dict(zip(one.tolerances, line, strict=True))
        result |= {f"within {t}": float(one.overall[np.abs(one.tolerances - t).argmin()]) for t in (0.2, 0.5)}
        parts.append(Part(way, result, space_recipes.is_frozen(way), curves, cosines, truth))
    return parts


def paraphrases(
    requested: Asked, *, dataset: str = "mrpc", rows: Rows | None = None, train_rows: Rows | None = None
) -> list[Part]:
    """Paraphrase on the test part of MRPC, QQP or their like, one part per way; ``train_rows`` choose the threshold."""
    known = _labelled(requested, dataset)
    pairs = [space_recipes.sentence_pairs(known, *part) for part in (("train", train_rows), ("test", rows))]
    moved = [space_recipes.sentence_cosines(requested.aligner, a, b) for a, b, _ in pairs]
    same = [target.isin(["yes", 1, True]).to_numpy() for _, _, target in pairs]
    parts = []
    for way in moved[0]:
        one = paraphrase(moved[0][way], same[0], moved[1][way], same[1])
        right = ((moved[1][way] > one.threshold) == same[1]).astype(np.float64)
        learned = float(((moved[0][way] > one.threshold) == same[0]).mean())
        result = {"accuracy": one.accuracy, **_of("different", one.different), **_of("same", one.same)}
        result |= {"threshold": one.threshold, "accuracy, training part": learned}
        parts.append(Part(way, result, space_recipes.is_frozen(way), rows=right, chance=_commonest(same[1])))
    return parts


def _commonest(classes: np.ndarray) -> float:
    return float(np.unique(classes, return_counts=True)[1].max() / len(classes))


def _labelled(requested: Asked, dataset: str) -> space_recipes.Labelled:
    return space_recipes.labelled(dataset, requested.root, os.environ.get("PLAIT_DATA"))


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
    templates: Sequence[str] = space_recipes.TEMPLATES,
    image: str = "image",
) -> list[Part]:
    """Zero-shot classes of the test part of a labelled table, top-1 to top-5."""
    known = _labelled(requested, dataset)
    shares, right = space_recipes.zero_shot(requested.aligner, known, rows, templates=templates, image=image)
    chance = _commonest(known.part("test", rows)[str(known.schema.target)].astype(str).to_numpy())
    return [Part("zero-shot", {f"top-{k}": share for k, share in shares.items()}, rows=right, chance=chance)]


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
    cells = _labelled(requested, dataset).both(requested.aligner, image, train_rows, rows)
    result = space_recipes.probes(requested.aligner, image, *cells, looks=epochs)
    still, chance = requested.aligner.stage_.frozen, _commonest(cells[1][1])
    return [
        Part(
            name,
            _last_first(over),
            frozen=still and name == space_recipes.ENCODER,
            curves={"accuracy": over},
            chance=chance,
        )
        for name, over in result.items()
    ]


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
    cells = _labelled(requested, dataset).both(requested.aligner, image, train_rows, rows)
    over = space_recipes.tuned(requested.aligner, image, *cells, looks=epochs)
    chance = _commonest(cells[1][1])
    return [Part("fine-tuned", _last_first(over), curves={"accuracy": over}, chance=chance)] if over else []


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
    """Refuse an evaluation that there is not, and options that it does not have.

    Raises:
        ConfigError: the message names the nearest.
    """
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
    """The parts of one evaluation.

    Raises:
        PlaitError: it cannot be done with this space or these data.
    """
    return EVALUATIONS[str(spec["name"])](requested, **{k: v for k, v in spec.items() if k != "name"})
