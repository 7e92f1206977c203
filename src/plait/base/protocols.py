"""Protocols: a paper's model and training as one name, kept as fields of the estimator in the folder of the paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from plait.base import config
from plait.base.errors import ConfigError, nearest

#: One folder per paper: what it says (``paper.yaml``), its model and training (``protocol.yaml``), its recipes.
PAPERS = Path(__file__).parent.parent / "papers"
_FILE = "protocol.yaml"


def names() -> list[str]:
    """Names of the protocols that there are: the folders of papers that have one, with dashes.

    Example:
        >>> "early-fusion-contrastive" in names()
        True
    """
    return sorted(path.parent.name.replace("_", "-") for path in PAPERS.glob(f"*/{_FILE}"))


def _known(name: object) -> bool:
    return isinstance(name, str) and name.replace("_", "-") in names()


@cache
def settings(name: str) -> Mapping[str, Any]:
    """The fields of the estimator that a protocol sets.

    Raises:
        ConfigError: there is none of this name; the message names the nearest.

    Example:
        >>> settings("early-fusion-contrastive")["validation"]
        'given'
    """
    if not _known(name):
        raise ConfigError(f"unknown protocol {name!r}: {nearest(str(name), names())}")
    return MappingProxyType(config.read_yaml(PAPERS / name.replace("-", "_") / _FILE))


def expanded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with those of their protocol beneath them: what is given beside a protocol wins; an unknown one sets nothing.

    Example:
        >>> expanded({"protocol": "early-fusion-contrastive", "members": 3})["members"]
        3
    """
    name = fields.get("protocol")
    return {**settings(name), **fields} if _known(name) else dict(fields)


def apply(target: Any, given: Iterable[str]) -> None:
    """Set the fields of an object's protocol, but for those that were ``given`` beside it; an unknown one sets nothing."""
    if _known(target.protocol):
        for name, value in settings(target.protocol).items():
            if name not in given:
                setattr(target, name, tuple(value) if name == "branches" else value)
