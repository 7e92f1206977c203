"""Encoders that learn alone before the model, each with a temporary head, for each member on its own rows."""

from __future__ import annotations

import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.base import machine
from plait.base.encoder import Encoder
from plait.base.errors import ModelError, PlaitError, PlaitWarning, TableError
from plait.base.inputs import Inputs, SharedCells
from plait.base.machine import seeded
from plait.branches.branches import Branches, trained_weights
from plait.networks.linear import LinearNetwork
from plait.store import Store
from plait.training import checkpoint
from plait.training.callbacks import Scorer
from plait.training.history import Events, codes, of_encoder, pattern_codes
from plait.training.loop import Callbacks, Diverged, train
from plait.training.member import MemberLearner
from plait.training.rows import Examples, Fold
from plait.training.settings import Pretraining, Training

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


def kept_or_trained(
    store: Store | None,
    encoder: Encoder,
    key: bytes,
    make: Callable[[], PretrainedWeights],
    fits: Callable[[Mapping[str, np.ndarray]], bool],
) -> PretrainedWeights:
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


class Stage:
    """Trains the encoders of one fit alone, or takes them from the store, and puts them into the members."""

    def __init__(
        self,
        spec: Mapping[str, Pretraining],
        encoders: Mapping[str, Encoder],
        examples: Examples,
        settings: Mapping[str, Training],
        seed: int,
        opened: Callable[[], Store | None],
        listener: EncoderListener | None = None,
    ) -> None:
        """Nothing is trained yet."""
        self.spec, self.encoders, self.examples, self.settings = spec, encoders, examples, settings
        self.seed, self.opened, self.listener = seed, opened, listener or EncoderListener((), None, None)
        self.seconds = self.peak_mb = 0.0
        #: Records of all epochs of all encoders; their ``stage`` is not that of the members.
        self.history: list[dict[str, Any]] = []
        self._results: dict[str, list[PretrainedWeights]] = {name: [] for name in spec}
        self._content: dict[str, bytes] = {}

    def __call__(self, member: Branches, number: int, fold: Tensor, valid: Tensor) -> None:
        """Give a member encoders that have learned from the rows ``fold`` alone."""
        if not self.spec:
            return
        start = time.perf_counter()
        for name, how in self.spec.items():
            result = self.trained(name, number, fold, valid, member.encoders[name])
            self._results[name].append(result)
            load(member.encoders[name], result.weights, f"the pretrained encoder of '{name}'")
            if how.frozen:
                member.encoders[name].requires_grad_(False)
                member.resolved.add(name)
                member.resting.append(member.encoders[name])
        self.seconds += time.perf_counter() - start

    def trained(self, name: str, number: int, fold: Tensor, valid: Tensor, module: nn.Module) -> PretrainedWeights:
        """The encoder of a modality, trained alone on the rows ``fold``; ``module`` says what weights it has."""
        encoder, settings, seed = self.encoders[name], self.settings[name], self.seed + number
        inputs, rows = _only(self.examples.inputs, name), (fold, valid)
        examples = dataclasses.replace(self.examples, inputs=inputs)
        if name not in self._content:
            self._content[name] = content_of(inputs.prepared[ONLY], inputs.present[ONLY])
        key = key_of(encoder, self._content[name], examples, rows, settings, seed)

        def make() -> PretrainedWeights:
            callbacks = self.listener.callbacks(name, number, fold, valid)
            made = pretrain_encoder(encoder, examples, rows, settings, seed, name, callbacks)
            return dataclasses.replace(made, test_rows=self.listener.test_rows(name))

        def fits(weights: Mapping[str, object]) -> bool:
            return shapes(weights) == shapes(module.state_dict())

        machine.begin_stage()
        with self.opened() or nullcontext() as store:
            result = kept_or_trained(store, encoder, key, make, fits)
        self.peak_mb = max(self.peak_mb, machine.stage_mb())
        machine.begin_stage()  # for what comes after it
        self.history += self.listener.history(name, number, result)
        plain = [{k: v for k, v in record.items() if k != "metrics"} for record in result.history]
        return dataclasses.replace(result, history=plain)

    def record(self) -> dict[str, Any]:
        """Per modality: what it cost when it was trained, and whether that was now."""
        return {
            name: {
                "encoder": self.encoders[name].name(),
                "seconds": round(sum(one.seconds for one in result), 3),
                "epochs": [len(one.history) for one in result],
                "trained_weights": sum(one.trained_weights for one in result),
                "valid_loss": [
                    min((r["valid_loss"] for r in one.history if "valid_loss" in r), default=None) for one in result
                ],
                "from_store": all(one.stored for one in result),
                "frozen": self.spec[name].frozen,
                "settings": dataclasses.asdict(self.spec[name]),
                "history": [{"member": i, **r} for i, one in enumerate(result) for r in one.history],
            }
            for name, result in self._results.items()
            if result
        }


def shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of weights."""
    return {name: tuple(array.shape) for name, array in weights.items()}


def load(module: nn.Module, weights: Mapping[str, Any], where: str) -> None:
    """Put trained weights into an encoder's network.

    Raises:
        ModelError: they are of another one.
    """
    try:
        module.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise ModelError(f"{where}: its weights do not fit ({first}); pretrain it again") from None


#: The code of the only pattern while an encoder is alone: what is kept in the store says nothing of other modalities.
(_CODE,) = pattern_codes([ONLY])


class EncoderListener:
    """Scores the epochs of encoders that are trained alone, as those of members are, and hears their records.

    The rows are those of the member that the encoder is for: what it learns from, what is held out from it, and test rows. A row
    without the modality is answered by what is known without it, as under the same pattern of the whole model.
    """

    def __init__(
        self,
        names: Sequence[str],
        score: Scorer | None,
        events: Events | None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """``names`` of all modalities give the letters; without ``score`` there are losses and times only."""
        self.letters, self.score, self.events, self.stopped = codes(names), score, events, stopped

    def callbacks(self, name: str, number: int, fold: Tensor, valid: Tensor) -> Callbacks:
        """For the training of one encoder, for the member ``number``."""
        scorer, events = self._scorer(name), self.events
        return Callbacks(
            None if scorer is None else lambda _, model: scorer(model, fold, valid),
            None if events is None else lambda record: events(self._record(name, number, False, record)),
            self.stopped,
        )

    def test_rows(self, name: str) -> str:
        """Hex digest of the test rows, as this modality has them; empty where there are none."""
        test = None if self.score is None else self.score.test
        if test is None:
            return ""
        digest = blake2b(content_of(test[0].prepared[name], test[0].present[name]), digest_size=16)
        digest.update(np.ascontiguousarray(test[1]).tobytes())
        return digest.hexdigest()

    def history(self, name: str, number: int, result: PretrainedWeights) -> list[dict[str, Any]]:
        """The records of an encoder; of one from the store as they were kept, without scores on other test rows."""
        same = result.test_rows == self.test_rows(name)
        records = []
        for record in result.history:
            scored = {p: s for p, s in record.get("metrics", {}).items() if same or p != "test"}
            kept = {**record, "metrics": scored} if "metrics" in record else record
            records.append(self._record(name, number, result.stored, kept))
        if result.stored and self.events is not None:
            for record in records:
                self.events(record)
        return records

    def _record(self, name: str, number: int, stored: bool, record: Mapping[str, object]) -> dict[str, object]:
        result = {**of_encoder(name, number, stored), **record}
        scored = result.pop("metrics", None)
        if scored is not None and self.score is not None:
            letter = self.letters[name]
            result["metrics"] = {p: {letter if k == _CODE else k: v for k, v in s.items()} for p, s in scored.items()}
        return result

    def _scorer(self, name: str) -> Scorer | None:
        whole = self.score
        if whole is None:
            return None
        test = None if whole.test is None else (_only(whole.test[0], name), whole.test[1])
        return Scorer(whole.task, _only(whole.inputs, name), whole.target, (ONLY,), whole.prior, test)


def _only(inputs: Inputs, name: str) -> Inputs:
    return Inputs({}, {ONLY: inputs.prepared[name]}, {ONLY: inputs.present[name]})
