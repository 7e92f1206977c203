"""``plait pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plait.cli import options as o
from plait.cli.app import app
from plait.cli.show import show_command, show_json, show_text

if TYPE_CHECKING:
    from plait.training.pretrained import Saved


@app.command()
def pretrain(
    table: o.Table,
    out: Annotated[Path, typer.Option(help="Folder for the encoder.")],
    target: o.Target = None,
    modality: Annotated[str | None, typer.Option(help="Which one; not needed where there is only one.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="A name, or a folder to go on from.", show_default="the kind's own")
    ] = None,
    schema: o.SchemaFile = None,
    task: o.Task = None,
    root: o.Root = None,
    remote: o.Remote = None,
    epochs: Annotated[int | None, typer.Option(help="At most so many.")] = None,
    record_epochs: o.RecordEpochs = False,
    tensorboard: o.TensorBoard = None,
    random_state: o.RandomState = None,
    set_: o.Set = None,
    test_fraction: Annotated[
        float, typer.Option(help="Share of rows left out, the same as by plait fit with this seed; 0: none.")
    ] = 0.15,
    split_column: Annotated[
        str | None, typer.Option(help="A column that says train or test; test rows are left out.")
    ] = None,
    group: o.Group = None,
    store: o.Store = None,
    strict: o.Strict = False,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """Train the encoder of one modality alone, and save it.

    plait fit --encoder takes the folder back.
    """
    from plait.base import config
    from plait.data.table import read_table
    from plait.workflow.pretrain import FUSION
    from plait.workflow.pretrain import pretrain as train_and_save

    frame = read_table(table, encoding, remote, root)
    result, from_file = o.read_schema(frame, schema, target, task, root, table)
    from_file = {field: value for field, value in from_file.items() if field not in FUSION}  # for a later plait fit
    kept = {"store": store, "record_epochs": record_epochs or None, "tensorboard": tensorboard}
    settings = o.settings_of(from_file, None, None, random_state=random_state, strict=strict or None, **kept)
    if epochs is not None:
        settings["pretrain"] = {**(settings.get("pretrain") or {}), "epochs": epochs}
    if encoder is not None:
        name = modality or (result.modalities[0].name if len(result.modalities) == 1 else "")
        settings["encoders"] = {**(settings.get("encoders") or {}), name: encoder.removeprefix(f"{name}=")}
    settings = config.override(settings, set_ or ())
    saved = train_and_save(
        frame,
        result,
        settings,
        modality=modality,
        out=out,
        test_fraction=test_fraction,
        split_column=split_column,
        group=group,
    )
    if json:
        show_json({"folder": str(out), "encoder": saved.encoder.name(), "dim": saved.encoder.dim, **saved.facts})
        return
    _show(saved, out, modality or saved.kind)


def _show(saved: Saved, out: Path, modality: str) -> None:
    record = saved.facts["record"]
    losses = [r["valid_loss"] for r in saved.facts["history"] if "valid_loss" in r]
    judged = f"; validation loss {losses[0]:.3f} after the first epoch, {min(losses):.3f} at best" if losses else ""
    show_text(
        f"{saved.encoder.name()}: {record['trained_weights']:,} weights, {record['rows']:,} rows, {record['epochs']} epochs, "
        f"{record['seconds']:.1f} s{' (from the store)' if record['from_store'] else ''}{judged}"
    )
    typer.echo(f"encoder {out}")
    typer.echo("next")
    again = ("fit", "table.csv", "--target", "column", "--encoder", f"{modality}={out}")
    show_command(*again)
    show_command(*again, "--train", f"{modality}=scratch", then="  # learns on")
