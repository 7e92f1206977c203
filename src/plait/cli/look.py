"""``plait schema``, ``encode``, ``store``, ``list``, ``data`` and ``doctor``: what there is, and what it is taken for."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from plait.base import progress
from plait.cli import options as o
from plait.cli.app import Typer, app
from plait.cli.show import show_json, show_table, show_text

#: Rows of a larger table at most that say what its columns are, when plait encode reads it piece by piece.
SAMPLE = 262_144


@app.command()
def schema(
    table: o.Table,
    target: o.Targets = None,
    drop: o.Drop = None,
    task: o.Task = None,
    root: o.Root = None,
    remote: o.Remote = None,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """Print what each column is taken for, as YAML to edit.

    plait fit --schema takes it back.
    """
    from plait.data import leaks
    from plait.data import schema as schemas
    from plait.data.dropped import dropped_columns
    from plait.data.targets import with_target

    frame = o.read(table, encoding, remote, root)
    names = list(o.targets_given(frame, target, None, None))
    several = names if len(names) > 1 else []
    one = names[0] if len(names) == 1 else None
    left = dropped_columns(drop, frame.columns, names)
    inputs = frame.drop(columns=several)
    result = schemas.infer(inputs, target=one, root=root or str(table.parent), task=task, drop=left)
    for name in names:
        known = dataclasses.replace(result, target=name, task=task or schemas.infer_task(frame[name])[0])
        leaks.warn(leaks.leaks(with_target(frame.drop(columns=[n for n in names if n != name]), name), known))
    if json:
        show_json(({"target": several} if several else {}) | schemas.to_dict(result))
        return
    typer.echo(schemas.to_yaml(result, several), nl=False)


@app.command()
def encode(
    table: o.Table,
    target: o.Target = None,
    schema: o.SchemaFile = None,
    root: o.Root = None,
    remote: o.Remote = None,
    encoder: o.Encoder = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A file for the embeddings: .parquet (a vector per row, the mean of its tokens) or .npz (all tokens)."
        ),
    ] = None,
    store: o.Store = None,
    strict: o.Strict = False,
    encoding: o.Encoding = None,
    engine: o.Engine = None,
    workers: o.Workers = None,
    json: o.Json = False,
) -> None:
    """Encode a table's cells into the store, once for ever.

    Killed half-way, the same command carries on. A table need not fit into memory: it is read piece by piece, and of a
    large one a sample says what its columns are; a cell that is no number where the sample has numbers counts as missing,
    which is said. With --store none a cell that comes again in another piece is encoded again.
    """
    from plait.base.cluster import check_engine
    from plait.base.errors import ConfigError
    from plait.data import schema as schemas
    from plait.data.table import read_chunks
    from plait.data.write import vectors_writer
    from plait.encoders.featurize import Featurizer
    from plait.estimators.fit_settings import NO_STORE
    from plait.store import Store
    from plait.workflow.rows import PIECE, encode_pieces, pieces_of

    check_engine(engine or "local")
    if engine == "ray" and store == NO_STORE:
        raise ConfigError("--engine ray: workers hand over what they encode through the store; name one (--store)")
    if out is not None and (out.suffix.lower() not in (".npz", ".parquet") or out.is_dir()):
        raise ConfigError(f"--out {out}: expected the name of a file that ends with .parquet or .npz")
    whole = engine == "ray" or (out is not None and out.suffix.lower() == ".npz")
    place, why = (encoding, remote, root), "say what columns are and how numbers are scaled"
    frame, more = (o.read(table, *place), False) if whole else o.read_sample(table, SAMPLE, *place, why)
    result, _ = o.read_schema(frame, schema, target, None, root, table)
    frozen = tuple(m for m in result.modalities if m.train == "frozen")
    if not frozen:
        said = ", ".join(f"'{m.name}' has train: {m.train}" for m in result.modalities) or "no column is encoded"
        raise ConfigError(f"{table}: nothing to encode: {said}; what frozen encoders give is kept (train: frozen)")
    frozen_alone = dataclasses.replace(result, modalities=frozen, target=None)
    schemas.validate(frozen_alone, frame)
    features = Featurizer(frozen_alone, o.assignments(encoder))
    progress.plan([f"encode {m.name}" for m in frozen if m.kind != "tabular"])
    features.fit(frame, result.root)
    pieces = pieces_of(frame, max(1, len(frame)) if whole else PIECE)
    if more:
        pieces = read_chunks(table, PIECE, *place)
    with contextlib.ExitStack() as stack:
        opened = None if store == NO_STORE else stack.enter_context(Store(store))
        if engine == "ray" and opened is not None:
            from plait.study.engine_ray import encode_ray

            encode_ray(features, frame, result.root, opened, workers)
        write = None if out is None else stack.enter_context(vectors_writer(out))
        records = encode_pieces(features, pieces, result.root, opened, strict=strict, write=write)
    show_json(records) if json else show_table(records)


@app.command(name="store")
def store_command(
    prune: Annotated[str | None, typer.Option(help="Keep at most so much, as in 500MB or 2GiB.")] = None,
    store: o.Store = None,
    json: o.Json = False,
) -> None:
    """Show what the store of embeddings holds, or prune it."""
    from plait.store import Store
    from plait.store.record import parse_size

    with Store(store, make=False) as opened:
        if prune is not None:
            value = opened.prune(parse_size(prune))
            typer.echo(str(value), err=True)
        records = opened.sizes()
        show_json({"path": str(opened.path), "encoders": records}) if json else _show_store(opened.path, records)


def _show_store(path: Path, records: list[dict[str, Any]]) -> None:
    typer.echo(str(path))
    kept = [{k: r[k] for k in ("label", "entries")} for r in records]
    sizes = [{"size": _size(r["bytes"]), "last used (UTC)": r["last_used"][:16].replace("T", " ")} for r in records]
    show_table([{**k, **s, "fingerprint": r["fingerprint"]} for k, s, r in zip(kept, sizes, records, strict=True)])


@app.command(name="list")
def list_command(
    family: Annotated[
        str, typer.Argument(help="encoders, fusion, networks, alignment, conditions or datasets.")
    ] = "encoders",
    json: o.Json = False,
) -> None:
    """List encoders, fusion operators, data sets and the like.

    With what each needs, and its licence.
    """
    from plait.base import registry
    from plait.encoders.defaults import described_presets

    records = registry.describe(family) + (described_presets() if family == "encoders" else [])
    show_json(records) if json else show_table(records, _columns(records))


def _columns(records: list[dict[str, str]]) -> list[str]:
    """All columns, the summary last."""
    names = list(dict.fromkeys(key for record in records for key in record))
    return [name for name in names if name != "summary"] + ["summary"]


data_app = Typer(no_args_is_help=True, help="Say which data sets are here, and bring others.")
app.add_typer(data_app, name="data")

_Root = Annotated[Path | None, typer.Option(help="The folder of all data; default: $PLAIT_DATA.")]


@data_app.command("list")
def list_datasets(
    root: _Root = None,
    check: Annotated[bool, typer.Option("--check", help="Compare checksums, too.")] = False,
    json: o.Json = False,
) -> None:
    """Show every data set: is it here, how is it had, its licence."""
    from plait.datasets.fetch import listed

    states = [dataclasses.asdict(state) for state in listed(root, check)]
    if json:
        show_json(states)
        return
    show_table([_shown(state) for state in states])
    for state in states:
        if state["licence_sought"] and not state["licence_from"]:
            typer.echo(
                f"{state['name']}: no statement of its licence by its owner; looked for at {state['licence_sought']}"
            )


def _shown(state: dict[str, Any]) -> dict[str, Any]:
    first, *others = state["missing"] or [""]
    words = {"licence": state["licence"] + " (not verified)" * (not state["licence_from"])}
    words["missing"] = f"{first} and {len(others)} more" if others else first
    return {key: words.get(key, value) for key, value in state.items() if not key.startswith("licence_")}


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Of a data set (plait data list).")],
    root: _Root = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the licence and accept it.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Download what is missing of a data set.

    A download that was cut goes on where it stopped.
    """
    from plait.base import registry
    from plait.datasets import fetch as fetching

    variant = registry.find("datasets", name)
    if not accept_licence and sys.stdin.isatty() and variant.files:
        typer.echo(f"{variant.label()}\nlicence  {variant.licence_text()}\nsource   {variant.url}", err=True)
        accept_licence = typer.confirm("Do you accept this licence?", err=True)
    files = fetching.fetch(name, root, accept_licence=accept_licence)
    show_json([str(file) for file in files]) if json else typer.echo("\n".join(map(str, files)))


@app.command()
def doctor(json: o.Json = False) -> None:
    """Say what is installed and ready, and where caches lie.

    Extras, encoders, what the processor is used for, how large the caches are.
    """
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
