"""``plait curves``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from plait.base.progress import step
from plait.cli import options as o
from plait.cli.app import app
from plait.cli.options import show_json, show_table

_Several = list[str] | None


@app.command()
def curves(
    runs: Annotated[
        list[Path], typer.Argument(help="Model folders, study folders, runs of a study.", show_default=False)
    ],
    metric: Annotated[_Several, typer.Option(help="What to draw, as often as needed.", show_default="loss")] = None,
    part: Annotated[
        _Several, typer.Option(help="train, validation or test, as often as needed.", show_default="validation")
    ] = None,
    pattern: Annotated[
        _Several, typer.Option(help="Present modalities, such as IT, I or T, as often as needed.", show_default="all")
    ] = None,
    stage: Annotated[
        str, typer.Option(help="train, pretrain (encoders alone, a line for each modality) or all.")
    ] = "train",
    reach: Annotated[
        float | None, typer.Option(help="Count the epochs until the metric is as good as this.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="A .svg, .png or .html file.")] = Path("curves.svg"),
    json: o.Json = False,
) -> None:
    """Draw learning curves of one or many trainings side by side (scores need record_epochs; losses are always kept)."""
    from plait.report import curves as drawing

    step("draw curves")
    result = drawing.gather(runs, stage)
    value = drawing.chosen(result, metric or ["loss"], part or ["validation"], pattern or [])
    rows = drawing.summaries(result, value, reach)
    if json:
        show_json([_curve_of(drawing, result, row) for row in rows])
        return
    caption = "Mean over seeds and members; the band reaches from the least to the greatest of them."
    where = drawing.draw(drawing.panels(result, value, reach), out, caption)
    show_table(rows)
    typer.echo(f"\ncurves  {where}")


def _curve_of(drawing: Any, result: Any, row: dict[str, Any]) -> dict[str, Any]:
    """A summary with its points."""
    lines = drawing.curve(result, row["metric"], row["part"], row["pattern"] or "")
    one = lines[lines["label"] == row["label"]]
    points = one[["epoch", "mean", "min", "max", "count"]].to_dict(orient="records")
    return {**row, "epochs": points}
