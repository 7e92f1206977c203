"""The designs that advice races on a table, and the race."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

from plait.base import registry
from plait.base.errors import ConfigError
from plait.data.modality import Schema
from plait.encoders.defaults import lighter_encoder, trainable_encoder
from plait.encoders.featurize import make_encoder
from plait.study.state import score_of
from plait.study.statistics.paired import family_variance, resampled_t
from plait.training.settings import with_regimes

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
        done = next(line for line in lines if line["status"] == "done")
        ratio = float(done["test_rows"]) / max(1.0, float(done["train_rows"]))
        behind = {label: differences(scores[leader], result) for label, result in scores.items() if label != leader}
        least = family_variance([d for d in behind.values() if len(d) >= LEAST])
        known = {label: d for label, d in behind.items() if label not in self.kept and len(d) >= LEAST and d.mean() > 0}
        return {label for label, d in known.items() if resampled_t(d, ratio, least).p < 2 * ALPHA}

    def scores(self, lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[tuple[Any, ...], float]]:
        """Variant -> (data, seed, split) -> score on clean rows with everything present, higher is better."""
        result: dict[str, dict[tuple[Any, ...], float]] = {}
        for line in lines:
            if (value := score_of(line, self.metric)) is not None:
                place = (line["dataset"], line["seed"], line["split"])
                result.setdefault(str(line["variant"]), {})[place] = self.sign * value
        return result


def differences(leader: Mapping[tuple[Any, ...], float], other: Mapping[tuple[Any, ...], float]) -> np.ndarray:
    """How far one variant is ahead of another on each split that both have (k,)."""
    return np.array([leader[place] - other[place] for place in sorted(leader.keys() & other.keys())])
