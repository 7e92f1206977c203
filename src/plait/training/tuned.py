"""An encoder whose last layers were adapted to a task by low-rank updates, and these updates."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from plait.base import config
from plait.base.encoder import Cut, Encoder, WrappedEncoder
from plait.base.errors import ModelError, need
from plait.base.tokens import Tokens, concatenate, of_one_length
from plait.store.record import halved
from plait.training.settings import Tuning

if TYPE_CHECKING:
    from plait.encoders.featurize import Featurizer

#: What peft calls the updates.
_NAME = "default"
#: Weights of one tuning: ``TARGET.A`` and ``TARGET.B``.
Weights = Mapping[str, Tensor]


class Tuned(WrappedEncoder):
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
        return {"encoder": {"name": self.base.name(), **self.base.options()}, "tune": dataclasses.asdict(self.settings)}

    @property
    def inner(self) -> Encoder:
        return self.base

    def module(self) -> nn.Module:
        cut = self.base.cut(self.settings.layers)
        return _Whole(cut.lower, self.uppers(cut.upper))

    def uppers(self, upper: nn.Module) -> list[nn.Module]:
        """The upper layers of every tuning."""
        return [merged(upper, weights, self.settings.alpha / self.settings.rank) for weights in self.weights]

    def weights_id(self) -> str:
        """The encoder inside; the updates are part of the state."""
        return self.base.fingerprint()

    def state(self) -> dict[str, Any]:
        return packed(self.weights)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take the updates back.

        Raises:
            ModelError: one is missing, or not finite.
        """
        for key, array in state.items():
            if not np.isfinite(array).all():
                name = key.partition(".")[2]
                raise ModelError(f"encoder tuned: the update '{name}' holds numbers that are not finite; fit it again")
        if not state:
            raise ModelError("encoder tuned: there are no updates; the model folder is incomplete, fit it again")
        self.weights = tuple(unpacked(state))


def packed(weights: Sequence[Weights]) -> dict[str, np.ndarray]:
    """The updates of several tunings under one name each, as ``0.TARGET.A``."""
    return {f"{k}.{name}": w.numpy() for k, one in enumerate(weights) for name, w in one.items()}


def unpacked(arrays: Mapping[str, np.ndarray]) -> list[Weights]:
    """Back from ``packed``."""
    result: dict[int, dict[str, Tensor]] = {}
    for key, array in arrays.items():
        number, _, name = key.partition(".")
        result.setdefault(int(number), {})[name] = torch.from_numpy(np.array(array))
    return [result[k] for k in sorted(result)]


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
        """Tokens, the mean over the tuned versions."""
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


def with_lora(cut: Cut, tuning: Tuning) -> nn.Module:
    """A copy of the upper layers with LoRA on every target; only the updates learn, and at first they are zero.

    Formula: W x + (alpha / rank) B A x, A (rank, in) random, B (out, rank) zero.
    Source: Hu et al. 2021, LoRA, arXiv 2106.09685, section 4.1; put in by peft, linear maps computed by ``Adapted``.
    """
    peft = need("peft", "tune")
    network = copy.deepcopy(cut.upper)
    settings = peft.LoraConfig(r=tuning.rank, lora_alpha=tuning.alpha, target_modules=list(cut.targets), bias="none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of options that nobody set
        adapted: nn.Module = peft.inject_adapter_in_model(settings, network)
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_("lora_" in name)
    for name, part in list(adapted.named_modules()):
        if isinstance(getattr(part, "base_layer", None), nn.Linear):
            parent, _, child = name.rpartition(".")
            setattr(adapted.get_submodule(parent), child, Adapted(part, tuning.alpha / tuning.rank))
    return adapted


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The updates as ``TARGET.A`` and ``TARGET.B``, copied.

    Shape: A (rank, in, ...); B (out, rank, ...).
    """
    result = {}
    for name, parameter in network.named_parameters():
        for letter in "AB":
            target, middle, _ = name.partition(f".lora_{letter}.{_NAME}.weight")
            if middle:
                result[f"{target}.{letter}"] = parameter.detach().clone()
    return result


@torch.no_grad()
def merged(upper: nn.Module, weights: Mapping[str, Tensor], scale: float) -> nn.Module:
    """A copy of the upper layers whose weights have the updates added: no slower than the plain ones, and without peft.

    Formula: W + scale B A; of a convolution the same with A's places flattened.
    """
    network = copy.deepcopy(upper)
    for name in sorted({key[:-2] for key in weights}):
        weight: Tensor = network.get_submodule(name).weight  # type: ignore[assignment]
        a, b = weights[f"{name}.A"], weights[f"{name}.B"]
        weight += scale * (b.flatten(1) @ a.flatten(1)).view(weight.shape)
    return network.eval()


class Adapted(nn.Module):
    """What peft's layer computes, with the update added to the weight first: the same map that is used once it is tuned.

    The update's own two products then are no larger than its rank in any of the passes over the rows. As every linear map it
    follows autocast.

    Formula: (W + scale B A) x + bias; of the gradient g: A by scale (B^T g) x^T, B by scale g (A x)^T, x by (W + scale B A)^T g.
    Shape: (..., in) to (..., out).
    Source: Hu et al. 2021, LoRA, arXiv 2106.09685, section 4.1.
    """

    def __init__(self, layer: nn.Module, scale: float) -> None:
        """Take over a layer of peft's, whose names of weights stay."""
        super().__init__()
        self.base_layer, self.lora_A, self.lora_B = layer.base_layer, layer.lora_A, layer.lora_B
        self.scale = scale

    @property
    def weight(self) -> Tensor:
        """W, without the update."""
        result: Tensor = self.base_layer.weight  # type: ignore[assignment, union-attr]
        return result

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        (a,), (b,) = self.lora_A.parameters(), self.lora_B.parameters()  # type: ignore[union-attr]
        values = (self.weight, self.base_layer.bias, a, b, self.scale)  # type: ignore[union-attr]
        out: Tensor = _Product.apply(x, *values)  # type: ignore[no-untyped-call]
        return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        with torch.autocast(kind, enabled=False):
            whole = torch.addmm(weight, b, a, alpha=scale).to(dtype)
            narrow = x.to(dtype)
            ctx.save_for_backward(narrow, whole, a.to(dtype), b.to(dtype))
            ctx.scale, ctx.kinds = scale, (x.dtype, a.dtype)
            return functional.linear(narrow, whole, None if bias is None else bias.to(dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, whole, a, b = ctx.saved_tensors
        g, rows = gradient.to(x.dtype).flatten(0, -2), x.flatten(0, -2)
        of_x = (g @ whole).view(x.shape).to(ctx.kinds[0]) if ctx.needs_input_grad[0] else None
        of_a = ((g @ b).t() @ rows).to(ctx.kinds[1]) * ctx.scale
        of_b = (g.t() @ (rows @ a.t())).to(ctx.kinds[1]) * ctx.scale
        return of_x, None, None, of_a, of_b, None
