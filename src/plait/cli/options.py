"""Options that several commands share, and how they become a schema and settings."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from plait.base.errors import ConfigError, nearest

if TYPE_CHECKING:
    import pandas as pd

Table = Annotated[
    Path,
    typer.Argument(
        help="CSV, TSV, JSONL (also .gz), Parquet, Arrow, a folder of Parquet; also at https://, s3://, gs://, az://, hf://."
    ),
]
Model = Annotated[Path, typer.Argument(help="A model folder written by plait fit.")]
Target = Annotated[str | None, typer.Option(help="The column to predict.")]
Targets = Annotated[
    list[str] | None, typer.Option("--target", help="The column to predict; several: a,b, or as often as needed.")
]
Drop = Annotated[list[str] | None, typer.Option(help="A column that is no input; several: a,b, or as often as needed.")]
Task = Annotated[str | None, typer.Option(help="classification, multilabel or regression; inferred when not given.")]
Root = Annotated[str | None, typer.Option(help="Folder or zip archive that relative media paths start from.")]
Remote = Annotated[
    list[str] | None,
    typer.Option(
        help="Files that cells name may be fetched: all, or how addresses begin (s3://bucket/), as often as needed."
    ),
]
Sample = Annotated[
    int | None,
    typer.Option(min=20, help="Of a larger table so many rows at most, and half as many at least, evenly spread."),
]
Encoding = Annotated[str | None, typer.Option(help="Of a text table that is not UTF-8.")]
Store = Annotated[str | None, typer.Option(help="Folder of the store of embeddings; 'none' keeps nothing.")]
Partial = Annotated[bool, typer.Option("--partial", help="Missing columns count as absent modalities.")]
HeldOut = Annotated[
    bool, typer.Option("--held-out", help="Of the table that it was fitted on: only the rows that plait fit held out.")
]
Strict = Annotated[bool, typer.Option("--strict", help="An unreadable cell is an error, not an absent cell.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SchemaFile = Annotated[Path | None, typer.Option("--schema", help="YAML as plait schema prints it, edited or not.")]
Encoder = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder", help="modality=name (or a folder, or kind=name; plait list encoders), as often as needed."
    ),
]
Train = Annotated[
    list[str] | None,
    typer.Option("--train", help="modality=frozen, pretrain, scratch or tuned (or kind=...), as often as needed."),
]
Group = Annotated[str | None, typer.Option(help="Rows with equal values here stay on one side.")]
Metric = Annotated[
    str | None,
    typer.Option(
        help="Tuned and shown first: accuracy, f1_macro, auc, log_loss, mae, rmse, r2, cost (--set costs.TRUE.ANSWER=5), ..."
    ),
]
TargetTransform = Annotated[
    str | None, typer.Option(help="Of a number: auto, none, log, quantile, yeo-johnson.", show_default="auto")
]
RandomState = Annotated[int | None, typer.Option("--random-state", "--seed", help="Seed.", show_default="0")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting of the estimator: name=value, name.part=value.")
]

RecordEpochs = Annotated[
    bool, typer.Option("--record-epochs", help="Score every epoch: epoch_metrics.json and .csv in the model folder.")
]
TensorBoard = Annotated[str | None, typer.Option(help="Folder for event files (extra tensorboard).")]
Track = Annotated[str | None, typer.Option(help="Note the run: mlflow or wandb (--set track.folder=DIR: offline).")]
CheckpointFolder = Annotated[
    str | None, typer.Option(help="Folder to go on from when killed; default: beside the model; 'none'.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default="auto")]
Engine = Annotated[str | None, typer.Option(help="local, or ray: on a cluster (extra ray).", show_default="local")]
Workers = Annotated[int | None, typer.Option(help="Of the cluster; default: one per core.")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How a command reads a table and encodes its cells."""

    root: Root = None
    remote: Remote = None
    strict: Strict = False
    store: Store = None
    encoding: Encoding = None

    def read(self, table: Path, sample: int | None = None) -> pd.DataFrame:
        """A table, or a sample of it."""
        return read(table, self.encoding, self.remote, self.root, sample)


def given(options: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command that takes the fields of a dataclass as options, besides its own, and is called with an instance."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(options, include_extras=True)  # each class's by its own module
        shared = {n: p.replace(annotation=hints[n]) for n, p in inspect.signature(options).parameters.items()}
        _, *own = inspect.signature(command, eval_str=True).parameters.values()

        def run(**values: Any) -> None:
            command(options(**{name: values.pop(name) for name in shared}), **values)

        ordered = sorted([*shared.values(), *own], key=lambda p: (p.default is not p.empty, p.name in shared))
        kept = [p.replace(kind=p.KEYWORD_ONLY) for p in ordered]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in kept}
        return run

    return decorate


def with_checkpoint(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Settings whose training is kept beside the model's folder, unless another place, or none, was told."""
    value = settings.get("checkpoint")
    place = folder.absolute() if folder.name else folder.resolve()
    if not place.name:
        raise ConfigError(f"--out {folder}: a model is a folder of its own; name one")
    beside = str(place.with_name(f".{place.name}.checkpoint"))
    return {**settings, "checkpoint": {None: beside, "none": None}.get(value, value)}


def assignments(
    pairs: Sequence[str] | None, option: str = "--encoder", expected: str = "modality=name"
) -> dict[str, str]:
    """``a=b`` pairs as a mapping."""
    result = {}
    for pair in pairs or ():
        name, sign, value = pair.partition("=")
        if not sign or not name or not value:
            raise ConfigError(f"{option} '{pair}': expected {expected}")
        result[name] = value
    return result


def read_schema(
    frame: Any,
    schema_file: Path | None,
    target: str | None,
    task: str | None,
    root: str | None,
    table: Path,
    *,
    group: str | None = None,
    tell_unused: bool = True,
    drop: Sequence[str] = (),
) -> tuple[Any, dict[str, Any]]:
    """The schema from its file, or inferred; and the settings that stand in the file.

    ``group``: the column whose equal rows are kept together. Of an inferred one, ``tell_unused``: say which columns it
    leaves out; ``drop``: columns that are no inputs.
    """
    from plait.base import config
    from plait.data import schema

    if schema_file is None:
        inferred = schema.infer(frame, target, root or str(table.parent), task, group, drop)
        if tell_unused:
            schema.tell_unused(inferred, frame)
        return inferred, {}
    settings = config.read_yaml(schema_file).get("settings") or {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{schema_file}: 'settings' must be a mapping of the estimator's fields")
    result = schema.for_table(frame, schema_file.read_text(encoding="utf-8"), str(schema_file), target, task)
    if root is None and _is_everything(result.root):
        raise ConfigError(
            f"{schema_file}: root {result.root!r}: a file may not open the whole disk; pass --root yourself"
        )
    return dataclasses.replace(result, root=root or result.root or str(table.parent)), settings


def media_root(given: str | None, saved: Any, table: Path) -> str:
    """Where names of media start: as given, else where those of the model's fit lay, else beside the table.

    A model's file may be a stranger's: it never opens the whole disk, the whole home folder, or another computer.
    """
    if given is None and isinstance(saved, str) and not _is_everything(saved) and saved and Path(saved).exists():
        return saved
    return given or str(table.parent)


def _is_everything(root: str | None) -> bool:
    """Whether a root is the whole disk, holds the home folder, or lies on another computer."""
    if not root:
        return False
    place, home = Path(os.path.expanduser(root)).absolute(), Path.home()  # noqa: PTH111 - a Path raises for ~nobody
    return root.replace("\\", "/").startswith("//") or place in (Path(place.anchor), home, *home.parents)


def targets_given(
    frame: Any, values: Sequence[str] | None, task: str | None, schema_file: Path | None
) -> dict[str, str | None]:
    """Target -> task (None: inferred) as options and the schema's file name them; empty where neither does."""
    from plait.base import config
    from plait.data.dropped import named
    from plait.workflow.outcome import targets_of

    names = named(values or (), {str(c) for c in frame.columns})
    from_file = config.read_yaml(schema_file) if schema_file is not None else {}
    tasks: Any = task if task is not None else from_file.get("task")
    if values is None:
        written = from_file.get("target")
        names = [str(name) for name in written] if isinstance(written, list) else [written] if written else []
    if values is not None or isinstance(from_file.get("target"), list):
        targets_of(names, frame)
    if isinstance(tasks, str) and "=" in tasks:
        tasks = assignments(tasks.split(","), "--task", "target=task")
    if isinstance(tasks, Mapping):
        unknown = [name for name in tasks if name not in names]
        if unknown:
            raise ConfigError(f"--task {unknown[0]}: is no target; {nearest(str(unknown[0]), names)}")
        return {name: tasks.get(name) for name in names}
    return dict.fromkeys(names, tasks if task is not None or len(names) > 1 else None)


def drop_given(frame: Any, values: Sequence[str] | None, sets: Sequence[str] | None) -> list[str]:
    """The columns of the table that ``--drop``, or else ``--set drop=``, leaves out."""
    from plait.base import config
    from plait.data.dropped import dropped_columns

    given = config.override({"drop": list(values or ())}, [one for one in sets or () if one.startswith("drop=")])
    return dropped_columns(given["drop"], frame.columns)


def row_numbers_given(text: str | None) -> list[int]:
    """``3,17`` as numbers."""
    parts = [part.strip() for part in (text or "").split(",")] if text is not None else []
    wrong = next((part for part in parts if not part.isdecimal()), None)
    if wrong is not None:
        raise ConfigError(f"--rows '{text}': found '{wrong}'; expected numbers of rows, counted from 0, as in 3,17")
    return [int(part) for part in parts]


def read(
    table: Path, encoding: str | None, remote: list[str] | None, root: str | None, sample: int | None = None
) -> pd.DataFrame:
    """A table whose columns are read once each, or a sample of its rows, of which it is said how many there are."""
    from plait.data.table import read_table
    from plait.data.typed import typed

    if sample is None:
        return typed(read_table(table, encoding, remote, root))
    return read_sample(table, sample, encoding, remote, root, "(--sample)")[0]


def read_sample(
    table: Path, sample: int, encoding: str | None, remote: list[str] | None, root: str | None, why: str
) -> tuple[pd.DataFrame, bool]:
    """At most so many rows, and whether the table has more, which is said."""
    from plait.data.table import read_sample as read_some
    from plait.data.typed import typed

    frame, rows = read_some(table, sample, encoding, remote, root)
    if rows > len(frame):
        typer.echo(f"{len(frame):,} of {rows:,} rows, evenly spread {why}", err=True)
    return typed(frame), rows > len(frame)


def with_parts(
    frame: Any, files: Mapping[str, Path | None], split_column: str | None, encoding: str | None
) -> tuple[Any, str | None]:
    """The table with the rows of ``--valid`` and ``--test`` beneath it, and the column that says which is which."""
    from plait.data.table import PART, read_table, stacked
    from plait.data.typed import typed

    given = {name: read_table(path, encoding) for name, path in files.items() if path is not None}
    if not given:
        return frame, split_column
    if "test" not in given:
        raise ConfigError("--valid: which rows judge? name them, too (--test FILE)")
    if split_column is not None:
        raise ConfigError("--split-column and --test both say which rows judge; keep one")
    return typed(stacked(frame, **given)), PART


def chosen(options: Any) -> dict[str, Any]:
    """The options of a dataclass that were given."""
    return {name: v for name, v in vars(options).items() if v is not None and v is not False and v != []}


def settings_of(
    from_file: dict[str, Any], encoders: Sequence[str] | None, sets: Sequence[str] | None, **value: Any
) -> dict[str, Any]:
    """File, then flags, then ``--set``: the later ones win."""
    from plait.base import config

    merged = {**from_file, **{k: v for k, v in value.items() if v is not None}}
    named = assignments(encoders)
    if named:
        merged["encoders"] = {**(merged.get("encoders") or {}), **named}
    return config.override(merged, sets or ())
