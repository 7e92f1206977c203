"""What a study file says, as plain frozen values; ``plait.study.subjects`` says what is wrong with one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any

from plait.base.checks import MOST, Count, NonNegative, Within
from plait.study.ranges import SearchSpec

#: Ways of splitting rows into training and test part.
SPLITS = ("holdout", "kfold", "repeated", "time", "official", "none")
#: What each of them is told by.
SPLIT_FIELDS = {
    "holdout": ("fractions", "group"),
    "kfold": ("folds", "group"),
    "repeated": ("fractions", "times", "group"),
    "time": ("fractions", "column"),
    "official": ("column",),
    "none": ("group",),
}
#: Group column ``auto``: the data set's own groups, if it has any.
AUTO = "auto"
#: The split that leaves no row to judge on: all are learned from.
NONE = "none"
#: The condition that changes nothing.
CLEAN = "clean"


@dataclasses.dataclass(frozen=True)
class SplitSpec:
    """How the rows of a seed are split.

    Attributes:
        kind: ``holdout``; ``kfold``; ``repeated`` (several holdouts per seed); ``time`` (the latest rows are the test part);
            ``official`` (the data set's own parts, or each of its folds in turn); ``none`` (of a space: all are learned from).
        fractions: shares of the rows; the last part is the test part; a middle part is the validation part of models that
            want one (``validation: given``), and joins the training part of those whose own cross-fitting validates.
        times: holdouts per seed of ``repeated``.
        group: column whose equal values stay on one side; ``auto``: the data set's groups; None: none.
        column: that says when, for ``time``; that says ``train`` or ``test``, for ``official`` parts of a table.
    """

    kind: str = "holdout"
    fractions: tuple[float, ...] = (0.80, 0.05, 0.15)
    folds: Annotated[int, Within(2, 1000)] = 5
    times: Annotated[int, Within(1, 1000)] = 5
    group: str | None = AUTO
    column: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """What is told of this kind of split."""
        options = {k: _plain(getattr(self, k)) for k in SPLIT_FIELDS[self.kind]}
        if self.kind == NONE and self.group == AUTO:
            del options["group"]
        elif "group" in options and options["group"] is None:
            options["group"] = "none"
        return {"kind": self.kind, **{k: v for k, v in options.items() if v is not None}}


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """One table and target.

    Attributes:
        dataset: name of a data set of plait, with ``options`` for its loader; or
        table: path of a table, from the folder of the study file, with ``schema`` (a YAML file), or ``target`` and ``task``; or
        valid: and ``test``: tables of the same columns whose rows choose and judge; ``table`` holds the training rows then.
        frame: name of a table that is given to ``Study`` in memory.
        root: folder or archive of media of a table; root folder of a data set.
        remote: files that cells of a table name by an address and that may be fetched: ``all``, or how addresses begin.
        rows: at most so many, drawn once with seed 0.
        split: of this table instead of the study's.
        name: what results call it instead of ``dataset/target``.
    """

    dataset: str | None = None
    table: str | None = None
    valid: str | None = None
    test: str | None = None
    frame: str | None = None
    target: str | None = None
    schema: str | None = None
    task: str | None = None
    root: str | None = None
    remote: tuple[str, ...] | None = None
    rows: Annotated[int, Within(10, MOST)] | None = None
    split: SplitSpec | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    name: str | None = None

    @property
    def source(self) -> str:
        """What the label begins with."""
        return self.dataset or self.frame or PurePath(str(self.table)).name.partition(".")[0]


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a study may cost.

    Attributes:
        minutes: of wall time for each call; runs that have begun are finished.
        run_minutes: of one run; it is stopped and recorded as failed.
        trained_weights: every design is given the width that comes nearest to so many.
        memory_mb: of one run; it is stopped and recorded as failed.
    """

    minutes: NonNegative | None = None
    run_minutes: NonNegative | None = None
    trained_weights: Count | None = None
    memory_mb: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """What is limited."""
        options = {k: v for k, v in vars(self).items() if v is not None}
        memory = options.pop("memory_mb", None)
        return options if memory is None else {**options, "memory": f"{memory:g}MB"}


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a paper says of a number that the study measures.

    Attributes:
        data: of the paper: ``dataset/target`` or ``dataset`` of the study, or another name where it is not the same data.
        condition: label of a condition at test, as results have it (``absent:image=0.5``).
    """

    metric: str
    value: float | None = None
    where: str = ""
    data: str | None = None
    variant: str | None = None
    subset: Sequence[str] | None = None
    condition: str | None = None
    text: str = ""


@dataclasses.dataclass(frozen=True)
class SpaceSpec:
    """How aligned spaces are judged.

    Attributes:
        evaluations: each ``{name: ..., option: ...}`` of ``plait.evaluation.spaces``.
        reference: the variant that others are compared with; None: the first.
    """

    evaluations: tuple[Mapping[str, Any], ...]
    reference: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The mapping that a study file holds."""
        evaluations = [dict(one) if len(one) > 1 else one["name"] for one in self.evaluations]
        return {"evaluations": evaluations} | ({} if self.reference is None else {"reference": self.reference})


@dataclasses.dataclass(frozen=True)
class Spec:
    """A whole study file.

    Attributes:
        space: aligned spaces are fitted and judged, not classifiers; fields of ``model`` and variants are the aligner's.
        search: every variant is tried with settings that a sampler draws, judged on a part of the training rows.
        model: fields of the estimator that all variants share; ``estimator: linear`` is the baseline on the same features.
        grid: dotted field -> values; all combinations are variants, but for those that match an entry of ``exclude``.
        variants: name -> fields; crossed with the grid if there is one.
        baselines: trees, a tuned linear model, the best single modality and the majority are variants, too.
        modalities: what models are trained on: ``full`` (all at once), ``singles``, ``pairs``, ``every``, or subsets by name.
        train: conditions on training rows, each a model of its own.
        test: conditions on test rows, which every model is judged under.
        present: which modalities are present at test: the same words, or patterns by name.
    """

    name: str
    data: tuple[DataSpec, ...]
    space: SpaceSpec | None = None
    search: SearchSpec | None = None
    about: str = ""
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    grid: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    exclude: tuple[Mapping[str, Any], ...] = ()
    baselines: bool = False
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    split: SplitSpec = SplitSpec()
    modalities: str | tuple[tuple[str, ...], ...] = "full"
    train: tuple[Any, ...] = (CLEAN,)
    test: tuple[Any, ...] = (CLEAN,)
    present: str | tuple[tuple[str, ...], ...] = "full"
    metrics: tuple[str, ...] = ()
    budget: Budget = Budget()
    claims: tuple[Claim, ...] = ()

    @property
    def subject(self) -> str:
        """Name of what the runs make and judge (``plait.study.subjects``)."""
        return "search" if self.search is not None else "model" if self.space is None else "space"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a study file has them, without what is as it would be anyway."""
        options = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        options["conditions"] = {k: options.pop(k) for k in ("train", "test")}
        options["modalities"] = _MODALITIES.get(str(self.modalities)) or {"subsets": options["modalities"]}
        options["present"] = "all" if self.present == "every" else options["present"]
        usual: dict[str, Any] = {"modalities": "all", "present": "full", "baselines": False}
        usual["conditions"] = {"train": [CLEAN], "test": [CLEAN]}
        return {k: options[k] for k in FIELDS if options[k] not in ("", [], {}) and options[k] != usual.get(k)}


#: Words of the file for which ``subsets:`` is not said, or that are other words there.
_MODALITIES: dict[str, Any] = {"full": "all", "every": {"subsets": "all"}}
#: Fields of a study file, in the order in which it is written.
FIELDS = (
    *("name", "about", "source", "space", "search", "data", "model", "grid", "variants", "exclude", "baselines"),
    *("seeds", "split"),
    *("modalities", "conditions", "present", "metrics", "budget", "claims"),
)


def _plain(value: object) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: _plain(v) for name, v in pairs if v not in (None, "") and v != {}}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
