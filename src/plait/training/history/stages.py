"""Which training an epoch's record is of: the members' own, or that of an encoder alone before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: ``train``: the members, encoders that learn with them included; ``pretrain``: one encoder alone.
TRAIN, PRETRAIN = "train", "pretrain"
STAGES = (TRAIN, PRETRAIN)


def of_encoder(modality: str, member: int, from_store: bool) -> dict[str, Any]:
    """What tells the records of an encoder that was trained alone for a member from those of the member."""
    return {"stage": PRETRAIN, "modality": modality, "from_store": from_store, "member": member}


def of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Stage, modality (empty: all), whether it was done in another run, and member.

    Example:
        >>> of_record({"epoch": 0, "member": 1})
        {'stage': 'train', 'modality': '', 'from_store': False, 'member': 1}
    """
    options = {"stage": TRAIN, "modality": "", "from_store": False, "member": 0}
    return {key: record.get(key, usual) for key, usual in options.items()}


def pretrain_history(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Losses and times of pretraining from a model's ``record_``, as its ``pretrain_history_`` has them.

    Example:
        >>> told = {"from_store": True, "history": [{"member": 0, "epoch": 0, "train_loss": 1.0}]}
        >>> pretrain_history({"pretrain": {"image": told}})[0]["modality"]
        'image'
    """
    return list(_records(record.get("pretrain") or {}))


def _records(spec: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for name, one in spec.items():
        for record in one.get("history", []):
            yield {**of_encoder(name, record.get("member", 0), bool(one.get("from_store"))), **record}
