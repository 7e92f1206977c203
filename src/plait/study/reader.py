"""YAML with the line of every key and item, so that a mistake can be shown where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from plait.base import checks
from plait.base.config import mapping_of
from plait.base.documents import read_yaml_node, value_of
from plait.base.errors import nearest
from plait.data.schema_yaml import Place as Place
from plait.data.schema_yaml import Problem as Problem
from plait.data.schema_yaml import lines_of


@dataclass(frozen=True)
class Lines:
    """The line at which each value of a YAML text begins."""

    numbers: dict[Place, int] = field(default_factory=dict)

    def of(self, place: Place) -> int | None:
        """Line of a value, or of the nearest thing around it; None where nothing is known.

        Example:
            >>> Lines({("grid",): 3}).of(("grid", "depth", 1))
            3
        """
        while place:
            if place in self.numbers:
                return self.numbers[place]
            place = place[:-1]
        return None


def read_with_lines(text: str, where: str) -> tuple[dict[str, Any], Lines]:
    r"""The mapping of a YAML text, and the line of all that is in it.

    Example:
        >>> values, lines = read_with_lines("grid:\n  depth: [early, late]", "study.yaml")
        >>> values, lines.of(("grid", "depth"))
        ({'grid': {'depth': ['early', 'late']}}, 2)
    """
    node = read_yaml_node(text, where)
    value = mapping_of(value_of(node, where), where)
    return value, Lines(dict(lines_of(node)))


@dataclass
class Reader:
    """Reads values one by one.

    Attributes:
        problems: place -> what is wrong there.
        origins: place in the spec -> place in the file, where they differ.
    """

    problems: list[tuple[Place, str]] = field(default_factory=list)
    origins: dict[Place, Place] = field(default_factory=dict)

    def wrong(self, place: Place, text: str) -> None:
        """One more problem."""
        self.problems.append((place, text))

    def fields(self, value: object, place: Place, known: Iterable[str], what: str) -> dict[str, Any]:
        """A mapping whose keys are known; the others are problems and left out."""
        if not isinstance(value, Mapping):
            self.wrong(place, f"{what}: expected a mapping, found {value!r:.60}")
            return {}
        known = tuple(known)
        for key in value:
            if key not in known:
                self.wrong((*place, str(key)), f"{what}: unknown field '{key}' ({nearest(str(key), known)})")
        return {k: v for k, v in value.items() if k in known and v is not None}

    def flag(self, value: object, place: Place) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            self.wrong(place, f"{place[-1]}: expected true or false, found {value!r:.60}")
        return value is True

    def text(self, value: Any, place: Place) -> str:
        """Text; a number is taken by its digits."""
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
        self.wrong(place, f"{place[-1]}: expected text, found {value!r:.60}")
        return ""

    def number(
        self, value: object, place: Place, least: float, most: float = checks.MOST, *, whole: bool = False
    ) -> Any:
        """A number from ``least`` to ``most``."""
        if said := checks.problem(value, Annotated[int if whole else float, checks.Within(least, most)]):
            self.wrong(place, f"{place[-1]} {said}")
            return None
        return value

    def values(
        self, kind: type, given: Mapping[str, Any], place: Place, **own: Callable[[Any, Place], Any]
    ) -> dict[str, Any]:
        """Each value by a reader of its ``own``, or as a dataclass annotates its field; what is wrong is left out."""
        result, hints = dict[str, Any](), checks.hints_of(kind)
        for key, value in given.items():
            if key in own:
                result[key] = own[key](value, (*place, key))
            elif checks.describe(hints[key]) == "text":
                result[key] = self.text(value, (*place, key))
            elif said := checks.problem(value, hints[key]):
                self.wrong((*place, key), f"{key} {said}")
            else:
                result[key] = value
        return result

    def listed(self, value: object, place: Place, what: str) -> list[Any]:
        """A list that is not empty; a single value is a list of one."""
        result = list(value) if isinstance(value, list | tuple) else [value]
        if not result:
            self.wrong(place, f"{what}: the list is empty; name at least one, or leave it out")
        return result

    def mapping(self, value: object, place: Place) -> dict[str, Any]:
        """Fields of the estimator, whatever they are."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.wrong(place, f"{place[-1]}: expected a mapping of the estimator's fields, found {value!r:.60}")
            return {}
        return {str(k): v for k, v in value.items()}

    def words(self, value: object, place: Place) -> tuple[str, ...]:
        """A list of words, none twice."""
        if value is None:
            return ()
        words = self.listed(value, place, str(place[-1]))
        for i, word in enumerate(words):
            if word in words[:i]:
                self.wrong((*place, i), f"{place[-1]}: '{word}' is named twice; keep one")
        return tuple(dict.fromkeys(self.text(w, (*place, i)) for i, w in enumerate(words)))
