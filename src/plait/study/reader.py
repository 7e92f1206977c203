"""Reads values of a study file one by one and keeps what is wrong with them, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from plait import checks
from plait.errors import nearest
from plait.study.yaml_lines import Place


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

    def fields(self, told: Any, place: Place, known: Iterable[str], what: str) -> dict[str, Any]:
        """A mapping whose keys are known; the others are problems and left out."""
        if not isinstance(told, Mapping):
            self.wrong(place, f"{what}: expected a mapping, found {told!r:.60}")
            return {}
        known = tuple(known)
        for key in told:
            if key not in known:
                self.wrong((*place, str(key)), f"{what}: unknown field '{key}' ({nearest(str(key), known)})")
        return {k: v for k, v in told.items() if k in known and v is not None}

    def text(self, value: Any, place: Place) -> str:
        """Text; a number is taken by its digits."""
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
        self.wrong(place, f"{place[-1]}: expected text, found {value!r:.60}")
        return ""

    def number(self, value: Any, place: Place, least: float, most: float = checks.MOST, *, whole: bool = False) -> Any:
        """A number from ``least`` to ``most``."""
        if said := checks.problem(value, Annotated[int if whole else float, checks.Within(least, most)]):
            self.wrong(place, f"{place[-1]} {said}")
            return None
        return value

    def listed(self, value: Any, place: Place, what: str) -> list[Any]:
        """A list that is not empty; a single value is a list of one."""
        found = list(value) if isinstance(value, list | tuple) else [value]
        if not found:
            self.wrong(place, f"{what}: the list is empty; name at least one, or leave it out")
        return found

    def mapping(self, told: Any, place: Place) -> dict[str, Any]:
        """Fields of the estimator, whatever they are."""
        if told is None:
            return {}
        if not isinstance(told, Mapping):
            self.wrong(place, f"{place[-1]}: expected a mapping of the estimator's fields, found {told!r:.60}")
            return {}
        return {str(k): v for k, v in told.items()}

    def words(self, told: Any, place: Place) -> tuple[str, ...]:
        """A list of words, none twice."""
        if told is None:
            return ()
        words = self.listed(told, place, str(place[-1]))
        for i, word in enumerate(words):
            if word in words[:i]:
                self.wrong((*place, i), f"{place[-1]}: '{word}' is named twice; keep one")
        return tuple(dict.fromkeys(self.text(w, (*place, i)) for i, w in enumerate(words)))
