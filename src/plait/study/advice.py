"""Advice: a budgeted study on the user's own rows, and what it says about how to fuse them.

The decision framework of Task-specific pre-trained encoders in late fusion (advanced objective 6, table 7.9), made runnable:
not rules of thumb, but designs raced against each other on the table in question.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base import config, progress
from plait.base.deadline import Deadline
from plait.base.errors import ConfigError
from plait.base.parts import claimed
from plait.data.dropped import is_dropped
from plait.data.modality import Schema
from plait.metrics.base import MAIN, metrics
from plait.study import Study
from plait.study.answer import Advice, answer, pareto
from plait.study.designs import DEFAULT, Candidate, Racing, candidates, differences, noises
from plait.study.folder import STUDY
from plait.study.results import Results
from plait.study.statistics.compare import compare

SPLITS = 10
#: Rows at most that designs are raced on.
ROWS = 20_000
#: Share for the race of the time that is left once everything is encoded; the rest shows what the winner's modalities,
#: absence and noise are worth.
RACE = 0.6
#: Share of the minutes that one fit of the race may train for; it then ends with what is best so far.
LONGEST = 0.2
#: Share of the minutes within which fits may end; the rest is for what comes before and after them.
WITHIN = 0.95
#: The second step, as the terminal shows it.
LOOK = "measure what modalities, absence and noise are worth"


@dataclasses.dataclass(frozen=True)
class AdviceOptions:
    """How advice is sought.

    Attributes:
        settings: of the estimator, for all designs.
        group: column whose equal values stay on one side of a split.
        table: what the advised command calls the table.
        workers: processes; None: one per core. A table in memory is raced in this process.
        store: of embeddings.
        view: show progress; None: only on a terminal.
        begun: when the minutes began, by ``deadline.now``: libraries and the table are read before the race; None: with the call.
    """

    settings: Mapping[str, Any] | None = None
    group: str | None = None
    table: str = "TABLE"
    workers: int | None = None
    store: str | None = None
    view: bool | None = None
    begun: float | None = None


def advise(
    data: pd.DataFrame | Mapping[str, object],
    schema: Schema,
    *,
    out: str | Path,
    minutes: float = 10.0,
    splits: int = SPLITS,
    **options: Any,
) -> Advice:
    """Race designs on the table, then measure what the best is worth without each modality and under noise.

    Every design is fitted on four fifths of the rows and judged on the rest, on the same splits; one that is surely worse
    than the leader leaves. Killed, or with more minutes, the same call goes on.

    Args:
        data: the rows, target included, or a study's ``data`` entry (``{table: ..., schema: ...}``, ``{dataset: ...}``).
        schema: of the table.
        out: folder of the two studies: ``race``, and ``evidence-DESIGN`` of the design that won it.
        minutes: of wall time; a fit that is not expected to end in them is not begun, and one that runs when they end is
            finished. Tuned encoders are tried from 30 on.
        splits: of the rows, at most; with fewer than three nothing leaves the race.
        options: fields of ``AdviceOptions``: settings, group, table, workers, store, view, begun.

    Raises:
        ConfigError: the schema has no target, or too little time for a single comparison.
    """
    chosen = config.build(AdviceOptions, options, "advise")
    if schema.target is None:
        raise ConfigError("advice needs a target (--target)")
    if minutes <= 0:
        raise ConfigError(f"minutes {minutes:g}: expected more than 0")
    contest = Contest(schema, data, chosen, minutes, splits, Path(out))
    tried, raced = contest.race()
    winner = winner_of(raced, contest.racing)
    settings = tried[winner].settings
    shown = contest.evidence(raced, winner, settings)
    command = fit_command(chosen.table, schema, settings)
    about = {"settings": dict(settings), "variant": winner, "command": command, "folder": contest.place}
    racing, metric = contest.racing, contest.metric
    about["pareto"] = pareto(raced.lines, metric, racing.scores(raced.lines), racing.sign)
    result = _advice(schema, metric, raced, shown, **about)
    return dataclasses.replace(result, lines=answer(result, schema, tried, raced, metric, minutes))


class Contest:
    """Designs on one table, which first race each other, and of which the winner is then looked at."""

    def __init__(
        self,
        schema: Schema,
        data: pd.DataFrame | Mapping[str, object],
        options: AdviceOptions,
        minutes: float,
        splits: int,
        place: Path,
    ) -> None:
        """As ``advise`` takes them; ``place``: the folder of both studies."""
        self.schema, self.options, self.minutes, self.splits, self.place = schema, options, minutes, splits, place
        self.end, self.common = Deadline(minutes, begun=options.begun), dict(options.settings or {})
        self.metric, self.names = MAIN[schema.task], [m.name for m in schema.modalities]
        lower = metrics(schema.task)[self.metric].direction == "lower"
        self.racing = Racing(self.metric, lower=lower, kept=[DEFAULT])
        self.frames: dict[str, tuple[pd.DataFrame, Schema]] = {}
        if isinstance(data, pd.DataFrame):
            self.frames, data = {"table": (data, schema)}, {"frame": "table"}
        split = {"kind": "holdout", "fractions": [0.8, 0.2], **({"group": options.group} if options.group else {})}
        self.data = {"rows": ROWS, **data, "split": split}

    def race(self) -> tuple[dict[str, Candidate], Results]:
        """The designs that are tried, and how they did.

        Raises:
            ConfigError: not one could be fitted.
        """
        folder, view = self.place / "race", self.options.view
        begun = _begun(folder)  # with more minutes it goes on with the designs and the limit that it began with
        known = [c for c in candidates(self.schema, self.common) if begun is None or c.name in begun.spec.variants]
        known = [c for c in known if begun is not None or self.minutes >= c.minutes]
        differ = [c for c in known if c.name == DEFAULT or merged(self.common, c.settings) != self.common]
        tried = {c.name: c for c in differ}
        progress.plan([f"race {len(tried)} designs", LOOK], view)
        progress.step(f"race {len(tried)} designs", view)
        # How long a first fit of a design takes nobody knows: one that learns its encoders must not eat the others' time.
        longest = round(self.minutes * LONGEST, 6) if begun is None else begun.spec.model.get("minutes")
        spec = self.study("race", {"minutes": longest, **self.common})
        spec |= {"variants": {name: dict(c.settings) for name, c in tried.items()}}
        spec |= {"present": _alone(self.names)} if len(self.names) > 1 else {}
        raced = self._run(spec, folder, self.racing)
        if not _done(raced):
            why = next(iter(raced.status()["reasons"]), _unfinished(raced))
            raise ConfigError(f"{folder}: not one design could be fitted ({why})")
        return tried, raced

    def evidence(self, raced: Results, winner: str, settings: Mapping[str, Any]) -> Results | None:
        """What modalities, their absence and noise cost the winner; None where the time is too short for a fit of it."""
        progress.step(LOOK, self.options.view)
        folder = evidence_folder(self.place, winner)
        if self.end.left(WITHIN) <= fit_seconds(raced, winner) and not folder.exists():
            return None
        spec = self.study("evidence", merged(self.common, settings))
        without = [[n for n in self.names if n != gone] for gone in self.names] if len(self.names) > 1 else []
        spec |= {"modalities": {"subsets": [self.names, *without]}, "present": _alone(self.names)}
        spec |= {"conditions": {"test": ["clean", *noises(self.schema).values()]}}
        return self._run(spec, folder, None)

    def study(self, name: str, model: Mapping[str, object]) -> dict[str, Any]:
        """What both studies have in common; ``model``: settings of all its variants."""
        budget = {"minutes": round(max(0.0, self.end.left(WITHIN)) / 60, 6)}
        said = {"name": name, "data": self.data, "model": dict(model), "seeds": self.splits}
        return {**said, "metrics": [self.metric], "budget": budget}

    def _run(self, spec: Mapping[str, Any], folder: Path, race: Racing | None) -> Results:
        engine, share = "inline" if self.frames else "local", 1.0 if race is None else RACE
        options = {name: getattr(self.options, name) for name in ("workers", "store", "view")}
        return Study.from_dict(spec, self.frames).run(folder, engine=engine, race=race, share=share, **options)


def _begun(folder: Path) -> Results | None:
    """The race that this call goes on with; one in which nothing was fitted, and nobody is at work, begins anew."""
    if not (folder / STUDY).exists():
        return None
    with claimed(folder) as abandoned:
        begun = Results.open(folder)
        if _done(begun) or not abandoned:  # fits that failed for want of time would fail again, whatever is given now
            return begun
        shutil.rmtree(folder)
    return None


def _unfinished(raced: Results) -> str:
    """Why the time was over before a first fit."""
    done, pieces = raced.about.get("encoded", (0, 0))
    if not done:
        return "the time was over before anything was encoded: starting took all of it; give more --minutes"
    kept = "what was encoded is kept, and the same command goes on from there"
    return f"{done} of {pieces} pieces of columns were encoded when the time was over; {kept}: give more --minutes"


def fit_seconds(raced: Results, variant: str) -> float:
    """What a fit of a design took on average."""
    runs = raced.lines
    return float(np.mean([r["seconds"]["total"] for r in runs if r["status"] == "done" and r["variant"] == variant]))


def evidence_folder(place: Path, variant: str) -> Path:
    """The folder of the second study; a race that goes on may have another winner, whose study is another.

    Example:
        >>> evidence_folder(Path("out"), "text by hashed_ngrams").name
        'evidence-text-by-hashed_ngrams'
    """
    return place / f"evidence-{re.sub(r'[^a-z0-9_]+', '-', variant.lower())}"


def merged(settings: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others over them; a setting that is a mapping on both sides keeps what the others do not name.

    Example:
        >>> merged({"encoders": {"text": "minilm"}, "layers": 2}, {"encoders": {"image": "logmel"}})
        {'encoders': {'text': 'minilm', 'image': 'logmel'}, 'layers': 2}
    """
    nested = [k for k, v in others.items() if isinstance(v, Mapping) and isinstance(settings.get(k), Mapping)]
    return {**settings, **others, **{k: {**settings[k], **others[k]} for k in nested}}


def _done(results: Results) -> bool:
    return any(line["status"] == "done" for line in results.lines)


def _alone(names: Sequence[str]) -> list[list[str]]:
    """Everything present, each modality alone, each missing."""
    patterns = [list(names), *([n] for n in names), *([n for n in names if n != gone] for gone in names)]
    return [list(p) for p in dict.fromkeys(tuple(p) for p in patterns if p)]


def winner_of(results: Results, racing: Racing) -> str:
    """The best by mean; the default where it is within one standard error of the best: the simpler is taken on a tie.

    Source: the one-standard-error rule of Breiman et al. 1984, Classification and Regression Trees, section 3.4.3.
    """
    scores = racing.scores(results.lines)
    usual = scores.get(DEFAULT, {})
    most = max(len(result) for result in scores.values())
    means = {
        label: float(np.mean(list(result.values()))) for label, result in scores.items() if 2 * len(result) >= most
    }
    best = max(means, key=lambda label: means[label])
    if best == DEFAULT or not usual:
        return best
    pairs = differences(scores[best], usual)
    if len(pairs) < 2:
        return DEFAULT
    error = float(pairs.std(ddof=1) / np.sqrt(len(pairs)))
    return best if pairs.mean() > error else DEFAULT


def _advice(schema: Schema, metric: str, raced: Results, shown: Results | None, **advised: Any) -> Advice:
    """The tables beside the winner; its lines are still to be written."""
    race = compare(raced, metric, against=DEFAULT)
    everything = "+".join(m.name for m in schema.modalities)
    modalities = conditions = present = pd.DataFrame()
    if shown is not None and _done(shown):
        conditions = compare(shown, metric, against="clean", by="condition")
        if len(schema.modalities) > 1:
            modalities = compare(shown, metric, against=everything, by="subset")
            present = compare(shown, metric, against=everything, by="present")
    return Advice(**advised, lines=(), race=race, modalities=modalities, conditions=conditions, present=present)


def fit_command(table: str, schema: Schema, settings: Mapping[str, Any]) -> str:
    """The ``plait fit`` line for a table with these settings.

    Example:
        >>> from plait.data.schema import Modality
        >>> told = Schema((Modality("text", "text", ("a",)),), target="y")
        >>> fit_command("cards.csv", told, {"depth": "late", "encoders": {"text": "hashed_ngrams"}})
        'plait fit cards.csv --target y --encoder text=hashed_ngrams --set depth=late'
    """
    parts = ["plait", "fit", table, "--target", str(schema.target)]
    for name, encoder in dict(settings.get("encoders") or {}).items():
        parts += ["--encoder", f"{name}={encoder}"]
    drop = settings.get("drop") or ()
    without = [column for column in schema.ignored if is_dropped(schema, column)]
    for column in dict.fromkeys([*without, *([drop] if isinstance(drop, str) else drop)]):
        parts += ["--drop", column]
    for key, value in settings.items():
        if key in ("encoders", "drop"):
            continue
        if isinstance(value, Mapping):
            for part, inner in value.items():
                parts += ["--set", f"{key}.{part}={_plain(inner)}"]
        else:
            parts += ["--set", f"{key}={_plain(value)}"]
    return shlex.join(parts)


def _plain(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)
