"""The settings of a fit: checked one by one and together, and those that a quality stands for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from plait.alignment.enhancement import check_options
from plait.base import checks, config, registry
from plait.base.branch import resolve_all
from plait.base.encoder import KINDS, Encoder
from plait.base.errors import PlaitError, nearest
from plait.base.folders import check_room
from plait.base.fusion import adviser, resolve
from plait.data.modality import TRAIN, Schema
from plait.data.remote import check_kept
from plait.encoders.defaults import encoder_of_folder, is_folder, ready_preset
from plait.encoders.featurize import encoder_class
from plait.estimators.fit_settings import FitSettings
from plait.metrics.base import metric_name
from plait.networks.base import depth_number
from plait.store.record import parse_size
from plait.training import design
from plait.training.settings import Pretraining, Thawing, Tuning

_hints = cache(checks.hints_of)


def check_settings(estimator: Any) -> None:
    """Refuse settings that no fit could take, all of them at once, before any work.

    Raises:
        ConfigError: the message names every field, what it must be and what was found.
    """
    settings = estimator.get_params(deep=False)
    check_kept(settings["root"], "root")
    for name in ("tensorboard", "checkpoint"):
        if isinstance(settings[name], str | Path):
            check_room(f"{name} {settings[name]}", Path(settings[name]).absolute())
    result = {name: text for name, value in settings.items() if (text := check_value(name, value))}
    if list(result) == ["encoders"] and isinstance(settings["encoders"], Mapping):
        _encoder("", settings["encoders"], _kinds(settings["modalities"]))  # of a broken folder its own error
    checks.refuse(result.values())


def check_value(name: str, value: object) -> str | None:
    """What is wrong with the value of a dotted field of the estimator; None if nothing is.

    Example:
        >>> check_value("epochs", "many")
        "epochs must be a whole number from 1, found 'many'"
        >>> check_value("fusion", "concatt")
        "unknown name 'concatt' in fusion: did you mean 'concat'?"
    """
    root, _, rest = name.partition(".")
    hint = _hints(FitSettings)[root]
    if not rest and (wrong := checks.problem(value, hint)):
        return f"{root} {wrong}"
    if rest and not _takes_mapping(hint):
        return f"'{root}' has no parts; found '{name}'"
    if value is None and not rest:
        return None
    try:
        said = _FAMILIES[root](rest, value) if root in _FAMILIES else None
    except PlaitError as error:
        return str(error)
    return said if isinstance(said, str) else None


def _takes_mapping(hint: object) -> bool:
    return checks.problem({}, hint) is None


def _kinds(modalities: object) -> dict[str, str]:
    """Kind of each modality that the settings name themselves."""
    if isinstance(modalities, Schema):
        return {m.name: m.kind for m in modalities.modalities}
    value = modalities if isinstance(modalities, Mapping) else {}
    return {str(name): str(one.get("kind")) for name, one in value.items() if isinstance(one, Mapping)}


def _encoder(modality: str, value: Any, kinds: Mapping[str, str] | None = None) -> str | None:
    if not modality:
        return next(filter(None, (_encoder(str(k), v, kinds) for k, v in value.items())), None)
    if "." in modality or isinstance(value, Encoder):  # an option of an encoder that is named elsewhere
        return None
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, Mapping):
        return f"encoders.{modality}: expected a name, or {{name: ..., option: ...}}, found {value!r:.60}"
    if is_folder(str(options.get("name"))):
        encoder_of_folder(str(options["name"]))  # a ModelError
    elif "name" in options:
        name, kind = str(options["name"]), (kinds or {}).get(modality, modality)
        where = f"encoder of modality '{modality}'"  # of an unknown name those of the kind are told
        variant: type[Any] = encoder_class(name, kind, where) if kind in KINDS else registry.find("encoders", name)
        given = {k: v for k, v in options.items() if k != "name"}
        config.check_fields(given, config.fields_of(variant), f"encoder '{options['name']}'")
        checks.refuse(checks.problems(variant, given), f"encoder {options['name']}")
    return None


def _train(modality: str, value: Any) -> str | None:
    regimes = {modality: value} if modality else value
    wrong = [word for word in regimes.values() if word not in TRAIN]
    return f"train: unknown regime {wrong[0]!r} ({nearest(str(wrong[0]), TRAIN)})" if wrong else None


def _options(kind: type[Any], field: str) -> Callable[[str, Any], None]:
    """A check of options that hold for every modality, or of those of one."""
    known = config.fields_of(kind)

    def check(rest: str, value: object) -> None:
        if rest:  # field.option, or field.modality.option, or field.modality
            option = rest.rpartition(".")[2]
            if option in known:
                config.build(kind, {option: value}, field)
            elif isinstance(value, Mapping):
                config.build(kind, value, f"{field}.{rest}")
        elif not isinstance(value, Mapping):
            kind(value)
        else:
            config.build(kind, {k: v for k, v in value.items() if k in known}, field)
            for name, inner in value.items():
                if name not in known and isinstance(inner, Mapping):
                    config.build(kind, inner, f"{field}.{name}")

    return check


def _fusion(rest: str, value: Any) -> None:
    if (not rest or rest == "name") and adviser(value) is None:
        resolve(value if not rest else str(value))


def _align(rest: str, value: Any) -> None:
    for modality, setting in ({rest: value} if rest else value).items():
        check_options(str(modality), setting)


def _costs(rest: str, value: Any) -> str | None:
    rows = {} if "." in rest else {rest: value} if rest else value
    values = (
        [value] if "." in rest else [v for r in rows.values() for v in (r.values() if isinstance(r, Mapping) else [r])]
    )
    wrong = [v for v in values if isinstance(v, bool) or not isinstance(v, int | float) or not 0 <= v < float("inf")]
    if not wrong and all(isinstance(row, Mapping) for row in rows.values()):
        return None
    return f"costs: expected {{true class: {{answer: a number from 0}}}}, found {(wrong or [value])[0]!r:.60}"


def _feature_memory(rest: str, value: Any) -> str | None:
    try:
        parse_size(value)
    except PlaitError as error:
        return f"feature_memory: {error}"
    return None


#: Field -> its check, given what stands behind its name and the value; it raises, or gives a text, where something is wrong.
_FAMILIES: dict[str, Callable[[str, Any], object]] = {
    "protocol": lambda rest, value: config.protocol_settings(value),
    "encoders": _encoder,
    "train": _train,
    "pretrain": _options(Pretraining, "pretrain"),
    "tune": _options(Tuning, "tune"),
    "thaw": _options(Thawing, "thaw"),
    "metric": lambda rest, value: metric_name(str(value)) and None,
    "costs": _costs,
    "fusion": _fusion,
    "network": lambda rest, value: None if rest else design.parse(value),
    "depth": lambda rest, value: depth_number(value, 2) if isinstance(value, str) else None,
    "branches": lambda rest, value: resolve_all(value),
    "align": _align,
    "feature_memory": _feature_memory,
}


#: Word -> fields that it sets where they stand at their defaults; ``balanced`` is what the defaults say.
FIELDS: dict[str, Mapping[str, Any]] = {
    "light": {"branches": ("joint", "ridge", "kernel", {"name": "trees", "rounds": 150}), "members": 1},
    "balanced": {},
    "best": {
        "branches": (
            "joint",
            "ridge",
            "kernel",
            "own",
            {"name": "trees", "rounds": 1000, "learning_rate": 0.05, "most": 4000},
        ),
        "members": 10,
    },
}
#: Members of ``best`` where encoders learn with the model, whose every member costs as much as a fit.
LEARNING_MEMBERS = 3


def of_quality(settings: FitSettings) -> FitSettings:
    """The settings with what their ``quality`` asks for.

    Example:
        >>> of_quality(FitSettings(quality="light", members=3)).members
        3
    """
    given = {name: getattr(settings, name) for name in FIELDS[settings.quality]}
    options = {n: v for n, v in FIELDS[settings.quality].items() if given[n] == getattr(FitSettings, n)}
    if settings.train and "members" in options:
        options["members"] = min(options["members"], LEARNING_MEMBERS)
    return dataclasses.replace(settings, **options) if options else settings


def better_encoders(kinds: Mapping[str, str], named: Mapping[str, object]) -> dict[str, str]:
    """For ``best``: modality -> the larger preset of its kind, where that lies on this machine and no encoder is named.

    Args:
        kinds: modality -> kind, of those that do not learn and name no encoder themselves.
        named: the estimator's ``encoders``, by modality or kind.
    """
    free = {name: kind for name, kind in kinds.items() if name not in named and kind not in named}
    return {name: preset for name, kind in free.items() if (preset := ready_preset(kind)) is not None}


def encoders_of(settings: FitSettings, result: Schema) -> Mapping[str, Any] | None:
    """The encoders that were named, and for ``quality: best`` larger ones that are ready on this machine."""
    if settings.quality != "best":
        return settings.encoders
    free = {m.name: m.kind for m in result.modalities if m.encoder is None and m.train == "frozen"}
    return {**better_encoders(free, settings.encoders or {}), **(settings.encoders or {})}
