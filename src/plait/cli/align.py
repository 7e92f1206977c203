"""``plait align``, ``plait search`` and ``plait classify``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli import options as o
from plait.cli.app import app
from plait.cli.show import show_command, show_json, show_table

if TYPE_CHECKING:
    import pandas as pd

    from plait.alignment.aligner import ModalityAligner

Aligner = Annotated[Path, typer.Argument(help="A folder written by plait align.")]
Among = Annotated[str | None, typer.Option("--modality", help="Of the table: what is searched, or classified.")]


def _opened(
    aligner: Aligner,
    table: o.Table,
    root: o.Root = None,
    remote: o.Remote = None,
    store: o.Store = None,
    strict: o.Strict = False,
    encoding: o.Encoding = None,
) -> tuple[ModalityAligner, pd.DataFrame]:
    from plait.alignment.aligner import ModalityAligner
    from plait.data.table import read_table

    model = ModalityAligner.load(aligner)
    model.root = o.media_root(root, model.root, table)
    model.store = store if store is not None else model.store
    model.strict = strict or model.strict
    return model, read_table(table, encoding, remote, root)


def _on_rows(command: Callable[..., None]) -> Callable[..., None]:
    """A command that is given an aligner and a table, as one that takes the options of ``_opened`` besides its own."""
    given = {n: p.replace(annotation=_OPENED[n]) for n, p in inspect.signature(_opened).parameters.items()}
    own = list(inspect.signature(command, eval_str=True).parameters.values())[2:]  # after the aligner and the table

    def run(**value: Any) -> None:
        command(*_opened(**{name: value.pop(name) for name in given}), **value)

    kept = [p.replace(kind=p.KEYWORD_ONLY) for p in [*given.values(), *own]]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in kept}
    return run


#: Annotations of ``_opened`` that typer reads.
_OPENED = {
    "aligner": Aligner,
    "table": o.Table,
    "root": o.Root,
    "remote": o.Remote,
    "store": o.Store,
    "strict": o.Strict,
    "encoding": o.Encoding,
}


@app.command()
def align(
    table: o.Table,
    out: Annotated[Path, typer.Option(help="Folder for the aligner.")],
    schema: o.SchemaFile = None,
    stage: Annotated[str | None, typer.Option(help="How: plait list alignment.", show_default="cca")] = None,
    group: Annotated[str | None, typer.Option(help="Rows with equal values here are about one thing.")] = None,
    protocol: Annotated[str | None, typer.Option(help="A paper's stage and training: context-based-fusion.")] = None,
    root: o.Root = None,
    remote: o.Remote = None,
    encoder: o.Encoder = None,
    random_state: o.RandomState = None,
    set_: o.Set = None,
    store: o.Store = None,
    strict: o.Strict = False,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """Bring modalities of a table into one space, and save it.

    Each row shows one thing, by two modalities or more.
    """
    from plait.alignment.aligner import ModalityAligner
    from plait.base import config
    from plait.base.folders import check_folder
    from plait.data.table import read_table

    check_folder(out, ModalityAligner.__name__)
    frame = read_table(table, encoding, remote, root)
    value = frame.drop(columns=[group]) if schema is None and group in frame.columns else frame
    result, from_file = o.read_schema(value, schema, None, None, root, table)
    if value is not frame and len(result.modalities) < 2:  # Flickr's own file: the pictures are what its captions share
        result, from_file = o.read_schema(frame, schema, None, None, root, table)
    settings = o.settings_of(
        from_file,
        encoder,
        None,
        stage=stage,
        protocol=protocol,
        group=group,
        random_state=random_state,
        store=store,
        strict=strict or None,
    )
    settings = config.override({"modalities": result, "root": result.root, **settings}, set_ or ())
    fitted = config.build(ModalityAligner, settings, "settings").fit(frame)
    fitted.save(out)
    show_json({"folder": str(out), "record": fitted.record_}) if json else _show_fitted(fitted, out, table)


def _show_fitted(fitted: ModalityAligner, out: Path, table: Path) -> None:
    value = fitted.record_
    pairs = ", ".join(f"{count:,} pairs of {name}" for name, count in value["pairs"].items())
    typer.echo(f"stage {fitted.stage_.name()}: {pairs}")
    seconds = ", ".join(f"{name} {s:.1f} s" for name, s in value["seconds"].items())
    typer.echo(f"{value['trained_weights']:,} trained weights, {value['epochs']} epochs; {seconds}")
    typer.echo(f"aligner {out}")
    names = list(fitted.modality_names_)
    typer.echo("next")
    show_command("search", out, table, "--modality", names[-1], "--query", f"{names[0]}=...")
    show_command("fit", "other.csv", "--target", "column", "--encoder", f"{names[-1]}={out}")


@app.command()
@_on_rows
def search(
    fitted: Any,
    frame: Any,
    query: Annotated[list[str], typer.Option("--query", help="modality=cell (a text, or a file), as often as needed.")],
    modality: Among = None,
    k: Annotated[int, typer.Option("-k", help="Answers per query.", min=1)] = 10,
    show: Annotated[list[str] | None, typer.Option(help="A column to print beside each answer.")] = None,
    approximate: Annotated[bool, typer.Option("--approximate", help="By a graph (hnswlib or faiss).")] = False,
    json: o.Json = False,
) -> None:
    """Find the rows most like a query of any modality."""
    columns = _shown(frame, show)
    queries = [_query(value) for value in query]
    requested = {name for name, _ in queries}
    among = _among(fitted, frame, modality, avoid=requested)
    fitted.index({among: frame}, how="approximate" if approximate else "exact")
    answers = []
    for name, cell in queries:
        for rank, hit in enumerate(fitted.search({name: [cell]}, k)[0], start=1):
            beside = {c: _plain(frame[c].iloc[hit.label]) for c in columns}
            answers.append(
                {"query": cell, "rank": rank, "row": hit.label, "similarity": round(hit.similarity, 4), **beside}
            )
    show_json(answers) if json else show_table(answers)


@app.command()
@_on_rows
def classify(
    fitted: Any,
    frame: Any,
    name: Annotated[list[str], typer.Option("--name", help="A class, in words; as often as needed.")],
    modality: Among = None,
    template: Annotated[list[str] | None, typer.Option("--template", help="A text with {} for the name.")] = None,
    by: Annotated[str | None, typer.Option(help="The text modality that reads the names.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV, TSV, JSONL or Parquet; default: standard output.")] = None,
) -> None:
    """Give each row one of some names, without training on any.

    Rows whose modality is absent get none.
    """
    import numpy as np
    import pandas as pd

    from plait.alignment.aligner import TEMPLATES
    from plait.data.write import printable, write_table

    name = [printable(n) for n in name]  # bytes that are no text become visible
    reader = fitted.reader(by).name
    among = _among(fitted, frame, modality, avoid={reader})
    result = fitted.classify({among: frame}, name, template or TEMPLATES, by=by)
    absent = np.isnan(result).any(1)
    best = np.where(absent, 0, np.nan_to_num(result).argmax(1))
    answer = pd.DataFrame({"prediction": [None if a else name[i] for i, a in zip(best, absent, strict=True)]})
    answer = answer.assign(**{f"p({n})": result[:, i].round(6) for i, n in enumerate(name)})
    if out is None:
        typer.echo(answer.to_csv(index=False), nl=False)
        return
    write_table(answer, out)
    typer.echo(f"{len(answer):,} rows written to {out}", err=True)


def _query(text: str) -> tuple[str, str]:
    from plait.base.errors import ConfigError

    name, sign, cell = text.partition("=")
    if not sign or not name or not cell:
        raise ConfigError(f"--query '{text}': expected modality=cell, as in text='two dogs in the snow'")
    return name, cell


def _among(fitted: ModalityAligner, frame: pd.DataFrame, value: str | None, avoid: set[str]) -> str:
    """The modality of the table that is meant: the one told, or the only one that is there and not asked with."""
    from plait.base.errors import ConfigError, nearest

    names = fitted.modality_names_
    if value is not None:
        if value not in names:
            raise ConfigError(f"--modality {value}: the aligner has no such modality; {nearest(value, names)}")
        return value
    there = [m.name for m in fitted.schema_.modalities if set(m.columns) <= set(frame.columns) and m.name not in avoid]
    if len(there) != 1:
        raise ConfigError(f"--modality: say which one; the table has {', '.join(there) or 'none that could be meant'}")
    return there[0]


def _shown(frame: pd.DataFrame, values: Sequence[str] | None) -> list[str]:
    from plait.base.errors import TableError, nearest

    for column in values or ():
        if column not in frame.columns:
            raise TableError(f"--show {column}: no such column; {nearest(column, map(str, frame.columns))}")
    return list(values or ())


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
