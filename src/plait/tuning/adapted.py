"""A linear map with a low-rank update that learns, computed as one product."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


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
        found: Tensor = self.base_layer.weight  # type: ignore[assignment, union-attr]
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        (a,), (b,) = self.lora_A.parameters(), self.lora_B.parameters()  # type: ignore[union-attr]
        told = (self.weight, self.base_layer.bias, a, b, self.scale)  # type: ignore[union-attr]
        out: Tensor = _Product.apply(x, *told)  # type: ignore[no-untyped-call]
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
