"""``plait evaluate``, and which rows it and ``plait explain`` look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.base.errors import warn
from plait.base.progress import plan, step
from plait.cli import options as o
from plait.cli.app import app
from plait.cli.show import show_json, show_table, show_text
from plait.cli.use import models_of

if TYPE_CHECKING:
    import pandas as pd

    from plait.conditions.base import Condition
    from plait.estimators.base import FusionEstimator
    from plait.evaluation.evaluate import Evaluation

Conditions = Annotated[
    list[str] | None,
    typer.Option(
        "--condition",
        help="Also with changed inputs, as often as needed: white_noise:image:snr_db=0, absent:text=0.5 "
        "(plait list conditions).",
    ),
]


@app.command()
def evaluate(
    model: o.Model,
    table: o.Table,
    subsets: Annotated[bool, typer.Option(help="Also with only some modalities present.")] = True,
    condition: Conditions = None,
    baselines: Annotated[
        Path | None, typer.Option(help="The table that it was fitted on: baselines are fitted on it and compared.")
    ] = None,
    root: o.Root = None,
    remote: o.Remote = None,
    held_out: o.HeldOut = False,
    partial: o.Partial = False,
    strict: o.Strict = False,
    store: o.Store = None,
    sample: o.Sample = None,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """Judge a model on a table that holds its target.

    Metrics with intervals, per class, per subset of the modalities, per condition.
    """
    from plait.conditions.parse import parse
    from plait.data.row_numbers import whole_table
    from plait.evaluation.evaluate import evaluate as judge
    from plait.store.model_files import plain_values

    requested = [parse(value, "--condition") for value in condition or ()]
    values: dict[str, Any] = {}
    with models_of(model, table, root, store, strict, partial) as models:
        whole = o.read(table, encoding, remote, root, sample)
        seen = None if baselines is None else o.read(baselines, encoding, remote, root, sample)
        plan(["judge", *(f"judge under {each.label}" for each in requested)] * len(models))
        for target, fitted in models.items():
            frame = judged_rows(fitted, whole, table, held_out)
            step("judge")
            with whole_table() as files:
                judged = judge(fitted, files.of(frame), subsets=subsets, baselines=seen)
            changed = [_under(each, fitted, frame, judged) for each in requested]
            values[target] = judged.to_dict() | ({"conditions": plain_values(changed)} if requested else {})
            if not json:
                heading(target, models)
                _show_evaluation(judged, changed)
    if json:
        show_by_target(values)


def heading(target: str, models: Mapping[str, Any]) -> None:
    """Which target the next section is of, where there are several."""
    if len(models) > 1:
        typer.echo(f"\n== {target} ==")


def show_by_target(values: Mapping[str, Any]) -> None:
    """JSON of each target by its name; of one target, its alone."""
    show_json(values if len(values) > 1 else next(iter(values.values())))


def _show_evaluation(judged: Evaluation, changed: Sequence[Mapping[str, Any]]) -> None:
    """Metrics, baselines, classes, subsets, worst rows and what conditions change."""
    typer.echo(f"{judged.rows:,} rows\n")
    show_table([{"metric": name, **_value(result)} for name, result in judged.metrics.items()])
    if judged.baselines is not None:
        from plait.report.sections.scores import baseline_name, verdict

        typer.echo("\nbaselines, fitted on the training table")
        main = judged.main_metric
        scores = [(baseline_name(judged.task, name), s.get(main)) for name, s in judged.baselines.items()]
        show_table([{"model": "plait", main: judged.score["value"]}, *({"model": n, main: v} for n, v in scores)])
        show_text(verdict(judged, judged.baselines))
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


def _under(condition: Condition, fitted: FusionEstimator, frame: pd.DataFrame, plain: Evaluation) -> dict[str, object]:
    """The main metric under a condition, and what it differs by."""
    from plait.evaluation.evaluate import evaluate as judge

    step(f"judge under {condition.label}")
    result = judge(fitted, condition.apply(frame, fitted.schema_, fitted.root), subsets=False).score
    difference = result["value"] - plain.score["value"]
    return {"condition": condition.label, **condition.axes, **_value(result), "difference": difference}


def judged_rows(fitted: FusionEstimator, frame: pd.DataFrame, table: Path, held_out: bool) -> pd.DataFrame:
    """The rows that have a target, the others counted; those that the model learned from are left out, or it is said.

    Raises:
        TableError: no target column; or ``held_out``, and it is not the table that the model was fitted on.
    """
    from plait.base.errors import TableError
    from plait.data.targets import with_target
    from plait.workflow.inspection.result import fit_parts

    target = fitted.schema_.target
    if target is None:
        raise TableError("the model does not know its target's column; it was fitted from Python without a schema")
    frame = with_target(frame, target)
    parts = fit_parts(fitted, frame)
    if parts is None:
        if held_out:
            raise TableError(f"--held-out: {table} is not the table that the model was fitted on, cell for cell")
        return frame
    if held_out:
        return frame.iloc[parts[1]]
    learned = (
        f"the model learned from {len(parts[0]):,} of these {len(frame):,} rows, which makes it look better than it is"
    )
    warn(f"{learned}; --held-out takes the other {len(parts[1]):,} alone")
    return frame


def _subset(names: Sequence[str], most: int) -> str:
    value = "+".join(names) or "(none)"
    return f"everything: {value}" if len(names) == most > 1 else value


def _value(result: Any) -> dict[str, Any]:
    return {"value": result.get("value"), "low": result.get("low"), "high": result.get("high")}
