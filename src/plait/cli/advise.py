"""``plait advise``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from plait.cli import options as o
from plait.cli.app import app
from plait.cli.show import show_json, show_text


@app.command()
def advise(
    table: o.Table,
    target: o.Target = None,
    minutes: Annotated[
        float,
        typer.Option(help="Time for it; only the fit that runs then is finished. From 30 on tuned encoders are tried."),
    ] = 10.0,
    splits: Annotated[int, typer.Option(help="Splits of the rows, at most.", min=1)] = 10,
    schema: o.SchemaFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder of its studies; default: runs/advice-TABLE-TARGET.")] = None,
    task: o.Task = None,
    root: o.Root = None,
    remote: o.Remote = None,
    set_: o.Set = None,
    group: o.Group = None,
    workers: Annotated[int | None, typer.Option(help="Processes; default: one per core.")] = None,
    store: o.Store = None,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """Race designs on a table, and say in ten lines how to fuse it.

    The evidence is written beside it; killed, the same command carries on.
    """
    from plait.base.errors import ModelError
    from plait.base.folders import claim_folder, model_kind
    from plait.data import schema as schemas
    from plait.data.remote import address_of
    from plait.data.table import read_table
    from plait.store import model_files
    from plait.study.advice import advise as race
    from plait.study.advice import evidence_folder

    frame = read_table(table, encoding, remote, root)
    result, from_file = o.read_schema(frame, schema, target, task, root, table)
    settings = o.settings_of(from_file, None, set_)
    folder = out or Path("runs") / f"advice-{table.name.partition('.')[0]}-{result.target}"
    other = model_kind(folder)
    if other is not None:
        raise ModelError(f"--out {folder}: holds a {other}; name another folder for the studies")
    if not (folder / "race").is_dir():  # else it is plait's, and goes on
        claim_folder(folder, ["schema.yaml"])
    model_files.write_file(folder / "schema.yaml", schemas.to_yaml(result).encode())
    data: dict[str, Any] = {
        "table": address_of(table) or str(table.absolute()),
        "schema": str((folder / "schema.yaml").absolute()),
    }
    data |= {"remote": remote} if remote else {}
    given = race(
        data,
        result,
        minutes=minutes,
        splits=splits,
        out=folder,
        settings=settings,
        group=group,
        table=str(table),
        workers=workers,
        store=store,
    )
    if json:
        show_json(given.to_dict())
        return
    places = [folder / "race", *[evidence_folder(folder, given.variant)] * (not given.conditions.empty)]
    reports = "; ".join(shlex.join(["plait", "study", "report", str(place)]) for place in places)
    for line in [*given.lines, f"evidence: {reports}"]:
        show_text(line)
