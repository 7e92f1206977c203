"""A fitted estimator to a model folder and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from plait import enhancement, persist, records, registry, tasks
from plait import schema as schemas
from plait.assembly import Design, maker
from plait.card import card
from plait.crossfit import Members
from plait.encoders._base import Encoder
from plait.encoders._hub_files import named_by_a_file
from plait.errors import ModelError, PlaitError
from plait.features import Featurizer
from plait.labels import label_array
from plait.mixture import Mixture
from plait.precision import seeded
from plait.records.stages import pretrain_history
from plait.scaling import Scaler
from plait.tuning import tuned as tuning

if TYPE_CHECKING:
    from plait.estimators import FusionEstimator


#: Settings of a fit, not of the model: whoever loads it has a store and folders of their own, and nothing is written to places
#: that somebody else named.
PASSING = ("modalities", "checkpoint", "tensorboard", "store")


def save(model: FusionEstimator, folder: str | Path) -> Path:
    """Write the folder whole, or not at all."""
    with persist.whole_folder(folder) as place:
        write(model, place)
    return Path(folder)


def saved_settings(model: Any) -> dict[str, Any]:
    """The settings that are of the model; that it keeps nothing in a store is one."""
    given = model.get_params(deep=False)
    kept = {"store": given["store"]} if given["store"] == "none" else {}
    return {k: v for k, v in given.items() if k not in PASSING} | kept


def loaded_settings(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a manifest; older ones name the store, too, of whoever fitted the model."""
    kept = {"store": "none"} if saved.get("store") == "none" else {}
    return {k: v for k, v in saved.items() if k not in PASSING} | kept


def write(model: FusionEstimator, place: Path) -> None:
    """Write the model's files into a folder that exists."""
    arrays: dict[str, np.ndarray] = {}
    encoders = split_states(model.features_, arrays)
    for name, scaler in model.scalers_.items():
        arrays |= {f"scaler.{name}.{k}": v.numpy() for k, v in scaler.state().items()}
    align, aligned = enhancement.to_state(model.enhancers_)
    arrays |= aligned
    for number, member in enumerate(model.members_.members):
        arrays |= {f"member.{number}.{k}": v.numpy() for k, v in member.state_dict().items()}
    settings = saved_settings(model) | model.advised_
    settings["encoders"] = _named(settings["encoders"])
    manifest = {
        "kind": type(model).__name__,
        "settings": plain(settings),
        "schema": schemas.to_dict(model.schema_),
        "columns": list(getattr(model, "feature_names_in_", [])),
        "width_of_input": model.n_features_in_,
        "task": {"name": model.members_.task.name, "state": model.members_.task.state()},
        "classes_dtype": str(getattr(model, "classes_", np.zeros(0)).dtype),
        "encoders": encoders,
        "align": align,
        "mixture": model.members_.mixture.state(),
        "record": model.record_,
        "history": records.slim(model.history_),
    }
    persist.write_model(place, plain(manifest), arrays, card(model))
    records.write(place, [*model.pretrain_history_, *model.history_])


def load(folder: str | Path) -> Any:
    """The estimator that was saved.

    Raises:
        ModelError: the folder is broken, or was written by a newer plait.
    """
    manifest, arrays = persist.read_model(folder)
    try:
        _check_finite(arrays)
        with named_by_a_file(), seeded(0):  # networks are made before their weights are put in
            return _rebuild(manifest, arrays)
    except PlaitError as error:
        raise ModelError(f"{folder}: {error}") from error
    except Exception as error:  # whatever a damaged or hostile folder leads to: one line, with the cause behind it
        raise ModelError(f"{folder}: does not hold together ({type(error).__name__}: {error}); fit it again") from error


def _check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if name.startswith(("member.", "scaler.", "align.", "network.", "index.")) and not np.isfinite(array).all():
            raise ModelError(f"'{name}' holds what is no number; fit it again")


def _rebuild(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    from plait import estimators

    if manifest["kind"] == "ModalityAligner":
        from plait.aligner import _file as aligner_file

        return aligner_file.rebuild(manifest, arrays)
    kinds: dict[str, type[Any]] = {c.__name__: c for c in (estimators.FusionClassifier, estimators.FusionRegressor)}
    if manifest["kind"] not in kinds:
        raise ModelError(f"model.json: kind '{manifest['kind']}' is not known to this plait")
    settings = {k: tuple(v) if k == "branches" else v for k, v in loaded_settings(manifest["settings"]).items()}
    model = kinds[manifest["kind"]](**settings)
    model.schema_ = schemas.from_dict(manifest["schema"], "model.json")
    model.modalities = model.schema_
    model.features_ = restored_features(model.schema_, manifest["encoders"], arrays)
    model.enhancers_ = enhancement.restore(manifest.get("align", {}), arrays)
    model.scalers_ = {
        m.name: Scaler.restore(found)
        for m in model.schema_.modalities
        if (found := {k: torch.from_numpy(v) for k, v in _under(arrays, f"scaler.{m.name}.").items()})
    }
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
    model.advised_ = {}
    model.members_ = Members(task, _members(model, task, arrays), mixture, model.history_)
    return model


def _named(encoders: Any) -> Any:
    """Encoders that were given as they are, by their names and options."""
    if not isinstance(encoders, Mapping):
        return encoders
    return {k: {"name": e.name(), **e.options()} if isinstance(e, Encoder) else e for k, e in encoders.items()}


def restored_features(found: Any, encoders: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Featurizer:
    """The encoders as they were when the model was fitted.

    Raises:
        ModelError: one has another version, other options or other weights now.
    """
    names = {name: tuning.inside(facts) for name, facts in encoders.items()}
    for name, told in names.items():
        if told["name"] not in registry.names("encoders"):
            raise ModelError(
                f"the encoder '{told['name']}' of modality '{name}' is not plait's own: install the package that brings it, "
                "or give the class its name (plait.register) before loading"
            )
    features = Featurizer(found, names)
    tuning.put_back(features, encoders)
    for name, facts in encoders.items():
        state = {k: v for k, v in facts["state"].items() if k != "arrays"}
        state |= _under(arrays, f"encoder.{name}.")
        features.encoders[name].load_state(state)
        if not features.encoders[name].made(facts["fingerprint"]):
            raise ModelError(
                f"the encoder '{facts['name']}' of modality '{name}' is another one than the model was fitted with "
                f"(version, options or weights differ); install the version in the model's README or fit again"
            )
    return features


def _members(model: Any, task: tasks.Task, arrays: Mapping[str, np.ndarray]) -> list[Any]:
    names = [m.name for m in model.schema_.modalities]
    learning = {m.name: model.features_.encoders[m.name] for m in model.schema_.modalities if m.learns}
    learning |= enhancement.encoders(model.enhancers_)
    dims = {n: (model.scalers_[n].dim if n in model.scalers_ else learning[n].dim) for n in names}
    count = model.record_["members"]
    design = Design(
        model.fusion,
        model.depth,
        model.layers,
        model.record_["width"],
        0.0,  # nothing is dropped in prediction
        tuple(model.branches),
        model.max_weights,
        count,
        model.network,
    )
    _, make = maker(design, dims, task.out_dim, learning)
    members = []
    for number in range(count):
        member = make()
        state = {k: torch.from_numpy(v) for k, v in _under(arrays, f"member.{number}.").items()}
        member.load_state_dict(state)
        members.append(member.eval())
    return members


def _under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def split_states(features: Featurizer, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the manifest says of every encoder; ``arrays`` are given theirs."""
    return {
        name: {**facts, "state": _split(facts["state"], f"encoder.{name}", arrays)}
        for name, facts in features.state().items()
    }


def _split(state: Mapping[str, Any], prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrays go to the weights file, the rest stays in the manifest."""
    words = {}
    for key, value in state.items():
        if isinstance(value, np.ndarray) and value.dtype.kind not in "OUS":
            arrays[f"{prefix}.{key}"] = value
        else:
            words[key] = value.tolist() if isinstance(value, np.ndarray) else value
    return words


def plain(value: Any) -> Any:
    """JSON values of settings and records."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
