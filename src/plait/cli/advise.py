"""``plait advise`` and ``plait sensitivity``: designs and settings tried on a table."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from plait.base.checks import number
from plait.base.deadline import Deadline, now
from plait.base.folders import check_room
from plait.base.parts import write_file
from plait.cli import options as o
from plait.cli.app import app
from plait.cli.show import command_line, show_json, show_table, show_text


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
    drop: o.Drop = None,
    group: o.Group = None,
    workers: Annotated[int | None, typer.Option(help="Processes; default: one per core.")] = None,
    store: o.Store = None,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """Race designs on a table, and say in ten lines how to fuse it.

    The evidence is written beside it; killed, the same command carries on.
    """
    begun = now()
    number(minutes, "minutes", above=True)
    from plait.base.errors import ModelError
    from plait.base.folders import claim_folder, model_kind
    from plait.data import schema as schemas
    from plait.data.dropped import left_out
    from plait.data.remote import address_of, check_kept
    from plait.data.targets import with_target
    from plait.study.advice import advise as race
    from plait.study.advice import evidence_folder
    from plait.study.search import check_rows

    check_kept(table, "table")
    frame = o.read(table, encoding, remote, root)
    left = o.drop_given(frame, drop, set_)
    result, from_file = o.read_schema(frame, schema, target, task, root, table, group=group, drop=left)
    settings = o.settings_of(from_file, None, set_, **({"drop": left} if drop else {}))
    result = left_out(result, settings.get("drop"), frame.columns)
    if result.target is not None:
        check_rows(with_target(frame, result.target), result)
    folder = out or Path("runs") / f"advice-{table.name.partition('.')[0]}-{result.target}"
    check_room(f"--out {folder}", folder.absolute())
    other = model_kind(folder)
    if other is not None:
        raise ModelError(f"--out {folder}: holds a {other}; name another folder for the studies")
    if not (folder / "race").is_dir():  # else it is plait's, and goes on
        Deadline(minutes, begun=begun).check_begun()  # before processes are started
        claim_folder(folder, ["schema.yaml"])
    write_file(folder / "schema.yaml", schemas.to_yaml(result).encode())
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
        begun=begun,
    )
    if json:
        show_json(given.to_dict())
        return
    places = [folder / "race", *[evidence_folder(folder, given.variant)] * (not given.conditions.empty)]
    reports = "; ".join(shlex.join(["plait", "study", "report", str(place)]) for place in places)
    for line in [*given.lines, f"evidence: {reports}"]:
        show_text(line)


_COLUMNS = (
    *("regime", "trials", "failed", "best", "median", "tolerant"),
    *("trials_to_near", "seconds_to_near", "trials_to_any"),
)


@dataclasses.dataclass(frozen=True)
class Search:
    """Settings of a search, which its file may hold as well."""

    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            help="field=low..high, field=low..high,log or field=[a, b], as often as needed; "
            "default: learning_rate, batch_size and dropout.",
        ),
    ] = None
    regimes: Annotated[
        list[str] | None,
        typer.Option(
            "--regime", help="frozen, scratch, pretrain, ..., as often as needed; default: as the schema says."
        ),
    ] = None
    trials: Annotated[int | None, typer.Option(help="Per regime.", show_default="20")] = None
    metric: Annotated[
        str | None, typer.Option(help="accuracy, f1_macro, log_loss, mae, rmse, ...; default: the task's main one.")
    ] = None
    valid_fraction: Annotated[float | None, typer.Option(help="Of the training rows.", show_default="0.2")] = None
    splits: Annotated[int | None, typer.Option(help="Over which a score is averaged.", show_default="1")] = None
    sampler: Annotated[str | None, typer.Option(help="tpe, random or grid.", show_default="tpe")] = None
    storage: Annotated[
        str | None,
        typer.Option(
            help="Optuna's: trials are kept there, too, and taken up from (sqlite:///trials.db, or a journal file)."
        ),
    ] = None
    seed: o.RandomState = None
    group: o.Group = None


@app.command()
@o.given(Search)
def sensitivity(
    own: Search,
    table: Annotated[Path, typer.Argument(help="A table, or a YAML file with data, ranges and regimes.")],
    target: o.Target = None,
    test_fraction: Annotated[
        float, typer.Option(help="Left out: the rows that plait fit holds out with this seed.")
    ] = 0.15,
    split_column: Annotated[str | None, typer.Option(help="A column whose 'test' rows are left out instead.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: runs/sensitivity-TABLE-TARGET.")] = None,
    schema: o.SchemaFile = None,
    task: o.Task = None,
    root: o.Root = None,
    remote: o.Remote = None,
    encoder: o.Encoder = None,
    set_: o.Set = None,
    report: Annotated[bool, typer.Option(help="Write report.html (extra report).")] = True,
    store: o.Store = None,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """Say how the score answers to settings, by a search.

    Learning rate, batch size, dropout or any field, per regime of training; killed, the same command carries on.
    """
    from plait.data.targets import with_target
    from plait.study.search import check_rows, read_search, rows_of
    from plait.study.search import sensitivity as search
    from plait.workflow.rows import split_rows

    options: dict[str, Any] = {}
    if table.suffix in (".yaml", ".yml"):
        options = read_search(table)
        data = options.pop("data")
        given = rows_of(data, table.parent)
        frame, result, official = given.frame, given.schema, given.official
        options.setdefault("group", given.group)
        from_file: dict[str, Any] = dict(options.pop("model", None) or {})
    else:
        frame, official = o.read(table, encoding, remote, root), False
        result, from_file = o.read_schema(frame, schema, target, task, root, table, group=own.group)
    options |= o.chosen(own)
    if result.target is not None:
        frame = with_target(frame, result.target)
    check_rows(frame, result)
    if not official:
        kept, _ = split_rows(
            frame, result, test_fraction, split_column, options.get("group"), int(options.get("seed") or 0)
        )
        frame = frame.iloc[kept]
    folder = out or Path("runs") / f"sensitivity-{table.name.partition('.')[0]}-{result.target}"
    check_room(f"--out {folder}", folder.absolute())
    done = search(
        frame,
        result,
        **options,
        settings=o.settings_of(from_file, encoder, set_),
        out=folder,
        store=store,
        report=report,
        command=command_line(),
    )
    if json:
        show_json({**done.to_dict(), "folder": str(folder)})
        return
    show_text(
        "scores of each regime; tolerant: share of trials within 5 % of its best; until one came within 1 % of its best "
        "(near), or of the best of all regimes (any)"
    )
    show_table(done.budgets.to_dict("records"), _COLUMNS)  # type: ignore[arg-type]  # column names are text
    typer.echo("\nbest settings")
    show_table(
        [{"regime": name, **{k: _short(v) for k, v in done.best(name).items()}} for name in done.budgets["regime"]]
    )
    if len(done.importance):
        typer.echo("\nshare of the score's variance that each field explains")
        show_table(done.importance.to_dict("records"))  # type: ignore[arg-type]
    typer.echo(f"\nfolder  {folder}")
    if report:
        typer.echo(f"page    {folder / 'report.html'}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
