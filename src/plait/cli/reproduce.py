"""``plait reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from plait.base import progress
from plait.base.errors import ConfigError
from plait.cli import options as o
from plait.cli.app import app
from plait.cli.show import show_json, show_table


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

    told = line.verdict in ("not decided", "not run") or (line.reason.startswith("ours is") and not line.order)
    reason = f" ({line.reason})" if line.reason and told else ""
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
