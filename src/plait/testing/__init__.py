"""The contracts as functions: what every variant must hold; tests run them over the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from plait.base.fusion import Fusion
from plait.base.tokens import Tokens
from plait.testing.cells import check_condition, check_encoder, tokens_of
from plait.testing.models import check_alignment, check_alive, check_branch, example_pairs, example_rows

__all__ = [
    "check_alignment",
    "check_alive",
    "check_branch",
    "check_condition",
    "check_encoder",
    "check_fusion",
    "check_gradients",
    "example_pairs",
    "example_rows",
    "example_tokens",
    "tokens_of",
]


def example_tokens(dims: Mapping[str, int], rows: int = 6, tokens: int = 3, seed: int = 0) -> dict[str, Tokens]:
    """Random tokens in which row 0 has everything, row 1 nothing, and the others some."""
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for place, (name, dim) in enumerate(sorted(dims.items())):
        x = torch.randn(rows, tokens, dim, generator=generator)
        mask = torch.rand(rows, tokens, generator=generator) < 0.7
        mask[0], mask[1] = True, False
        mask[2 + place % (rows - 2)] = False
        result[name] = Tokens(x, mask)
    return result


def check_fusion(operator: Callable[[Mapping[str, int]], Fusion], dims: Mapping[str, int]) -> None:
    """Every promise of ``Fusion`` for modalities of these widths; raises AssertionError at the first that is broken.

    Args:
        operator: the class, or what makes one with options, such as ``functools.partial(LowRank, rank=2)``.
        dims: width of each modality.
    """
    torch.manual_seed(0)
    fusion = operator(dims).eval()
    tokens = example_tokens(dims)
    out = fusion(tokens)
    rows = len(next(iter(tokens.values())))
    assert out.shape == (rows, fusion.out_dim), f"shape {tuple(out.shape)}, expected {(rows, fusion.out_dim)}"
    assert torch.isfinite(out).all(), "not finite, with a row of which everything is absent"
    _same(out, fusion(dict(reversed(list(tokens.items())))), "the order of the dict matters")
    _same(out, fusion({k: _garbage_where_masked(t) for k, t in tokens.items()}), "what an absent token holds matters")
    _same(out, fusion({k: _padded(t) for k, t in tokens.items()}), "padding matters")
    _same(out[2:4], fusion({k: t.take(torch.arange(2, 4)) for k, t in tokens.items()}), "other rows matter")
    whole = {k: Tokens(t.x, torch.ones_like(t.mask)) for k, t in tokens.items()}
    changed = {k: Tokens(t.x + 1.0, t.mask) for k, t in whole.items()}
    assert not torch.allclose(fusion(whole), fusion(changed)), "what is present does not matter"
    check_gradients(fusion, fusion(whole).square().sum())


def check_gradients(module: nn.Module, loss: Tensor) -> None:
    """Every parameter gets a gradient, from the loss or from what an operator asks for beside it."""
    if not any(p.requires_grad for p in module.parameters()):
        return
    for part in module.modules():
        if isinstance(part, Fusion) and part.own_loss is not None:
            loss = loss + part.own_loss
    loss.backward()  # type: ignore[no-untyped-call]
    without = [name for name, p in module.named_parameters() if p.grad is None]
    assert not without, f"no gradient reaches {without}"


def _same(a: Tensor, b: Tensor, complaint: str) -> None:
    assert torch.allclose(a, b, atol=1e-5), complaint


def _garbage_where_masked(tokens: Tokens) -> Tokens:
    return Tokens(tokens.x.masked_fill(~tokens.mask.unsqueeze(-1), float("nan")), tokens.mask)


def _padded(tokens: Tokens) -> Tokens:
    x = torch.cat([tokens.x, torch.full_like(tokens.x[:, :2], 7.0)], 1)
    return Tokens(x, torch.cat([tokens.mask, torch.zeros_like(tokens.mask[:, :2])], 1))
