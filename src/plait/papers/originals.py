"""What a reader who owns a paper's own data types to run its tables and figures on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plait.base import config, registry
from plait.datasets.fetch import State, listed
from plait.papers.paper import Element, Paper


@dataclasses.dataclass(frozen=True)
class Original:
    """A data set that some elements of a paper would be run on, and that is not here.

    Attributes:
        label: of the data set.
        how: it is had.
        elements: names of the tables and figures.
    """

    label: str
    how: str
    elements: tuple[str, ...]


def originals(paper: Paper, elements: Sequence[Element], states: Mapping[str, State] | None = None) -> list[Original]:
    """The data sets that these elements name and that are not here; ``states``: see ``by_name``.

    Example:
        >>> from plait.papers.paper import read
        >>> paper = read("early-fusion-contrastive")
        >>> "table6" in originals(paper, paper.chosen("table6"))[0].elements
        True
    """
    states = by_name() if states is None else states
    wanted: dict[str, list[str]] = {}
    for element in elements:
        for name in dict.fromkeys(_data_sets(paper, element)):
            if name in states and states[name].state != "here":
                wanted.setdefault(name, []).append(element.name)
    return [Original(states[name].label, how(states[name]), tuple(given)) for name, given in wanted.items()]


def to_type(paper: Paper, elements: Sequence[Element]) -> str:
    """The command that runs these elements on the paper's own data, and the extras that its encoders need."""
    named = sorted(
        {extra for e in elements for r in _recipes(e) for extra in _extras(config.read_yaml(paper.recipe(r)))}
    )
    only = f" --only {elements[0].name}" if len(elements) == 1 else ""
    return f'pip install "plait[{",".join(named)}]" && ' * bool(named) + f"plait reproduce {paper.name}{only}"


def by_name() -> dict[str, State]:
    """What there is of each data set."""
    return {state.name: state for state in listed()}


def how(state: State) -> str:
    """How a data set that is not here is had."""
    if state.state == "could be fetched":
        return f"plait data fetch {state.name} --accept-licence"
    first, *others = state.missing or ("its files",)
    files = f"{first} and {len(others)} more" if others else first
    return f"by hand from {state.source}: {files}, below $PLAIT_DATA"


def _recipes(element: Element) -> list[str]:
    return list(dict.fromkeys([*element.recipes, *(row.own_recipe for row in element.rows if row.own_recipe)]))


def _data_sets(paper: Paper, element: Element) -> Iterator[str]:
    """Of its recipes, of what they are judged by, and of the rows of a table about data sets; a target behind a slash is cut."""
    for recipe in _recipes(element):
        spec: Mapping[str, Any] = config.read_yaml(paper.recipe(recipe))
        given = spec.get("data")
        entries = given if isinstance(given, list) else [given]
        entries = [*entries, *(spec.get("space") or {}).get("evaluations", [])]
        named = [one for one in entries if isinstance(one, Mapping) and "dataset" in one]
        yield from (str(one["dataset"]).partition("/")[0] for one in named)
    yield from (row.ours.partition("/")[0] for row in element.rows if row.ours is not None)


def _extras(given: object) -> Iterator[str]:
    """The extras of the encoders that a recipe names, wherever it names them."""
    if isinstance(given, Mapping):
        for key, value in given.items():
            if key == "encoders" and isinstance(value, Mapping):
                for one in value.values():
                    name = one.get("name") if isinstance(one, Mapping) else one
                    if name in registry.names("encoders") and (extra := registry.find("encoders", name).extra):
                        yield extra
            yield from _extras(value)
