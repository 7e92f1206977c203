"""The stage before a model is trained, in which encoders learn alone, for each member on its own rows."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.base import machine
from plait.base.encoder import Encoder
from plait.base.errors import ModelError
from plait.base.inputs import Inputs
from plait.base.tokens import concatenate
from plait.branches.branches import Branches, moved
from plait.training.callbacks import Scorer
from plait.training.history import Events
from plait.training.history.table import codes, of_encoder, pattern_codes
from plait.training.loop import Callbacks
from plait.training.pretraining.encoder import (
    ONLY,
    PretrainedWeights,
    content_of,
    kept_or_trained,
    key_of,
    pretrain_encoder,
)
from plait.training.rows import Examples
from plait.training.settings import Pretraining, Training

if TYPE_CHECKING:
    from plait.store import Store


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


@torch.no_grad()
def encoded_once(member: Branches, inputs: Inputs) -> Inputs:
    """The inputs with the tokens of all encoders that learn no more, computed once instead of once per epoch."""
    if not member.resolved:
        return inputs
    tokens = dict(inputs.tokens)
    for name in sorted(member.resolved):
        encoder = member.encoders[name].eval()
        only = Inputs({}, {name: inputs.prepared[name]}, {name: inputs.present[name]})
        parts = []
        for rows in torch.split(torch.arange(len(inputs)), 512):
            batch = moved(only.take(rows), member.device)
            parts.append(encoder(batch.prepared[name]).absent_where(~batch.present[name]).to("cpu"))
        tokens[name] = concatenate(parts)
    left = {name: cells for name, cells in inputs.prepared.items() if name not in member.resolved}
    return dataclasses.replace(inputs, tokens=tokens, prepared=left)


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
        """``names`` of all modalities, which give the letters; ``score`` of the members, or None: only losses and times.

        ``stopped``: asked after each epoch; true ends the training.
        """
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
        records = [self._record(name, number, result.stored, _without_test(r, keep=same)) for r in result.history]
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


def _without_test(record: Mapping[str, Any], *, keep: bool) -> dict[str, Any]:
    scored = record.get("metrics")
    if keep or scored is None:
        return dict(record)
    return {**record, "metrics": {part: value for part, value in scored.items() if part != "test"}}
