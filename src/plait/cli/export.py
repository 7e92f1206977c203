"""``plait export``: a model as ONNX files that answer without plait."""

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
    out: Annotated[
        Path | None, typer.Option(help="Folder; default: the model's name with -onnx behind it.", show_default=False)
    ] = None,
    onnx: Annotated[bool, typer.Option(help="The format; there is no other yet.")] = True,
    encoders: Annotated[
        bool,
        typer.Option("--encoders", help="Also the frozen encoders that onnxruntime can run (MiniLM, EfficientNet)."),
    ] = False,
    opset: Annotated[int, typer.Option(help="Of ONNX's operators, 17 to 20.")] = 17,
) -> None:
    """Write model.onnx, checked against the model, and inputs.json, which says what it takes; needs neither plait nor torch."""
    from plait.estimators.estimators import export as write
    from plait.store.hub import located

    folder = out or model.with_name(f"{model.resolve().name}-onnx")
    step(f"export {model.name}")
    write(located(model, download=True), folder, onnx=onnx, encoders=encoders, opset=opset)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            typer.echo(f"{path} ({path.stat().st_size:,} bytes)")
