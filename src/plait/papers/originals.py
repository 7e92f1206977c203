"""What a reader who owns a paper's own data types to run an element on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from plait.base import config, registry
from plait.datasets.fetch import State, listed
from plait.papers.paper import Element, Paper


def to_type(paper: Paper, element: Element, states: Mapping[str, State] | None = None) -> list[str]:
    """A sentence for each of its data sets that is not here, and the command that runs it on them; empty: all are here.

    Example:
        >>> from plait.papers.paper import read
        >>> paper = read("early-fusion-contrastive")
        >>> to_type(paper, paper.chosen("table6")[0])[-1].startswith("plait reproduce early-fusion-contrastive --only table6")
        True
    """
    states = by_name() if states is None else states
    named = dict.fromkeys(_data_sets(paper, element))
    gone = [state for name in named if (state := states.get(name)) is not None and state.state != "here"]
    if not gone:
        return []
    extras = sorted(
        {extra for recipe in _recipes(element) for extra in _extras(config.read_yaml(paper.recipe(recipe)))}
    )
    needs = f' (its encoders need pip install "plait[{",".join(extras)}]")' if extras else ""
    return [*map(how, gone), f"plait reproduce {paper.name} --only {element.name}{needs}"]


def by_name() -> dict[str, State]:
    """What there is of each data set."""
    return {state.name: state for state in listed()}


def _recipes(element: Element) -> list[str]:
    return list(dict.fromkeys([*element.recipes, *(row.own_recipe for row in element.rows if row.own_recipe)]))


def how(state: State) -> str:
    """How a data set that is not here is had."""
    if state.state == "could be fetched":
        return f"{state.label}: plait data fetch {state.name} --accept-licence"
    first, *others = state.missing or ("its files",)
    files = f"{first} and {len(others)} more" if others else first
    return f"{state.label}: by hand from {state.source}, {files} below $PLAIT_DATA (plait data list)"


def _data_sets(paper: Paper, element: Element) -> Iterator[str]:
    """Of its recipes, of what they are judged by, and of the rows of a table about data sets; a target behind a slash is cut."""
    for recipe in _recipes(element):
        spec: Mapping[str, Any] = config.read_yaml(paper.recipe(recipe))
        given = spec.get("data")
        entries = given if isinstance(given, list) else [given]
        entries = [*entries, *(spec.get("space") or {}).get("evaluations", [])]
        yield from (
            str(one["dataset"]).partition("/")[0] for one in entries if isinstance(one, Mapping) and "dataset" in one
        )
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
