"""An encoder whose last layers were adapted to a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.base import config
from plait.base.encoder import Encoder
from plait.base.errors import ModelError
from plait.base.tokens import Tokens, concatenate, of_one_length
from plait.store.record import halved
from plait.training.finetuning.lora import merged
from plait.training.finetuning.settings import Tuning

if TYPE_CHECKING:
    from plait.encoders.featurize import Featurizer

#: Weights of one tuning: ``TARGET.A`` and ``TARGET.B``.
Weights = Mapping[str, Tensor]


class Tuned(Encoder):
    """A pretrained encoder with tuned last layers, frozen; what is saved of it are the low-rank updates alone.

    Formula: the mean over the tunings k of upper_k(lower(x)), upper_k with the weights W + (alpha / rank) B_k A_k.
    Shape: that of the encoder inside.
    Source: Hu et al. 2021, LoRA, arXiv 2106.09685; MulTaBench, arXiv 2605.10616, for frozen after tuning on the target.
    """

    def __init__(self, base: Encoder, tuning: Tuning, weights: Sequence[Weights] = ()) -> None:
        """``weights`` of each tuning; without any, ``load_state`` must follow."""
        self.base, self.settings, self.weights = base, tuning, tuple(weights)
        self.kinds, self.licence, self.batch_size = base.kinds, base.licence, base.batch_size  # type: ignore[misc]
        self.stored, self.arithmetic = True, base.arithmetic  # type: ignore[misc]

    def options(self) -> dict[str, Any]:
        """The encoder inside, and how it was tuned."""
        return {"encoder": {"name": self.base.name(), **self.base.options()}, "tune": dataclasses.asdict(self.settings)}

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        """The encoder's own."""
        return self.base.lengths(cells)

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """As the encoder does."""
        return self.base.prepare(cells)

    def module(self) -> nn.Module:
        """The lower layers, and above them every tuned version of the last ones."""
        cut = self.base.cut(self.settings.layers)
        return _Whole(cut.lower, self.uppers(cut.upper))

    def uppers(self, upper: nn.Module) -> list[nn.Module]:
        """The upper layers of every tuning."""
        return [merged(upper, weights, self.settings.alpha / self.settings.rank) for weights in self.weights]

    @property
    def dim(self) -> int:
        """Width of the tokens."""
        return self.base.dim

    def weights_id(self) -> str:
        """The encoder inside; the updates are part of the state."""
        return self.base.fingerprint()

    def state(self) -> dict[str, Any]:
        """The updates of every tuning as arrays."""
        return {f"{k}.{name}": w.numpy() for k, value in enumerate(self.weights) for name, w in value.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take the updates back.

        Raises:
            ModelError: one is missing, of another shape, or not finite.
        """
        result: dict[int, dict[str, Tensor]] = {}
        for key, array in state.items():
            number, _, name = key.partition(".")
            weight = torch.from_numpy(np.array(array))
            if not bool(torch.isfinite(weight).all()):
                raise ModelError(f"encoder tuned: the update '{name}' holds numbers that are not finite; fit it again")
            result.setdefault(int(number), {})[name] = weight
        if not result:
            raise ModelError("encoder tuned: there are no updates; the model folder is incomplete, fit it again")
        self.weights = tuple(result[k] for k in sorted(result))


def inside(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Name and options of an encoder that a model folder tells of; of a tuned one, those of the encoder inside."""
    options = dict(facts["options"])
    return dict(options["encoder"]) if facts["name"] == Tuned.name() else {"name": facts["name"], **options}


def put_back(features: Featurizer, encoders: Mapping[str, Any]) -> None:
    """Replace the encoders that a model folder calls tuned; their updates come with ``load_state``."""
    for name, facts in encoders.items():
        if facts["name"] == Tuned.name():
            value = config.build(Tuning, facts["options"]["tune"], f"encoder of modality '{name}'")
            features.encoders[name] = Tuned(features.encoders[name], value)


class _Whole(nn.Module):
    """Both parts, with what lies between rounded as the store would, so that numbers do not depend on it."""

    def __init__(self, lower: nn.Module, uppers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.lower, self.uppers = lower, nn.ModuleList(uppers)

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """As the encoder's own network."""
        tokens: Tokens = self.lower(batch)
        tokens = Tokens(as_stored(tokens), tokens.mask)
        groups = of_one_length(tokens.mask)
        parts = [self._mean(Tokens(tokens.x[rows][:, there], tokens.mask[rows][:, there])) for rows, there in groups]
        order = torch.cat([rows for rows, _ in groups]).argsort()
        return concatenate(parts).take(order)

    def _mean(self, tokens: Tokens) -> Tokens:
        result = [upper(tokens) for upper in self.uppers]
        return Tokens(torch.stack([part.x for part in result]).mean(0), result[0].mask)


def as_stored(tokens: Tokens) -> Tensor:
    """Each cell's numbers as they come back from the store: (B, T, D) float32."""
    rows = [halved(row.numpy()).astype(np.float32) for row in tokens.x.detach().float().cpu()]
    return torch.from_numpy(np.stack(rows)).to(tokens.x.device)
