"""The designs that advice races on a table, and the answer in at most ten lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from plait.base import notebook, registry
from plait.base.errors import ConfigError
from plait.data.modality import Schema
from plait.encoders.defaults import lighter_encoder, trainable_encoder
from plait.encoders.featurize import make_encoder
from plait.study.pareto import on_the_front
from plait.study.spec import CLEAN
from plait.study.statistics.paired import family_variance, resampled_t
from plait.training.settings import with_regimes

if TYPE_CHECKING:
    from plait.study.results import Results


#: Name of the design that all others are compared with.
DEFAULT = "default"
#: Minutes from which on tuned encoders are raced: tuning the text of 700 rows took 110 s of a core, the rest of the fit 6.
TUNING = 30.0


#: The poolings of Task-specific pre-trained encoders in late fusion (6.2.3), those most often worth it first.
POOLINGS = ("gated", "attention", "sum", "mean", "max")
#: Minutes from which on an encoder is raced that learns in the place of a frozen one.
LEARNING = 10.0


@dataclass(frozen=True)
class Candidate:
    """One design.

    Attributes:
        question: what it answers: ``fusion``, ``encoder``, ``regime``, ``branches``, ``regularisation`` or ``alignment``.
        settings: fields of the estimator that differ from the default.
        minutes: it takes so long to fit that a shorter race is better spent on the others.
    """

    name: str
    question: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    minutes: float = 0.0


def candidates(schema: Schema, settings: Mapping[str, object] | None = None) -> list[Candidate]:
    """The designs for a table of these modalities, the default first; those most often worth it come early.

    ``settings`` hold for all designs: an encoder that they name is not tried against a lighter one.

    Example:
        >>> from plait.data.schema import Modality
        >>> [c.name for c in candidates(Schema((Modality("text", "text", ("a",)),)))][:3]
        ['default', 'joint network only', 'linear map only']
    """
    schema = _resolved(schema, settings or {})
    names = [m.name for m in schema.modalities]
    several = len(names) > 1
    result = [
        Candidate(DEFAULT, ""),
        Candidate("joint network only", "branches", {"branches": ["joint"]}),
        Candidate("linear map only", "branches", {"branches": ["linear"]}),
        Candidate("more dropout of features", "regularisation", {"input_dropout": 0.5}),
        Candidate("less dropout of features", "regularisation", {"input_dropout": 0.1}),
    ]
    if several:
        result += [
            Candidate("late concat", "fusion", {"depth": "late"}),
            *(Candidate(f"late {name}", "fusion", {"depth": "late", "fusion": name}) for name in POOLINGS),
            Candidate("early low_rank", "fusion", {"depth": "early", "fusion": "low_rank"}),
            Candidate("decision mean", "fusion", {"depth": "decision", "fusion": "mean"}),
            Candidate("more dropout of modalities", "regularisation", {"modality_dropout": 0.5}),
        ]
    for modality in schema.modalities:
        lighter = lighter_encoder(modality.kind)
        if lighter is not None and modality.encoder is None and modality.train == "frozen":
            name = f"{modality.name} by {lighter}"
            result.append(Candidate(name, "encoder", {"encoders": {modality.name: lighter}}))
    result += _regimes(schema)
    kinds = {m.name: m.kind for m in schema.modalities}
    anchors = [name for name in names if kinds[name] in ("text", "image")]
    weak = [name for name in names if kinds[name] in ("tabular", "code", "audio", "video")]
    if anchors and weak:
        result.append(Candidate(f"{weak[0]} aligned", "alignment", {"align": {weak[0]: anchors}}))
    return result


def _resolved(schema: Schema, settings: Mapping[str, Any]) -> Schema:
    """The schema with the encoders and regimes that the settings name."""
    value = settings.get("encoders") or {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"encoders must be a mapping of modality to encoder, found {value!r:.60}")
    named = {m.name: value.get(m.name, value.get(m.kind, m.encoder)) for m in schema.modalities}
    with_encoders = [dataclasses.replace(m, encoder=named[m.name]) for m in schema.modalities]
    return with_regimes(dataclasses.replace(schema, modalities=tuple(with_encoders)), settings.get("train"))


def _regimes(schema: Schema) -> Iterator[Candidate]:
    """How else each encoder could come by its weights: what learns, with or without pretraining; what is frozen, tuned."""
    for modality in schema.modalities:
        name = modality.name
        still = {"train": {name: "pretrain"}, "pretrain": {name: {"frozen": True}}}
        if modality.train == "pretrain":
            yield Candidate(f"{name} from scratch", "regime", {"train": {name: "scratch"}})
            yield Candidate(f"{name} pretrained, then frozen", "regime", still)
        elif modality.learns:
            yield Candidate(f"{name} pretrained first", "regime", {"train": {name: "pretrain"}})
            yield Candidate(f"{name} pretrained, then frozen", "regime", still)
        elif modality.train == "frozen" and modality.encoder is None and learning_encoder(modality.kind) is not None:
            encoder = {"encoders": {name: learning_encoder(modality.kind)}}
            yield Candidate(f"{name} from scratch", "regime", {**encoder, "train": {name: "scratch"}}, LEARNING)
            yield Candidate(f"{name} pretrained first", "regime", {**encoder, "train": {name: "pretrain"}}, LEARNING)
        if modality.train == "frozen" and make_encoder(modality).tunable and find_spec("peft"):
            yield Candidate(f"{name} tuned", "regime", {"train": {name: "tuned"}}, TUNING)


def learning_encoder(kind: str) -> str | None:
    """The encoder of a kind that learns; None where there is none.

    Example:
        >>> learning_encoder("audio"), learning_encoder("tabular")
        ('spectrogram_cnn', None)
    """
    name = trainable_encoder(kind)
    return name if registry.find("encoders", name).trainable else None


def noises(schema: Schema) -> dict[str, str]:
    """A moderate noise for each modality that has one: modality -> condition as text."""
    usual = {
        "text": "typos:{}:0.1",
        "image": "white_noise:{}:snr_db=6",
        "audio": "white_noise:{}:snr_db=6",
        "code": "renamed_identifiers:{}:1.0",
        "tabular": "jitter:{}:0.5",
        "vector": "vector_noise:{}:0.5",
    }
    return {m.name: usual[m.kind].format(m.name) for m in schema.modalities if m.kind in usual}


#: A variant leaves when it is this surely worse than the leader (one-sided, corrected for overlapping splits).
ALPHA = 0.05
#: Pairs of runs before anyone leaves.
LEAST = 3


class Racing:
    """Names the variants that need no more runs, from the lines so far; ``Study.run(race=...)`` asks it after every run.

    Source: Maron and Moore 1994, Hoeffding Races; with the corrected t-test of Nadeau and Bengio (2003) for the bound.
    """

    def __init__(self, metric: str, *, lower: bool, kept: Collection[str] = ()) -> None:
        """Race by a metric; ``lower`` is better or not; ``kept`` never leave."""
        self.metric, self.sign, self.kept = metric, -1.0 if lower else 1.0, set(kept)

    def __call__(self, lines: Sequence[Mapping[str, Any]]) -> set[str]:
        """Labels of the variants that leave."""
        scores = self.scores(lines)
        counts = {label: len(result) for label, result in scores.items()}
        prepared = [label for label, count in counts.items() if count >= LEAST]
        if len(prepared) < 2:
            return set()
        leader = max(prepared, key=lambda label: (np.mean(list(scores[label].values())), counts[label]))
        ratio = _ratio(lines)
        behind = {label: differences(scores[leader], result) for label, result in scores.items() if label != leader}
        least = family_variance([d for d in behind.values() if len(d) >= LEAST])
        return {
            label
            for label, d in behind.items()
            if label not in self.kept
            and len(d) >= LEAST
            and d.mean() > 0
            and resampled_t(d, ratio, least).p < 2 * ALPHA
        }

    def scores(self, lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[tuple[Any, ...], float]]:
        """Variant -> (data, seed, split) -> score on clean rows with everything present, higher is better."""
        result: dict[str, dict[tuple[Any, ...], float]] = {}
        for line in lines:
            if line["status"] != "done":
                continue
            for setting in line["evaluations"]:
                value = setting["metrics"].get(self.metric)
                if (
                    setting["condition"] == CLEAN
                    and list(setting["present"]) == list(line["subset"])
                    and value is not None
                ):
                    place = (line["dataset"], line["seed"], line["split"])
                    result.setdefault(str(line["variant"]), {})[place] = self.sign * float(value)
        return result


def _ratio(lines: Sequence[Mapping[str, Any]]) -> float:
    done = next(line for line in lines if line["status"] == "done")
    return float(done["test_rows"]) / max(1.0, float(done["train_rows"]))


def differences(leader: Mapping[tuple[Any, ...], float], other: Mapping[tuple[Any, ...], float]) -> np.ndarray:
    """How far one variant is ahead of another on each split that both have (k,)."""
    return np.array([leader[place] - other[place] for place in sorted(leader.keys() & other.keys())])


_QUESTIONS = {
    "encoder": "encoders",
    "regime": "pretrain or not",
    "fusion": "depth and operator",
    "branches": "what is trained",
    "regularisation": "dropout",
    "alignment": "alignment",
}


@dataclasses.dataclass(frozen=True, repr=False)
class Advice:
    """What a study of designs says about a table.

    Attributes:
        settings: of the estimator, as they differ from the default; empty: take the default.
        variant: name of the advised design.
        lines: the answer in at most ten lines.
        race: every design against the default, with words (``statistics.compare``).
        modalities: training without each modality against training with all.
        conditions: noise at test against clean rows, for the advised design; this and the tables beside it are empty where
            the time was too short for a single run of it.
        present: only some modalities present at test against all.
        pareto: every design by score, seconds of a fit and score with its worst single modality (``alone``); ``front``: no
            other is as good in all three and better in one.
        command: the ``plait fit`` line to use.
    """

    settings: Mapping[str, Any]
    variant: str
    lines: Sequence[str]
    race: pd.DataFrame
    modalities: pd.DataFrame
    conditions: pd.DataFrame
    present: pd.DataFrame
    command: str
    folder: Path
    pareto: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __repr__(self) -> str:
        """The answer's lines, and the command."""
        return "\n".join([*self.lines, self.command])

    def _repr_html_(self) -> str:
        """The same in a notebook, with the race."""
        race = [notebook.heading("the race"), notebook.table(notebook.records_of(self.race))]
        return notebook.box("", notebook.paragraphs([*self.lines, self.command]), *race * (not self.race.empty))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        tables = {name: getattr(self, name) for name in ("race", "modalities", "conditions", "present", "pareto")}
        options = {
            name: table.astype(object).where(table.notna(), None).to_dict("records") for name, table in tables.items()
        }
        return {
            "variant": self.variant,
            "settings": dict(self.settings),
            "lines": list(self.lines),
            **options,
            "command": self.command,
            "folder": str(self.folder),
        }


def answer(
    advice: Advice, schema: Schema, tried: Mapping[str, Candidate], raced: Results, metric: str, minutes: float
) -> list[str]:
    """What was tried, what to take, and why."""
    status = raced.status()
    early = raced.runs.loc[raced.runs["status"] == "stopped", "variant"].nunique()
    splits = int(raced.runs.loc[raced.runs["status"] == "done"].groupby("variant")["seed"].nunique().max())
    counts = [f"{status['done']} of {status['runs']} fits done within {minutes:g} minutes"]
    counts += [f"{early} {'design' if early == 1 else 'designs'} left the race early"] * bool(early)
    counts += [f"{status['failed']} fits failed"] * bool(status["failed"])
    counts += [f"no time for the other {status['waiting']}: give more --minutes"] * bool(status["waiting"])
    lines = [
        f"{len(tried)} designs for '{schema.target}' ({schema.task}, by {metric}), up to {splits} "
        f"{'split' if splits == 1 else 'splits'} of the rows each: {'; '.join(counts)}",
        _verdict(advice),
    ]
    if not advice.modalities.empty:
        lines.append("modalities: " + "; ".join(_without(advice.modalities, schema)))
    for question, label in _QUESTIONS.items():
        names = [c.name for c in tried.values() if c.question == question]
        values = [_against(advice.race, name) for name in names if (advice.race["label"] == name).any()]
        if values:
            lines.append(f"{label}: " + "; ".join(values))
    if not advice.pareto.empty:
        lines.append(on_the_front(advice.pareto))
    if not advice.present.empty:
        lines.append("at prediction, " + "; ".join(_present(advice.present, schema)))
    if advice.conditions.empty:
        lines.append("no time was left to measure what modalities, their absence and noise cost: give more --minutes")
    else:
        noisy = [_noise(advice.conditions, name, values) for name, values in noises(schema).items()]
        if any(noisy):
            lines.append("noise at prediction: " + "; ".join(line for line in noisy if line))
    return [*_joined(lines, 9), f"use: {advice.command}"]


def _joined(lines: list[str], most: int) -> list[str]:
    """At most so many lines; the shortest of the middle share one."""
    while len(lines) > most:
        middle = range(3, len(lines) - 1)
        at = min(middle, key=lambda i: len(lines[i]) + len(lines[i + 1]))
        lines = [*lines[:at], f"{lines[at]}. {lines[at + 1]}", *lines[at + 2 :]]
    return lines


def _row(table: pd.DataFrame, column: str, value: str) -> pd.Series | None:
    rows = table[table[column] == value]
    return None if rows.empty else rows.iloc[0]


def _verdict(advice: Advice) -> str:
    usual, row = _row(advice.race, "label", DEFAULT), _row(advice.race, "label", advice.variant)
    mean = "" if usual is None else f" ({usual['mean']:.3f})"
    if advice.variant == DEFAULT or row is None:
        return f"take the default{mean}: no other design was better by more than one standard error"
    return f"take '{advice.variant}' ({row['mean']:.3f}) instead of the default{mean}: {row['words']}"


def _against(table: pd.DataFrame, name: str) -> str:
    row = _row(table, "label", name)
    assert row is not None
    return f"{name} {row['difference']:+.3f} ({_short(row)})"


def _short(row: pd.Series) -> str:
    """The verdict without its numbers, but for p where it is decided."""
    return f"{row['verdict']}, p {row['p_holm']:.2g}" if row["verdict"] in ("better", "worse") else str(row["verdict"])


def _without(table: pd.DataFrame, schema: Schema) -> list[str]:
    names = [m.name for m in schema.modalities]
    said = []
    for gone in names:
        row = _row(table, "subset", "+".join(n for n in names if n != gone))
        if row is not None:
            earns = {"worse": "earns its keep", "equivalent": "adds nothing", "better": "does harm"}
            said.append(f"{gone} {earns.get(str(row['verdict']), 'not decided')} (without it {row['difference']:+.3f})")
    return said


def _present(table: pd.DataFrame, schema: Schema) -> list[str]:
    said = []
    for m in schema.modalities:
        row = _row(table, "present", m.name)
        if row is not None:
            said.append(f"{m.name} alone gives {row['mean']:.3f} ({row['difference']:+.3f})")
    return said


def _noise(table: pd.DataFrame, name: str, text: str) -> str:
    kind = text.partition(":")[0]
    rows = table[table["condition"].str.startswith(kind) & table["condition"].str.contains(name, regex=False)]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return f"{row['condition']} {row['difference']:+.3f} ({_short(row)})"
