"""``plait explain``: what modalities, columns, words and patches are worth."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.base.errors import ConfigError
from plait.base.progress import plan, step
from plait.cli import options as o
from plait.cli.app import app
from plait.cli.evaluate import heading, judged_rows, show_by_target
from plait.cli.show import harmless, show_table, show_text, show_title, show_words
from plait.cli.use import models_of

if TYPE_CHECKING:
    from plait.evaluation.explain import Explanation
    from plait.evaluation.parts import Moved


@app.command()
def explain(
    model: o.Model,
    table: o.Table,
    out: Annotated[Path | None, typer.Option(help="Folder for a picture and the values of every row.")] = None,
    importance: Annotated[bool, typer.Option(help="Also of each column.")] = True,
    rows: Annotated[
        str | None, typer.Option(help="Numbers of a few rows, 3,17: which words and patches moved their answers.")
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
    """Say what each modality and each column is worth.

    Modalities by exact Shapley values, over the table and for every row; columns by shuffling them.
    """
    from plait.cli.fit import show_importance
    from plait.data.row_numbers import whole_table
    from plait.estimators.targets import folders_of
    from plait.evaluation.explain import explain as shapley
    from plait.evaluation.importance import importance as shuffled

    chosen = o.row_numbers_given(rows)
    if chosen and sample is not None:
        raise ConfigError(
            "--rows and --sample: rows are named by their numbers in the whole table; keep one of the two"
        )
    values: dict[str, Any] = {}
    written: list[str] = []
    with models_of(model, table, root, store, strict, partial) as models, whole_table() as files:
        whole = o.read(table, encoding, remote, root, sample)
        plan(["explain"] * len(models))
        places = folders_of(list(models))
        for target, fitted in models.items():
            judged = judged_rows(fitted, whole, table, held_out)
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
