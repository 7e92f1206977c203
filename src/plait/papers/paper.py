"""What ``paper.yaml`` says: a paper's tables and figures in their order, recipes, cells as claims; how its own data are had."""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plait.base import __version__, checks, config, registry
from plait.base.config import PAPERS
from plait.base.errors import ConfigError, nearest
from plait.datasets.fetch import State, listed

#: Raised whenever an older plait could not read what this one does.
FORMAT = 1
#: What there is of an element.
STATUS = ("there", "deviation", "not_there")
FILE, RECIPES = "paper.yaml", "recipes"
#: Pictures that are drawn from any element's numbers (``papers.pictures``).
PICTURES = ("bars", "changes", "stacked", "points", "epochs", "evaluation", "boxes")


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table: the paper's data, ours, and the metric.

    Attributes:
        name: heading in the paper.
        data: what the paper's numbers were measured on.
        ours: ``dataset/target`` of the recipe that stands in its place; None: none does.
        same: ours are the paper's own data, so that numbers can be held against each other.
        original: ``dataset/target`` of the paper's own data, taken in the place of ``ours`` where a reader has them.
        present: modalities that are there at test; empty: all.
        evaluation: of a study of spaces, as its report calls it; a row's ``condition`` is then a part of it, and its ``variant``
            is ``-`` for a frozen encoder alone. ``original_evaluation``: on the paper's own data, where it is another one.
    """

    name: str
    data: str = ""
    ours: str | None = None
    metric: str = "accuracy"
    same: bool = False
    original: str | None = None
    present: tuple[str, ...] = ()
    evaluation: str = ""
    original_evaluation: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        values: the paper's numbers, one per column.
        variant: of the recipe; None: nothing of ours stands in its place.
        subset: modalities of ours; empty: all.
        condition: of the test rows, where they are not clean; ``original_condition``: another one on the paper's own data.
        cited: a rival's numbers, which are quoted and not run.
        like: what of a rival's method ours is (``its gate over the same features``): never held against the paper's number.
        original: only the paper's own data have its modalities, not what stands in their place.
        data: of a row about a data set: the paper's; ``own``: it, split as in ``own_recipe``, counted where a reader has it;
            ``ours``: what stands in its place, split as in ``recipe``.
    """

    name: str
    values: tuple[Any, ...]
    variant: str | None = None
    subset: tuple[str, ...] = ()
    condition: str | None = None
    original_condition: str | None = None
    cited: bool = False
    like: str = ""
    original: bool = False
    data: str = ""
    own: str | None = None
    own_recipe: str | None = None
    ours: str | None = None
    recipe: str | None = None


@dataclasses.dataclass(frozen=True)
class Element:
    """A table or a figure.

    Attributes:
        status: ``there``, ``deviation`` (``why`` states it) or ``not_there`` (``why`` says why).
        recipes: studies that measure it.
        also: metrics of ours that the page shows in the paper's rows, where the paper has none.
        orders: pairs of rows that the paper sets one above the other; which way, its numbers say.
        sizes: its numbers are rows and classes of data sets.
        widths: features of each modality and ``classes`` in the paper, from which weights are counted; ``pulled``: the modality
            with a projector.
        draws: what the page draws of it: which ``figure`` (of ``papers.pictures``, or of the paper's module ``drawn``), and what
            that is told.
    """

    name: str
    title: str
    status: str
    why: str = ""
    recipes: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    also: tuple[str, ...] = ()
    orders: tuple[tuple[str, str], ...] = ()
    sizes: bool = False
    widths: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    draws: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def mapped(self) -> bool:
        """Whether any of its rows stands for something of ours; else ours are shown by themselves."""
        return any(row.variant is not None for row in self.rows)

    def row(self, name: str) -> Row:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    def claims(self, recipe: str, dataset: str) -> list[dict[str, Any]]:
        """Its cells as the claims of a study on one of our data sets."""
        result = []
        for row in (row for row in self.rows if not row.like) if recipe in self.recipes else ():
            for column, value in zip(self.columns, row.values, strict=True):
                if column.evaluation:
                    result += _space_claims(self.name, row, column, value, dataset)
                    continue
                scores = re.fullmatch(r"[a-z_0-9]+", column.metric) and column.metric not in COSTS
                plain = not column.present and row.condition is None and ", trained" not in str(row.variant)
                own = dataset == column.original
                there = own or (column.ours == dataset and not row.original)
                if row.variant is not None and there and scores and plain:
                    claim = {"metric": column.metric, "value": value, "variant": row.variant, "where": self.name}
                    claim |= {"data": dataset if column.same or own else column.data}
                    result.append(claim | ({"subset": list(row.subset)} if row.subset else {}))
        return result


def _space_claims(where: str, row: Row, column: Column, value: float, dataset: str) -> list[dict[str, object]]:
    """A cell as the claim of a study of spaces on one of our data sets; none where nothing of ours stands for it."""
    own = dataset == column.original
    if row.variant is None or row.cited or not (own or (dataset == column.ours and not row.original)):
        return []
    claim: dict[str, Any] = {"metric": column.metric, "value": value, "where": where}
    claim["data"] = dataset if column.same or own else column.data
    evaluation = (own and column.original_evaluation) or column.evaluation
    claim |= {} if row.variant == "-" else {"variant": row.variant}
    condition = (own and row.original_condition) or row.condition
    return [claim | ({"condition": f"{evaluation}: {condition}"} if condition else {})]


#: A column of trained weights, which is no metric of predictions; and others that are none (``papers.costs``).
WEIGHTS = "trained_weights"
COSTS = (WEIGHTS, "seconds", "seconds_training", "seconds_pretraining", "seconds_test", "stored_mb", "kept_mb")


@dataclasses.dataclass(frozen=True)
class Paper:
    """A paper: its elements in its order, and where its folder is.

    Attributes:
        quick: recipe -> what its study says instead, where it is run at a small size.
    """

    name: str
    folder: Path
    title: str
    citation: str
    elements: tuple[Element, ...]
    url: str = ""
    about: str = ""
    protocol: str | None = None
    quick: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def chosen(self, only: str | None) -> list[Element]:
        """All elements, or the one of this name.

        Raises:
            ConfigError: there is none; the message names the nearest.
        """
        known = [element.name for element in self.elements]
        if only is not None and only not in known:
            raise ConfigError(f"{self.name} has no element '{only}': {nearest(only, known)}")
        return [element for element in self.elements if only in (None, element.name)]

    def recipe(self, name: str) -> Path:
        """The file of one of its recipes."""
        return self.folder / RECIPES / f"{name}.yaml"


def names() -> list[str]:
    """The papers that come with plait.

    Example:
        >>> "early-fusion-contrastive" in names()
        True
    """
    return sorted(path.parent.name.replace("_", "-") for path in PAPERS.glob(f"*/{FILE}"))


def read(paper: str | Path) -> Paper:
    """A paper by its name, or by a folder of one's own that holds a ``paper.yaml``.

    Raises:
        ConfigError: there is none, or its file has a mistake; each is one line.

    Example:
        >>> [element.name for element in read("early-fusion-contrastive").elements][:4]
        ['figure1', 'table1', 'table2', 'table3']
    """
    folder = Path(paper) if (Path(paper) / FILE).is_file() else PAPERS / str(paper).replace("-", "_")
    if not (folder / FILE).is_file():
        raise ConfigError(f"unknown paper '{paper}': {nearest(str(paper), names())}")
    given, where = config.read_yaml(folder / FILE), f"{folder.name}/{FILE}"
    version = given.pop("format", FORMAT)
    if version != FORMAT:
        raise ConfigError(f"{where}: format {version!r} is of another plait; plait {__version__} reads format {FORMAT}")
    elements = tuple(_element(one, where) for one in _listed(given.pop("elements", None), where, "elements"))
    result: Paper = _built(
        Paper, given | {"name": folder.name.replace("_", "-"), "folder": folder, "elements": elements}, where
    )
    for element in elements:
        _check_draws(element, folder, f"{where}: {element.name}")
        for name in element.recipes:
            if not result.recipe(name).is_file():
                known = [path.stem for path in (folder / RECIPES).glob("*.yaml")]
                raise ConfigError(f"{where}: {element.name}: no recipe '{name}': {nearest(name, known)}")
    return result


def _check_draws(element: Element, folder: Path, where: str) -> None:
    """A picture is one of those that are drawn from numbers, or the own module of a paper that comes with plait knows it."""
    figure = element.draws.get("figure")
    if element.draws and figure not in PICTURES and not (folder.parent == PAPERS and (folder / "drawn.py").is_file()):
        raise ConfigError(f"{where}: draws: no figure {figure!r}: {nearest(str(figure), PICTURES)}")


def _built(kind: Any, given: Any, where: str) -> Any:
    """A dataclass from a mapping that must have all that has no default; its lists become tuples, of dataclasses too."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: expected a mapping, found {given!r:.60}")
    needed = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [name for name in needed if name not in given]:
        raise ConfigError(f"{where}: {', '.join(missing)} missing; expected {', '.join(needed)}")
    values = dict(given)
    for name, hint in checks.hints_of(kind).items():
        if typing.get_origin(hint) is tuple and name in values and not isinstance(values[name], tuple):
            values[name] = tuple(
                _item(typing.get_args(hint)[0], one, where, name) for one in _listed(given[name], where, name)
            )
    result = config.build(kind, values, where)
    checks.check(result, where)
    return result


def _listed(value: object, where: str, what: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise ConfigError(f"{where}: {what}: expected a list, found {type(value).__name__}")
    return value


def _item(kind: Any, given: Any, where: str, what: str) -> Any:
    """One of a list: a pair of names, a dataclass, or what it is."""
    if typing.get_origin(kind) is tuple:
        if not isinstance(given, list) or len(given) != 2:
            raise ConfigError(f"{where}: {what}: expected pairs of rows, found {checks.shown(given)}")
        return str(given[0]), str(given[1])
    if kind is not Row:
        return _built(kind, given, where) if dataclasses.is_dataclass(kind) else given
    values = {"values": [], **given} if isinstance(given, Mapping) else given
    return _built(Row, values, f"{where}, row '{values.get('name', '?') if isinstance(values, dict) else '?'}'")


def _element(given: Any, where: str) -> Element:
    place = f"{where}: {given.get('name', '?') if isinstance(given, Mapping) else '?'}"
    result: Element = _built(Element, given, place)
    if result.status not in STATUS:
        raise ConfigError(f"{place}: status {result.status!r}: {nearest(result.status, STATUS)}")
    if result.status != "there" and not result.why:
        raise ConfigError(f"{place}: status {result.status}, and no why:; say what differs, or why it is not there")
    for row in result.rows:
        for column, value in itertools.zip_longest(result.columns, row.values):
            if column is None:
                raise ConfigError(
                    f"{place}, row '{row.name}': {len(row.values)} values for {len(result.columns)} columns"
                )
            if isinstance(value, bool) or not isinstance(value, int | float):
                where = f"{place}, row '{row.name}', column '{column.name}'"
                raise ConfigError(f"{where}: a claim without a number, found {value!r}")
    known = {row.name for row in result.rows}
    for name in (name for order in result.orders for name in order):
        if name not in known:
            raise ConfigError(f"{place}: orders: no row '{name}' ({nearest(name, known)})")
    return result


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


def originals(paper: Paper, elements: Sequence[Element]) -> list[Original]:
    """The data sets that these elements name and that are not here.

    Example:
        >>> from plait.papers.paper import read
        >>> paper = read("early-fusion-contrastive")
        >>> "table6" in originals(paper, paper.chosen("table6"))[0].elements
        True
    """
    states = by_name()
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
