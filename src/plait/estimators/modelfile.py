"""The card of a model: what it is, what it was made from, how good it was, how to use it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plait.alignment import enhancement
from plait.base import registry
from plait.base.documents import cell, plain
from plait.base.encoder import Encoder
from plait.base.errors import ModelError
from plait.base.folders import whole_folder
from plait.branches.branches import Branches
from plait.branches.intervals import Intervals
from plait.branches.mixture import Mixture
from plait.data import schema as schemas
from plait.data.labels import label_array
from plait.encoders.ngrams import Ngrams
from plait.encoders.pairs import Pair
from plait.encoders.scale import Scaler
from plait.estimators.fitting import design_of
from plait.networks import tasks
from plait.store import model_files
from plait.store.model_files import plain_values, under
from plait.training import history
from plait.training.design import maker
from plait.training.history import pretrain_history
from plait.training.member import Members
from plait.training.model_parts import loaded_settings, restored_features, saved_settings, split_states


def card(model: Any) -> str:
    """Markdown text of the model's ``README.md``."""
    record, schema = model.record_, model.schema_
    lines = [
        f"# {type(model).__name__} for {plain(schema.target or 'y')}",
        "",
        f"A plait model ({record['trained_weights']:,} trained weights; members: {record['members']}), task: {model.task_}.",
        f"Fitted on {record['rows']:,} rows (data hash `{record['data_hash']}`), seed {record['seed']}.",
        "",
        "## Modalities",
        "",
        "| modality | kind | columns | encoder | licence | absent |",
        "|---|---|---|---|---|---|",
    ]
    for m in schema.modalities:
        encoder = record["encoders"][m.name]
        lines.append(
            f"| {cell(m.name)} | {m.kind} | {', '.join(map(cell, m.columns))} | {cell(encoder['name'])} | {encoder['licence']} "
            f"| {record['absent'][m.name]:.1%} |"
        )
    lines += ["", "## Branches", "", "| branch | weight | numbers learned | MB |", "|---|---|---|---|"]
    lines += [
        f"| {cell(b['branch'])} | {b['weight']:.2f} | {b['weights']:,} | {b['megabytes']:.2f} |"
        for b in record.get("branches", ())
        if b["kept"] and "megabytes" in b
    ]
    lines += ["", "## Use", "", "```", "plait predict MODEL_FOLDER table.csv --out predictions.csv", "```", ""]
    lines += ["## Versions", ""] + [f"- {name} {version}" for name, version in record["versions"].items()]
    return "\n".join(lines) + "\n"


def save(model: object, folder: str | Path) -> Path:
    """Write the folder whole, or not at all."""
    with whole_folder(folder, "Fusion") as place:
        write(model, place)
    return Path(folder)


def _states(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What encoders, scalers, enhancers, pairs, words, members and intervals have learned: for the manifest, and as arrays."""
    arrays: dict[str, np.ndarray] = {}
    encoders = split_states(model.features_, arrays)
    for name, scaler in model.scalers_.items():
        arrays |= {f"scaler.{name}.{k}": v.numpy() for k, v in scaler.state().items()}
    for number, pair in enumerate(model.pairs_.values()):
        arrays |= {f"pair.{number}.{k}": v.numpy() for k, v in pair.state().items()}
    for name, words in model.features_.ngrams.items():
        arrays |= {f"ngrams.{name}.{k}": v for k, v in words.state().items()}
    align, aligned = enhancement.to_state(model.enhancers_)
    arrays |= aligned
    fitted: dict[str, list[Any]] = {}
    for number, member in enumerate(model.members_.members):
        arrays |= {f"member.{number}.{k}": v.numpy() for k, v in member.state_dict().items()}
        for name, branch in member.fitted.items():
            learned, facts = branch.state()
            arrays |= {f"member.{number}.fitted.{name}.{k}": v for k, v in learned.items()}
            fitted.setdefault(name, []).append(facts)
    intervals = model.members_.intervals
    said = {
        "encoders": encoders,
        "align": align,
        "pairs": {name: list(pair.parts) for name, pair in model.pairs_.items()},
        "ngrams": list(model.features_.ngrams),
        "intervals": [] if intervals is None else intervals.state(arrays),
        "fitted": fitted,
    }
    return said, arrays


def write(model: Any, place: Path) -> None:
    """Write the model's files into a folder that exists."""
    learned, arrays = _states(model)
    settings = saved_settings(model) | model.advised_
    settings["encoders"] = _named(settings["encoders"])
    manifest = {
        "kind": registry.model_kind(type(model)),
        "settings": plain_values(settings),
        "schema": schemas.to_dict(model.schema_),
        "columns": list(getattr(model, "feature_names_in_", [])),
        "width_of_input": model.n_features_in_,
        "task": {"name": model.members_.task.name, "state": model.members_.task.state()},
        "classes_dtype": str(getattr(model, "classes_", np.zeros(0)).dtype),
        "mixture": model.members_.mixture.state(),
        **learned,
        "record": model.record_,
        "history": history.slim(model.history_),
    }
    model_files.write_model(place, plain_values(manifest), arrays, card(model))
    history.write(place, [*model.pretrain_history_, *model.history_])


def rebuild(kind: type[Any], manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    """The model of a class, from a manifest and arrays that were checked."""
    settings = {k: tuple(v) if k == "branches" else v for k, v in loaded_settings(manifest["settings"]).items()}
    model = kind(**settings)
    model.schema_ = schemas.from_dict(manifest["schema"], "model.json")
    model.modalities = model.schema_
    model.features_ = restored_features(model.schema_, manifest["encoders"], arrays)
    model.features_.ngrams = {n: Ngrams.restore(under(arrays, f"ngrams.{n}.")) for n in manifest.get("ngrams", ())}
    model.enhancers_ = enhancement.restore(manifest.get("align", {}), arrays)
    model.scalers_ = {
        m.name: Scaler.restore(result)
        for m in model.schema_.modalities
        if (result := {k: torch.from_numpy(v) for k, v in under(arrays, f"scaler.{m.name}.").items()})
    }
    model.pairs_ = _pairs(manifest.get("pairs", {}), model.scalers_, arrays)
    task = tasks.restore(manifest["task"]["name"], manifest["task"]["state"])
    if manifest["columns"]:
        model.feature_names_in_ = np.asarray(manifest["columns"], dtype=object)
    model.n_features_in_ = manifest["width_of_input"]
    if task.name != "regression":
        model.classes_ = label_array(list(task.classes))  # type: ignore[attr-defined]
        if model.classes_.dtype != object and manifest["classes_dtype"] != "object":
            model.classes_ = model.classes_.astype(manifest["classes_dtype"])
    model.record_, model.history_, model.task_ = manifest["record"], manifest["history"], task.name
    model.pretrain_history_ = pretrain_history(model.record_)
    mixture = Mixture.restore(manifest["mixture"])
    if len(mixture.prior) != task.out_dim:
        raise ModelError(f"mixture: a prior of {len(mixture.prior)} for {task.out_dim} outputs")
    if unknown := set(mixture.names) - {m.name for m in model.schema_.modalities} - set(model.pairs_):
        raise ModelError(f"mixture: modalities that there are not: {', '.join(sorted(unknown))}")
    model.advised_ = {}
    members = _members(model, task, mixture, arrays, manifest.get("fitted", {}))
    state = manifest.get("intervals")  # of models before there were any: none
    intervals = Intervals.restore(mixture.names, state, arrays) if state else None
    model.members_ = Members(task, members, mixture, model.history_, intervals=intervals)
    return model


def _named(encoders: object) -> object:
    """Encoders that were given as they are, by their names and options."""
    if not isinstance(encoders, Mapping):
        return encoders
    return {k: {"name": e.name(), **e.options()} if isinstance(e, Encoder) else e for k, e in encoders.items()}


def _pairs(
    names: Mapping[str, Sequence[str]], scalers: Mapping[str, Scaler], arrays: Mapping[str, np.ndarray]
) -> dict[str, Pair]:
    """What compares modalities, by name; ``names``: the two modalities of each."""
    states = [{k: torch.from_numpy(v) for k, v in under(arrays, f"pair.{i}.").items()} for i in range(len(names))]
    return {n: Pair.restore(p, scalers, state) for (n, p), state in zip(names.items(), states, strict=True)}


def _members(
    model: Any,
    task: tasks.Task,
    mixture: Mixture,
    arrays: Mapping[str, np.ndarray],
    fitted: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[Branches]:
    """The members as they were, with the branches that the mixture speaks of."""
    pipeline, count = model.pipeline, model.record_["members"]
    built = {"width": model.record_["width"], "branches": tuple(model.record_.get("built", model.branches))}
    design = dataclasses.replace(design_of(model, pipeline, count, dropout=0.0), **built)  # nothing is dropped any more
    _, make = maker(design, pipeline.dims, task.out_dim, pipeline.learning)
    members = []
    for number in range(count):
        member = make()
        member.keep(mixture.sources)
        own = under(arrays, f"member.{number}.")
        member.load_state_dict({k: torch.from_numpy(v) for k, v in own.items() if not k.startswith("fitted.")})
        for branch in member.waiting:
            if branch.name() in mixture.sources:
                branch.load_state(under(own, f"fitted.{branch.name()}."), fitted[branch.name()][number])
                member.add(branch, pipeline.names)
        if gone := set(mixture.sources) - {*member.networks, *member.fitted}:
            raise ModelError(f"branches that there are not: {', '.join(sorted(gone))}; copy the folder again")
        member.waiting = []
        members.append(member.eval())
    return members
