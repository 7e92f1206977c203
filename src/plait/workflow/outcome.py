"""Which targets a fit of a table has, what it gives for one or for several, and how it is saved."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from plait.base import notebook
from plait.base.errors import ConfigError, MissingDependencyError, TableError, nearest, warn
from plait.base.folders import whole_folder
from plait.base.parts import write_file
from plait.data import schema
from plait.data.dropped import Columns, dropped_columns, left_out, without
from plait.data.modality import Schema
from plait.estimators import modelfile, tracking
from plait.estimators.base import FusionEstimator
from plait.estimators.fit_settings import NO_STORE
from plait.estimators.target_models import TargetModels, folders_of
from plait.evaluation.baselines import Baselines
from plait.evaluation.evaluate import Evaluation
from plait.evaluation.explain import Explanation
from plait.store import model_files

#: What is expected of a list of targets.
_EXPECTED = "name at least one column (--target a,b; in YAML target: [a, b])"


def targets_of(given: str | Sequence[str] | Mapping[str, str | None] | None, frame: pd.DataFrame) -> dict[str, Any]:
    """Target -> task (None: inferred), each a column of the table and named once.

    Raises:
        ConfigError: an empty list, or a target twice.
        TableError: no such column; the nearest one is named.
    """
    names = [given] if isinstance(given, str) else list(given or ())
    if not names:
        raise ConfigError(f"the list of targets is empty; {_EXPECTED}")
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ConfigError(f"target {', '.join(map(repr, twice))} is named twice; name each column once")
    columns = [str(c) for c in frame.columns]
    unknown = [f"'{name}' to predict; {nearest(str(name), columns)}" for name in names if name not in columns]
    if unknown:
        raise TableError(f"the table has no column {', nor '.join(unknown)}")
    return dict(given) if isinstance(given, Mapping) else dict.fromkeys(names)


def schemas_of(
    frame: pd.DataFrame, given: Schema | None, targets: Mapping[str, str | None], drop: Columns | None = None
) -> dict[str, Schema]:
    """A schema per target, in none of which another target is an input.

    Args:
        frame: the table.
        given: the modalities; None infers them from the columns that are no targets.
        targets: target -> task; None looks at the column.
        drop: columns that are no inputs either.
    """
    rest, ignored = frame.drop(columns=list(targets)), () if given is None else given.ignored
    dropped = dropped_columns(drop, [*frame.columns, *ignored], targets)
    if not len(rest.columns):
        base = Schema(())
    elif given is None:
        base = schema.infer(rest, drop=dropped)
    else:
        base = left_out(dataclasses.replace(_without(given, targets), target=None), dropped, frame.columns)
    if not base.modalities:
        raise ConfigError(f"no column is left to learn from beside the targets {', '.join(map(repr, targets))}")
    result = {}
    for name, task in targets.items():
        kept = base.task if given is not None and given.target == name else None
        inferred, note, doubt = schema.infer_task(frame[name])
        if doubt and (task or kept) is None:
            warn(f"target '{name}' is doubtful: {doubt}")
        notes = {**base.notes, name: note}
        result[name] = dataclasses.replace(base, target=name, task=task or kept or inferred, notes=notes)
    return result


def _without(given: Schema, targets: Collection[str]) -> Schema:
    """The schema without the targets among its inputs, which is told of."""
    inputs = [c for m in given.modalities for c in m.columns if c in targets]
    if not inputs:
        return given
    names = ", ".join(map(repr, dict.fromkeys(inputs)))
    warn(f"{names}: a column to predict is no input of any target's model, and is left out of the schema's modalities")
    return without(given, targets)


@contextlib.contextmanager
def settings_of_each(settings: Mapping[str, Any], targets: Sequence[str]) -> Iterator[dict[str, dict[str, Any]]]:
    """Target -> settings by which the models share what is encoded, and each keeps its training in a folder of its own.

    Where no store is wanted, there is one that goes with the block.
    """
    with contextlib.ExitStack() as kept:
        result = {target: dict(settings) for target in targets}
        if settings.get("store") == NO_STORE:
            store = kept.enter_context(tempfile.TemporaryDirectory(prefix="plait-"))
            result = {target: {**own, "store": store} for target, own in result.items()}
        if settings.get("checkpoint") is not None:
            root, names = Path(settings["checkpoint"]), folders_of(targets)
            result = {target: {**own, "checkpoint": str(root / names[target])} for target, own in result.items()}
            kept.callback(_remove_empty, root)
        yield result


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What ``fit_table`` gives.

    Attributes:
        model: fitted.
        evaluation: of it on the test rows.
        explanation: what each modality is worth there.
        importance: what each column is worth there.
        baselines: what it must beat, on the same rows.
        leaks: what looks like the target in disguise.
        folder: where model and report lie, or None when nothing was saved.
        report: the page, or None.
    """

    model: FusionEstimator
    evaluation: Evaluation
    explanation: Explanation
    importance: pd.DataFrame
    baselines: Baselines
    leaks: Sequence[Mapping[str, Any]]
    folder: Path | None = None
    report: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """All that was found of the model, as plain values."""
        return {
            "evaluation": self.evaluation.to_dict(),
            "explanation": self.explanation.to_dict(),
            "importance": self.importance.to_dict("records"),
            "baselines": {k: dict(v) for k, v in self.baselines.items()},
            "against": list(self.baselines.against),
            "leaks": [dict(leak) for leak in self.leaks],
        }

    def __repr__(self) -> str:
        return f"{self.evaluation!r}\n\n{self.explanation!r}"

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        page = notebook.paragraphs([f"report: {self.report}"] if self.report else [])
        return f"{self.evaluation._repr_html_()}{self.explanation._repr_html_()}{page}"


@dataclasses.dataclass(frozen=True)
class TargetOutcomes(Mapping[str, Outcome]):
    """What ``fit_table`` gives for several targets: target -> its ``Outcome``.

    Attributes:
        outcomes: in the order of the targets.
        folder: where the models and the front page lie, or None when nothing was saved.
        report: the front page, or None.
    """

    outcomes: Mapping[str, Outcome]
    folder: Path | None = None
    report: Path | None = None

    def __getitem__(self, target: str) -> Outcome:
        return self.outcomes[target]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    @property
    def model(self) -> TargetModels:
        """The models, as one that answers for every target."""
        return TargetModels({target: outcome.model for target, outcome in self.outcomes.items()})


def save_outcome(outcome: Outcome, folder: Path, *, report: bool, command: str) -> Outcome:
    """The model folder with its evaluation, explanation and page, whole or not at all."""
    with whole_folder(folder, "Fusion") as place:
        written = _write(outcome, place, report, command)
    return dataclasses.replace(outcome, folder=folder, report=folder / "report.html" if written else None)


def save_outcomes(outcomes: TargetOutcomes, folder: Path, *, report: bool, command: str) -> TargetOutcomes:
    """A sub-folder per target, a manifest and a front page, whole or not at all."""
    places, pages = folders_of(list(outcomes)), dict[str, bool]()
    with whole_folder(folder, "Fusion") as place:
        for target, outcome in outcomes.items():
            (place / places[target]).mkdir()
            pages[target] = _write(outcome, place / places[target], report, command)
        outcomes.model.write_manifest(place)
        if all(pages.values()):
            from plait.report.targets import TargetScore, write_front_page

            scores = [TargetScore(t, o.evaluation, o.baselines, places[t]) for t, o in outcomes.items()]
            write_front_page(place, scores, command)
    page = "report.html"
    saved = {
        target: dataclasses.replace(
            outcome, folder=folder / places[target], report=folder / places[target] / page if pages[target] else None
        )
        for target, outcome in outcomes.items()
    }
    return TargetOutcomes(saved, folder, folder / page if all(pages.values()) else None)


def _write(outcome: Outcome, place: Path, report: bool, command: str) -> bool:
    """Put the files of one fit into a folder that exists; whether there is a page among them."""
    modelfile.write(outcome.model, place)
    text = json.dumps(model_files.plain_values(outcome.to_dict()), indent=1, ensure_ascii=False)
    write_file(place / "results.json", text.encode("utf-8", "backslashreplace"))
    return report and _write_page(place, outcome, command)


def _write_page(place: Path, outcome: Outcome, command: str) -> bool:
    try:
        from plait.report.fit import FitReport, write_report

        model = outcome.model
        page = FitReport(
            evaluation=outcome.evaluation,
            schema=_with_unnamed(model),
            explanation=outcome.explanation,
            baselines=outcome.baselines,
            importance=outcome.importance,
            leaderboard=getattr(model, "leaderboard_", None),
            history=model.history_,
            settings=model.record_.get("settings") or model.get_params(deep=False),
            record={**model.record_, "leaks": outcome.leaks},
            command=command,
        )
        write_report(place, page)
    except MissingDependencyError as error:
        warn(f"no report page: {error}")
        return False
    return True


def _with_unnamed(model: FusionEstimator) -> Schema:
    """The schema, whose left-out columns are also those of the table that it does not name."""
    said, held = model.schema_, model.record_.get("held_out", {})
    named = {said.target, held.get("split_column"), held.get("group"), *said.columns, *said.ignored}
    rest = [str(column) for column in getattr(model, "feature_names_in_", ()) if column not in named]
    return dataclasses.replace(said, ignored={**said.ignored, **dict.fromkeys(rest, "not named in the schema")})


def note_outcomes(tracked: tracking.Track | None, outcomes: Mapping[str, Outcome]) -> None:
    """Note each target's run with its scores, those of its baselines, and the files that say how it went."""
    for outcome in outcomes.values() if tracked is not None else ():
        judged, main = outcome.evaluation, outcome.evaluation.main_metric
        scores: dict[str, Any] = {f"test.{name}": value["value"] for name, value in judged.metrics.items()}
        scores |= {f"test.{main}.{end}": judged.score[end] for end in ("low", "high")}
        scores |= {f"baseline.{name}.{main}": each.get(main) for name, each in outcome.baselines.items()}
        scores |= {f"worth.{entry['modality']}": entry["value"] for entry in outcome.explanation.overall}
        folder, names = outcome.folder, ("report.html", "results.json", "README.md")
        files = [folder / name for name in names if (folder / name).is_file()] if folder is not None else []
        assert tracked is not None
        tracking.note(tracked, tracking.noted_fit(outcome.model), scores, files)
