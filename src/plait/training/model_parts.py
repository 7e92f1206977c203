"""What every kind of model folder has: settings, encoders with their states, and how a folder is read without trust."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from plait.base import config, registry
from plait.base.encoder import KINDS, Encoder, WrappedEncoder
from plait.base.errors import ConfigError, ModelError, PlaitError
from plait.base.machine import seeded
from plait.data.modality import Schema
from plait.encoders.featurize import Featurizer
from plait.store import model_files
from plait.store.model_files import under
from plait.training import tuned

_Model = TypeVar("_Model")
#: Settings of a fit, not of the model: whoever loads it has a store and folders of their own, and nothing is written to places
#: that somebody else named.
PASSING = ("modalities", "checkpoint", "tensorboard", "store", "remote", "track")


def read(
    folder: str | Path, rebuild: Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], _Model], command: str = "fit"
) -> _Model:
    """The model that ``rebuild`` makes of the checked manifest and arrays of a folder, which a command of plait wrote.

    Raises:
        ModelError: the folder is broken, or was written by a newer plait.
    """
    manifest, arrays = model_files.read_model(folder, command)
    try:
        for name, array in arrays.items():
            if name.startswith(("member.", "scaler.", "align.", "network.", "index.")) and not np.isfinite(array).all():
                raise ModelError(f"'{name}' holds what is no number; {command} it again")
        with seeded(0):  # networks are made before their weights are put in
            return rebuild(manifest, arrays)
    except PlaitError as error:
        raise ModelError(f"{folder}: {error}") from error
    except Warning:  # one that the user has made an error
        raise
    except Exception as error:  # whatever a damaged or hostile folder leads to: one line, with the cause behind it
        raise ModelError(
            f"{folder}: does not hold together ({type(error).__name__}: {error}); {command} it again"
        ) from error


def saved_settings(model: Any) -> dict[str, Any]:
    """The settings that are of the model; that it keeps nothing in a store is one."""
    given = model.get_params(deep=False)
    kept = {"store": given["store"]} if given["store"] == "none" else {}
    return {k: v for k, v in given.items() if k not in PASSING} | kept


def loaded_settings(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a manifest; older ones name the store, too, of whoever fitted the model."""
    kept = {"store": "none"} if saved.get("store") == "none" else {}
    return {k: v for k, v in saved.items() if k not in PASSING} | kept


def restored_features(schema: Schema, encoders: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Featurizer:
    """The encoders as they were when the model was fitted.

    Raises:
        ModelError: one has another version, other options or other weights now.
    """
    names = {name: tuned.inside(facts) for name, facts in encoders.items()}
    for name, value in names.items():
        if value["name"] not in registry.names("encoders"):
            raise ModelError(
                f"the encoder '{value['name']}' of modality '{name}' is not plait's own: install the package that brings it, "
                "or give the class its name (plait.register) before loading"
            )
    features = Featurizer(schema, names, from_file=True)
    tuned.put_back(features, encoders)
    for name, facts in encoders.items():
        state = {k: v for k, v in facts["state"].items() if k != "arrays"}
        state |= under(arrays, f"encoder.{name}.")
        features.encoders[name].load_state(state)
        if not features.encoders[name].made(facts["fingerprint"]):
            raise ModelError(
                f"the encoder '{facts['name']}' of modality '{name}' is another one than the model was fitted with "
                f"(version, options or weights differ); install the version in the model's README or fit again"
            )
    return features


def split_states(features: Featurizer, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the manifest says of every encoder; ``arrays`` are given theirs."""
    result = {}
    for name, facts in features.state().items():
        words, own = split_state(facts["state"])
        result[name] = {**facts, "state": words}
        arrays |= {f"encoder.{name}.{key}": array for key, array in own.items()}
    return result


def split_state(state: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON values, and arrays of numbers, of an encoder's state."""
    arrays = {k: v for k, v in state.items() if isinstance(v, np.ndarray) and v.dtype.kind not in "OUS"}
    rest = {k: v for k, v in state.items() if k not in arrays}
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in rest.items()}, arrays


def inner_state(encoder: Encoder) -> dict[str, Any]:
    """The state of an encoder as a part of the state of another one around it."""
    words, arrays = split_state(encoder.state())
    inner = {"name": encoder.name(), "options": encoder.options(), "state": words}
    return {"inner": inner, **{f"encoder.{k}": v for k, v in arrays.items()}}


def inner_encoder(state: Mapping[str, Any], where: str) -> Encoder:
    """The encoder of ``inner_state``."""
    inner = state["inner"]
    encoder: Encoder = config.build(registry.find("encoders", inner["name"]), inner["options"], where)
    encoder.fetch_nothing()
    encoder.load_state({**inner["state"], **under(state, "encoder.")})
    return encoder


class Held(Protocol):
    """What a folder holds of an encoder, and what a model that uses it carries of that."""

    @property
    def encoder(self) -> Encoder:
        """The one inside."""

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""


_Held = TypeVar("_Held", bound=Held)


@dataclass(eq=False)
class FolderEncoder(WrappedEncoder, Generic[_Held]):
    """An encoder from a folder, read when it is first needed; a model that uses it carries all it needs, without the folder."""

    kinds: ClassVar[tuple[str, ...]] = KINDS
    licence: ClassVar[str] = "Apache-2.0; the encoder inside has its own"

    folder: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._held: _Held | None = None

    @property
    def held(self) -> _Held:
        """What is inside; the folder is read when it is first needed."""
        if self._held is None:
            if not self.folder:
                raise ConfigError(f"encoder {self.name()}: name the folder of one (option folder)")
            self._held = self.read()
        return self._held

    @abstractmethod
    def read(self) -> _Held:
        """What the folder holds."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> _Held:
        """What ``state`` of it gave."""

    @property
    def inner(self) -> Encoder:
        """The encoder inside."""
        return self.held.encoder

    def state(self) -> dict[str, Any]:
        """What is inside."""
        return {} if self._held is None and not self.folder else self.held.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take it back; the folder is not looked at."""
        if state:
            self._held = self.restore(state)
