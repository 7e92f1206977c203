"""A fitted aligner to a folder and back: ``model.json`` and safetensors, checked before anything is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch

from plait.alignment.base import make_stage
from plait.alignment.index import Index
from plait.alignment.pairs import Pairs
from plait.base import machine, registry, versions
from plait.base.documents import cell, plain
from plait.base.encoder import Encoder
from plait.base.errors import ModelError
from plait.base.folders import whole_folder
from plait.data import schema as schemas
from plait.encoders.featurize import Featurizer
from plait.store import model_files
from plait.training import model_parts

KIND = "ModalityAligner"
A = TypeVar("A")


def record_of(model: Any, given: int, pairs: Pairs, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What must be known to repeat the fit, and what it cost."""
    losses = [r["valid_loss"] for r in model.history_ if "valid_loss" in r]
    return {
        "seed": model.random_state,
        "rows": given,
        "pairs": {f"{a} with {b}": int(pairs.both(a, b).sum()) for a, b in model.stage_.pairs_of(pairs.names)},
        "trained_weights": sum(p.numel() for p in model.network_.parameters() if p.requires_grad),
        "epochs": sum("epoch" in r for r in model.history_),
        "valid_loss": min(losses, default=None),
        "seconds": dict(seconds),
        "peak_memory_mb": machine.process_mb(),
        "encoders": facts(model.encoders_),
        "versions": versions(),
    }


def facts(encoders: Mapping[str, Encoder]) -> dict[str, dict[str, Any]]:
    """Name, licence, width and fingerprint of each encoder."""
    return {
        name: {"name": e.name(), "licence": e.licence, "dim": e.dim, "fingerprint": e.fingerprint()}
        for name, e in encoders.items()
    }


def save(model: Any, folder: str | Path) -> Path:
    """Write the folder whole, or not at all."""
    arrays = {f"network.{k}": v.numpy() for k, v in model.network_.state_dict().items()}
    encoders = model_parts.split_states(Featurizer(model.schema_, model.encoders_), arrays)
    manifest: dict[str, Any] = {
        "kind": KIND,
        "settings": {k: v for k, v in model_parts.saved_settings(model).items() if k not in ("encoders", "stage")},
        "schema": schemas.to_dict(model.schema_),
        "encoders": encoders,
        "stage": {"name": model.stage_.name(), "options": model.stage_.options()},
        "dims": model.network_.dims,
        "record": model.record_,
        "history": model.history_,
    }
    if hasattr(model, "index_"):
        manifest["index"] = {"labels": model.index_.labels, "how": model.index_.how}
        arrays["index.vectors"] = model.index_.vectors
    with whole_folder(folder, manifest["kind"]) as place:
        model_files.write_model(place, model_files.plain_values(manifest), arrays, _card(model))
    return Path(folder)


def load(cls: type[A], folder: str | Path) -> A:
    """The aligner, of the class given, that was saved."""

    def checked(manifest: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> A:
        if manifest["kind"] != KIND:
            raise ModelError(f"holds a {manifest['kind']}, not an aligner; load it with plait.load")
        return rebuild(cls, manifest, arrays)

    return model_parts.read(folder, checked, "align")


def rebuild(cls: type[A], manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> A:
    """An aligner of the class given, from a manifest and arrays that were checked."""
    schema = schemas.from_dict(manifest["schema"], "model.json")
    name = manifest["stage"]["name"]
    options = {"name": name, **registry.find("alignment", name).restored(manifest["stage"]["options"])}
    settings = model_parts.loaded_settings(manifest["settings"])
    model = cast(Any, cls)(**settings, modalities=schema, stage=options)
    model.schema_, model.stage_ = schema, make_stage(options)
    model.encoders_ = model_parts.restored_features(schema, manifest["encoders"], arrays).encoders
    model.network_ = model.stage_.network_over(model.encoders_, manifest["dims"])
    weights = model_files.under(arrays, "network.")
    model.network_.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    model.network_.eval()
    model.record_, model.history_ = manifest["record"], manifest["history"]
    if "index" in manifest:
        model.index_ = Index.restore(arrays["index.vectors"], **manifest["index"])
    result: A = model
    return result


def _card(model: Any) -> str:
    """Markdown text of the folder's ``README.md``."""
    record = model.record_
    pairs = ", ".join(f"{count:,} pairs of {name}" for name, count in record["pairs"].items())
    lines = [
        f"# Aligner of {' and '.join(map(plain, model.modality_names_))}",
        "",
        f"A plait aligner (stage {model.stage_.name()}, {record['trained_weights']:,} trained weights, "
        f"{model.network_.out_dim} wide).",
        f"Fitted on {record['rows']:,} rows ({pairs}), seed {record['seed']}.",
        "",
        "| modality | kind | columns | encoder | licence |",
        "|---|---|---|---|---|",
    ]
    for m in model.schema_.modalities:
        encoder = record["encoders"][m.name]
        columns = ", ".join(map(cell, m.columns))
        lines.append(f"| {cell(m.name)} | {m.kind} | {columns} | {encoder['name']} | {encoder['licence']} |")
    search = "plait search FOLDER table.csv --modality NAME --query NAME=CELL"
    lines += ["", "```", search, "```", "", "## Versions", ""]
    return "\n".join([*lines, *(f"- {name} {version}" for name, version in record["versions"].items())]) + "\n"
