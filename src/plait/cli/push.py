"""``plait push``: a model folder to a hub."""

from __future__ import annotations

from typing import Annotated

import typer

from plait.base.progress import step
from plait.cli import options as o
from plait.cli.app import app


@app.command()
def push(
    model: o.Model,
    repo: Annotated[str, typer.Argument(help="owner/name on the hub; or a folder: ./name.", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="Everybody may read it; else its owner alone.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also results.json and report.html, which show rows of the tables.")
    ] = False,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "A plait model",
) -> None:
    """Send a model to a hub, with a card that it understands; HF_TOKEN and HF_ENDPOINT as huggingface_hub reads them."""
    from plait.store.hub import push as send

    step(f"push {model.name}")
    typer.echo(send(model, repo, public=public, report=report, message=message))
