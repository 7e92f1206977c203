"""Whether a value can be what a field of the estimator asks for."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from plait import config, registry
from plait.baselines import ESTIMATORS
from plait.encoders._folders import encoder_of_folder, is_folder
from plait.errors import PlaitError, nearest


@cache
def _hints() -> dict[str, Any]:
    from plait.estimators import FusionEstimator

    return typing.get_type_hints(FusionEstimator)


def check_value(name: str, value: Any) -> str | None:
    """What is wrong with the value of a dotted field; None if nothing is.

    Example:
        >>> check_value("epochs", "many")
        "epochs: expected int | None, found 'many'"
        >>> check_value("fusion", "concatt")
        "unknown name 'concatt' in fusion: did you mean 'concat'?"
    """
    root, _, rest = name.partition(".")
    try:
        if root == "estimator":
            return None if value in ESTIMATORS else f"unknown estimator {value!r} ({nearest(str(value), ESTIMATORS)})"
        if root == "encoders":
            return _encoder(rest, value)
        if root == "train":
            return _train(rest, value)
        if root in ("pretrain", "thaw") and not rest:
            return _regime(root, value)
        if root == "fusion":
            return _fusion(rest, value)
        if root == "depth" and isinstance(value, str):
            from plait.networks.fusion import depth_number

            depth_number(value, 2)
        if root == "branches" and isinstance(value, list):
            from plait.assembly import BRANCHES

            wrong = [b for b in value if b not in BRANCHES]
            if wrong:
                return f"branches: unknown branch {wrong[0]!r} ({nearest(str(wrong[0]), BRANCHES)})"
    except PlaitError as error:
        return str(error)
    if rest:
        return None if _takes_mapping(root) else f"'{root}' has no parts; found '{name}'"
    hint = _hints()[root]
    return None if _fits(value, hint) else f"{name}: expected {_said(hint)}, found {value!r:.60}"


def _encoder(modality: str, value: Any) -> str | None:
    if not modality:
        if not isinstance(value, Mapping):
            return f"encoders: expected modality: encoder, found {value!r:.60}"
        return next(filter(None, (_encoder(str(k), v) for k, v in value.items())), None)
    if "." in modality:  # an option of an encoder that is named elsewhere
        return None
    told = {"name": value} if isinstance(value, str) else value
    if not isinstance(told, Mapping):
        return f"encoders.{modality}: expected a name, or {{name: ..., option: ...}}, found {value!r:.60}"
    if is_folder(str(told.get("name"))):
        encoder_of_folder(str(told["name"]))
    elif "name" in told:
        variant = registry.find("encoders", str(told["name"]))
        config.check_fields(
            {k: v for k, v in told.items() if k != "name"}, config.fields_of(variant), f"encoder '{told['name']}'"
        )
    return None


def _train(modality: str, value: Any) -> str | None:
    from plait.schema import TRAIN

    told = {modality: value} if modality else value
    if not isinstance(told, Mapping):
        return f"train: expected modality: regime, as in {{audio: pretrain}}, found {value!r:.60}"
    wrong = [word for word in told.values() if word not in TRAIN]
    return f"train: unknown regime {wrong[0]!r} ({nearest(str(wrong[0]), TRAIN)})" if wrong else None


def _regime(root: str, value: Any) -> str | None:
    """Options of ``pretrain`` and ``thaw`` that hold for every modality; those of one are checked with the table."""
    from plait.pretraining.pace import Thawing
    from plait.pretraining.settings import OPTIONS, Pretraining

    known: tuple[str, ...] = OPTIONS if root == "pretrain" else ("after", "every")
    if isinstance(value, Mapping):
        kind: type[Any] = Pretraining if root == "pretrain" else Thawing
        config.build(kind, {k: v for k, v in value.items() if k in known}, root)
    elif root == "thaw":
        Thawing(value)
    elif value is not None:
        return f"pretrain: expected options ({', '.join(OPTIONS)}), found {value!r:.60}"
    return None


def _fusion(rest: str, value: Any) -> str | None:
    from plait.fusion._base import resolve

    if not rest:
        if not isinstance(value, str | Mapping):
            return f"fusion: expected a name, or {{name: ..., option: ...}}, found {value!r:.60}"
        resolve(value)
    elif rest == "name":
        resolve(str(value))
    return None


def _takes_mapping(root: str) -> bool:
    return any(
        typing.get_origin(part) is not None and part not in (str,)
        for part in _parts(_hints()[root])
        if "Mapping" in str(part)
    )


def _parts(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    return any(_fits_one(value, part) for part in _parts(hint))


def _fits_one(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if kind is type(None) or kind is None:
        return value is None
    origin = typing.get_origin(kind)
    if origin is not None:
        if issubclass(origin, Mapping):
            return isinstance(value, Mapping)
        return isinstance(value, list | tuple) and all(_fits(v, typing.get_args(kind)[0]) for v in value)
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(kind, type) and isinstance(value, kind)


def _said(hint: Any) -> str:
    names = [getattr(part, "__name__", str(part)) for part in _parts(hint)]
    return " | ".join("None" if name == "NoneType" else name for name in names)
