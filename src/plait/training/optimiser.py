"""AdamW with a warm-up and a cosine, or Adam at a constant rate, on torch's own fused steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import Parameter

#: The norm of a network's gradients is held below it.
LIMIT = 5.0


@dataclass(frozen=True)
class StepRule:
    """How gradients become a step.

    Attributes:
        optimiser: ``adamw`` (decoupled weight decay) or ``adam`` (weight decay is added to the gradients).
        schedule: after the warm-up the rate falls to zero as a ``cosine``, or stays ``constant``.
        clip: the norm of a network's gradients is held below it; 0: it is not.
    """

    optimiser: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float = LIMIT


class AdamW:
    """Decoupled weight decay; the learning rate rises over the first steps and falls to zero as a cosine, or as ``rule`` says.

    ``torch.optim.AdamW`` runs the same step (a test compares them), but making one imports torch's compiler: a second,
    which is a fifth of a small fit.

    Source: Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        learning_rate: float,
        weight_decay: float,
        steps: int,
        *,
        warmup: float = 0.1,
        shares: Mapping[Parameter, float] | None = None,
        rule: StepRule | None = None,
    ) -> None:
        """Train ``parameters`` for ``steps`` steps.

        Args:
            parameters: what learns.
            learning_rate: peak.
            weight_decay: decoupled.
            steps: over which the rate rises and falls.
            warmup: share of the steps over which it rises.
            shares: of the learning rate, for parameters that learn slower or faster than the others.
            rule: optimiser, schedule and clipping; None: the usual ones.
        """
        self.parameters = [p for p in parameters if p.requires_grad]
        self.warmup, self.rule, value = warmup, rule or StepRule(), shares or {}
        self.shares = [value.get(p, 1.0) for p in self.parameters]
        self.rate, self.decay, self.steps, self.done = learning_rate, weight_decay, steps, 0
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.square = [torch.zeros_like(p) for p in self.parameters]
        self.count = [torch.zeros((), device=p.device) for p in self.parameters]

    def state(self) -> dict[str, Tensor]:
        """Its arrays by name, for a checkpoint."""
        arrays = {"mean": self.mean, "square": self.square, "count": self.count}
        return {f"{name}.{i}": array for name, own in arrays.items() for i, array in enumerate(own)}

    def factor(self) -> float:
        """Share of the peak learning rate at this step."""
        warm = max(1, int(self.steps * self.warmup))
        if self.done < warm:
            return (self.done + 1) / warm
        if self.rule.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (self.done - warm) / max(1, self.steps - warm))))

    def clear(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self, clipped: bool = True) -> None:
        """One step; with ``clipped`` the norm of all gradients together is held below the rule's limit, if it has one."""
        kept: list[int] = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        if kept and clipped and self.rule.clip:
            clip([self.parameters[i] for i in kept], self.rule.clip)
        for share in dict.fromkeys(self.shares[i] for i in kept):
            self._update([i for i in kept if self.shares[i] == share], self.rate * share * self.factor())
        self.done += 1

    def _update(self, places: Sequence[int], rate: float) -> None:
        gradients: list[Tensor] = [g for i in places if (g := self.parameters[i].grad) is not None]
        counts = [self.count[i] for i in places]
        torch._foreach_add_(counts, 1)
        update = torch._fused_adamw_ if self.rule.optimiser == "adamw" else torch._fused_adam_
        update(
            [self.parameters[i] for i in places],
            gradients,
            [self.mean[i] for i in places],
            [self.square[i] for i in places],
            [],
            counts,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=self.decay,
            eps=1e-8,
            maximize=False,
        )


def clip(parameters: Sequence[Parameter], limit: float) -> None:
    """Hold the norm of all gradients together below ``limit``, as ``torch.nn.utils.clip_grad_norm_`` does.

    On a CPU the gradients are only touched where they must be; elsewhere asking for the norm would have to wait.
    """
    if any(p.device.type != "cpu" for p in parameters):
        torch.nn.utils.clip_grad_norm_(parameters, limit)
        return
    total = torch.stack(torch._foreach_norm([p.grad for p in parameters if p.grad is not None])).norm()
    if not float(total) <= limit:  # or no number
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, total)
