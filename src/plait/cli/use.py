"""``plait predict``, ``export``, ``push`` and ``serve``: a model in use, and how a command opens those that a folder holds."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.base.progress import plan, step
from plait.cli import options as o
from plait.cli.app import app

if TYPE_CHECKING:
    import pandas as pd

    from plait.data.row_numbers import NamedFiles
    from plait.estimators.base import FusionEstimator


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnTable(o.Reading):
    """What a command is given that applies a model to a table."""

    model: o.Model
    table: o.Table
    partial: o.Partial = False

    @contextlib.contextmanager
    def models(self) -> Iterator[dict[str, FusionEstimator]]:
        """Target -> its model, of a folder that holds one or several; within the block they share what is encoded."""
        from plait.estimators.base import FusionEstimator
        from plait.estimators.target_models import TargetModels, holds_targets, load_targets
        from plait.store.model_files import located

        step(f"load {self.model.name}")
        folder = located(self.model, download=True)  # whoever names a model of the hub in a command asks for it
        if holds_targets(folder):
            models = load_targets(folder)
        else:
            model = FusionEstimator.load(folder)
            models = TargetModels({str(model.schema_.target): model})
        for model in models.values():
            model.root = o.media_root(self.root, model.root, self.table)
            model.store = self.store if self.store is not None else model.store
            model.strict, model.partial = self.strict or model.strict, self.partial or model.partial
        with models.sharing() as sharing:
            yield sharing


@app.command()
@o.given(OnTable)
def predict(
    on: OnTable,
    out: Annotated[Path | None, typer.Option(help="CSV, TSV, JSONL or Parquet; default: standard output.")] = None,
    proba: Annotated[bool, typer.Option(help="Write a probability per class.")] = True,
    interval: Annotated[
        float | None, typer.Option(help="Of a number: columns low and high that hold it with this probability.")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(help="A column to copy beside the prediction.")] = None,
    ids: Annotated[
        bool, typer.Option(help="Begin with the columns that fit left out as identifiers, where the table has them.")
    ] = True,
    rows: Annotated[int, typer.Option(help="Rows in memory at a time.", min=1)] = 4096,
    engine: o.Engine = None,
    workers: o.Workers = None,
    quote_formulas: Annotated[
        bool, typer.Option("--quote-formulas", help="Put a ' before text that a spreadsheet would run as a formula.")
    ] = False,
) -> None:
    """Predict a table of any length, in pieces.

    Any modality of a row may be absent.
    """
    from plait.base.cluster import check_engine, on_cluster
    from plait.base.progress import track
    from plait.data.row_numbers import whole_table
    from plait.data.table import read_chunks
    from plait.data.write import formulas, printable, write_chunks

    check_engine(engine or "local")
    label = f"predict {on.table.name}"
    with on.models() as models, track(None, "predicted", "rows", next(iter(models.values())).progress) as bar:
        plan([label])
        step(label)
        result = 0

        def pieces() -> Any:
            nonlocal result
            chunks = read_chunks(on.table, rows, on.encoding, on.remote, on.root)
            with whole_table() as files:  # which refuses before the file is there
                if engine == "ray":
                    place = on.model.absolute() if on.model.exists() else on.model
                    there = dataclasses.replace(on, model=place, table=on.table.absolute())
                    jobs = ((chunk, proba, copied(models, chunk, keep, ids), interval) for chunk in chunks)
                    answers = on_cluster(PredictPieces, (there,), jobs, workers)
                else:
                    answers = (
                        (prediction_tables(models, c, proba, copied(models, c, keep, ids), interval), None)
                        for c in map(files.of, chunks)
                    )
                for piece, named in files.hearing(answers):
                    if named is not None:
                        files.take(named)
                    result += formulas(piece, quote_formulas)
                    yield piece
                    bar.advance(len(piece))

        if out is not None:
            count = write_chunks(pieces(), out)
            typer.echo(f"{count:,} predictions written to {out}", err=True)
            if result and not quote_formulas and out.name.lower().removesuffix(".gz").endswith((".csv", ".tsv")):
                note = "cells begin like a formula, which a spreadsheet runs; --quote-formulas puts a ' before them"
                typer.echo(f"note: {result:,} {note}", err=True)
            return
        for number, piece in enumerate(pieces()):
            typer.echo(printable(piece.to_csv(index=False, header=number == 0)), nl=False)


def copied(models: Mapping[str, FusionEstimator], chunk: pd.DataFrame, keep: list[str] | None, ids: bool) -> list[str]:
    """Columns to copy beside the predictions: identifiers that every model left out, then those that are named."""
    schemas = [model.schema_ for model in models.values()]
    named, ours = keep or [], ("prediction", "low", "high")
    free = [name for name in chunk.columns if name not in (*named, *ours) and not str(name).startswith("p(")]
    return [name for name in free if ids and all(name in schema.identifiers for schema in schemas)] + named


class PredictPieces:
    """A worker on a cluster that answers pieces of a table; model, table and store must lie at the same place there."""

    def __init__(self, on: OnTable) -> None:
        self._open = contextlib.ExitStack()  # until the worker ends
        self._models = self._open.enter_context(on.models())

    def __call__(
        self, chunk: pd.DataFrame, proba: bool, keep: list[str], interval: float | None
    ) -> tuple[pd.DataFrame, NamedFiles]:
        """The piece's predictions, and what files it names."""
        from plait.data.row_numbers import NamedFiles

        files = NamedFiles()
        return prediction_tables(self._models, files.of(chunk), proba, keep, interval), files


def prediction_tables(
    models: Mapping[str, FusionEstimator],
    chunk: pd.DataFrame,
    proba: bool,
    keep: list[str],
    interval: float | None = None,
) -> pd.DataFrame:
    """Predictions of one piece of a table; of several targets, each column under its target's name: ``price: prediction``."""
    import pandas as pd

    from plait.data.typed import typed

    if len(models) == 1 or (interval is not None and all(m.task_ != "regression" for m in models.values())):
        return prediction_table(next(iter(models.values())), chunk, proba, keep, interval)
    chunk = typed(chunk)
    parts: list[pd.DataFrame] = []
    for target, model in models.items():
        around = interval if model.task_ == "regression" else None
        part = prediction_table(model, chunk, proba, [] if parts else keep, around)
        names = {c: f"{target}: {c}" for c in part.columns[0 if parts else len(keep) :]}
        clash = next((name for name in keep if name in names.values()), None)
        _free(clash)
        parts.append(part.rename(columns=names))
    return pd.concat(parts, axis=1)


def _free(clash: str | None) -> None:
    if clash is not None:
        from plait.base.errors import TableError

        raise TableError(f"--keep {clash}: the answer has a column of that name; rename the table's column")


def prediction_table(
    fitted: FusionEstimator, chunk: pd.DataFrame, proba: bool, keep: list[str], interval: float | None = None
) -> pd.DataFrame:
    """Prediction of one piece of a table, with probabilities, or the bounds of an interval of that coverage."""
    import pandas as pd

    from plait.base.errors import ConfigError, TableError, nearest
    from plait.data.labels import label_text
    from plait.estimators.estimators import FusionRegressor

    names = [label_text(label) for label in fitted.labels]
    probabilities = [f"p({name})" for name in names] if proba and fitted.task_ != "regression" else []
    if interval is not None and not isinstance(fitted, FusionRegressor):
        raise ConfigError(f"--interval {interval}: is for a predicted number; the task is {fitted.task_}")
    bounds = [] if interval is None else ["low", "high"]
    for name in keep:
        if name not in chunk.columns:
            raise TableError(f"--keep {name}: no such column; {nearest(name, map(str, chunk.columns))}")
        _free(name if name in ("prediction", *bounds, *probabilities) else None)
    columns: dict[str, Any] = {name: chunk[name].reset_index(drop=True) for name in keep}
    with fitted.remembering():
        answer, decoded = fitted.answers(chunk)
        if interval is not None and isinstance(fitted, FusionRegressor):
            around = fitted.interval_around(answer, ~fitted.absent(chunk), interval)
    if fitted.task_ == "multilabel":
        columns["prediction"] = ["|".join(n for n, on in zip(names, row, strict=True) if on) for row in answer]
    else:
        columns["prediction"] = answer
    if bounds:
        columns |= {"low": around[:, 0], "high": around[:, 1]}
    columns |= {name: decoded[:, i].round(6) for i, name in enumerate(probabilities)}
    return pd.DataFrame(columns)
