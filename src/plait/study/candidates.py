"""The designs that advice tries on a table: each differs from the default in one thing, and says in which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plait.encoders._default import lighter_encoder
from plait.schema import Schema

#: Name of the design that all others are compared with.
DEFAULT = "default"


@dataclass(frozen=True)
class Candidate:
    """One design.

    Attributes:
        question: what it answers: ``fusion``, ``encoder``, ``branches``, ``regularisation`` or ``alignment``.
        settings: fields of the estimator that differ from the default.
    """

    name: str
    question: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def candidates(schema: Schema) -> list[Candidate]:
    """The designs for a table of these modalities, the default first; those most often worth it come early.

    Example:
        >>> from plait.schema import Modality
        >>> [c.name for c in candidates(Schema((Modality("text", "text", ("a",)),)))][:3]
        ['default', 'joint network only', 'linear map only']
    """
    names = [m.name for m in schema.modalities]
    several = len(names) > 1
    found = [
        Candidate(DEFAULT, ""),
        Candidate("joint network only", "branches", {"branches": ["joint"]}),
        Candidate("linear map only", "branches", {"branches": ["linear"]}),
        Candidate("more dropout of features", "regularisation", {"input_dropout": 0.5}),
        Candidate("less dropout of features", "regularisation", {"input_dropout": 0.1}),
    ]
    if several:
        found += [
            Candidate("late concat", "fusion", {"depth": "late"}),
            Candidate("late gated", "fusion", {"depth": "late", "fusion": "gated"}),
            Candidate("late attention", "fusion", {"depth": "late", "fusion": "attention"}),
            Candidate("early low_rank", "fusion", {"depth": "early", "fusion": "low_rank"}),
            Candidate("decision mean", "fusion", {"depth": "decision", "fusion": "mean"}),
            Candidate("more dropout of modalities", "regularisation", {"modality_dropout": 0.5}),
        ]
    for modality in schema.modalities:
        lighter = lighter_encoder(modality.kind)
        if lighter is not None and modality.encoder is None and modality.train == "frozen":
            name = f"{modality.name} by {lighter}"
            found.append(Candidate(name, "encoder", {"encoders": {modality.name: lighter}}))
    kinds = {m.name: m.kind for m in schema.modalities}
    anchors = [name for name in names if kinds[name] in ("text", "image")]
    weak = [name for name in names if kinds[name] in ("tabular", "code", "audio", "video")]
    if anchors and weak:
        found.append(Candidate(f"{weak[0]} aligned", "alignment", {"align": {weak[0]: anchors}}))
    return found


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
