"""``plait inspect`` and ``plait curves``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from plait.base.progress import step
from plait.cli import options as o
from plait.cli.app import app
from plait.cli.show import command_line, show_json, show_table


@app.command()
def inspect(
    model: o.Model,
    other: Annotated[Path | None, typer.Argument(help="Another one of the same target, to compare with.")] = None,
    table: Annotated[Path | None, typer.Option(help="With the target; default: the table of the fit.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: MODEL-inspection beside the model.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="What a model is called, one per model.")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share of rows held out; default: as the fit.")] = None,
    split_column: Annotated[
        str | None, typer.Option(help="A column that says train or test; default: as the fit.")
    ] = None,
    group: o.Group = None,
    random_state: Annotated[
        int | None, typer.Option("--random-state", "--seed", help="Seed; default: of the fit.")
    ] = None,
    member: Annotated[int, typer.Option(help="Which of its networks.", min=0)] = 0,
    rows: Annotated[int, typer.Option(help="Rows of each part at most.", min=20)] = 5000,
    projection: Annotated[list[str] | None, typer.Option(help="pca, tsne or umap; default: what is installed.")] = None,
    root: o.Root = None,
    remote: o.Remote = None,
    store: o.Store = None,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """Look into a model, or compare two.

    Embeddings, linear probes, CKA, pictures, alignment and uniformity.
    """
    from plait.base.errors import TableError
    from plait.base.folders import check_files
    from plait.estimators.base import FusionEstimator
    from plait.workflow.inspection.inspecting import inspect as look
    from plait.workflow.inspection.page import write_inspection
    from plait.workflow.inspection.result import HeldOut, table_of

    step("load models")
    models = [FusionEstimator.load(folder) for folder in (model, other) if folder is not None]
    place = table if table is not None else table_of(models[0])
    if place is None:
        raise TableError(f"{model}: the table of its fit is not known or not there any more; name it with --table")
    for each in models:
        each.root = o.media_root(root, each.root, place)
        each.store = store if store is not None else each.store
    folder = out or model.with_name(f"{model.resolve().name}-inspection")
    usual = [f.resolve().name for f in (model, other) if f is not None]
    if len(set(usual)) < len(usual):
        usual = [f"{n} ({i})" for i, n in enumerate(usual, 1)]
    frame = o.read(place, encoding, remote, root)
    check_files(folder, ["report.html"])  # refused before any work
    step("look into the models")
    result = look(
        models[0],
        frame,
        models[1] if len(models) > 1 else None,
        names=list(name or usual),
        held_out=HeldOut(test_fraction, split_column, group, random_state),
        member=member,
        most=rows,
        projections=projection or None,
    )
    write_inspection(dataclasses.replace(result, command=command_line()), folder)
    if json:
        show_json({**result.to_dict(), "folder": str(folder)})
        return
    shown = ["run", "modality", "place", "width", "probe", "probe_low", "probe_high", "chance"]
    shown += ["class_alignment", "uniformity"]
    show_table(result.measures.to_dict("records"), shown)  # type: ignore[arg-type]  # column names are text
    typer.echo("")
    show_table(result.comparison.astype(object).where(result.comparison.notna(), None).to_dict("records"))  # type: ignore[arg-type]
    typer.echo(f"\nfolder  {folder}\npage    {folder / 'report.html'}")


_Several = list[str] | None


@app.command()
def curves(
    runs: Annotated[list[Path], typer.Argument(help="Model folders, study folders, runs of a study.")],
    metric: Annotated[
        _Several,
        typer.Option(help="What to draw: loss, or a score that was recorded, as often as needed.", show_default="loss"),
    ] = None,
    part: Annotated[
        _Several, typer.Option(help="train, validation or test, as often as needed.", show_default="validation")
    ] = None,
    pattern: Annotated[
        _Several, typer.Option(help="Present modalities, such as IT, I or T, as often as needed.", show_default="all")
    ] = None,
    stage: Annotated[
        str, typer.Option(help="train, pretrain (encoders alone, a line for each modality) or all.")
    ] = "train",
    reach: Annotated[float | None, typer.Option(help="Count the epochs until the metric is as good as this.")] = None,
    out: Annotated[Path, typer.Option(help="A .svg, .png or .html file.")] = Path("curves.svg"),
    json: o.Json = False,
) -> None:
    """Draw learning curves of one or many trainings.

    Losses are always kept, scores where record_epochs was set.
    """
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
