"""YAML with the line of every key and item, so that a mistake can be shown where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from plait.config import mapping_of
from plait.documents import read_yaml_node, value_of

#: Keys and positions that lead to a value.
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Lines:
    """Where each value of a YAML text begins."""

    found: dict[Place, int] = field(default_factory=dict)

    def of(self, place: Place) -> int | None:
        """Line of a value, or of the nearest thing around it; None where nothing is known.

        Example:
            >>> Lines({("grid",): 3}).of(("grid", "depth", 1))
            3
        """
        while place:
            if place in self.found:
                return self.found[place]
            place = place[:-1]
        return None


def read_with_lines(text: str, where: str) -> tuple[dict[str, Any], Lines]:
    r"""The mapping of a YAML text, and the line of all that is in it.

    Raises:
        ConfigError: not YAML, not a mapping, or a key given twice.

    Example:
        >>> told, lines = read_with_lines("grid:\n  depth: [early, late]", "study.yaml")
        >>> told, lines.of(("grid", "depth"))
        ({'grid': {'depth': ['early', 'late']}}, 2)
    """
    node = read_yaml_node(text, where)
    told = mapping_of(value_of(node, where), where)
    return told, Lines(dict(_lines(node, ())) if node is not None else {})


def _lines(node: yaml.Node, place: Place) -> Iterator[tuple[Place, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _lines(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield (*place, position), value.start_mark.line + 1
            yield from _lines(value, (*place, position))
