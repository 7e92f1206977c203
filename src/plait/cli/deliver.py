"""``plait export``, ``plait push`` and ``plait serve``: a model where others use it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plait.base.progress import step
from plait.cli import options as o
from plait.cli.app import app


@app.command()
def export(
    model: o.Model,
    out: Annotated[Path | None, typer.Option(help="Folder; default: the model's name with -onnx behind it.")] = None,
    onnx: Annotated[bool, typer.Option(help="The format; there is no other yet.")] = True,
    encoders: Annotated[
        bool,
        typer.Option("--encoders", help="Also the frozen encoders that onnxruntime can run (MiniLM, EfficientNet)."),
    ] = False,
    opset: Annotated[int, typer.Option(help="Of ONNX's operators, 17 to 20.")] = 17,
) -> None:
    """Write a model as an ONNX file that needs no plait.

    model.onnx is checked against the model; inputs.json says what it takes.
    """
    from plait.estimators.estimators import export as write
    from plait.store.model_files import located

    folder = out or model.with_name(f"{model.resolve().name}-onnx")
    step(f"export {model.name}")
    write(located(model, download=True), folder, onnx=onnx, encoders=encoders, opset=opset)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            typer.echo(f"{path} ({path.stat().st_size:,} bytes)")


@app.command()
def push(
    model: o.Model,
    repo: Annotated[str, typer.Argument(help="owner/name on the hub; or a folder: ./name.")],
    public: Annotated[bool, typer.Option("--public", help="Everybody may read it; else its owner alone.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also results.json and report.html, which show rows of the tables.")
    ] = False,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "A plait model",
) -> None:
    """Send a model to a hub, with a card that it understands.

    HF_TOKEN and HF_ENDPOINT are read as huggingface_hub reads them.
    """
    from plait.store.model_files import push as send

    step(f"push {model.name}")
    typer.echo(send(model, repo, public=public, report=report, message=message))


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
        typer.Option(help="Host from which URLs of pictures and sounds are fetched, as often as needed."),
    ] = None,
) -> None:
    """Answer over HTTP: a form, JSON rows, uploads.

    A form at /, JSON rows at /predict and /predict/batch, uploads at /predict/upload, /health for watchers.
    """
    from plait.serving.answers import Answers
    from plait.serving.app import serve as run
    from plait.serving.limits import Limits
    from plait.store.model_files import located

    limits = Limits(body_mb=body_mb, rows=rows, seconds=seconds, requests=requests, url_hosts=tuple(url_hosts or ()))
    step(f"load {model.name}")
    loaded = Answers(located(model, download=True)).models
    said = f"answers for {', '.join(loaded)}; stop with Ctrl-C"
    run(loaded, host=host, port=port, limits=limits, started=lambda url: typer.echo(f"{url} {said}", err=True))
