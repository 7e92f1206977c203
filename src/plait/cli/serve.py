"""``plait serve``: a model behind HTTP, with a form to try it."""

from __future__ import annotations

from typing import Annotated

import typer

from plait.base.progress import step
from plait.cli import options as o
from plait.cli.app import app


@app.command()
def serve(
    model: o.Model,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0: all of them.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0: a free one.", min=0, max=65535)] = 8000,
    body_mb: Annotated[float, typer.Option(help="Megabytes of a request at most.")] = 20.0,
    rows: Annotated[int, typer.Option(help="Rows of a batch at most.")] = 1000,
    seconds: Annotated[float, typer.Option(help="For a request to arrive, and for its answer.")] = 30.0,
    requests: Annotated[int, typer.Option(help="Requests at once at most; others are told to come again.")] = 16,
    url_hosts: Annotated[
        list[str] | None,
        typer.Option(
            help="Host from which URLs of pictures and sounds are fetched, as often as needed.", show_default=False
        ),
    ] = None,
) -> None:
    """Answer over HTTP: a form at /, JSON rows at /predict and /predict/batch, uploads at /predict/upload, /health."""
    from plait.serving.answers import Answers
    from plait.serving.app import serve as run
    from plait.serving.limits import Limits
    from plait.store.hub import located

    limits = Limits(body_mb=body_mb, rows=rows, seconds=seconds, requests=requests, url_hosts=tuple(url_hosts or ()))
    step(f"load {model.name}")
    loaded = Answers(located(model, download=True)).models
    said = f"answers for {', '.join(loaded)}; stop with Ctrl-C"
    run(loaded, host=host, port=port, limits=limits, started=lambda url: typer.echo(f"{url} {said}", err=True))
