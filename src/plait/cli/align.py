"""``plait align``, ``search``, ``classify`` and ``pretrain``: encoders of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli import options as o
from plait.cli.app import app
from plait.cli.show import show_command, show_json, show_table, show_text

if TYPE_CHECKING:
    import pandas as pd

    from plait.alignment.aligner import ModalityAligner
    from plait.training.pretrained import Saved


Aligner = Annotated[Path, typer.Argument(help="A folder written by plait align.")]
Among = Annotated[str | None, typer.Option("--modality", help="Of the table: what is searched, or classified.")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnTable(o.Reading):
    """What a command is given that applies an aligner to a table."""

    aligner: Aligner
    table: o.Table

    def opened(self) -> tuple[ModalityAligner, pd.DataFrame]:
        """The aligner and the table."""
        from plait.alignment.aligner import ModalityAligner

        model = ModalityAligner.load(self.aligner)
        model.root = o.media_root(self.root, model.root, self.table)
        model.store = self.store if self.store is not None else model.store
        model.strict = self.strict or model.strict
        return model, self.read(self.table)


@app.command()
def align(
    table: o.Table,
    out: Annotated[Path, typer.Option(help="Folder for the aligner.")],
    schema: o.SchemaFile = None,
    stage: Annotated[
        str | None, typer.Option(help="How they are aligned (plait list alignment).", show_default="cca")
    ] = None,
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

    check_folder(out, ModalityAligner.__name__)
    frame = o.read(table, encoding, remote, root)
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
@o.given(OnTable)
def search(
    on: OnTable,
    query: Annotated[list[str], typer.Option("--query", help="modality=cell (a text, or a file), as often as needed.")],
    modality: Among = None,
    k: Annotated[
        int | None, typer.Option("-k", help="Answers per query.", min=1, show_default="10, or all that there are")
    ] = None,
    show: Annotated[list[str] | None, typer.Option(help="A column to print beside each answer.")] = None,
    approximate: Annotated[bool, typer.Option("--approximate", help="By a graph (hnswlib or faiss).")] = False,
    json: o.Json = False,
) -> None:
    """Find the rows most like a query of any modality."""
    fitted, frame = on.opened()
    columns = _shown(frame, show)
    queries = [_query(value) for value in query]
    requested = {_known(fitted, f"--query {name}", name) for name, _ in queries}
    among = _among(fitted, frame, modality, avoid=requested)
    fitted.index({among: frame}, how="approximate" if approximate else "exact")
    k = k or max(1, min(10, len(fitted.index_)))
    answers = []
    for name, cell in queries:
        for rank, hit in enumerate(fitted.search({name: [cell]}, k)[0], start=1):
            beside = {c: _plain(frame[c].iloc[hit.label]) for c in columns}
            answers.append(
                {"query": cell, "rank": rank, "row": hit.label, "similarity": round(hit.similarity, 4), **beside}
            )
    show_json(answers) if json else show_table(answers)


@app.command()
@o.given(OnTable)
def classify(
    on: OnTable,
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

    fitted, frame = on.opened()
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


def _known(fitted: ModalityAligner, option: str, name: str) -> str:
    """The name of a modality, which the aligner must have."""
    from plait.base.errors import ConfigError, nearest

    if name not in fitted.modality_names_:
        raise ConfigError(f"{option}: the aligner has no such modality; {nearest(name, fitted.modality_names_)}")
    return name


def _among(fitted: ModalityAligner, frame: pd.DataFrame, value: str | None, avoid: set[str]) -> str:
    """The modality of the table that is meant: the one told, or the only one that is there and not asked with."""
    from plait.base.errors import ConfigError

    if value is not None:
        return _known(fitted, f"--modality {value}", value)
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
    from plait.workflow.pretrain import FUSION
    from plait.workflow.pretrain import pretrain as train_and_save

    frame = o.read(table, encoding, remote, root)
    result, from_file = o.read_schema(frame, schema, target, task, root, table, group=group)
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
