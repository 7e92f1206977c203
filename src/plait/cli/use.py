"""``plait predict``, ``plait evaluate`` and ``plait explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli import _options as o
from plait.cli import app
from plait.cli._print import show_json, show_table

if TYPE_CHECKING:
    import pandas as pd

    from plait.conditions import Condition
    from plait.estimators import FusionEstimator
    from plait.evaluation import Evaluation

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
    from plait.estimators import FusionEstimator

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
    keep: Annotated[
        list[str] | None, typer.Option(help="A column to copy beside the prediction.", show_default=False)
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows in memory at a time.", min=1)] = 4096,
    root: o.Root = None,
    partial: Partial = False,
    strict: o.Strict = False,
    store: o.Store = None,
    encoding: o.Encoding = None,
) -> None:
    """Predict a table of any length, in pieces; any modality of a row may be absent."""
    from plait.progress import track
    from plait.table import printable, read_chunks, whole_table, write_chunks

    fitted = _load(model, table, root, store, strict, partial)
    with track(None, "predicting", "rows", fitted.progress) as bar:
        fitted.progress = False

        def pieces() -> Any:
            with whole_table():  # which refuses before the file is there
                for chunk in read_chunks(table, rows, encoding):
                    yield prediction_table(fitted, chunk, proba, keep or [])
                    bar.advance(len(chunk))

        if out is not None:
            count = write_chunks(pieces(), out)
            typer.echo(f"{count:,} predictions written to {out}", err=True)
            return
        for number, piece in enumerate(pieces()):
            typer.echo(printable(piece.to_csv(index=False, header=number == 0)), nl=False)


def prediction_table(fitted: FusionEstimator, chunk: pd.DataFrame, proba: bool, keep: list[str]) -> pd.DataFrame:
    """Prediction and probabilities of one piece of a table."""
    import pandas as pd

    from plait.errors import TableError, nearest
    from plait.table import printable

    for name in keep:
        if name not in chunk.columns:
            raise TableError(f"--keep {name}: no such column; {nearest(name, map(str, chunk.columns))}")
    columns: dict[str, Any] = {name: chunk[name].reset_index(drop=True) for name in keep}
    decoded = fitted.decoded(chunk)
    answer = fitted.members_.task.answer(decoded)
    if fitted.task_ == "multilabel":
        labels = fitted.labels
        columns["prediction"] = ["|".join(str(c) for c, on in zip(labels, row, strict=True) if on) for row in answer]
    else:
        columns["prediction"] = answer
    if proba and fitted.task_ != "regression":
        columns |= {printable(f"p({label})"): decoded[:, i].round(6) for i, label in enumerate(fitted.labels)}
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
    from plait.conditions import parse
    from plait.evaluation import evaluate as judge
    from plait.evaluation import plain_values
    from plait.table import read_table, whole_table

    asked = [parse(told, "--condition") for told in condition or ()]
    fitted = _load(model, table, root, store, strict, partial)
    frame = _with_target(fitted, read_table(table, encoding))
    with whole_table():
        judged = judge(fitted, frame, subsets=subsets)
    changed = [_under(each, fitted, frame, judged) for each in asked]
    if json:
        show_json(judged.to_dict() | ({"conditions": plain_values(changed)} if asked else {}))
        return
    typer.echo(f"{judged.rows:,} rows\n")
    show_table([{"metric": name, **_value(found)} for name, found in judged.metrics.items()])
    if judged.per_class:
        typer.echo("\nper class")
        show_table(judged.per_class)
    if judged.subsets:
        typer.echo(f"\n{judged.main_metric} with only these modalities present")
        show_table([{"modalities": "+".join(s["modalities"]) or "(none)", **_value(s)} for s in judged.subsets])
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
    root: o.Root = None,
    partial: Partial = False,
    strict: o.Strict = False,
    store: o.Store = None,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """What each modality is worth: exact Shapley values over all subsets, for the table and for every row."""
    from plait.explanation import explain as shapley
    from plait.table import read_table, whole_table

    fitted = _load(model, table, root, store, strict, partial)
    with whole_table():
        found = shapley(fitted, _with_target(fitted, read_table(table, encoding)))
    if out is not None:
        from plait.report import write_explanation

        written = write_explanation(out, found)
        typer.echo("written: " + ", ".join(str(path) for path in written), err=True)
    if json:
        show_json(found.to_dict())
        return
    show_table(
        [{"modality": e["modality"], "worth": e["value"], "low": e["low"], "high": e["high"]} for e in found.overall]
    )


def _under(condition: Condition, fitted: FusionEstimator, frame: pd.DataFrame, plain: Evaluation) -> dict[str, Any]:
    """The main metric under a condition, and what it differs by."""
    from plait.evaluation import evaluate as judge

    found = judge(fitted, condition.apply(frame, fitted.schema_, fitted.root), subsets=False).score
    difference = found["value"] - plain.score["value"]
    return {"condition": condition.label, **condition.axes, **_value(found), "difference": difference}


def _with_target(fitted: FusionEstimator, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a target, the others counted; a table without the target column is an error."""
    from plait.errors import TableError
    from plait.targets import with_target

    target = fitted.schema_.target
    if target is None:
        raise TableError("the model does not know its target's column; it was fitted from Python without a schema")
    return with_target(frame, target)


def _value(found: Any) -> dict[str, Any]:
    return {"value": found.get("value"), "low": found.get("low"), "high": found.get("high")}
