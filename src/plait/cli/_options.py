"""Options that several commands share, and how they become a schema and settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from plait.errors import ConfigError

Table = Annotated[Path, typer.Argument(help="CSV, TSV, JSONL or Parquet (the text ones also .gz).", show_default=False)]
Model = Annotated[Path, typer.Argument(help="A model folder written by plait fit.", show_default=False)]
Target = Annotated[str | None, typer.Option(help="The column to predict.", show_default=False)]
Task = Annotated[
    str | None,
    typer.Option(help="classification, multilabel or regression; inferred when not given.", show_default=False),
]
Root = Annotated[
    str | None, typer.Option(help="Folder or zip archive that relative media paths start from.", show_default=False)
]
Encoding = Annotated[str | None, typer.Option(help="Of a text table that is not UTF-8.", show_default=False)]
Store = Annotated[
    str | None, typer.Option(help="Folder of the store of embeddings; 'none' keeps nothing.", show_default=False)
]
Strict = Annotated[bool, typer.Option("--strict", help="An unreadable cell is an error, not an absent cell.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SchemaFile = Annotated[
    Path | None, typer.Option("--schema", help="YAML as plait schema prints it, edited or not.", show_default=False)
]
Encoder = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder", help="modality=name (or a folder, or kind=name), as often as needed.", show_default=False
    ),
]
Train = Annotated[
    list[str] | None,
    typer.Option(
        "--train",
        help="modality=frozen, pretrain, scratch or tuned (or kind=...), as often as needed.",
        show_default=False,
    ),
]
Group = Annotated[str | None, typer.Option(help="Rows with equal values here stay on one side.", show_default=False)]
RandomState = Annotated[int | None, typer.Option("--random-state", "--seed", help="Seed.", show_default="0")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting of the estimator: name=value, name.part=value.", show_default=False),
]

RecordEpochs = Annotated[
    bool, typer.Option("--record-epochs", help="Score every epoch: epoch_metrics.json and .csv in the model folder.")
]
TensorBoard = Annotated[
    str | None, typer.Option(help="Folder for event files (extra tensorboard).", show_default=False)
]
CheckpointFolder = Annotated[
    str | None,
    typer.Option(help="Folder to go on from when killed; default: beside the model; 'none'.", show_default=False),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default="auto")]


def with_checkpoint(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Settings whose training is kept beside the model's folder, unless another place, or none, was told."""
    told = settings.get("checkpoint")
    place = folder.absolute() if folder.name else folder.resolve()
    beside = str(place.with_name(f".{place.name}.checkpoint"))
    return {**settings, "checkpoint": {None: beside, "none": None}.get(told, told)}


def assignments(
    pairs: Sequence[str] | None, option: str = "--encoder", expected: str = "modality=name"
) -> dict[str, str]:
    """``a=b`` pairs as a mapping."""
    found = {}
    for pair in pairs or ():
        name, sign, value = pair.partition("=")
        if not sign or not name or not value:
            raise ConfigError(f"{option} '{pair}': expected {expected}")
        found[name] = value
    return found


def read_schema(
    frame: Any,
    schema_file: Path | None,
    target: str | None,
    task: str | None,
    root: str | None,
    table: Path,
    *,
    tell_unused: bool = True,
) -> tuple[Any, dict[str, Any]]:
    """The schema from its file, or inferred; and the settings that stand in the file.

    ``tell_unused``: of an inferred one, say which columns it leaves out.
    """
    from plait import config, schema

    if schema_file is None:
        inferred = schema.infer(frame, target=target, root=root or str(table.parent), task=task)
        if tell_unused:
            schema.tell_unused(inferred, frame)
        return inferred, {}
    settings = config.read_yaml(schema_file).get("settings") or {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{schema_file}: 'settings' must be a mapping of the estimator's fields")
    found = schema.from_yaml(schema_file.read_text(encoding="utf-8"), str(schema_file))
    target, root = target or found.target, root or found.root or str(table.parent)
    task = task or (found.task if found.target else None)
    if task is None and target is not None:
        task = schema.infer(frame, target=target, root=root).task
    return dataclasses.replace(found, target=target, root=root, task=task or found.task), settings


def settings_of(
    from_file: dict[str, Any], encoders: Sequence[str] | None, sets: Sequence[str] | None, **told: Any
) -> dict[str, Any]:
    """File, then flags, then ``--set``: the later ones win."""
    from plait import config

    merged = {**from_file, **{k: v for k, v in told.items() if v is not None}}
    named = assignments(encoders)
    if named:
        merged["encoders"] = {**(merged.get("encoders") or {}), **named}
    return config.override(merged, sets or ())
