"""Settings: strict mappings to dataclasses and back, dotted overrides, YAML in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import yaml

from plait.errors import ConfigError, nearest

T = TypeVar("T")


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, which plain YAML lets the last one win."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict):
            raise ConfigError(f"line {key_node.start_mark.line + 1}: a key must be a plain word")
        if key in seen:
            raise ConfigError(f"line {key_node.start_mark.line + 1}: the key '{key}' is given twice; keep one")
        seen.add(key)
    return loader.construct_mapping(node, deep=deep)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def parse_yaml(text: str, where: str = "YAML") -> dict[str, Any]:
    """A mapping from YAML text; safe, and a key given twice is an error.

    Raises:
        ConfigError: not YAML, not a mapping, or a key given twice; the message names the line.

    Example:
        >>> parse_yaml("width: 64")
        {'width': 64}
    """
    try:
        found = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader that is stricter
    except ConfigError as error:
        raise ConfigError(f"{where}, {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ConfigError(f"{where}{place}: not valid YAML: {problem}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: expected a mapping of settings, found {type(found).__name__}")
    return found


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A mapping from a YAML file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file ({error})") from None
    return parse_yaml(text, str(path))


def to_yaml(mapping: Mapping[str, Any]) -> str:
    """YAML text of plain values, in the order given."""
    return yaml.safe_dump(dict(mapping), sort_keys=False, allow_unicode=True, width=110)


def fields_of(cls: type[Any]) -> list[str]:
    """Names of the settings of a dataclass, in order."""
    return [f.name for f in dataclasses.fields(cls) if f.init]


def check_fields(mapping: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse unknown keys, all of them at once, each with the nearest known one."""
    known = list(known)
    wrong = [f"unknown field '{key}' ({nearest(str(key), known)})" for key in mapping if key not in known]
    if wrong:
        raise ConfigError(f"{where}: {'; '.join(wrong)}")


def build(cls: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Make a dataclass from a mapping; unknown fields are refused."""
    check_fields(mapping, fields_of(cls), where)
    return cls(**mapping)


class CheckedFields:
    """A dataclass whose constructor and ``set_params`` name the nearest field where one is unknown."""

    def __new__(cls, *args: Any, **fields: Any) -> Self:
        """Check the names; the dataclass does the rest."""
        known = fields_of(cls)
        wrong = [f"unknown field '{name}' ({nearest(name, known)})" for name in fields if name not in known]
        if wrong:
            raise TypeError(f"{cls.__name__}: {'; '.join(wrong)}")
        return super().__new__(cls)

    def set_params(self, **params: Any) -> Self:
        """Set fields by name; a part of a field is set with the whole field."""
        for name in params:
            field, parts, part = name.partition("__")
            check_fields({field: None}, fields_of(type(self)), type(self).__name__)
            if parts and not hasattr(getattr(self, field), "set_params"):
                raise ConfigError(
                    f"{type(self).__name__}: '{field}' is not an estimator with parameters of its own; "
                    f"set it as a whole: set_params({field}={{'{part}': ...}})"
                )
        super().set_params(**params)  # type: ignore[misc]  # of scikit-learn's BaseEstimator
        return self


def override(mapping: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of ``mapping`` with dotted assignments applied, values read as YAML.

    Example:
        >>> override({"encoders": {"text": "minilm"}}, ["encoders.text=hashed_ngrams", "width=64"])
        {'encoders': {'text': 'hashed_ngrams'}, 'width': 64}
    """
    result = _copy(mapping)
    for assignment in assignments:
        path, sign, value = assignment.partition("=")
        keys = path.strip().split(".")
        if not sign or not all(keys):
            raise ConfigError(f"'{assignment}': expected name=value, or name.part=value")
        place = result
        for key in keys[:-1]:
            step = place.get(key)
            if step is None:
                step = {}
            elif isinstance(step, str):  # an encoder given by name alone takes options beside it
                step = {"name": step}
            elif not isinstance(step, dict):
                raise ConfigError(f"'{assignment}': '{key}' is {step!r}, which has no parts")
            place[key] = step
            place = step
        try:
            place[keys[-1]] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"'{assignment}': the value is not valid YAML; quote it") from None
    return result


def _copy(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(cast(Mapping[str, Any], v)) if isinstance(v, Mapping) else v for k, v in mapping.items()}
