"""Low-rank updates of weight matrices: put into a network by peft, taken out as arrays, added to the weights for good."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from plait.base.encoder import Cut
from plait.base.errors import need
from plait.training.finetuning.settings import Tuning

_NAME = "default"


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


def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put back what ``weights_of`` gave."""
    options = {f"{k[:-2]}.lora_{k[-1]}.{_NAME}.weight": v for k, v in weights.items()}
    network.load_state_dict(options, strict=False)


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
