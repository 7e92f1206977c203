"""What a search may set fields to, how encoders come by their weights (regimes), and what a study file says of both."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from plait.base import checks, config, registry
from plait.base.checks import Within
from plait.base.documents import read_yaml_value
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, PlaitError, is_secret, nearest
from plait.data.modality import TRAIN, Schema
from plait.data.schema_yaml import Place
from plait.encoders.defaults import default_encoder, trainable_encoder
from plait.estimators.fit_settings import FitSettings
from plait.study.reader import Reader
from plait.training.settings import with_regimes

#: What is searched where nothing is told.
USUAL: Mapping[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "batch_size": {"low": 16, "high": 256, "log": True},
    "dropout": {"low": 0.0, "high": 0.7},
}
_FIELDS = ("low", "high", "log")


@dataclasses.dataclass(frozen=True)
class Range:
    """What one field may be.

    Attributes:
        field: of the estimator; dotted names reach inside (``encoders.image.width``).
        low: least value; unused with ``choices``.
        log: as many values between 1 and 10 as between 10 and 100.
        choices: instead of low and high: these values.
    """

    field: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()

    def to_file(self) -> Any:
        """The plain value that a study file holds."""
        ends = {"low": self.low, "high": self.high, "log": self.log, "whole": self.whole}
        return list(self.choices) if self.choices else ends

    def value_of(self, kept: Any) -> Any:
        """The value behind what Optuna keeps of it."""
        return self.choices[kept] if self.choices else kept

    def kept(self, value: object) -> Any:
        """What Optuna keeps of a value."""
        return self.choices.index(value) if self.choices else value


@dataclasses.dataclass(frozen=True)
class SearchSpec:
    """What a study searches for, as its part ``search:`` says: every variant is tried with settings that a sampler draws.

    Attributes:
        ranges: fields and what they may be.
        trials: of every variant; a finished search may be given more.
        sampler: ``tpe``, ``random``, ``grid``, or one of one's own (``plait.study.samplers``).
        valid_fraction: share of the training rows that trials are judged on.
        splits: of the training rows, over which a trial's score is averaged.
        batch: so many trials of ``tpe`` are drawn from the same trials before, so that several workers have one each.
        storage: of Optuna, where trials are kept, too, and taken up from: ``sqlite:///trials.db``, or a journal file.
    """

    ranges: tuple[Range, ...]
    trials: Annotated[int, Within(1, 100_000)] = 20
    sampler: str = "tpe"
    valid_fraction: Annotated[float, Within(0, 1, above=True, below=True)] = 0.2
    splits: Annotated[int, Within(1, 1000)] = 1
    batch: Annotated[int, Within(1, 1000)] = 1
    storage: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The plain value that a study file holds."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "ranges"}
        return {"ranges": {r.field: r.to_file() for r in self.ranges}, **fields}


def storage_problem(address: str) -> str | None:
    """What is wrong with an address of a storage; None if nothing is."""
    if not address.strip():
        return "storage: expected an address as sqlite:///trials.db, or a journal file as trials.log"
    if "://" in address and is_secret(address):
        return (
            "storage: holds a password, which would stand in the search's folder; leave it out "
            "(databases read theirs from the environment or a file: PGPASSWORD, ~/.pgpass, ~/.my.cnf)"
        )
    return None


def read_ranges(spec: Mapping[str, object] | Sequence[str] | None) -> tuple[Range, ...]:
    """Ranges from ``field -> [choices], 1e-4..1e-1 log or {low, high, log}``, or from ``field=...`` texts; None: the usual ones.

    Example:
        >>> read_ranges(["learning_rate=1e-4..1e-1,log"])[0].high
        0.1
    """
    if spec is None:
        spec = USUAL
    if not isinstance(spec, Mapping):
        pairs = [text.partition("=") for text in spec]
        bad = [field for field, sign, value in pairs if not sign or not value]
        if bad:
            raise ConfigError(f"range '{bad[0]}': expected field=low..high, field=low..high,log or field=[a, b]")
        twice = [p[0] for p in pairs if [q[0] for q in pairs].count(p[0]) > 1]
        if twice:
            raise ConfigError(f"range of '{twice[0]}': given twice; keep one")
        spec = {field.strip(): value for field, _, value in pairs}
    if not spec:
        raise ConfigError("ranges: nothing to vary; give at least one field, as learning_rate: 1e-4..1e-1 log")
    known = [f for f in config.fields_of(FitSettings) if f not in _NOT_VARIED]
    config.check_fields({field.partition(".")[0]: 0 for field in spec}, known, "ranges")
    return tuple(_range(field, value, _kind(field)) for field, value in spec.items())


#: Fields that say what the rows are, not how a model is trained.
_NOT_VARIED = ("modalities", "task", "root", "store", "progress", "random_state", "strict", "partial")


def _kind(field: str) -> str:
    """``int``, ``float`` or nothing, as the estimator's signature says."""
    text = str(checks.hints_of(FitSettings).get(field, ""))
    return "float" if "[float" in text else "int" if "[int" in text else ""


def _range(field: str, value: object, kind: str) -> Range:
    where = f"range of '{field}'"
    if isinstance(value, str):
        value = _parsed(value, where)
    if isinstance(value, list | tuple):
        if len(value) < 2:
            raise ConfigError(f"{where}: {list(value)!r} is no choice; give two values or more")
        return Range(field, choices=tuple(tuple(v) if isinstance(v, list) else v for v in value))
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {value!r}; expected low..high, [a, b] or {{low: ..., high: ..., log: true}}")
    config.check_fields(value, (*_FIELDS, "whole"), where)
    low, high = (_number(value.get(key), f"{where}, {key}") for key in ("low", "high"))
    log = bool(value.get("log", False))
    ints = not kind and all(isinstance(value[k], int) for k in ("low", "high"))
    whole = kind == "int" or bool(value.get("whole")) or ints
    if low >= high:
        raise ConfigError(f"{where}: from {low:g} to {high:g} is upside down or empty; the lower end comes first")
    if log and low <= 0:
        raise ConfigError(f"{where}: a logarithmic range starts above 0, found {low:g}; raise it, or leave out log")
    if whole and (low != int(low) or high != int(high)):
        raise ConfigError(f"{where}: takes whole numbers, found {low:g} to {high:g}")
    return Range(field, low, high, log, whole)


def _number(value: object, where: str) -> float:
    if isinstance(value, str):  # an end of low..high
        try:
            value = float(value)
        except ValueError:
            raise ConfigError(f"{where}: {value!r} is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{where}: {value!r}; expected a number")
    return float(value)


def _parsed(text: str, where: str) -> object:
    """``1e-4..1e-1,log`` or ``[a, b]`` as plain values."""
    low, sign, rest = text.partition("..")
    if not sign:
        try:
            return read_yaml_value(text, where)
        except ConfigError:
            raise ConfigError(f"{where}: {text!r}; expected low..high or [a, b]") from None
    high, *words = rest.replace(",", " ").split() or [""]
    if any(word != "log" for word in words):
        raise ConfigError(f"{where}: {text!r}; after low..high only 'log' may follow")
    ends = [int(t) if t.strip().lstrip("-").isdigit() else t.strip() for t in (low, high)]
    return {"low": ends[0], "high": ends[1], "log": bool(words)}


@dataclasses.dataclass(frozen=True)
class Regime:
    """One way to train.

    Attributes:
        name: as pictures call it.
        train: one word for every modality that can learn, modality -> word, or nothing: as the schema says.
        settings: of the estimator, for this regime alone.
    """

    name: str
    train: str | Mapping[str, str] | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_regimes(spec: Sequence[str] | Mapping[str, object] | None) -> tuple[Regime, ...]:
    """Regimes from words (``frozen``, ``scratch``), or from name -> ``{train: ..., setting: ...}``; None: as the schema says.

    Example:
        >>> [regime.train for regime in read_regimes({"a": {"train": {"image": "scratch"}}})]
        [{'image': 'scratch'}]
    """
    if spec is None:
        return (Regime("as told"),)
    if isinstance(spec, Mapping):
        result = tuple(_regime(str(name), settings) for name, settings in spec.items())
    else:
        result = tuple(_regime(str(name), {"train": name}) for name in dict.fromkeys(spec))
    if not result:
        raise ConfigError("regimes: none is named; give one, as frozen or scratch")
    return result


def _regime(name: str, value: object) -> Regime:
    value = {} if value is None else value
    if isinstance(value, str):
        value = {"train": value}
    if not isinstance(value, Mapping):
        raise ConfigError(f"regime '{name}': expected settings of the estimator, found {value!r}")
    config.check_fields(value, ["train", *config.fields_of(FitSettings)], f"regime '{name}'")
    train = value.get("train")
    for word in train.values() if isinstance(train, Mapping) else [train] if train is not None else []:
        if word not in TRAIN:
            raise ConfigError(f"regime '{name}': unknown train '{word}': {nearest(str(word), TRAIN)}")
    return Regime(name, train, {k: v for k, v in value.items() if k != "train"})


def schema_for(regime: Regime, schema: Schema, encoders: Mapping[str, Any] | None = None) -> Schema:
    """The schema with every modality's ``train`` as the regime says.

    One word for all goes to the modalities whose encoder can learn, or whose encoder is not named and whose kind has one that
    can; the others (tables of numbers, say) stay frozen in every regime.
    """
    if regime.train is None:
        return schema
    words = regime.train
    if isinstance(words, str):
        can = [m.name for m in schema.modalities if words == "frozen" or _can(words, m, encoders or {})]
        if not can:
            raise ConfigError(f"regime '{regime.name}': no modality has an encoder for it; name one (encoders)")
        words = {m.name: words if m.name in can else "frozen" for m in schema.modalities}
    return with_regimes(schema, words)


def _can(word: str, modality: Any, encoders: Mapping[str, Any]) -> bool:
    """Whether the modality's encoder, or the usual one where none is named, can come by its weights this way."""
    value = encoders.get(modality.name, encoders.get(modality.kind, modality.encoder))
    if isinstance(value, Mapping):
        value = value.get("name")
    if value is None:
        value = default_encoder(modality.kind) if word == "tuned" else trainable_encoder(modality.kind)
    if isinstance(value, str) and value not in registry.names("encoders"):
        return True  # a folder, or a name that building it will refuse
    kind = type(value) if isinstance(value, Encoder) else cast(type[Encoder], registry.find("encoders", value))
    return bool(kind.tunable) if word == "tuned" else kind.trainable


def searched(read: Reader, value: object) -> SearchSpec | None:
    """The part ``search:`` of a study file; None where it has none. What is wrong is told to the reader."""
    if value is None:
        return None
    given = read.fields(value, ("search",), config.fields_of(SearchSpec), "search")

    def ranges(value: Any, place: Place) -> tuple[Range, ...]:
        try:
            return read_ranges(value)
        except PlaitError as error:
            read.wrong(place, str(error))
            return ()

    values = read.values(SearchSpec, {"ranges": None, **given}, ("search",), ranges=ranges)
    known = registry.names("samplers")
    if (sampler := values.get("sampler", known[0])) not in known:
        read.wrong(("search", "sampler"), f"unknown sampler '{sampler}': {nearest(sampler, known)}")
    if "storage" in values and (said := storage_problem(values["storage"])) is not None:
        read.wrong(("search", "storage"), said)
    return SearchSpec(**values)
