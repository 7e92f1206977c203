"""An estimator as scikit-learn's diagram: what it is made of, as far as it is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from plait.data.modality import Modality, Schema
from plait.data.schema_yaml import modalities_from


@dataclasses.dataclass
class Block:
    """What scikit-learn asks of a part of a diagram (its own class for it is private).

    Attributes:
        kind: ``single``, ``serial`` or ``parallel``.
        estimators: the parts, or the one.
        names: of each part.
        name_details: what unfolds below each name.
        name_caption: below the name of a single one.
        doc_link_label: of a link.
        dash_wrapped: a dashed line is drawn around the parts.
    """

    kind: str
    estimators: Any
    names: Any
    name_details: Any
    name_caption: str | None = None
    doc_link_label: str | None = None
    dash_wrapped: bool = True

    def _sk_visual_block_(self) -> Block:
        return self


def of_estimator(model: Any) -> Block:
    """The diagram of a fitted estimator, or of one whose modalities are given; else its settings alone."""
    modalities = _modalities(model)
    if not modalities:
        return Block("single", model, type(model).__name__, str(model))
    parts = [_side_by_side([_modality(m, model) for m in modalities])]
    branches = [b if isinstance(b, str) else str(b.get("name")) for b in model.branches]
    if hasattr(model, "record_"):
        branches = [
            str(b["branch"]) for b in model.record_["branches"] if b.get("kept", True) and b["branch"] != "mixture"
        ]
    parts.append(_side_by_side([_leaf(name, _branch(name, model)) for name in branches or ["joint"]]))
    members = model.record_["members"] if hasattr(model, "record_") else model.members or 5
    parts.append(
        _leaf(f"mixture of {members} members", f"mix: {model.mix}; what it answers is weighed on held-out rows")
    )
    return Block("serial", parts, [None] * len(parts), [None] * len(parts), dash_wrapped=False)


def _modalities(model: Any) -> Sequence[Modality]:
    given = getattr(model, "schema_", model.modalities)
    if isinstance(given, Schema):
        return given.modalities
    return modalities_from(given) if isinstance(given, Mapping) else ()


def _modality(modality: Modality, model: Any) -> Block:
    if hasattr(model, "features_"):
        encoder = model.features_.encoders[modality.name].name()
    else:
        chosen = (model.encoders or {}).get(modality.name, modality.encoder)
        encoder = chosen if isinstance(chosen, str) else "best installed encoder" if chosen is None else str(chosen)
    columns = ", ".join(modality.columns)
    return _leaf(f"{modality.name}: {encoder}", f"{modality.kind}, {modality.train}; columns: {columns}", modality.kind)


def _branch(name: str, model: Any) -> str:
    if name == "joint":
        return f"fusion: {model.fusion}; depth: {model.depth}; layers: {model.layers}"
    return "plait list branches says what it is"


def _leaf(name: str, details: str, caption: str | None = None) -> Block:
    return Block("single", None, name, details, caption)


def _side_by_side(blocks: list[Block]) -> Block:
    return Block("parallel", blocks, [None] * len(blocks), [None] * len(blocks), dash_wrapped=False)
