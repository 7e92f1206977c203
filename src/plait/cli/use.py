"""``plait predict``, ``plait evaluate`` and ``plait explain``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.base.progress import plan, step
from plait.cli import options as o
from plait.cli.app import app
from plait.cli.options import show_json, show_table, show_text

if TYPE_CHECKING:
    import pandas as pd

    from plait.conditions.base import Condition
    from plait.estimators.base import FusionEstimator
    from plait.evaluation.evaluate import Evaluation
    from plait.evaluation.explain import Explanation

Partial = Annotated[bool, typer.Option("--partial", help="Missing columns count as absent modalities.")]
Conditions = Annotated[
    list[str] | None,
    typer.Option(
        "--condition",
        help="Also with changed inputs, as often as needed: white_noise:image:snr_db=0, absent:text=0.5 "
        "(plait list conditions).",
        show_default=False,
    ),
]


def _load(
    folder: Path, table: Path, root: str | None, store: str | None, strict: bool, partial: bool
) -> FusionEstimator:
    from plait.estimators.estimators import FusionEstimator

    step(f"load {folder.name}")
    model = FusionEstimator.load(folder)
    model.root = root or (model.root if model.root and Path(model.root).exists() else str(table.parent))
    model.store = store if store is not None else model.store
    model.strict, model.partial = strict or model.strict, partial or model.partial
    return model


@app.command()
def predict(
    model: o.Model,
    table: o.Table,
    out: Annotated[
        Path | None, typer.Option(help="CSV, TSV, JSONL or Parquet; default: standard output.", show_default=False)
    ] = None,
    proba: Annotated[bool, typer.Option(help="Write a probability per class.")] = True,
    interval: Annotated[
        float | None,
        typer.Option(help="Of a number: columns low and high that hold it with this probability.", show_default=False),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="A column to copy beside the prediction.", show_default=False)
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows in memory at a time.", min=1)] = 4096,
    quote_formulas: Annotated[
        bool, typer.Option("--quote-formulas", help="Put a ' before text that a spreadsheet would run as a formula.")
    ] = False,
    root: o.Root = None,
    partial: Partial = False,
    strict: o.Strict = False,
    store: o.Store = None,
    encoding: o.Encoding = None,
) -> None:
    """Predict a table of any length, in pieces; any modality of a row may be absent."""
    from plait.base.progress import track
    from plait.data.row_numbers import whole_table
    from plait.data.table import read_chunks, write_chunks
    from plait.data.write import printable

    fitted = _load(model, table, root, store, strict, partial)
    label = f"predict {table.name}"
    plan([label])
    step(label)
    with track(None, "predicted", "rows", fitted.progress) as bar:
        result = 0

        def pieces() -> Any:
            nonlocal result
            with whole_table():  # which refuses before the file is there
                for chunk in read_chunks(table, rows, encoding):
                    piece = prediction_table(fitted, chunk, proba, keep or [], interval)
                    result += formulas(piece, quote_formulas)
                    yield piece
                    bar.advance(len(chunk))

        if out is not None:
            count = write_chunks(pieces(), out)
            typer.echo(f"{count:,} predictions written to {out}", err=True)
            if result and not quote_formulas and out.name.lower().removesuffix(".gz").endswith((".csv", ".tsv")):
                note = "cells begin like a formula, which a spreadsheet runs; --quote-formulas puts a ' before them"
                typer.echo(f"note: {result:,} {note}", err=True)
            return
        for number, piece in enumerate(pieces()):
            typer.echo(printable(piece.to_csv(index=False, header=number == 0)), nl=False)


def formulas(piece: pd.DataFrame, quote: bool) -> int:
    """Cells of text that a spreadsheet would run as a formula; with ``quote`` they get a ' before them."""
    import pandas as pd

    count = 0
    for name in piece.columns:
        if pd.api.types.is_numeric_dtype(piece[name]):
            continue
        hits = piece[name].map(lambda cell: isinstance(cell, str) and _formula(cell)).to_numpy(bool)
        count += int(hits.sum())
        if quote and hits.any():
            piece[name] = ["'" + cell if hit else cell for cell, hit in zip(piece[name], hits, strict=True)]
    return count


def _formula(cell: str) -> bool:
    """``=...``, ``@...``, a tab, or a sign before what is no number."""
    if cell[:1] in ("+", "-"):
        try:
            float(cell)
        except ValueError:
            return True
        return False
    return cell[:1] in ("=", "@", "\t", "\r")


def prediction_table(
    fitted: FusionEstimator, chunk: pd.DataFrame, proba: bool, keep: list[str], interval: float | None = None
) -> pd.DataFrame:
    """Prediction of one piece of a table, with probabilities, or the bounds of an interval of that coverage."""
    import pandas as pd

    from plait.base.errors import ConfigError, TableError, nearest
    from plait.data.labels import label_text
    from plait.estimators.estimators import FusionRegressor

    names = [label_text(label) for label in fitted.labels]
    probabilities = [f"p({name})" for name in names] if proba and fitted.task_ != "regression" else []
    if interval is not None and not isinstance(fitted, FusionRegressor):
        raise ConfigError(f"--interval {interval}: is for a predicted number; the task is {fitted.task_}")
    bounds = [] if interval is None else ["low", "high"]
    for name in keep:
        if name not in chunk.columns:
            raise TableError(f"--keep {name}: no such column; {nearest(name, map(str, chunk.columns))}")
        if name in ("prediction", *bounds, *probabilities):
            raise TableError(f"--keep {name}: the answer has a column of that name; rename the table's column")
    columns: dict[str, Any] = {name: chunk[name].reset_index(drop=True) for name in keep}
    with fitted.remembering():
        answer, decoded = fitted.answers(chunk)
        if interval is not None and isinstance(fitted, FusionRegressor):
            around = fitted.interval_around(answer, ~fitted.absent(chunk), interval)
    if fitted.task_ == "multilabel":
        columns["prediction"] = ["|".join(n for n, on in zip(names, row, strict=True) if on) for row in answer]
    else:
        columns["prediction"] = answer
    if bounds:
        columns |= {"low": around[:, 0], "high": around[:, 1]}
    columns |= {name: decoded[:, i].round(6) for i, name in enumerate(probabilities)}
    return pd.DataFrame(columns)


@app.command()
def evaluate(
    model: o.Model,
    table: o.Table,
    subsets: Annotated[bool, typer.Option(help="Also with only some modalities present.")] = True,
    condition: Conditions = None,
    root: o.Root = None,
    partial: Partial = False,
    strict: o.Strict = False,
    store: o.Store = None,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """Judge a model on a table that holds its target: metrics with intervals, per class, per subset, per condition."""
    from plait.conditions.parse import parse
    from plait.data.row_numbers import whole_table
    from plait.data.table import read_table
    from plait.evaluation.evaluate import evaluate as judge
    from plait.store.model_files import plain_values

    requested = [parse(value, "--condition") for value in condition or ()]
    fitted = _load(model, table, root, store, strict, partial)
    frame = _with_target(fitted, read_table(table, encoding))
    plan(["judge", *(f"judge under {each.label}" for each in requested)])
    step("judge")
    with whole_table():
        judged = judge(fitted, frame, subsets=subsets)
    changed = [_under(each, fitted, frame, judged) for each in requested]
    if json:
        show_json(judged.to_dict() | ({"conditions": plain_values(changed)} if requested else {}))
        return
    typer.echo(f"{judged.rows:,} rows\n")
    show_table([{"metric": name, **_value(result)} for name, result in judged.metrics.items()])
    if judged.per_class:
        typer.echo("\nper class")
        show_table(judged.per_class)
    if judged.subsets:
        typer.echo(f"\n{judged.main_metric} with only these modalities present")
        most = max(len(s["modalities"]) for s in judged.subsets)
        ordered = sorted(judged.subsets, key=lambda s: len(s["modalities"]) < most)
        show_table([{"modalities": _subset(s["modalities"], most), **_value(s)} for s in ordered])
    if judged.worst:
        typer.echo("\nthe worst rows")
        show_table([{k: r[k] for k in ("row", "true", "answer", "loss")} for r in judged.worst])
    if changed:
        typer.echo(f"\n{judged.main_metric} with changed inputs, and its difference to the rows as they are")
        show_table(changed, ["condition", "value", "low", "high", "difference"])


@app.command()
def explain(
    model: o.Model,
    table: o.Table,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a picture and the values of every row.", show_default=False)
    ] = None,
    importance: Annotated[bool, typer.Option(help="Also of each column.")] = True,
    root: o.Root = None,
    partial: Partial = False,
    strict: o.Strict = False,
    store: o.Store = None,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """What each modality is worth (exact Shapley values, for the table and every row), and each column (by shuffling it)."""
    from plait.cli.fit import show_importance
    from plait.data.row_numbers import whole_table
    from plait.data.table import read_table
    from plait.evaluation.explain import explain as shapley
    from plait.evaluation.importance import importance as shuffled

    fitted = _load(model, table, root, store, strict, partial)
    plan(["explain"])
    with whole_table():
        frame = _with_target(fitted, read_table(table, encoding))
        step("explain")
        with fitted.remembering():
            result = shapley(fitted, frame)
            columns = shuffled(fitted, frame, explanation=result) if importance else None
    written = []
    if out is not None:
        from plait.report.fit import write_explanation

        written = write_explanation(out, result, columns)
    if json:
        show_json(result.to_dict() | {"importance": [] if columns is None else columns.to_dict("records")})
    else:
        _show_explanation(result)
        if columns is not None:
            show_importance(columns, len(columns))
    if written:
        typer.echo(f"written to {out}: " + ", ".join(path.name for path in written), err=True)


def _show_explanation(explanation: Explanation) -> None:
    """The modalities' worths, in which score, and what they prove."""
    from plait.report.sections.modalities import worth

    typer.echo(
        f"what each modality adds to {explanation.games[0]['label']} on {len(explanation.rows):,} rows (Shapley value)"
    )
    show_table(
        [
            {"modality": e["modality"], "worth": e["value"], "low": e["low"], "high": e["high"]}
            for e in explanation.overall
        ]
    )
    show_text(worth(explanation))


def _under(condition: Condition, fitted: FusionEstimator, frame: pd.DataFrame, plain: Evaluation) -> dict[str, Any]:
    """The main metric under a condition, and what it differs by."""
    from plait.evaluation.evaluate import evaluate as judge

    step(f"judge under {condition.label}")
    result = judge(fitted, condition.apply(frame, fitted.schema_, fitted.root), subsets=False).score
    difference = result["value"] - plain.score["value"]
    return {"condition": condition.label, **condition.axes, **_value(result), "difference": difference}


def _with_target(fitted: FusionEstimator, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a target, the others counted; a table without the target column is an error."""
    from plait.base.errors import TableError
    from plait.data.targets import with_target

    target = fitted.schema_.target
    if target is None:
        raise TableError("the model does not know its target's column; it was fitted from Python without a schema")
    return with_target(frame, target)


def _subset(names: Sequence[str], most: int) -> str:
    value = "+".join(names) or "(none)"
    return f"everything: {value}" if len(names) == most > 1 else value


def _value(result: Any) -> dict[str, Any]:
    return {"value": result.get("value"), "low": result.get("low"), "high": result.get("high")}
