"""A paper's recipes run as studies, and the paper's numbers set beside ours."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plait.base import config, registry
from plait.base.errors import ConfigError, MissingDependencyError, TableError
from plait.datasets.fetch import State
from plait.evaluation.spaces import title_of
from plait.papers.holding import (
    HELD,
    MEASURED,
    NOT_HELD,
    NOT_RUN,
    NOT_THERE,
    OPEN,
    OTHER,
    Line,
    Reproduction,
    label,
    lines,
)
from plait.papers.paper import WEIGHTS, Element, Paper, Row, by_name, how, read
from plait.study import Study, splits
from plait.study.results import Results

#: What a quick run takes instead: rows of a table, seeds, epochs at most, and encoders by kind.
ROWS, SEEDS, EPOCHS = 200, 2, 8
#: What a column of a table about data sets counts.
_SIZES = ("rows", "classes")
LIGHT = {"text": "hashed_ngrams", "image": "pixel_statistics", "code": "code_statistics", "audio": "logmel"}


def reproduce(
    paper: str | Path,
    only: str | None = None,
    *,
    quick: bool = False,
    out: str | Path | None = None,
    store: str | None = None,
    engine: str = "local",
    say: Callable[[str], None] = lambda text: None,
) -> Reproduction:
    """Run the recipes of a paper's elements as studies and set its numbers beside ours; killed, the same call goes on.

    Args:
        paper: a name (``plait reproduce --list``), or a folder of one's own with a ``paper.yaml``.
        only: one element, such as ``table4``.
        quick: fewer rows, two seeds, few epochs, light encoders: end to end in minutes.
        out: folder; default ``runs/reproduce-PAPER``, with ``-quick`` behind it.
        store: folder of the store of embeddings; None: the user's.
        engine: of the studies: ``local``, ``ray`` or ``inline``.
        say: hears what is begun.

    Raises:
        ConfigError: there is no such paper or element, or a file of it has a mistake.
    """
    known = read(paper)
    elements = known.chosen(only)
    folder = Path(out) if out is not None else Path("runs") / f"reproduce-{known.name}{'-quick' * quick}"
    not_run: list[str] = []
    results: dict[str, dict[str, Results]] = {}
    options: dict[str, Any] = {"engine": engine, "store": store, "workers": None if engine == "local" else 1}
    states = by_name()
    for recipe in dict.fromkeys(name for element in elements for name in element.recipes):
        results[recipe] = {}
        for number in range(len(_entries(known, recipe))):
            study, gone = _study(known, recipe, number, quick, states)
            given = study.spec.data[0]
            dataset = given.name or (f"{given.source}/{given.target}" if given.target else given.source)
            place, name = (
                folder / f"{recipe}-{dataset.replace('/', '-').replace(' ', '-')}",
                f"{recipe}, {label(dataset)}",
            )
            measured, reasons = _measured(study, gone, place, options, (name, say))
            not_run += [f"{name}: {reason}" for reason in reasons]
            if measured is not None:
                results[recipe][dataset] = measured
    lines = [line for element in elements for line in _lines(known, element, results)]
    if quick:
        lines = [_of_a_quick_run(line) for line in lines]
    result = Reproduction(known, elements, lines, not_run, results, folder, quick)
    return dataclasses.replace(result, page=_page(result))


def _measured(
    study: Study,
    gone: Mapping[str, State],
    place: Path,
    options: Mapping[str, Any],
    telling: tuple[str, Callable[[str], None]],
) -> tuple[Results | None, list[str]]:
    """What a recipe gives on one table, and why what of it is not run; None: its data are not here, or nothing to judge by.

    ``gone``: evaluations whose data are not here; ``place``: the study's folder; ``options``: of ``Study.run``; ``telling``:
    what the study is called as it begins, and who hears of it.
    """
    if (reason := _not_there(study)) is not None:
        return None, [reason]
    reasons = [f"{title}: {state.label} is not here; {how(state)}" for title, state in gone.items()]
    space = study.spec.space
    if space is not None and gone.keys() >= {title_of(one) for one in space.evaluations}:
        return None, reasons
    name, say = telling
    say(f"{name}: {len(study.runs)} runs")
    names = dict.fromkeys(state.name for state in gone.values())
    without = "".join(f"-without-{name}" for name in names)  # another study, once they are here
    measured = study.run(place.with_name(place.name + without), retry_failed=True, **options)
    failed = measured.status()["reasons"]
    return measured, reasons + [f"{count} runs failed: {why}" for why, count in failed.items()]


def _of_a_quick_run(line: Line) -> Line:
    """A number of a quick run is never held against the paper's; what it was compared with among ours stays."""
    judged = line.ours is not None and line.verdict in (HELD, NOT_HELD, OPEN)
    if not judged or line.metric in (*_SIZES, WEIGHTS) or line.order:
        return line
    return dataclasses.replace(line, verdict=OTHER, reason="a quick run")


def _page(result: Reproduction) -> Path | None:
    from plait.papers.page import write

    try:
        return write(result)
    except MissingDependencyError:
        return None


# -- studies -----------------------------------------------------------------------------------------------------------


def _entries(paper: Paper, recipe: str) -> list[object]:
    data = config.read_yaml(paper.recipe(recipe)).get("data")
    return data if isinstance(data, list) else [data]


def _study(
    paper: Paper, recipe: str, number: int, quick: bool, states: Mapping[str, State] | None = None
) -> tuple[Study, dict[str, State]]:
    """The study of a recipe on one of its tables, so that a table that comes later changes nothing of the others.

    And its evaluations on data sets that are not here by ``states``, which it is made without.

    Raises:
        ConfigError: the recipe has mistakes.
    """
    file = paper.recipe(recipe)
    spec: dict[str, Any] = copy.deepcopy(config.read_yaml(file))
    entry = _entries(paper, recipe)[number]
    spec["data"] = dict(entry) if isinstance(entry, Mapping) else {"dataset": entry}
    dataset = "/".join(str(spec["data"][k]) for k in ("dataset", "target") if k in spec["data"])
    dataset = spec["data"].get("name", dataset)
    claims = [claim for element in paper.elements for claim in element.claims(recipe, dataset)]
    if claims := [c for c in spec.pop("claims", []) if "value" not in c] + claims:
        spec["claims"] = claims
    study = Study(spec, str(file), file.parent)
    study.require()
    if quick:
        spec = _merged(_smaller(spec), paper.quick.get(recipe, {}))
    gone = _not_here(spec, states or {})
    spec = _without(spec, gone)
    if quick:
        return _light(spec, file), gone
    return Study(spec, str(file), file.parent) if gone else study, gone


def _not_here(spec: Mapping[str, Any], states: Mapping[str, State]) -> dict[str, State]:
    """Evaluations of aligned vectors, by name and data set, on what is not here; the others are made all the same."""
    given = [one for one in (spec.get("space") or {}).get("evaluations", []) if isinstance(one, Mapping)]
    named = {title_of(one): str(one["dataset"]).partition("/")[0] for one in given if "dataset" in one}
    return {title: states[name] for title, name in named.items() if name in states and states[name].state != "here"}


def _without(spec: dict[str, Any], gone: Mapping[str, State]) -> dict[str, Any]:
    """A study of spaces without some evaluations; as it is where none would be left."""
    space = spec.get("space")
    if not gone or space is None:
        return spec
    kept = [one for one in space["evaluations"] if not isinstance(one, Mapping) or title_of(one) not in gone]
    return {**spec, "space": {**space, "evaluations": kept or space["evaluations"]}}


def _smaller(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Fewer rows and seeds; of a study of models also fewer epochs."""
    result = {k: v for k, v in spec.items() if k != "claims"} | {"seeds": SEEDS if "space" not in spec else 1}
    if "space" in spec:
        return result
    model = dict(spec.get("model", {}))
    model["epochs"] = min(model.get("epochs") or EPOCHS, EPOCHS)
    if "pretrain" in model:
        model["pretrain"] = {**model["pretrain"], "epochs": 2}
    data = {**spec["data"], "rows": min(spec["data"].get("rows") or ROWS, ROWS)}
    return {**result, "data": data, "model": model}


def _light(spec: dict[str, Any], file: Path) -> Study:
    """The study with light encoders where it names none; only its table says of which kinds."""
    study = Study(spec, str(file), file.parent)
    study.require()
    if "space" in spec or _not_there(study) is not None:
        return study
    modalities = next(iter(study.tables.values())).schema.modalities
    named = spec["model"].get("encoders", {})
    light = {m.kind: LIGHT[m.kind] for m in modalities if m.kind in LIGHT and not {m.name, m.kind} & set(named)}
    study = Study({**spec, "model": {**spec["model"], "encoders": {**light, **named}}}, str(file), file.parent)
    study.require()
    return study


def _merged(spec: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with another laid over it, mapping by mapping; what has another name takes the place of the whole."""
    result: dict[str, Any] = dict(spec)
    for key, value in over.items():
        inner = result.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping) and "name" in value:
            result[key] = _merged(inner, value) if value["name"] == inner.get("name") else value
        elif isinstance(inner, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(inner, value)
        else:
            result[key] = value
    return result


def _not_there(study: Study) -> str | None:
    """Why the data of a study cannot be read, and how to get them; None where they can."""
    try:
        _ = study.tables
    except (TableError, OSError) as error:
        return str(error)
    return None


# -- lines -------------------------------------------------------------------------------------------------------------


def _lines(paper: Paper, element: Element, results: Mapping[str, Mapping[str, Results]]) -> list[Line]:
    if element.sizes:
        return _sizes(paper, element)
    if element.mapped:
        return lines(element, results)
    if element.status == "not_there" and not element.rows:
        return [Line(element.name, element.title, verdict=NOT_THERE, reason=element.why)]
    stated = lines(element, results)
    if element.status == "not_there":
        return stated
    measured = [label(dataset) for name in element.recipes for dataset in results.get(name, {})]
    if element.draws and not element.recipes:
        return [*stated, Line(element.name, element.title, verdict=MEASURED, reason="it is drawn in the page")]
    if not measured:
        return [*stated, Line(element.name, element.title, reason="nothing was measured")]
    reason = "no number of the paper stands here; ours are in the page"
    ours = "; ".join(dict.fromkeys(measured))
    return [*stated, Line(element.name, element.title, our_data=ours, verdict=MEASURED, reason=reason)]


def _sizes(paper: Paper, element: Element) -> list[Line]:
    """Rows and classes of the paper's data sets beside those of ours, as the recipe splits them."""
    result = []
    for row in element.rows:
        names = {column.name for column in element.columns}
        whole = "test" in names and "valid" not in names  # two parts: those that choose are rows to learn from
        row, ours = _counted(paper, row)
        if isinstance(ours, dict) and whole:
            ours["train"] = ours.get("train", 0) + ours.get("valid", 0)
        for column, value in zip(element.columns, row.values, strict=True):
            line = Line(element.name, f"{row.name}, {column.name}", _SIZES[column.name == "classes"], value, row.data)
            given: dict[str, Any] = {"verdict": NOT_THERE, "reason": "nothing of ours stands in its place"}
            if isinstance(ours, dict):
                same = row.ours == row.own or row.data.casefold() == label(row.ours).partition(",")[0].casefold()
                verdict = (HELD if ours[column.name] == value else NOT_HELD) if same else OTHER
                given = {"ours": float(ours[column.name]), "our_data": label(row.ours), "verdict": verdict}
                given["reason"] = "" if same else "other data"
            elif ours is not None:
                given = {"our_data": label(row.ours), "verdict": NOT_RUN, "reason": ours}
            result.append(dataclasses.replace(line, **given))
    return result


def _counted(paper: Paper, row: Row) -> tuple[Row, dict[str, int] | str | None]:
    """The row on the paper's own data where they are here (damaged, too), else on what stands in their place; and its counts."""
    own = None if row.own is None else _parts(paper, row.own_recipe, row.own)
    if isinstance(own, dict) or row.ours is None or (own is not None and "is not there" not in own):
        return dataclasses.replace(row, ours=row.own), own
    return row, _parts(paper, row.recipe, row.ours)


def _parts(paper: Paper, recipe: str | None, dataset: str) -> dict[str, int] | str:
    """Training, validation and test rows and classes of our data as a recipe splits them; or why there are none.

    Without a recipe: ``things`` of the data set as a whole, captions of one photograph counted once.
    """
    if recipe is None:
        try:
            loaded = registry.find("datasets", dataset)().load()
        except (TableError, OSError) as error:
            return str(error)
        return {"things": len(loaded.frame) if loaded.groups is None else loaded.frame[loaded.groups].nunique()}
    for number in range(len(_entries(paper, recipe))):
        study, _ = _study(paper, recipe, number, quick=False)
        given = study.spec.data[0]
        if dataset not in (given.name, f"{given.source}/{given.target}"):
            continue
        reason = _not_there(study)
        if reason is not None:
            return reason
        table, split = next(iter(study.tables.values())), given.split or study.spec.split
        train, test = splits.rows_of(table, split, 0, 0)
        choose = study.spec.model.get("validation", "given") == "given"
        chosen = int(splits.chosen_by(table, split, 0, 0, train).sum()) if choose else 0
        classes = len(table.classes or np.unique(table.y))
        return {"train": len(train) - chosen, "valid": chosen, "test": len(test), "classes": classes}
    raise ConfigError(f"{paper.name}: recipe '{recipe}' has no data '{dataset}'")


def overview() -> list[dict[str, Any]]:
    """One record per paper: what there is of it.

    Example:
        >>> overview()[0]["paper"]
        'context-based-fusion'
    """
    from plait.papers.paper import STATUS, names

    records = []
    for name in names():
        paper = read(name)
        count = Counter(element.status for element in paper.elements)
        record = {"paper": name, "protocol": paper.protocol or "-"}
        records.append(record | {status.replace("_", " "): count[status] for status in STATUS} | {"title": paper.title})
    return records
