"""The contract of alignment stages as a function: pairs in, one space out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from plait.alignment.base import Alignment
from plait.alignment.learned import Learned, backward
from plait.alignment.network import AlignmentNetwork, unit
from plait.alignment.pairs import Pairs


def example_pairs(dims: Mapping[str, int], rows: int = 60, seed: int = 0) -> Pairs:
    """Noisy linear views of one hidden vector per row; a sixth of the rows lacks each modality, two rows are about one thing."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, 4, generator=generator)
    x, present = {}, {}
    for place, (name, dim) in enumerate(dims.items()):
        x[name] = hidden @ torch.randn(4, dim, generator=generator) + 0.1 * torch.randn(rows, dim, generator=generator)
        present[name] = torch.arange(rows) % 6 != place % 6
    thing = torch.arange(rows)
    thing[-1] = thing[-2]
    return Pairs.of(x, present, thing)


def check_alignment(stage: Alignment, dims: Mapping[str, int]) -> None:
    """Every promise of an alignment stage for modalities of these widths; AssertionError at the first that is broken."""
    pairs = example_pairs(dims)
    network = _aligned(stage, dims, pairs)
    garbage = {n: batch["x"].masked_fill(~pairs.present[n][:, None], float("nan")) for n, batch in pairs.x.items()}
    short = dataclasses.replace(stage, epochs=2) if isinstance(stage, Learned) else stage
    same = [_aligned(short, dims, result) for result in (pairs, Pairs.of(garbage, pairs.present, pairs.thing))]
    restored = stage.network(dims).eval()
    restored.load_state_dict(network.state_dict())
    with torch.no_grad():
        for name, batch in pairs.x.items():
            x, out = batch["x"], network(name, batch)
            assert out.shape == (len(pairs), network.out_dim), f"shape {tuple(out.shape)}, out_dim {network.out_dim}"
            _same(out[3:5], network(name, {"x": x[3:5]}), "other rows matter")
            assert torch.isfinite(network(name, {"x": torch.zeros_like(x[:1])})).all(), "a zero vector is not finite"
            _same(
                same[0](name, batch),
                same[1](name, batch),
                "what an absent row holds matters, or the seed does not decide",
            )
            assert torch.equal(out, restored(name, batch)), "other numbers after saving and loading"
    for a, b in stage.pairs_of(list(dims)):
        rows = pairs.take(pairs.both(a, b))
        first, second = (network(s.name, rows.x[s.name], s.towards) for s in (network.side(a, b), network.side(b, a)))
        similar = (unit(first) @ unit(second).T).detach()
        others = (similar.sum() - similar.trace()) / (len(similar) * (len(similar) - 1))
        assert similar.diagonal().mean() > others + 0.1, f"{a} and {b} stay apart"
    if isinstance(stage, Learned):
        network = stage.network(dims).train()
        backward(network, stage.contrast(), stage.pairs_of(list(dims)), pairs, len(pairs))
        without = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
        assert not without, f"no gradient reaches {without}"


def _aligned(stage: Alignment, dims: Mapping[str, int], pairs: Pairs) -> AlignmentNetwork:
    torch.manual_seed(0)
    network = stage.network(dims)
    stage.fit(network, pairs, seed=0, progress=False)
    return network


def _same(a: Tensor, b: Tensor, complaint: str) -> None:
    assert torch.allclose(a, b, atol=1e-5), complaint
