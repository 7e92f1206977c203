"""What `--quality light|balanced|best` buys, and two rules that draw mixture weights to their mean, on validation rows.

    PLAIT_DATA=... python benchmarks/quality.py [--out FILE] [--tables ...] [--seeds 3] [--rows 600] [--few 200] [--page]

Every table gives its training rows alone: of these a part to learn from and a part to judge by, drawn by the seed. ``--rows``
to learn from judge the words; ``--rows`` and ``--few`` the rules: ``plain`` (weights are drawn to the plain mean by squared
differences: what plait does) and ``logarithm`` (their sum, once it is above one, by its logarithm). Both rules mix the same
fitted branches. Cells are encoded before anything is timed. A run that was stopped goes on with what its file lacks; ``--page``
prints the tables.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import against_peers

TABLES = ("payments", "games", "petfinder", "issues", "stsb", "pokemon")
WORDS = ("light", "balanced", "best")
RULES = ("plain", "logarithm")
JUDGED = 600


def rows_of(table: Any, seed: int, learn: int) -> tuple[Any, np.ndarray, Any, np.ndarray]:
    """Rows to learn from, their target, and the same to judge by; groups stay on one side."""
    from plait.data.table import split

    y = table.frame[table.schema.target]
    y = y.astype(float).to_numpy() if table.schema.task == "regression" else y.astype(str).to_numpy(dtype=object)
    if table.official is not None:
        train = np.flatnonzero(~table.official)
    else:
        train, _ = split(table.frame, (0.8, 0.2), 0, y, table.groups, table.schema.task)
    group = None if table.groups is None else table.groups[train]
    a, b = split(table.frame.iloc[train], (0.6, 0.4), seed, y[train], group, table.schema.task)
    rng = np.random.default_rng(seed)
    first, second = (train[rng.permutation(part)[:most]] for part, most in ((a, learn), (b, JUDGED)))
    return table.frame.iloc[first], y[first], table.frame.iloc[second], y[second]


def plain_distance(weights: Any) -> Any:
    """Squared differences from the plain mean."""
    return (weights - 1.0 / len(weights)).square().sum()


def logarithm_distance(weights: Any) -> Any:
    """Squared differences from the weights' own mean, and of their sum from one: above one by its logarithm."""
    total, count = weights.sum(), len(weights)
    apart = (weights - total / count).square().sum()
    return apart + (total.log() if total > 1.0 else total - 1.0).square() / count


class Rules:
    """While a model is fitted its branches are mixed by both rules; ``mixtures`` holds what came out."""

    def __init__(self) -> None:
        from plait.branches import mixture
        from plait.branches.branches import Branches
        from plait.training import crossfit

        self.parts: tuple[Any, Any, Any] = (mixture, Branches, crossfit)
        self.mixtures: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> Rules:
        mixture, branches, crossfit = self.parts
        self.kept = kept = (mixture.distance, branches.keep, crossfit.mix)

        def both(*given: Any, **options: Any) -> Any:
            for rule, distance in zip(RULES, (plain_distance, logarithm_distance), strict=True):
                mixture.distance, begun = distance, time.process_time()
                self.mixtures[rule], task = kept[2](*given, **options)
                self.seconds[rule] = time.process_time() - begun
            return self.mixtures["plain"], task

        branches.keep = lambda member, names: None
        crossfit.mix = both
        return self

    def __exit__(self, *error: object) -> None:
        mixture, branches, crossfit = self.parts
        mixture.distance, branches.keep, crossfit.mix = self.kept


def loss_of(model: Any, frame: Any, y: np.ndarray) -> float:
    """Mean absolute error, or log loss."""
    if not hasattr(model, "classes_"):
        return float(np.abs(model.predict(frame) - y).mean())
    p = model.predict_proba(frame)
    place = {str(label): i for i, label in enumerate(model.classes_)}
    known = np.array([p[row, place[label]] if label in place else 0.0 for row, label in enumerate(y)])
    return float(-np.log(known.clip(1e-15)).mean())


def measured(table: Any, seed: int, word: str, learn: int) -> dict[str, Any]:
    """One fit: loss, processor seconds, megabytes; of ``balanced`` the loss under both rules."""
    from plait import FusionClassifier, FusionRegressor

    frame, y, judged, truth = rows_of(table, seed, learn)
    kind = FusionRegressor if table.schema.task == "regression" else FusionClassifier
    settings: dict[str, Any] = {"quality": word, "random_state": seed}
    model = kind(modalities=table.schema, root=table.schema.root, progress=False, **settings)
    result: dict[str, Any] = {"learned": len(frame), "judged": len(judged)}
    with Rules() if word == "balanced" else contextlib.nullcontext() as rules:
        begun = time.process_time()
        model.fit(frame, y)
        result["processor"] = time.process_time() - begun
    if rules is not None:
        result["processor"] -= rules.seconds["logarithm"]
        for rule in RULES:
            model.members_.mixture = rules.mixtures[rule]
            result[rule] = loss_of(model, judged, truth)
        for member in model.members_.members:
            member.keep(list(model.members_.mixture.sources))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        result["megabytes"] = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6
    return {**result, "loss": loss_of(model, judged, truth)}


def missing(given: argparse.Namespace) -> Iterator[tuple[str, int, str, int]]:
    """Table, seed, word and rows of what the file lacks."""
    done = {(one["table"], one["seed"], one["word"], one["rows"]) for one in lines(given.out)}
    for part in ([("balanced", given.few), ("light", given.rows), ("balanced", given.rows)], [("best", given.rows)]):
        for seed in range(given.seeds):
            for table in given.tables:
                for word, rows in part:
                    if (table, seed, word, rows) not in done:
                        yield table, seed, word, rows


def lines(path: Path) -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def page(found: list[dict[str, Any]]) -> None:
    """Both tables, as Markdown."""
    tables = list(dict.fromkeys(one["table"] for one in found))
    rows = max(one["rows"] for one in found)
    print(
        f"| table ({rows} rows to learn from) | | {' | '.join(f'`{word}`' for word in WORDS)} |\n|---|---|---|---|---|"
    )
    for table in tables:
        own = {w: [x for x in found if (x["table"], x["word"], x["rows"]) == (table, w, rows)] for w in WORDS}
        for key in ("loss", "processor", "megabytes"):
            cells = [spread([one[key] for one in own[word]]) for word in WORDS]
            print(f"| {table if key == 'loss' else ''} | {key} | {' | '.join(cells)} |")
    print("\n| table | rows | plain | logarithm | logarithm less plain, in percent, by seed |\n|---|---|---|---|---|")
    for table in tables:
        for size in sorted({one["rows"] for one in found}):
            own_rows = [x for x in found if (x["table"], x["word"], x["rows"]) == (table, "balanced", size)]
            gaps = ", ".join(f"{100 * (one['logarithm'] / one['plain'] - 1):+.2f}" for one in own_rows)
            print(f"| {table} | {size} | {' | '.join(spread([one[r] for one in own_rows]) for r in RULES)} | {gaps} |")


def spread(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    if not values:
        return "–"
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def main() -> None:
    """Measure what is missing; print what there is."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--out", type=Path, default=Path("quality.jsonl"))
    told.add_argument("--tables", nargs="*", default=list(TABLES), choices=list(against_peers.TABLES))
    told.add_argument("--seeds", type=int, default=3)
    told.add_argument("--rows", type=int, default=600)
    told.add_argument("--few", type=int, default=200)
    told.add_argument("--page", action="store_true")
    told.add_argument("--store", default=None)
    given = told.parse_args()
    read: dict[str, Any] = {}
    for table, seed, word, rows in () if given.page else list(missing(given)):
        if table not in read:
            if not read:
                first = against_peers.read("payments", 0, 4000, given.store)
                measured(first, 0, "light", given.few)  # what is loaded once only is loaded now
            read[table] = against_peers.read(table, 0, 4000, given.store)
        line: Mapping[str, Any] = measured(read[table], seed, word, rows)
        line = {"table": table, "seed": seed, "word": word, "rows": rows, **line}
        print(line, flush=True)
        with given.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    if lines(given.out):
        page(lines(given.out))


if __name__ == "__main__":
    main()
