"""Runs noted where a team keeps them: MLflow or Weights & Biases, by one setting (``track``)."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from plait.base import config
from plait.base.errors import ConfigError, PlaitError, need, warn
from plait.estimators.fit_settings import FitSettings

#: Fields that are no setting of a run: what is said elsewhere, or names a place of one machine.
_NOT_NOTED = ("modalities", "root", "store", "checkpoint", "tensorboard", "progress", "track", "remote")
_LONGEST = 400  # characters of a value: MLflow takes 500


@dataclasses.dataclass(frozen=True)
class Track:
    """Where a fit is noted.

    Attributes:
        name: ``mlflow`` or ``wandb``.
        project: the experiment (MLflow), or the project.
        run: what the run is called; None: after its target.
        folder: a folder on this machine, nothing is sent anywhere; None: what the tracker's own environment variables say
            (``MLFLOW_TRACKING_URI``, ``WANDB_API_KEY``).
    """

    name: Literal["mlflow", "wandb"]
    project: str = "plait"
    run: str | None = None
    folder: str | None = None


@dataclasses.dataclass
class Noted:
    """What is noted of a run: settings, numbers, a number per epoch, files."""

    run: str
    params: dict[str, str] = dataclasses.field(default_factory=dict)
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    epochs: list[tuple[int, dict[str, float]]] = dataclasses.field(default_factory=list)
    files: list[Path] = dataclasses.field(default_factory=list)


def track_of(value: str | Mapping[str, object]) -> Track:
    """What the setting ``track`` says.

    Raises:
        ConfigError: no such tracker or option.
        MissingDependencyError: its package is not installed.

    Example:
        >>> track_of({"name": "wandb", "project": "cards"}).project
        'cards'
    """
    options = {"name": value} if isinstance(value, str) else dict(value)
    if options.get("name") not in _WRITERS:
        raise ConfigError(f"track: expected one of {', '.join(_WRITERS)}, found {options.get('name')!r}")
    result = config.build(Track, options, "track")
    need(result.name, result.name)
    return result


def noted_fit(model: Any) -> Noted:
    """What is noted of a fitted estimator: settings that are not the usual ones, sizes, seconds, the losses of each epoch."""
    usual = FitSettings()
    given = {f.name: getattr(model, f.name) for f in dataclasses.fields(FitSettings)}
    params = {k: v for k, v in given.items() if k not in _NOT_NOTED and v != getattr(usual, k)}
    params |= {f"encoder.{name}": facts["name"] for name, facts in model.record_["encoders"].items()}
    record = model.record_
    metrics = {name: record[name] for name in ("rows", "trained_weights", "members", "epochs", "peak_memory_mb")}
    metrics |= {f"seconds.{stage}": value for stage, value in record["seconds"].items()}
    metrics |= {f"held_out_loss.{b['branch']}": b["loss"] for b in record.get("branches", []) if "loss" in b}
    rows: dict[int, dict[str, float]] = {}
    for line in model.history_:
        losses = {f"{k}.member_{line['member']}": line[k] for k in ("train_loss", "valid_loss") if k in line}
        rows.setdefault(line["epoch"], {}).update(losses)
    name = str(model.schema_.target or "fit")
    return Noted(name, {k: str(v)[:_LONGEST] for k, v in params.items()}, _finite(metrics), sorted(rows.items()))


def _finite(values: Mapping[str, object]) -> dict[str, float]:
    numbers = {k: float(v) for k, v in values.items() if isinstance(v, int | float)}
    return {k: v for k, v in numbers.items() if math.isfinite(v)}


def note(track: Track, noted: Noted, metrics: Mapping[str, object] | None = None, files: Sequence[Path] = ()) -> None:
    """Write a run; a tracker that fails costs a warning, never the model.

    Args:
        track: where to.
        noted: of the fit.
        metrics: of its evaluation.
        files: the report and what else belongs to it.
    """
    noted = dataclasses.replace(noted, metrics={**noted.metrics, **_finite(metrics or {})}, files=list(files))
    try:
        _WRITERS[track.name](track, dataclasses.replace(noted, run=track.run or noted.run))
    except PlaitError:
        raise
    except Exception as error:  # noqa: BLE001 - each tracker has errors of its own, the network's among them
        reason = (str(error).partition("\n")[0] or type(error).__name__)[:200]
        warn(f"track: the run was not noted with {track.name} ({reason}); the model is as it is")


def _mlflow(track: Track, noted: Noted) -> None:
    """A run of MLflow: in a database ``mlflow.db`` with the files beside it, or where ``MLFLOW_TRACKING_URI`` says."""
    tracking = need("mlflow.tracking", "mlflow")
    entities = need("mlflow.entities", "mlflow")
    place: dict[str, str] = {}
    if track.folder is not None:
        folder = Path(track.folder).expanduser().absolute()
        folder.mkdir(parents=True, exist_ok=True)
        client = tracking.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
        place = {"artifact_location": (folder / "artifacts").as_uri()}
    else:
        client = tracking.MlflowClient()
    known = client.get_experiment_by_name(track.project)
    experiment = known.experiment_id if known is not None else client.create_experiment(track.project, **place)
    run = client.create_run(experiment, run_name=noted.run).info.run_id
    now = int(time.time() * 1000)
    each = [(0, noted.metrics), *noted.epochs]
    metrics = [entities.Metric(k, v, now, step) for step, values in each for k, v in values.items()]
    params = [entities.Param(k, v) for k, v in noted.params.items()]
    for first in range(0, max(len(metrics), 1), 900):  # MLflow takes a thousand at once
        client.log_batch(run, metrics=metrics[first : first + 900], params=params if first == 0 else [])
    for path in noted.files:
        client.log_artifact(run, str(path))
    client.set_terminated(run)


def _wandb(track: Track, noted: Noted) -> None:
    """A run of Weights & Biases: offline in the folder (``wandb sync`` sends it), or online where its environment says so."""
    wandb = need("wandb", "wandb")
    offline = track.folder is not None
    if offline:
        Path(str(track.folder)).expanduser().mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True)
    run = wandb.init(
        project=track.project,
        name=noted.run,
        config=dict(noted.params),
        dir=str(Path(str(track.folder)).expanduser()) if offline else None,
        mode="offline" if offline else os.environ.get("WANDB_MODE", "online"),
        settings=quiet,
    )
    try:
        for step, values in noted.epochs:
            run.log(values, step=step)
        run.summary.update(noted.metrics)
        if noted.files:
            artifact = wandb.Artifact(f"report-{run.id}", type="report")
            for path in noted.files:
                artifact.add_file(str(path))
            run.log_artifact(artifact)
    finally:
        run.finish()


_WRITERS = {"mlflow": _mlflow, "wandb": _wandb}
