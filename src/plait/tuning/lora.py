"""Low-rank updates of weight matrices: put into a network by peft, taken out as arrays, added to the weights for good."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.encoders._cut import Cut
from plait.errors import need
from plait.tuning.adapted import Adapted
from plait.tuning.settings import Tuning

_NAME = "default"


def with_lora(cut: Cut, told: Tuning) -> nn.Module:
    """A copy of the upper layers with LoRA on every target; only the updates learn, and at first they are zero.

    Formula: W x + (alpha / rank) B A x, A (rank, in) random, B (out, rank) zero.
    Source: Hu et al. 2021, LoRA, arXiv 2106.09685, section 4.1; put in by peft, linear maps computed by ``Adapted``.
    """
    peft = need("peft", "tune")
    network = copy.deepcopy(cut.upper)
    settings = peft.LoraConfig(r=told.rank, lora_alpha=told.alpha, target_modules=list(cut.targets), bias="none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of options that nobody set
        adapted: nn.Module = peft.inject_adapter_in_model(settings, network)
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_("lora_" in name)
    for name, part in list(adapted.named_modules()):
        if isinstance(getattr(part, "base_layer", None), nn.Linear):
            parent, _, child = name.rpartition(".")
            setattr(adapted.get_submodule(parent), child, Adapted(part, told.alpha / told.rank))
    return adapted


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The updates as ``TARGET.A`` and ``TARGET.B``, copied.

    Shape: A (rank, in, ...); B (out, rank, ...).
    """
    found = {}
    for name, parameter in network.named_parameters():
        for letter in "AB":
            target, middle, _ = name.partition(f".lora_{letter}.{_NAME}.weight")
            if middle:
                found[f"{target}.{letter}"] = parameter.detach().clone()
    return found


def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put back what ``weights_of`` gave."""
    told = {f"{k[:-2]}.lora_{k[-1]}.{_NAME}.weight": v for k, v in weights.items()}
    network.load_state_dict(told, strict=False)


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
