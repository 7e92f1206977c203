"""``plait data``: which data sets are here, which could be had and how, and their download."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from plait.cli import options as o
from plait.cli.app import Typer, app
from plait.cli.options import show_json, show_table

data_app = Typer(no_args_is_help=True, help="Data sets: which are here, which could be had and how.")
app.add_typer(data_app, name="data")

_Root = Annotated[Path | None, typer.Option(help="The folder of all data; default: $PLAIT_DATA.", show_default=False)]


@data_app.command("list")
def list_command(
    root: _Root = None,
    check: Annotated[bool, typer.Option("--check", help="Compare checksums, too.")] = False,
    json: o.Json = False,
) -> None:
    """Show every data set: here or not, how it could be had, how large it is, its licence."""
    from plait.datasets.fetch import listed

    states = [dataclasses.asdict(state) for state in listed(root, check)]
    if json:
        show_json(states)
        return
    show_table([_shown(state) for state in states])


def _shown(state: dict[str, Any]) -> dict[str, Any]:
    licence, read = state["licence"], state.pop("licence_from")
    return {
        **state,
        "licence": licence if read else f"{licence} (not verified)",
        "missing": ", ".join(state["missing"]),
    }


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Of a data set (plait data list).")],
    root: _Root = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the licence and accept it.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Download what is missing of a data set; a download that was cut goes on where it stopped."""
    from plait.base import registry
    from plait.datasets import fetch as fetching

    variant = registry.find("datasets", name)
    if not accept_licence and sys.stdin.isatty() and variant.files:
        typer.echo(f"{variant.label()}\nlicence  {variant.licence_text()}\nsource   {variant.url}", err=True)
        accept_licence = typer.confirm("Do you accept this licence?", err=True)
    files = fetching.fetch(name, root, accept_licence=accept_licence)
    show_json([str(file) for file in files]) if json else typer.echo("\n".join(map(str, files)))
