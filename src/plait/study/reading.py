"""From the mapping of a study file to a ``Spec``; what is wrong comes back beside it, each with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from plait.base import __version__, config
from plait.base.errors import PlaitError, nearest
from plait.data.remote import Allowed, check_kept
from plait.data.schema_yaml import Place
from plait.study import conditions
from plait.study.ranges import searched
from plait.study.reader import Reader
from plait.study.spec import CLEAN, FIELDS, SPLIT_FIELDS, SPLITS, Budget, Claim, DataSpec, SpaceSpec, Spec, SplitSpec


def read_data(read: Reader, given: Mapping[str, object]) -> tuple[DataSpec, ...]:
    """All tables."""
    value = given.get("data")
    if value is None:
        expected = "{dataset: NAME, target: NAME} or {table: FILE, target: NAME}"
        read.wrong(("data",), f"data: which table? expected {expected}")
        return ()
    entries = enumerate(read.listed(value, ("data",), "data"))
    return tuple(_data_entry(read, e, ("data", i) if isinstance(value, list) else ("data",)) for i, e in entries)


def _data_entry(read: Reader, entry: object, place: Place) -> DataSpec:
    given = {"dataset": entry} if isinstance(entry, str) else entry
    value = read.fields(given, place, config.fields_of(DataSpec), "data")
    named = [k for k in ("dataset", "table", "frame") if k in value]
    if len(named) != 1 and isinstance(entry, str | Mapping):
        text = f"data: expected one of dataset, table and frame, found {' and '.join(named) or 'none of them'}"
        read.wrong(place, text)
    beside = "is a file beside table: FILE; a data set, or a frame, has its own parts"
    for key, wrong, text in (
        *((key, "dataset" in value, f"a data set has its own {key}; leave it out") for key in ("schema", "task")),
        ("options", "dataset" not in value, "options are for a data set's loader; a table has none"),
        *((key, "table" not in value, f"{key}: {beside}") for key in ("valid", "test")),
        ("valid", "test" not in value, "valid: without test: FILE; name the rows to judge by, too"),
        ("remote", "dataset" in value, "remote: is for the cells of a table; a data set has its own files"),
    ):
        if wrong and key in value:
            read.wrong((*place, key), f"data: {text}")
    own: dict[str, Any] = {"options": read.mapping, "split": partial(read_split, read)}
    own["remote"] = partial(_remote, read)
    for key in ("table", "schema", "test", "valid", "root"):
        try:
            check_kept(value.get(key), f"data: {key}")
        except PlaitError as error:
            read.wrong((*place, key), str(error))
    split = {"split": SplitSpec("official")} if "test" in value else {}
    return DataSpec(**split | read.values(DataSpec, value, place, **own))


def read_split(read: Reader, value: object, place: Place) -> SplitSpec:
    """A word, or a mapping with ``kind``."""
    value = {"kind": value} if isinstance(value, str) else value
    given = read.fields(value, place, config.fields_of(SplitSpec), "split")
    kind = given.get("kind", "holdout")
    if kind not in SPLITS:
        read.wrong(place, f"split: unknown kind {kind!r} ({nearest(str(kind), SPLITS)})")
        return SplitSpec()
    for key in given:
        if key != "kind" and key not in SPLIT_FIELDS[kind]:
            fits = [k for k in SPLITS if key in SPLIT_FIELDS[k]]
            read.wrong((*place, key), f"split: '{key}' says nothing about {kind}; it is for {', '.join(fits)}")
    if kind == "time" and "column" not in given:
        read.wrong(place, "split: which column says when? expected column: NAME beside kind: time")
    values = read.values(SplitSpec, given, place, fractions=partial(_fractions, read))
    return SplitSpec(**values | ({"group": None} if values.get("group") == "none" else {}))


def _fractions(read: Reader, value: object, place: Place) -> tuple[float, ...]:
    shares = value if isinstance(value, list) else []
    right = all(isinstance(s, int | float) and not isinstance(s, bool) and 0 < s < 1 for s in shares)
    if len(shares) not in (2, 3) or not right or abs(sum(shares) - 1) > 1e-6:
        expected = "two or three shares that sum to 1, as [0.80, 0.05, 0.15]"
        read.wrong(place, f"fractions: expected {expected}, found {value!r}")
        return SplitSpec().fractions
    return tuple(float(s) for s in shares)


#: More than this is a slip of the pen: the plan of a study lists every run.
MOST_SEEDS = 10_000


def read_grid(read: Reader, setting: object) -> dict[str, list[Any]]:
    """Dotted fields with their values."""
    if setting is None:
        return {}
    if not isinstance(setting, Mapping) or not setting:
        read.wrong(("grid",), "grid: expected fields with their values, as depth: [early, late]; or leave it out")
        return {}
    result = {}
    for key, values in setting.items():
        place = ("grid", str(key))
        if not isinstance(values, list) or not values:
            read.wrong(place, f"grid: '{key}' needs a list of at least one value, found {values!r:.60}")
            continue
        for i, value in enumerate(values):
            if value in values[:i]:
                read.wrong((*place, i), f"grid: '{key}' has the value {value!r} twice; keep one")
        result[str(key)] = values
    return result


def read_variants(read: Reader, value: object) -> dict[str, dict[str, Any]]:
    """Names with their fields."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not value:
        read.wrong(("variants",), "variants: expected names with their fields, as wide: {width: 256}; or leave it out")
        return {}
    return {str(name): read.mapping(fields or {}, ("variants", str(name))) for name, fields in value.items()}


def read_seeds(read: Reader, value: object) -> tuple[int, ...]:
    """How many, or which."""
    if not isinstance(value, list):
        count = read.number(value, ("seeds",), 1, MOST_SEEDS, whole=True)
        return tuple(range(count or 0))
    listed = read.listed(value, ("seeds",), "seeds")
    if len(listed) > MOST_SEEDS:
        read.wrong(("seeds",), f"seeds: {len(listed):,} are listed; a study takes up to {MOST_SEEDS:,}")
        return ()
    result = [read.number(s, ("seeds", i), 0, 2**32 - 1, whole=True) for i, s in enumerate(listed)]
    for i, seed in enumerate(result):
        if seed is not None and seed in result[:i]:
            read.wrong(("seeds", i), f"seeds: {seed} is given twice; keep one")
    return tuple(s for s in result if s is not None)


def read_modalities(read: Reader, value: object) -> str | tuple[tuple[str, ...], ...]:
    """What models are trained on."""
    if value == "all":
        return "full"
    if not isinstance(value, Mapping):
        expected = "all, or {subsets: singles | pairs | all | [...]}"
        read.wrong(("modalities",), f"modalities: expected {expected}, found {value!r}")
        return "full"
    given = read.fields(value, ("modalities",), ("subsets",), "modalities")
    return _patterns(read, given.get("subsets", "all"), ("modalities", "subsets"))


def _patterns(read: Reader, value: object, place: Place) -> str | tuple[tuple[str, ...], ...]:
    words = {"all": "every", "every": "every", "singles": "singles", "pairs": "pairs"}
    if isinstance(value, str) and value in words:
        return words[value]
    if not isinstance(value, list) or not value:
        expected = "all, singles, pairs or a list of lists of modalities"
        read.wrong(place, f"{place[-1]}: expected {expected}, found {value!r:.60}")
        return "full"
    result: list[tuple[str, ...]] = []
    for i, pattern in enumerate(value):
        names = [pattern] if isinstance(pattern, str) else pattern
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            read.wrong((*place, i), f"{place[-1]}: expected a list of modalities, found {pattern!r:.60}")
            continue
        if any(set(names) == set(other) for other in result):
            read.wrong((*place, i), f"{place[-1]}: {'+'.join(names)} is named twice; keep one")
        result.append(tuple(names))
    return tuple(result)


def read_space(read: Reader, value: object) -> SpaceSpec | None:
    """What ``space:`` says; None for a study of predictions."""
    if value is None:
        return None
    given = read.fields(value, ("space",), ("evaluations", "reference"), "space")
    if "evaluations" not in given:
        read.wrong(("space",), "space: which evaluations? expected evaluations: [retrieval, ...]")
    result = []
    for i, entry in enumerate(read.listed(given.get("evaluations", ["-"]), ("space", "evaluations"), "evaluations")):
        one = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(one, Mapping) or "name" not in one:
            text = f"evaluations: expected a name, or {{name: ..., option: ...}}, found {entry!r:.60}"
            read.wrong(("space", "evaluations", i), text)
            continue
        result.append({str(k): v for k, v in one.items()})
    reference = given.get("reference")
    return SpaceSpec(tuple(result), None if reference is None else read.text(reference, ("space", "reference")))


def read_conditions(read: Reader, value: object, part: str) -> tuple[Any, ...]:
    """Conditions one by one; ``read.origins`` says which item of the file each comes from."""
    if value is None:
        return (CLEAN,)
    result: list[Any] = []
    labels: dict[str, int] = {}
    for i, entry in enumerate(read.listed(value, ("conditions", part), part)):
        place: Place = ("conditions", part, i)
        try:
            single = conditions.expanded(entry)
            named = [conditions.label(conditions.parsed(one, part)) for one in single]
        except PlaitError as error:
            read.wrong(place, str(error))
            continue
        for one, label in zip(single, named, strict=True):
            if label in labels:
                read.wrong(place, f"{part}: the condition '{label}' is given twice; keep one")
            labels[label] = i
            read.origins["conditions", part, len(result)] = place
            result.append(one)
    return tuple(result) or (CLEAN,)


#: Raised whenever an older plait could not read what a study file says; a file may tell its own (``format:``).
FORMAT = 1
_BUDGET = ("minutes", "run_minutes", "trained_weights", "memory")
_MB = 1_000_000


def read_spec(option: Mapping[str, object], fallback: str) -> tuple[Spec, Reader]:
    """The spec as far as it can be read, and the reader that knows all that is wrong."""
    read = Reader()
    given = read.fields(option, (), ("format", *FIELDS), "study")
    if given.get("format", FORMAT) != FORMAT:
        text = f"format {given['format']!r} is of another plait; plait {__version__} reads format {FORMAT}"
        read.wrong(("format",), text)
    conditions = read.fields(given.get("conditions", {}), ("conditions",), ("train", "test"), "conditions")
    excluded = read.listed(given["exclude"], ("exclude",), "exclude") if "exclude" in given else []
    present = given.get("present", "full")
    spec = Spec(
        name=_name(read, given.get("name", fallback)),
        about=read.text(given.get("about", ""), ("about",)),
        source=_source(read, given.get("source")),
        data=read_data(read, given),
        space=read_space(read, given.get("space")),
        search=searched(read, given.get("search")),
        model=read.mapping(given.get("model"), ("model",)),
        grid=read_grid(read, given.get("grid")),
        variants=read_variants(read, given.get("variants")),
        exclude=tuple(read.mapping(entry, ("exclude", i)) for i, entry in enumerate(excluded)),
        baselines=read.flag(given.get("baselines", False), ("baselines",)),
        seeds=read_seeds(read, given.get("seeds", 1 if "search" in given else 5)),
        split=read_split(read, given.get("split", "holdout"), ("split",)),
        modalities=read_modalities(read, given.get("modalities", "all")),
        train=read_conditions(read, conditions.get("train"), "train"),
        test=read_conditions(read, conditions.get("test"), "test"),
        present=present if present == "full" else _patterns(read, present, ("present",)),
        metrics=read.words(given.get("metrics"), ("metrics",)),
        budget=_budget(read, given.get("budget")),
        claims=_claims(read, given.get("claims")),
    )
    _check_baselines(read, spec)
    return spec, read


def _check_baselines(read: Reader, spec: Spec) -> None:
    """What is wrong with asking for baselines: a study that has none, a name that is theirs."""
    if not spec.baselines:
        return
    from plait.evaluation.baselines import NAMES

    if spec.subject != "model":
        read.wrong(("baselines",), f"baselines: a study of a {spec.subject} has none; leave it out")
    for name, fields in spec.variants.items():
        if name in NAMES and fields.get("estimator") != name:
            read.wrong(
                ("variants", name), f"variants: '{name}' is the name of a baseline (baselines: true); take another"
            )


def _remote(read: Reader, value: Any, place: Place) -> tuple[str, ...]:
    try:
        return Allowed.of(value).settings
    except PlaitError as error:
        read.wrong(place, str(error))
        return ()


def _name(read: Reader, value: object) -> str:
    name = read.text(value, ("name",))
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        read.wrong(("name",), f"name: {name!r} is no name of a folder; take letters, digits and _ . + -")
    return name


def _source(read: Reader, value: object) -> dict[str, object]:
    if value is None or isinstance(value, str):
        return {"title": value} if value else {}
    return read.fields(value, ("source",), ("title", "url", "table", "year", "authors"), "source")


def _budget(read: Reader, value: object) -> Budget:
    given = read.fields({} if value is None else value, ("budget",), _BUDGET, "budget")
    memory = {"memory_mb": _memory(read, given.pop("memory"))} if "memory" in given else {}
    return Budget(**read.values(Budget, given, ("budget",)) | memory)


def _memory(read: Reader, value: object) -> float | None:
    from plait.store.record import parse_size

    try:
        return parse_size(str(value)) / _MB
    except PlaitError as error:
        read.wrong(("budget", "memory"), f"memory: {error}")
        return None


def _claims(read: Reader, value: object) -> tuple[Claim, ...]:
    if value is None:
        return ()
    result = []
    for i, entry in enumerate(read.listed(value, ("claims",), "claims")):
        place: Place = ("claims", i)
        given = read.fields(entry, place, config.fields_of(Claim), "claim")
        if "metric" not in given:
            read.wrong(place, "claim: which metric? expected metric: NAME")
            continue
        result.append(Claim(**read.values(Claim, given, place, subset=read.words)))
    return tuple(result)
