"""``plait evaluate`` and ``plait explain``: how good a model is, and what modalities, columns, words and patches are worth."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.base.errors import ConfigError, warn
from plait.base.progress import plan, step
from plait.cli import options as o
from plait.cli.app import app
from plait.cli.show import harmless, show_json, show_table, show_text, show_title, show_words
from plait.cli.use import OnTable

if TYPE_CHECKING:
    import pandas as pd

    from plait.conditions.base import Condition
    from plait.estimators.base import FusionEstimator
    from plait.evaluation.evaluate import Evaluation
    from plait.evaluation.explain import Explanation
    from plait.evaluation.parts import Moved


Conditions = Annotated[
    list[str] | None,
    typer.Option(
        "--condition",
        help="Also with changed inputs, as often as needed: white_noise:image:snr_db=0, absent:text=0.5 "
        "(plait list conditions).",
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnRows(OnTable):
    """The same of a command that looks at rows with their target."""

    held_out: o.HeldOut = False
    sample: o.Sample = None


@app.command()
@o.given(OnRows)
def evaluate(
    on: OnRows,
    subsets: Annotated[bool, typer.Option(help="Also with only some modalities present.")] = True,
    condition: Conditions = None,
    baselines: Annotated[
        Path | None,
        typer.Option(help="The table that the model was fitted on: all baselines are fitted on it, too, and compared."),
    ] = None,
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
    with on.models() as models:
        whole = on.read(on.table, on.sample)
        seen = None if baselines is None else on.read(baselines, on.sample)
        for fitted in models.values():
            for each in requested:
                each.targets(fitted.schema_)  # refused before any work
        plan(["judge", *(f"judge under {each.label}" for each in requested)] * len(models))
        for target, fitted in models.items():
            frame = judged_rows(fitted, whole, on)
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


def judged_rows(fitted: FusionEstimator, frame: pd.DataFrame, on: OnRows) -> pd.DataFrame:
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
        if on.held_out:
            of = on.table if on.sample is None else f"this sample of {on.table}"
            raise TableError(
                f"--held-out: {of} is not the table that the model was fitted on, cell for cell (one fitted with --sample wants "
                "the same --sample, one fitted with --test the test table alone, without --held-out)"
            )
        return frame
    if on.held_out:
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


@app.command()
@o.given(OnRows)
def explain(
    on: OnRows,
    out: Annotated[Path | None, typer.Option(help="Folder for a picture and the values of every row.")] = None,
    importance: Annotated[bool, typer.Option(help="Also of each column.")] = True,
    rows: Annotated[
        str | None, typer.Option(help="Numbers of a few rows, 3,17: which words and patches moved their answers.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Say what each modality and each column is worth.

    Modalities by exact Shapley values, over the table and for every row; columns by shuffling them.
    """
    from plait.cli.fit import show_importance
    from plait.data.row_numbers import whole_table
    from plait.estimators.target_models import folders_of
    from plait.evaluation.explain import explain as shapley
    from plait.evaluation.importance import importance as shuffled

    chosen = o.row_numbers_given(rows)
    if chosen and on.sample is not None:
        raise ConfigError(
            "--rows and --sample: rows are named by their numbers in the whole table; keep one of the two"
        )
    values: dict[str, Any] = {}
    written: list[str] = []
    with on.models() as models, whole_table() as files:
        whole = on.read(on.table, on.sample)
        plan(["explain"] * len(models))
        places = folders_of(list(models))
        for target, fitted in models.items():
            judged = judged_rows(fitted, whole, on)
            _check_rows(chosen, whole, judged, fitted.schema_.target)
            frame = files.of(judged)
            step("explain")
            with fitted.remembering():
                result = shapley(fitted, frame, rows=chosen)
                columns = shuffled(fitted, frame, explanation=result) if importance else None
            if out is not None:
                from plait.report.fit import write_explanation

                below = f"{places[target]}/" if len(models) > 1 else ""
                written += [f"{below}{path.name}" for path in write_explanation(out / below, result, columns)]
            values[target] = result.to_dict() | {"importance": [] if columns is None else columns.to_dict("records")}
            if not json:
                heading(target, models)
                _show_explanation(result)
                if columns is not None:
                    show_importance(columns, len(columns))
                for one in result.parts:
                    _show_moved(one, result.parts)
    if json:
        show_by_target(values)
    if written:
        typer.echo(f"written to {out}: " + ", ".join(written), err=True)


def _check_rows(chosen: Sequence[int], whole: Any, judged: Any, target: str | None) -> None:
    """Refuse a row that is not explained, and say why it is not: there is none, it has no target, or it was learned from."""
    from plait.base.errors import TableError
    from plait.data.values import nulls

    for row in chosen:
        if row in judged.index:
            continue
        where = f"--rows {row}: "
        if row >= len(whole):
            raise TableError(f"{where}the table has no such row; its rows are numbered 0 to {len(whole) - 1}")
        if nulls(whole[target])[row]:
            raise TableError(f"{where}it has no '{target}', by which it could be judged; take a row that has one")
        few = ", ".join(map(str, judged.index[:3]))
        raise TableError(
            f"{where}the model learned from it; take one of the {len(judged):,} rows that were held out (as {few}), or leave out "
            "--held-out"
        )


def _show_moved(one: Moved, every: Sequence[Moved]) -> None:
    """The strongest parts of a cell; on a terminal its words in colours; of a picture the value of each patch."""
    from plait.report.fit import shades

    show_title(f"row {one.row}, {one.column}: the answer is {one.answer}{_how_sure(one)}")
    if one.picture is not None:
        for line in one.grid:
            typer.echo("  " + " ".join(f"{value:+.3f}" for value in line))
    elif sys.stdout.isatty():
        show_words([(t, _coloured(t, by)) for t, by in zip(map(harmless, one.parts), shades(one, every), strict=True)])
    show_text(f"it rests most on (how much lower it is without each): {one.said()}")


def _how_sure(one: Moved) -> str:
    """The probability of an answer that has one."""
    return f", with probability {one.full:.3f}" if one.probability else ""


def _coloured(text: str, shade: float) -> str:
    """A word in blue where it speaks for the answer, in red where against, plain where it hardly matters."""
    return typer.style(text, bg="blue" if shade > 0 else "red", fg="white") if abs(shade) > 0.2 else text


def _show_explanation(explanation: Explanation) -> None:
    """The modalities' worths, in which score, and what they prove."""
    from plait.report.sections.modalities import worth

    show_text(
        f"what each modality adds to {explanation.games[0]['label']} on {len(explanation.rows):,} rows (Shapley value)"
    )
    show_table(
        [
            {"modality": e["modality"], "worth": e["value"], "low": e["low"], "high": e["high"]}
            for e in explanation.overall
        ]
    )
    show_text(worth(explanation))
