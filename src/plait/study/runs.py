"""Every run of a study: what defines it, the hash that names it, and the order that lets neighbours share work."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from plait.base import __version__
from plait.base.inputs import subsets_of
from plait.study import conditions
from plait.study.spec import Spec, SplitSpec
from plait.study.tables import StudyTable
from plait.study.variants import Variant
from plait.training.rows import for_modalities
from plait.training.settings import FINETUNING_OPTIONS as TUNE_OPTIONS
from plait.training.settings import PRETRAINING_OPTIONS

#: Raise it when runs of an older plait can no longer be compared with new ones although their settings are the same.
PROTOCOL = 2
#: Fields of the estimator that begin to matter only after rows are encoded and scaled.
AFTER_PREPARING = frozenset(
    (
        *("fusion", "depth", "layers", "width", "branches", "members", "dropout", "input_dropout", "modality_dropout"),
        *("smoothing", "epochs", "batch_size", "learning_rate", "weight_decay", "patience", "max_weights", "progress"),
        *("record_epochs", "tensorboard", "checkpoint", "device", "minutes", "feature_memory", "engine", "workers"),
        *("store", "random_state", "estimator", "pretrain", "encoder_learning_rate", "warmup", "thaw"),
        *("protocol", "validation", "mix", "optimiser", "schedule", "clip"),
    )
)


@dataclasses.dataclass(frozen=True)
class Run:
    """One model to be fitted and judged.

    Attributes:
        name: 16 hex digits; two runs with one name are the same.
        data: position of the table in the study; ``data_seed`` of one that is drawn anew.
        settings: what differs between variants, for the results; ``model``: all fields.
        trial: of a search, from 0.
        share: runs with the same one can share rows that are encoded and scaled.
    """

    name: str
    data: int
    data_seed: int | None
    dataset: str
    task: str
    variant: str
    settings: Mapping[str, Any]
    model: Mapping[str, Any]
    subset: tuple[str, ...]
    modalities: tuple[str, ...]
    train_condition: Any
    seed: int
    split: int
    share: str = ""
    trial: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values that ``from_dict`` takes back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> Run:
        """Rebuild a run from plain values."""
        return cls(**{**spec, "subset": tuple(spec["subset"]), "modalities": tuple(spec["modalities"])})


def subsets(values: str | Sequence[Sequence[str]], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Subsets of the modalities ``names`` in their order; what names one that is not there is left out.

    Example:
        >>> subsets("singles", ("text", "image")), subsets([["image"], ["sound"]], ("text", "image"))
        ([('text',), ('image',), ('text', 'image')], [('image',)])
    """
    if isinstance(values, str):
        most = {"full": 0, "singles": 1, "pairs": 2, "every": len(names)}[values]
        sizes = [size for size in range(1, len(names)) if size <= most]
        return subsets_of(names, [*sizes, len(names)])
    known = [pattern for pattern in values if set(pattern) <= set(names)]
    return [tuple(name for name in names if name in pattern) for pattern in known]


def patterns_problem(value: object) -> str | None:
    """What is wrong with the ``subsets`` that a variant is kept to; None: nothing.

    Example:
        >>> patterns_problem([["text", "image"]]), patterns_problem("ful")
        (None, "subsets: expected full, singles, pairs or a list of lists of modalities, found 'ful'")
    """
    if value in (None, "full", "singles", "pairs"):
        return None
    rows = value if isinstance(value, list | tuple) else ()
    if rows and all(isinstance(p, list | tuple) and p and all(isinstance(n, str) for n in p) for p in rows):
        return None
    return f"subsets: expected full, singles, pairs or a list of lists of modalities, found {value!r:.60}"


def _tried(variant: Variant, subset: tuple[str, ...], names: Sequence[str]) -> bool:
    """Whether a variant is tried on a subset: each is on all, but one that names its own ``subsets``."""
    own = variant.model.get("subsets")
    return own is None or subset in subsets(own, names)


def runs_of(
    spec: Spec,
    tables: Mapping[tuple[int, int | None], StudyTable],
    variants: Sequence[Variant],
    count: Callable[[StudyTable, SplitSpec], int],
    defines: Mapping[str, object],
) -> list[Run]:
    """All runs, seed by seed, so that a study that is stopped early has all variants of its first seeds."""
    result = []
    for seed, (number, value) in itertools.product(spec.seeds, enumerate(spec.data)):
        key = (number, seed) if (number, seed) in tables else (number, None)
        table, split = tables[key], value.split or spec.split
        for index, train, subset in itertools.product(
            range(count(table, split)),
            [value for value in spec.train if conditions.applies(value, table.schema)],
            subsets(spec.modalities, table.modalities),
        ):
            place = Place(table, split, key, train, subset, seed, index)
            result += [run_of(spec, place, v, defines) for v in variants if _tried(v, subset, table.modalities)]
    order = {seed: i for i, seed in enumerate(spec.seeds)}
    first = {share: i for i, share in reversed(list(enumerate(run.share for run in result)))}
    return sorted(result, key=lambda run: (order[run.seed], first[run.share]))


@dataclasses.dataclass(frozen=True)
class Place:
    """Everything about a run but its variant."""

    table: StudyTable
    split: SplitSpec
    key: tuple[int, int | None]
    train: Any
    subset: tuple[str, ...]
    seed: int
    index: int


def run_of(spec: Spec, place: Place, variant: Variant, defines: Mapping[str, object], trial: int | None = None) -> Run:
    """The run of a variant at a place; a trial is another run although all else is equal."""
    table = place.table
    model = for_subset(variant.model, place.subset, table)
    before = {k: v for k, v in model.items() if k not in AFTER_PREPARING}
    split = dataclasses.asdict(place.split)
    shared = [table.digest, table.label, split, place.seed, place.index, place.train, place.subset, before]
    all_of_it = {
        "shared": shared,
        "model": variant.model,
        "seed": place.seed,
        "tests": [spec.test, spec.present, spec.metrics],
        "plait": [__version__, PROTOCOL],
        **defines,
    }
    if trial is not None:
        all_of_it["trial"] = trial
    return Run(
        name=digest(all_of_it),
        data=place.key[0],
        data_seed=place.key[1],
        dataset=table.label,
        task=table.task,
        variant=variant.label,
        settings=variant.settings,
        model=model,
        subset=place.subset,
        modalities=table.modalities,
        train_condition=place.train,
        seed=place.seed,
        split=place.index,
        share=digest(shared),
        trial=trial,
    )


def for_subset(model: Mapping[str, Any], subset: tuple[str, ...], table: StudyTable) -> dict[str, Any]:
    """Encoders, alignments and rates of modalities that the subset has; the estimator refuses others."""
    kinds = {m.name: m.kind for m in table.schema.modalities}
    result = {k: v for k, v in model.items() if k != "subsets"}
    if isinstance(model.get("align"), Mapping):
        result["align"] = {k: _anchored(v, subset, table.modalities) for k, v in model["align"].items() if k in subset}
        result["align"] = {k: v for k, v in result["align"].items() if v}
    encoded = {*subset, *teachers(result)}
    named = {*encoded, *(kinds[name] for name in encoded)}
    known = {"encoders": named, "train": named, "encoder_learning_rate": named}
    known |= {"pretrain": {*named, *PRETRAINING_OPTIONS}, "thaw": {*named, "after", "every"}}
    known |= {"tune": {*named, *TUNE_OPTIONS}}
    for field, names in known.items():
        if isinstance(model.get(field), Mapping):
            result[field] = {k: v for k, v in model[field].items() if k in names}
    if "modality_dropout" in model:
        result["modality_dropout"] = for_modalities(model["modality_dropout"], subset)
    return {k: v for k, v in result.items() if k not in (*known, "align", "modality_dropout") or v != {}}


def _anchored(value: object, subset: tuple[str, ...], names: tuple[str, ...]) -> object:
    """An alignment towards the anchors that the subset has; None where it has none. With ``drop: true`` the others teach, too."""
    anchors = value.get("anchors") if isinstance(value, Mapping) else value
    if not isinstance(anchors, list | tuple):
        return value
    if isinstance(value, Mapping) and value.get("drop") is True:
        anchors = [name for name in anchors if name in names]
        gone = [name for name in anchors if name not in subset]
        return {**value, "anchors": anchors, "drop": gone} if anchors else None
    kept = [name for name in anchors if name in subset]
    if not kept:
        return None
    return {**value, "anchors": kept} if isinstance(value, Mapping) else kept


def teachers(model: Mapping[str, Any]) -> set[str]:
    """Modalities that an alignment learns from and the classifier does not see."""
    value = (model.get("align") or {}).values()
    return {name for one in value if isinstance(one, Mapping) for name in one.get("drop") or ()}


def digest(value: object) -> str:
    """16 hex digits of plain values."""
    setting = json.dumps(value, sort_keys=True, default=lambda v: dict(v) if isinstance(v, Mapping) else str(v))
    return blake2b(setting.encode(), digest_size=8).hexdigest()


class Schedule:
    """Runs that nobody has begun, by what they share."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._groups: dict[str, deque[Run]] = {}
        for run in runs:
            self._groups.setdefault(run.share, deque()).append(run)
        self._at: dict[int, str] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __iter__(self) -> Iterator[Run]:
        return (run for group in self._groups.values() for run in group)

    def next(self, worker: int) -> Run | None:
        """The next of the group that the worker is at; else of one that nobody is at; else of the longest."""
        if not self._groups:
            return None
        at = self._at.get(worker)
        if at not in self._groups:
            others = {share for other, share in self._at.items() if other != worker}
            free = [share for share in self._groups if share not in others]
            at = free[0] if free else max(self._groups, key=lambda share: len(self._groups[share]))
            self._at[worker] = at
        group = self._groups[at]
        run = group.popleft()
        if not group:
            del self._groups[at]
        return run

    def finish(self) -> None:
        """Nothing more will be handed out."""

    def drop(self, variants: set[str]) -> list[Run]:
        """Take out all runs of these variants."""
        dropped = [run for group in self._groups.values() for run in group if run.variant in variants]
        for share, group in list(self._groups.items()):
            self._groups[share] = deque(run for run in group if run.variant not in variants)
            if not self._groups[share]:
                del self._groups[share]
        return dropped
