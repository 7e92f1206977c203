"""What pretraining does to the representations: embeddings, probes, similarity and pictures of one run or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import ConfigError, ModelError
from plait.base.folders import claim_folder
from plait.workflow.inspection.compare import compare_runs
from plait.workflow.inspection.embeddings import Embedding, embeddings
from plait.workflow.inspection.measures import across_modalities, measures, similarities
from plait.workflow.inspection.projection import available, project
from plait.workflow.inspection.result import Inspection
from plait.workflow.inspection.rows import Rows, never_seen, rows_for, warn_seen

#: Test rows in a picture at most.
SHOWN = 600


def inspect(
    model: Any,
    frame: pd.DataFrame,
    other: Any = None,
    *,
    out: str | Path | None = None,
    names: Sequence[str] | None = None,
    test_fraction: float | None = None,
    split_column: str | None = None,
    group: str | None = None,
    seed: int | None = None,
    member: int = 0,
    most: int = 5000,
    projections: Sequence[str] | None = None,
    command: str = "",
) -> Inspection:
    """Look into one fitted model, or two over the same rows (scratch and pretrained, say).

    Probes learn on the training rows of the split and are judged on its test rows; CKA, alignment, uniformity and pictures
    are of test rows only.

    Args:
        model: a fitted estimator, or the folder of one.
        frame: the table it was fitted on a part of, target included.
        other: another one of the same target.
        out: folder for page, figures, tables and embeddings; None writes nothing.
        names: of the runs; None: their folders' names, or ``model`` and ``other``.
        test_fraction: share of rows held out; None: as ``plait fit`` held them out.
        split_column: a column that says ``test`` instead; None: as the fit.
        group: a column whose equal values stay on one side; None: as the fit.
        seed: of the split, of probes and of pictures; None: as the fit.
        member: which of the model's networks is looked at.
        most: rows of each part at most.
        projections: ``pca``, ``tsne``, ``umap``; None: those whose package is installed.
        command: for the page.

    Raises:
        PlaitError: no model, a table without the columns, fewer than ten rows, one class, models of different targets.
    """
    if out is not None:
        claim_folder(out, ["report.html"])
    ways = tuple(available() if projections is None else projections)
    runs = _runs([model] if other is None else [model, other], names)
    first = next(iter(runs.values()))
    _same_target(runs)
    rows = rows_for(
        first, frame, test_fraction=test_fraction, split_column=split_column, group=group, seed=seed, most=most
    )
    drawn = int(seed or 0)
    result = {name: embeddings(each, rows.frame, member=member) for name, each in runs.items()}
    unseen = {name: never_seen(each, rows) for name, each in runs.items()}
    if not all(unseen.values()):
        warn_seen([name for name, known in unseen.items() if not known])
    by_name = [{e.name: e for e in each} for each in result.values()]
    done = Inspection(
        runs=tuple(runs),
        task=rows.task,
        target=str(first.schema_.target),
        rows=rows,
        embeddings=result,
        measures=pd.concat(
            [measures(name, each, rows, seed=drawn) for name, each in result.items()], ignore_index=True
        ),
        alignment=pd.concat([across_modalities(name, each, rows) for name, each in result.items()], ignore_index=True),
        cka=similarities(by_name[0], by_name[-1], rows),
        comparison=compare_runs(runs, rows.frame.iloc[rows.train :].reset_index(drop=True), seed=drawn),
        pictures={name: _pictures(each, rows, ways, drawn) for name, each in result.items()},
        unseen=unseen,
        command=command,
    )
    if out is not None:
        from plait.workflow.inspection.writing import write_inspection

        write_inspection(done, out)
    return done


def _pictures(
    result: Sequence[Embedding], rows: Rows, ways: Sequence[str], seed: int
) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    pictures: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for way in ways:
        for each in result:
            places = np.flatnonzero(~rows.is_train & each.present)[:SHOWN]
            if len(places) >= 3:
                pictures.setdefault(way, {})[each.name] = (places, project(each.x[places], way, seed=seed))
    return pictures


def _runs(given: Sequence[Any], names: Sequence[str] | None) -> dict[str, Any]:
    """Name -> estimator, folders loaded; names of one kind are told apart."""
    if names is not None and (len(names) != len(given) or len(set(names)) < len(given)):
        raise ConfigError(f"names {list(names)}: expected {len(given)} different ones, one for each model")
    usual = [
        Path(value).resolve().name if isinstance(value, str | Path) else word
        for value, word in zip(given, ("model", "other")[: len(given)], strict=True)
    ]
    if len(set(usual)) < len(usual):
        usual = [f"{name} ({place})" for place, name in enumerate(usual, 1)]
    return {n: _loaded(m) for n, m in zip(names or usual, given, strict=True)}


def _loaded(value: Any) -> Any:
    from plait.estimators import estimators

    model = estimators.load(value) if isinstance(value, str | Path) else value
    if not hasattr(model, "predict_subsets"):
        raise ModelError(f"holds a {type(model).__name__}; expected a model that plait fit wrote")
    if not hasattr(model, "members_"):
        raise ModelError("the model is not fitted; call fit first")
    return model


def _same_target(runs: Mapping[str, Any]) -> None:
    options = {name: (m.schema_.target, m.task_, tuple(map(str, m.labels))) for name, m in runs.items()}
    if len(set(options.values())) > 1:
        said = "; ".join(
            f"{name}: {target} ({task}, {len(labels)} classes)" for name, (target, task, labels) in options.items()
        )
        raise ConfigError(f"two models of one target are needed; found {said}")
