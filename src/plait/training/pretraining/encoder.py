"""One encoder trained alone, with a temporary head, on the task of the model that it will join."""

from __future__ import annotations

import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait.base.encoder import Encoder
from plait.base.errors import PlaitError, PlaitWarning, TableError
from plait.base.inputs import SharedCells
from plait.base.machine import seeded
from plait.branches.branches import Branches, trained_weights
from plait.networks.linear import LinearNetwork
from plait.store import Store
from plait.training import checkpoint
from plait.training.loop import Callbacks, Diverged, train
from plait.training.member import MemberLearner
from plait.training.rows import Examples, Fold
from plait.training.settings import Training

#: What the only modality is called within the temporary model.
ONLY = "encoder"
#: What is kept of an epoch's record.
_KEPT = ("epoch", "train_loss", "valid_loss", "seconds", "batches", "metrics")


@dataclass(frozen=True)
class PretrainedWeights:
    """An encoder's weights, as they were when its validation loss was least.

    Attributes:
        weights: name -> array, as its module's ``state_dict`` has them.
        history: one record per epoch: ``epoch``, ``train_loss``, ``valid_loss`` where rows were held out, ``seconds`` and
            ``batches`` of both, and ``metrics`` where it was watched.
        seconds: that training took, when it was done.
        trained_weights: that learned, the temporary head left out.
        stored: taken from the store.
        test_rows: which rows ``metrics`` of the part ``test`` are of (``EncoderListener.test_rows``).
    """

    weights: Mapping[str, np.ndarray]
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    trained_weights: int = 0
    stored: bool = False
    test_rows: str = ""


def pretrain_encoder(
    encoder: Encoder,
    examples: Examples,
    fold: Fold,
    settings: Training,
    seed: int,
    name: str,
    callbacks: Callbacks | None = None,
) -> PretrainedWeights:
    """Train an encoder on the rows that have its modality; the state with the least validation loss is kept.

    The head is one linear map of the pooled tokens, so that what the task needs is learned by the encoder; it is dropped. The
    generator of torch is left as it was found.

    Raises:
        TableError: fewer than two rows have the modality.
        PlaitError: the loss was no number before there was a state to keep.
    """
    rows, valid = (part[examples.inputs.present[ONLY][part]] for part in fold)
    if len(rows) < 2:
        raise TableError(
            f"modality '{name}': {len(rows)} training rows have it, too few for train: pretrain; set scratch"
        )
    start = time.perf_counter()
    with seeded(seed):
        module = encoder.module()
        head = LinearNetwork({ONLY: encoder.dim}, examples.task.out_dim)
        model = Branches({"head": head}, {"head": (ONLY,)}, {ONLY: module})
        learner = MemberLearner(model, examples, (rows, valid), settings, torch.Generator().manual_seed(seed))
        history = _trained(learner, settings, name, callbacks)
    weights = {k: v.detach().cpu().numpy().copy() for k, v in module.state_dict().items()}
    records = [{k: v for k, v in record.items() if k in _KEPT} for record in history]
    return PretrainedWeights(weights, records, round(time.perf_counter() - start, 3), trained_weights(module))


def _trained(
    learner: MemberLearner, settings: Training, name: str, callbacks: Callbacks | None
) -> list[dict[str, object]]:
    """The history up to the last good state, with a warning where there is more; without such a state an error."""
    advice = "lower pretrain.learning_rate"
    try:
        outcome = train(learner, settings.epochs, settings.patience, callbacks)
    except Diverged as error:
        where = f"pretraining of '{name}' diverged in epoch {error.epoch} (loss {error.loss})"
        raise PlaitError(f"{where} before there was a state to keep; {advice}") from error
    if lost := outcome.diverged:
        where = f"pretraining of '{name}' diverged in epoch {lost['epoch']} (loss {lost['train_loss']})"
        message = f"{where}; the state of epoch {outcome.best[0]} is kept; {advice}"
        warnings.warn(message, PlaitWarning, stacklevel=4)
    return [record for record in outcome.history if "diverged" not in record]


#: Raise it when the same settings give other weights.
PROTOCOL = 1

Find = Callable[[], PretrainedWeights]
Fits = Callable[[Mapping[str, np.ndarray]], bool]


def content_of(prepared: Mapping[str, Tensor], present: Tensor) -> bytes:
    """16 bytes of all that an encoder is shown, row by row."""
    digest = blake2b(digest_size=16)
    arrays = prepared.arrays if isinstance(prepared, SharedCells) else prepared
    for name in sorted(arrays):
        _add(digest, arrays[name], name)
    if isinstance(prepared, SharedCells):
        _add(digest, prepared.place, "place" if prepared.draw is None else "place, drawn anew")
    _add(digest, present, "present")
    return digest.digest()


def key_of(encoder: Encoder, content: bytes, examples: Examples, fold: Fold, settings: Training, seed: int) -> bytes:
    """16 bytes of all that decides the weights: data, rows, target, task, encoder, settings, seed."""
    task = examples.task
    values = [PROTOCOL, torch.__version__, encoder.fingerprint(), task.name, task.out_dim, _plain(settings), seed]
    digest = blake2b(json.dumps(values, sort_keys=True).encode() + content, digest_size=16)
    arrays = {"target": examples.target, "weight": examples.weight, "fold": fold[0], "valid": fold[1]}
    for name, array in arrays.items():
        _add(digest, array, name)
    return digest.digest()


def _plain(settings: Training) -> dict[str, Any]:
    options = vars(settings) | {"modality_dropout": {}}  # one modality alone is never hidden
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in options.items()}


def _add(digest: blake2b, array: Tensor, name: str) -> None:
    digest.update(f"{name} {array.dtype} {tuple(array.shape)} ".encode())
    digest.update(array.contiguous().cpu().numpy().tobytes())


def kept_or_trained(store: Store | None, encoder: Encoder, key: bytes, make: Find, fits: Fits) -> PretrainedWeights:
    """What the store has under the key, or what ``make`` gives, which is then kept there (``checkpoint.found_or_made``).

    An entry whose weights are not those of such an encoder (``fits``) is made anew.
    """
    if store is None:
        return make()
    name = encoder.name()
    values = (f"{name} pretrained", key, lambda: _packed(make()), lambda result: fits(result.weights))
    result, stored = checkpoint.found_or_made(store, *values, f"{name}, pretrained")
    return PretrainedWeights(result.weights, **result.about, stored=stored)


def _packed(made: PretrainedWeights) -> checkpoint.Trained:
    about = {k: v for k, v in dataclasses.asdict(made).items() if k not in ("weights", "stored")}
    return checkpoint.Trained(made.weights, about)
