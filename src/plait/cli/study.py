"""``plait study`` with its commands, and ``plait reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.base import progress
from plait.base.errors import ConfigError, ModelError
from plait.cli import options as o
from plait.cli.app import Typer, app
from plait.cli.show import command_line, show_command, show_json, show_table, show_text

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
    command = command_line()
    result = study.run(out, workers=workers, engine=engine, retry_failed=retry_failed, store=store, command=command)
    _show(result, json)
    if not json:
        typer.echo(f"\nfolder  {result.folder}\nnext")
        show_command("study", "report", result.folder)
    value = result.status()
    if value["failed"] and not value["done"]:
        reason = max(value["reasons"], key=value["reasons"].__getitem__)
        raise ModelError(f"{result.folder}: all {value['failed']} runs failed: {reason}")


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

    subject = subject_of(study_results.spec)
    for title, part in subject.shown(rows):
        typer.echo(f"\n{title}" if title else "", nl=bool(title))
        show_table(part)
    if lacks := subject.lacks():
        show_text(lacks)
    typer.echo(f"\n{value['done']} of {value['runs']} runs done, {value['failed']} failed, {value['waiting']} waiting")
    for reason, count in value["reasons"].items():
        typer.echo(f"  failed {count} times: {reason}")


@app.command()
def reproduce(
    paper: Annotated[str | None, typer.Argument(help="A paper, or a folder with a paper.yaml.")] = None,
    only: Annotated[str | None, typer.Option(help="One element, such as table4.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few rows and seeds, light encoders: minutes.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder; default: runs/reproduce-PAPER.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the papers, or the elements of one.")] = False,
    engine: Annotated[str, typer.Option(help="local, ray or inline (this process).")] = "local",
    store: o.Store = None,
    json: o.Json = False,
) -> None:
    """Run a paper's tables and figures, its numbers beside ours.

    Each is a study; killed, the same command goes on.
    """
    if list_:
        records = _elements(paper) if paper is not None else _papers()
        show_json(records) if json else show_table(records)
        return
    if paper is None:
        raise ConfigError("which paper? plait reproduce --list names them")
    from plait.papers.running import reproduce as run

    result = run(paper, only, quick=quick, out=out, store=store, engine=engine, say=progress.step)
    if json:
        show_json(
            {"folder": str(result.folder), "lines": [vars(line) for line in result.lines], "not_run": result.not_run}
        )
        return
    for element in result.elements:
        typer.echo(f"\n{element.name}: {element.title} ({element.status.replace('_', ' ')})")
        mine = [line for line in result.lines if line.element == element.name]
        bare = [line for line in mine if line.verdict == "measured" or (line.verdict == "not there" and line.paper)]
        shown = [line for line in mine if line not in bare]
        if shown:
            show_table([_record(line) for line in shown])
        if gone := sum(line.verdict == "not there" for line in bare):
            typer.echo(f"{gone} cells, in whose place nothing of ours stands, are in the page alone")
        if any(line.verdict == "measured" for line in bare):
            _show_measured(result, element)
    typer.echo()
    for text in result.not_run:
        typer.echo(f"not run: {text}")
    typer.echo(", ".join(f"{count} {verdict}" for verdict, count in result.verdicts.items()))
    typer.echo(f"folder  {result.folder}")
    typer.echo(f"page    {result.page}" if result.page else "page    none (extra report)")


def _show_measured(result: Any, element: Any) -> None:
    """What was measured where the paper states no number: the means of each study."""
    from plait.papers.holding import label, means

    for recipe in element.recipes:
        for dataset, measured in result.results.get(recipe, {}).items():
            typer.echo(f"{recipe} on {label(dataset)}")
            records: list[Any] = means(measured).to_dict("records")
            show_table(records)


def _papers() -> list[dict[str, object]]:
    from plait.papers.running import overview

    return overview()


def _elements(paper: str) -> list[dict[str, object]]:
    from plait.papers.paper import read

    return [
        {
            "element": e.name,
            "status": e.status.replace("_", " "),
            "recipes": " ".join(e.recipes) or "-",
            "title": e.title,
        }
        for e in read(paper).elements
    ]


def _number(value: float | None) -> float | str | None:
    """Counts, such as those of weights, without decimals."""
    return f"{value:,.0f}" if value is not None and abs(value) >= 100 else value


def _record(line: Any) -> dict[str, Any]:
    from plait.papers.holding import interval

    shown = line.verdict in ("not decided", "not run") or (line.reason.startswith("ours is") and not line.order)
    reason = f" ({line.reason})" if line.reason and shown else ""
    return {
        "cell": line.cell,
        "paper": _number(line.paper),
        "on": line.data or "-",
        "ours": _number(line.ours),
        "on ": line.our_data or "-",
        "seeds": line.seeds or None,
        "interval": interval(line) or "-",
        "verdict": f"{line.verdict}{reason}",
    }
