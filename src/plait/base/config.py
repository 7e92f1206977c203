"""Settings: strict mappings to dataclasses and back, dotted overrides, YAML in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar, cast

from plait.base import documents
from plait.base.errors import ConfigError, nearest

T = TypeVar("T")


def parse_yaml(text: str, where: str = "YAML") -> dict[str, Any]:
    """A mapping from YAML text (see ``plait.base.documents``).

    Raises:
        ConfigError: not YAML, not a mapping, a key given twice, or more than is read; the message names the line.

    Example:
        >>> parse_yaml("width: 64")
        {'width': 64}
    """
    return mapping_of(documents.read_yaml_value(text, where), where)


def mapping_of(result: object, where: str) -> dict[str, Any]:
    """What a YAML text holds, which must be a mapping; nothing is an empty one."""
    if result is None:
        return {}
    if not isinstance(result, dict):
        raise ConfigError(f"{where}: expected a mapping of settings, found {type(result).__name__}")
    return result


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A mapping from a YAML file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file ({error})") from None
    return parse_yaml(text, str(path))


def to_yaml(mapping: Mapping[str, object]) -> str:
    """YAML text of plain values, in the order given."""
    return documents.write_yaml(dict(mapping), width=110)


def fields_of(cls: type[Any]) -> list[str]:
    """Names of the settings of a dataclass, in order."""
    return [f.name for f in dataclasses.fields(cls) if f.init]


def check_fields(mapping: Mapping[str, object], known: Iterable[str], where: str) -> None:
    """Refuse unknown keys, all of them at once, each with the nearest known one."""
    known = list(known)
    wrong = [f"unknown field '{key}' ({nearest(str(key), known)})" for key in mapping if key not in known]
    if wrong:
        raise ConfigError(f"{where}: {'; '.join(wrong)}")


def build(cls: type[T], mapping: Mapping[str, object], where: str) -> T:
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


def override(mapping: Mapping[str, object], assignments: Iterable[str]) -> dict[str, Any]:
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
        place[keys[-1]] = _assigned(value, assignment)
    return result


def _assigned(value: str, assignment: str) -> Any:
    try:
        return documents.read_yaml_value(value, f"'{' '.join(assignment.split())[:80]}'")
    except ConfigError as error:
        raise ConfigError(f"{error}; quote it") from None


def _copy(mapping: Mapping[str, object]) -> dict[str, Any]:
    return {k: _copy(cast(Mapping[str, Any], v)) if isinstance(v, Mapping) else v for k, v in mapping.items()}


#: One folder per paper: what it says (``paper.yaml``), its model and training (``protocol.yaml``), its recipes.
PAPERS = Path(__file__).parent.parent / "papers"
_FILE = "protocol.yaml"
#: What to do with a protocol that was given to the other kind of model.
_OF = {
    "aligner": "it is one of an aligner; use plait align --protocol (in Python: ModalityAligner)",
    "estimator": "it is one of a classifier or regressor; use plait fit --protocol (in Python: FusionClassifier)",
}


def protocol_names(of: str = "estimator") -> list[str]:
    """Names of the protocols that there are for an ``estimator`` or an ``aligner``: the folders of papers, with dashes.

    Example:
        >>> "early-fusion-contrastive" in protocol_names(), protocol_names("aligner")
        (True, ['context-based-fusion'])
    """
    files = sorted(PAPERS.glob(f"*/{_FILE}"))
    return [path.parent.name.replace("_", "-") for path in files if _read_protocol(path).get("of", "estimator") == of]


@cache
def _read_protocol(path: Path) -> Mapping[str, object]:
    return MappingProxyType(read_yaml(path))


def _is_protocol(name: object, of: str = "estimator") -> bool:
    return isinstance(name, str) and name.replace("_", "-") in protocol_names(of)


def protocol_settings(name: str, of: str = "estimator") -> Mapping[str, Any]:
    """The fields that a protocol sets.

    Raises:
        ConfigError: there is none of this name; the message names the nearest.

    Example:
        >>> protocol_settings("early-fusion-contrastive")["validation"]
        'given'
    """
    if not _is_protocol(name, of):
        other = "aligner" if of == "estimator" else "estimator"
        raise ConfigError(
            f"unknown protocol {name!r}: "
            + (_OF[other] if _is_protocol(name, other) else nearest(str(name), protocol_names(of)))
        )
    fields = _read_protocol(PAPERS / name.replace("-", "_") / _FILE)
    return MappingProxyType({key: value for key, value in fields.items() if key != "of"})


def with_protocol(fields: Mapping[str, object], of: str = "estimator") -> dict[str, Any]:
    """Fields with those of their protocol beneath them: what is given beside a protocol wins; an unknown one sets nothing.

    Of an aligner's ``stage`` the options that are not given are the protocol's, as long as it is the same stage.

    Example:
        >>> with_protocol({"protocol": "early-fusion-contrastive", "members": 3})["members"]
        3
    """
    name = fields.get("protocol")
    if not _is_protocol(name, of):
        return dict(fields)
    beneath = protocol_settings(str(name), of)
    result = {**beneath, **fields}
    stage = fields.get("stage")
    if isinstance(stage, Mapping) and stage.get("name", beneath["stage"]["name"]) == beneath["stage"]["name"]:
        result["stage"] = {**beneath["stage"], **stage}
    return result


def apply_protocol(target: Any, given: Iterable[str]) -> None:
    """Set the fields of an object's protocol, but for those that were ``given`` beside it; an unknown one sets nothing."""
    if _is_protocol(target.protocol):
        for name, value in protocol_settings(target.protocol).items():
            if name not in given:
                setattr(target, name, tuple(value) if name == "branches" else value)
