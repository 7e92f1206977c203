"""``plait study check``, ``plan``, ``run``, ``status``, ``results`` and ``report``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.base import progress
from plait.cli import options as o
from plait.cli.app import Typer, app
from plait.cli.show import show_command, show_json, show_table, show_text

if TYPE_CHECKING:
    from plait.study import Results

study_app = Typer(
    help="Compare models fairly: one file says what, one command runs.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(study_app, name="study")

File = Annotated[str, typer.Argument(help="A study file, or the name of a recipe.")]
Folder = Annotated[Path, typer.Argument(help="The folder of a study.")]
Out = Annotated[Path | None, typer.Option(help="Folder; default: runs/study-NAME.")]
Workers = Annotated[int | None, typer.Option(help="Processes; default: one per core.")]


@study_app.command()
def check(
    file: File, data: Annotated[bool, typer.Option(help="Read the tables too.")] = True, json: o.Json = False
) -> None:
    """Say everything that is wrong with a study file, by line."""
    from plait.study import Study

    progress.step(f"check {Path(file).name}")
    study = Study.load(file)
    result = study.check(data=data)
    if json:
        show_json({"file": study.where, "mistakes": [{"line": m.line, "text": m.text} for m in result]})
    else:
        for mistake in result:
            typer.echo(f"{study.where}:{mistake.line or 1}: {mistake.text}")
        if not result:
            typer.echo(f"{study.where}: no mistakes")
    if result:
        raise typer.Exit(2)


@study_app.command()
def plan(
    file: File,
    out: Out = None,
    probes: Annotated[int, typer.Option(help="Runs to try for the estimate; they are kept.", min=0)] = 3,
    workers: Workers = None,
    json: o.Json = False,
) -> None:
    """Say how many runs there are, and how long they will take."""
    from plait.base.deadline import duration
    from plait.report.words import counted
    from plait.study import Study

    progress.step("try a few runs" if probes else f"read {Path(file).name}")
    result = Study.load(file).plan(out, probes=probes, workers=workers)
    if json:
        show_json(result.to_dict())
        return
    typer.echo(f"{result.name}: {result.runs} runs, {result.done} done, {result.failed} failed")
    show_table([{"table": label, **parts} for label, parts in result.by.items()])
    encodings, times = counted(result.encodings, "encoding"), counted(result.groups, "time")
    show_text(f"shared by the runs: {encodings} of {counted(result.cells, 'cell')}; rows are prepared {times}")
    if result.seconds is not None:
        tried = f" (after {counted(result.probed, 'probe')})" if result.probed else ""
        side = counted(result.workers, "worker")
        show_text(f"time left: about {duration(result.seconds)} with {side}{tried}")


@study_app.command()
def run(
    file: File,
    out: Out = None,
    workers: Workers = None,
    engine: Annotated[str, typer.Option(help="local, ray or inline (this process).")] = "local",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed runs again.")] = False,
    store: o.Store = None,
    json: o.Json = False,
) -> None:
    """Run what is not done yet; killed, the same command goes on."""
    from plait.study import Study

    progress.step(f"run {Path(file).name}")
    study = Study.load(file)
    command = shlex.join(["plait", *sys.argv[1:]])
    result = study.run(out, workers=workers, engine=engine, retry_failed=retry_failed, store=store, command=command)
    _show(result, json)
    if not json:
        typer.echo(f"\nfolder  {result.folder}\nnext")
        show_command("study", "report", result.folder)


@study_app.command()
def status(folder: Folder, json: o.Json = False) -> None:
    """Say how far a study is."""
    from plait.study import Results

    result = Results.open(folder)
    value = result.status()
    if json:
        show_json(value)
        return
    typer.echo(
        ", ".join(f"{value[key]} {key}" for key in ("done", "failed", "stopped", "waiting")) + f" of {value['runs']}"
    )
    if value["reasons"]:
        show_table([{"runs": count, "reason": reason} for reason, count in value["reasons"].items()])


@study_app.command()
def results(
    folder: Folder,
    csv: Annotated[bool, typer.Option("--csv", help="Every value of every run, as CSV.")] = False,
    json: o.Json = False,
) -> None:
    """Print the mean of every variant, or with --csv every value."""
    from plait.study import Results

    result = Results.open(folder)
    if csv:
        typer.echo(result.frame.to_csv(index=False), nl=False)
        return
    _show(result, json)


@study_app.command()
def report(
    folder: Folder, out: Annotated[Path | None, typer.Option(help="Folder; default: FOLDER/report.")] = None
) -> None:
    """Write the report of a study: HTML, Markdown, CSV and figures."""
    from plait.study import Results
    from plait.study.report import write_study_report

    progress.step("write the report")
    place = out or folder / "report"
    written: Any = write_study_report(Results.open(folder), place)
    typer.echo(f"report  {written if written is not None else place}")


@study_app.command(name="list")
def list_command(json: o.Json = False) -> None:
    """List the recipes that come with plait."""
    from plait.study import Study, recipes

    records = [{"recipe": name, "about": Study.load(name).spec.about} for name in recipes()]
    show_json(records) if json else show_table(records)


def _show(study_results: Results, json: bool) -> None:
    value = study_results.status()
    rows = study_results.summary()
    if json:
        show_json({**value, "folder": str(study_results.folder), "means": rows.to_dict("records")})
        return
    from plait.study.subjects import subject_of

    for title, part in subject_of(study_results.spec).shown(rows):
        typer.echo(f"\n{title}" if title else "", nl=bool(title))
        show_table(part)
    typer.echo(f"\n{value['done']} of {value['runs']} runs done, {value['failed']} failed, {value['waiting']} waiting")
    for reason, count in value["reasons"].items():
        typer.echo(f"  failed {count} times: {reason}")
