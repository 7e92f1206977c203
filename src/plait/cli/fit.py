"""``plait fit`` and ``plait demo``."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.base import checks, deadline
from plait.base.folders import check_room
from plait.base.progress import step
from plait.cli import options as o
from plait.cli.app import app
from plait.cli.show import command_line, show_command, show_json, show_table, show_text, show_title

if TYPE_CHECKING:
    import pandas as pd

    from plait.workflow.outcome import Outcome, TargetOutcomes


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the estimator that have an option of their own."""

    protocol: Annotated[
        str | None,
        typer.Option(help="A paper's model and training: early-fusion-contrastive, ...; plait reproduce --list."),
    ] = None
    fusion: Annotated[str | None, typer.Option(help="Operator that joins the modalities (plait list fusion).")] = None
    depth: Annotated[str | None, typer.Option(help="early, middle, late, decision or a number.")] = None
    members: Annotated[int | None, typer.Option(help="Networks that are averaged.")] = None
    epochs: Annotated[int | None, typer.Option(help="At most so many.")] = None
    quality: Annotated[
        str | None, typer.Option(help="light, balanced or best: how much is spent.", show_default="balanced")
    ] = None
    minutes: Annotated[float | None, typer.Option(help="Time budget; what fits in is trained.")] = None
    drop: o.Drop = None
    metric: o.Metric = None
    target_transform: o.TargetTransform = None
    random_state: o.RandomState = None
    record_epochs: o.RecordEpochs = False
    tensorboard: o.TensorBoard = None
    track: o.Track = None
    checkpoint: o.CheckpointFolder = None
    engine: o.Engine = None
    workers: o.Workers = None
    device: o.Device = None
    store: o.Store = None
    strict: o.Strict = False
    remote: o.Remote = None


@app.command()
@o.given(Settings)
def fit(
    own: Settings,
    table: o.Table,
    target: o.Targets = None,
    schema: o.SchemaFile = None,
    out: Annotated[Path | None, typer.Option(help="Model folder; default: runs/TABLE-TARGET.")] = None,
    task: o.Task = None,
    root: o.Root = None,
    encoder: o.Encoder = None,
    train: o.Train = None,
    set_: o.Set = None,
    test_fraction: Annotated[float, typer.Option(help="Share of rows held out to judge by.")] = 0.15,
    split_column: Annotated[str | None, typer.Option(help="A column that says train, valid or test.")] = None,
    valid: Annotated[Path | None, typer.Option(help="A table whose rows choose (validation: given).")] = None,
    test: Annotated[Path | None, typer.Option(help="A table whose rows judge.")] = None,
    group: o.Group = None,
    report: Annotated[bool, typer.Option(help="Write report.html (extra report).")] = True,
    sample: o.Sample = None,
    encoding: o.Encoding = None,
    json: o.Json = False,
) -> None:
    """Fit a model on a table: one folder with model and report.

    Rows are held out; on these it is judged and explained.
    """
    begun = deadline.now()
    if own.minutes is not None:
        least = checks.number(own.minutes, "minutes", above=True)
        deadline.Deadline(least, deadline.BEFORE_REPORT, begun=begun, after=deadline.PAGE).check_begun()
    from plait.data import schema as schemas
    from plait.data.dropped import dropped_columns
    from plait.workflow.fit import Command, fit_table
    from plait.workflow.outcome import TargetOutcomes
    from plait.workflow.rows import Split

    frame = o.read(table, encoding, own.remote, root, sample)
    wanted = o.targets_given(frame, target, task, schema)
    one, from_file, drop = next(iter(wanted), None), dict[str, Any](), o.drop_given(frame, own.drop, set_)
    result: Any
    if len(wanted) > 1 and schema is None and len(wanted) == len(frame.columns):
        result = None  # which is refused with the words for it
    elif len(wanted) > 1 and schema is None:
        inputs = frame.drop(columns=list(wanted))
        dropped_columns(drop, frame.columns, wanted)
        result = schemas.infer(inputs, root=root or str(table.parent), group=group, drop=drop)
    elif len(wanted) > 1:
        result, from_file = o.read_schema(frame, schema, None, None, root, table, tell_unused=False)
    else:
        first = wanted[one] if one is not None else task
        how: dict[str, Any] = {"group": group, "tell_unused": False, "drop": drop}
        result, from_file = o.read_schema(frame, schema, one, first, root, table, **how)
    frame, split_column = o.with_parts(frame, {"valid": valid, "test": test}, split_column, encoding)
    values = o.chosen(own) | ({"drop": drop} if own.drop else {})
    if (depth := own.depth) is not None and depth.lstrip("-").isdigit():
        values["depth"] = int(depth)
    settings = o.settings_of(from_file, encoder, set_, **values)
    if train:
        settings["train"] = {**(settings.get("train") or {}), **o.assignments(train, "--train", "modality=regime")}
    named = result.target if len(wanted) < 2 else "-".join(wanted)[:80].replace("/", "_")
    folder = out or Path("runs") / f"{table.name.partition('.')[0]}-{named}"
    check_room(f"--out {folder}", folder.absolute())  # which the table's name may make too long
    settings = o.with_checkpoint(settings, folder)
    outcome = fit_table(
        frame,
        result,
        settings,
        target=wanted if len(wanted) > 1 else None,
        out=folder,
        split=Split(test_fraction, split_column, group),
        report=report,
        command=Command(command_line(), begun),
    )
    sampled = () if sample is None else ("--sample", sample)
    judged = (table, "--held-out", *sampled) if test is None else (test,)
    if isinstance(outcome, TargetOutcomes):
        show_json(summaries(outcome)) if json else show_outcomes(outcome, str(table), judged)
        return
    if json:
        show_json(summary(outcome))
        return
    show_outcome(outcome, str(table), judged)
    if schema is None:
        _show_editing(table, str(result.target), root, drop)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("plait-demo"),
    target: Annotated[str, typer.Option(help="cardClass, set, race or spellSchool.")] = "cardClass",
    store: o.Store = None,
    json: o.Json = False,
) -> None:
    """Do the main job on real data that comes by pip.

    Hearthstone cards: text, categories, numbers.
    """
    from plait.base.errors import ConfigError, nearest
    from plait.base.folders import check_folder, claim_folder
    from plait.data.write import write_table
    from plait.datasets.hearthstone_cards import HearthstoneCards
    from plait.workflow.fit import Command, fit_table

    step("read the cards")
    loaded = HearthstoneCards().load()
    if target not in loaded.schemas:
        raise ConfigError(f"--target {target}: {nearest(target, loaded.schemas)}")
    claim_folder(out, ["cards.csv"])
    check_folder(out / "model")
    table = out / "cards.csv"
    write_table(loaded.frame, table)
    typer.echo(f"{len(loaded.frame):,} Hearthstone cards (package hearthstone-data) written to {table}", err=json)
    settings = {} if store is None else {"store": store}
    command = Command(shlex.join(["plait", "demo", "--target", target, "--out", str(out)]))
    outcome = fit_table(loaded.frame, loaded.schemas[target], settings, out=out / "model", command=command)
    if json:
        show_json(summary(outcome))
        return
    show_outcome(outcome, str(table), (table, "--held-out"))
    _show_editing(table, target, None)


def summary(outcome: Outcome) -> dict[str, Any]:
    """What ``--json`` prints."""
    places = {"folder": str(outcome.folder), "report": str(outcome.report) if outcome.report else None}
    return {**places, **outcome.to_dict(), "record": outcome.model.record_}


def summaries(outcomes: TargetOutcomes) -> dict[str, Any]:
    """What ``--json`` prints of several targets."""
    return {
        "folder": str(outcomes.folder),
        "report": str(outcomes.report) if outcomes.report else None,
        "targets": {target: summary(outcome) for target, outcome in outcomes.items()},
    }


def show_outcomes(outcomes: TargetOutcomes, table: str, judged_by: Sequence[object]) -> None:
    """One line per target: its score beside the strongest baseline; then where everything lies, and what to try next."""
    from plait.report.sections.scores import baseline_name, verdict

    rows = []
    for target, outcome in outcomes.items():
        judged = outcome.evaluation
        best = outcome.baselines.best(judged.task, judged.main_metric)
        beside = {} if best is None else outcome.baselines[best]
        rows.append(
            {
                "target": target,
                "task": judged.task,
                "held-out rows": judged.rows,
                "metric": judged.main_metric,
                "value": judged.score["value"],
                "95% interval": _interval(judged.score),
                "strongest baseline": "" if best is None else baseline_name(judged.task, best),
                "its value": beside.get(judged.main_metric),
            }
        )
    typer.echo(f"\n{len(outcomes)} targets, a model each")
    show_table(rows)
    for target, outcome in outcomes.items():
        show_text(f"{target}: {verdict(outcome.evaluation, outcome.baselines)}")
    _show_end("models", outcomes, table, judged_by)


def _show_end(name: str, written: Outcome | TargetOutcomes, table: str, judged_by: Sequence[object]) -> None:
    """Where everything lies, and what to try next; ``judged_by``: how a command is given the rows that judged."""
    typer.echo(f"{name:7} {written.folder}")
    if written.report:
        typer.echo(f"report  {written.report}   (opens in any browser)")
    typer.echo("next")
    show_command("predict", written.folder, table, "--out", "predictions.csv")
    show_command("explain", written.folder, *judged_by)


def show_outcome(outcome: Outcome, table: str, judged_by: Sequence[object]) -> None:
    """Score against the baselines, what each modality is worth, where everything lies, what to try next."""
    from plait.report.sections.modalities import worth
    from plait.report.sections.scores import baseline_name, verdict
    from plait.report.words import counted

    judged, record = outcome.evaluation, outcome.model.record_
    main = judged.main_metric
    typer.echo(f"\n{main} on {judged.rows:,} held-out rows of {record['rows'] + judged.rows:,}")
    value = judged.metrics[main]
    rows: list[dict[str, Any]] = [{"model": "plait", main: value["value"], "95% interval": _interval(value)}]
    baselines = {baseline_name(judged.task, name): scores for name, scores in outcome.baselines.items()}
    rows += [{"model": name, main: scores.get(main), "95% interval": ""} for name, scores in baselines.items()]
    show_table(rows)
    show_text(verdict(judged, outcome.baselines))
    show_title("what each modality is worth (Shapley value; its score alone)")
    show_table(modality_rows(outcome))
    show_text(worth(outcome.explanation))
    show_importance(outcome.importance)
    leaderboard = getattr(outcome.model, "leaderboard_", None)
    if leaderboard is not None and len(leaderboard):
        show_title(
            "branches: loss on rows they did not learn from, weight in the answer, size, seconds (networks share theirs)"
        )
        show_table(leaderboard.rename(columns={"weights": "parameters"}).to_dict("records"))
    if (transform := record.get("target_transform", "none")) != "none":
        typer.echo()
        show_text(f"The target was learned on a {transform} scale (--target-transform); answers are in its own unit.")
    typer.echo()
    spent = ", ".join(f"{stage} {s:.1f} s" for stage, s in record["seconds"].items() if s >= 0.05)
    show_text(f"{record['trained_weights']:,} trained weights in {counted(record['members'], 'member')}; {spent}")
    for what, (used, rows) in record.get("samples", {}).items():
        typer.echo(f"sample  {what}: {used:,} of {rows:,} rows")
    _show_end("model", outcome, table, judged_by)


def _show_editing(table: Path, target: str, root: str | None, drop: Sequence[str] = ()) -> None:
    """How the columns are read otherwise, where that was inferred."""
    options = [*(("--root", root) if root else ()), *(part for column in drop for part in ("--drop", column))]
    show_command("schema", table, "--target", target, *options, then="> schema.yaml")
    typer.echo("  (edit schema.yaml where you know better, then:)")
    show_command("fit", table, "--schema", "schema.yaml")


def show_importance(importance: pd.DataFrame, most: int = 8) -> None:
    """The columns that matter most, and what shuffling them costs."""
    if len(importance) < 2:
        return
    show_title("what each column is worth (growth of the loss when it is shuffled; its share of the modality's)")
    rows = importance.head(most).to_dict("records")
    kept = ("modality", "column", "importance")
    show_table([{**{k: r[k] for k in kept}, "95% interval": _interval(r), "share": r["share"]} for r in rows])
    if len(importance) > most:
        typer.echo(f"... and {len(importance) - most} more")


def modality_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """One row per modality: Shapley value with its interval, and its score alone."""
    main = outcome.evaluation.main_metric
    alone: dict[tuple[str, ...], Any] = {tuple(s["modalities"]): s for s in outcome.evaluation.subsets}
    return [
        {
            "modality": entry["modality"],
            "worth": entry["value"],
            "95% interval": _interval(entry),
            f"{main} alone": alone.get((entry["modality"],), {}).get("value"),
        }
        for entry in outcome.explanation.overall
    ]


def _interval(value: Any) -> str:
    low, high = value.get("low"), value.get("high")
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
