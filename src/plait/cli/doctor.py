"""``plait doctor``."""

from __future__ import annotations

import typer

from plait.cli import options as o
from plait.cli.app import app
from plait.cli.options import show_json, show_table, show_text


@app.command()
def doctor(json: o.Json = False) -> None:
    """What is installed, which encoders are ready, what the processor is used for, where caches lie and how large they are."""
    from plait.workflow.doctor import advice
    from plait.workflow.doctor import doctor as look

    result = look()
    if json:
        show_json(result | {"advice": advice(result)})
        return
    about, chip = result["plait"], result["processor"]
    versions = ", ".join(f"{name} {version}" for name, version in result["packages"].items())
    show_text(f"plait {about['version']}, Python {about['python']}, {about['system']}; {versions}")
    show_text(
        f"processor: {chip['cores']} cores, {chip['threads']} threads, {chip['features']}; encoders run in "
        f"{chip['encodes in']}; networks are trained on {chip['gpu'] or chip['device']}"
    )
    typer.echo("\nextras")
    rows = [
        {
            "extra": each["extra"],
            "ready": each["ready"],
            "packages": ", ".join(
                [f"{k} {v}" for k, v in each["here"].items()] + [f"{p} (missing)" for p in each["missing"]]
            ),
        }
        for each in result["extras"]
    ]
    show_table(rows)
    typer.echo("\nencoders: the usual one of each kind, and what else is ready")
    show_table([{"kind": e["kind"], "usual": e["default"], "ready": ", ".join(e["ready"])} for e in result["encoders"]])
    typer.echo("\nplaces")
    show_table(
        [
            {
                "what": place["what"],
                "size": _size(place["bytes"]),
                "free": _size(place["free"]),
                "folder": place["path"] + ("" if place["there"] else "  (not there yet)"),
            }
            for place in result["places"]
        ]
    )
    if result["environment"]:
        typer.echo("\nenvironment")
        show_table([{"variable": k, "value": v} for k, v in result["environment"].items()])
    for line in advice(result):
        show_text(f"note: {line}")


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
