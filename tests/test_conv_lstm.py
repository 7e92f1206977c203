"""The convolutional LSTM: equal to the naive one, indifferent to padding and to other rows, and it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from plait.errors import ConfigError
from plait.networks._conv_lstm_naive import naive_outputs
from plait.networks._conv_lstm_steps import lengths, pack
from plait.networks.conv_lstm import ConvLSTM
from plait.precision import fast_dtype
from plait.testing import check_gradients
from plait.tokens import Tokens
from plait.train import trained_weights

SIDE, CHANNELS, BINS, LONGEST = 6, 2, 5, 7
LENGTHS = (7, 3, 0, 1, 5, 7)
DIMS = {"image": CHANNELS, "audio": BINS}
BOTH, SEEN, HEARD = ("image", "audio"), ("image",), ("audio",)


def batch(names: tuple[str, ...] = BOTH, seed: int = 0) -> dict[str, Tokens]:
    """Six rows; the third has no sound."""
    generator = torch.Generator().manual_seed(seed)
    rows = len(LENGTHS)
    image = Tokens(
        torch.rand(rows, SIDE * SIDE, CHANNELS, generator=generator), torch.ones(rows, SIDE * SIDE, dtype=torch.bool)
    )
    frames = torch.rand(rows, LONGEST, BINS, generator=generator)
    audio = Tokens(frames, torch.arange(LONGEST)[None] < torch.tensor(LENGTHS)[:, None])
    return {name: {"image": image, "audio": audio}[name] for name in names}


def network(
    names: tuple[str, ...] = BOTH, depth: str | int = 0, seed: int = 1, layers: int = 2, **options: Any
) -> ConvLSTM:
    torch.manual_seed(seed)
    told = {"precision": "float32", "least_steps": 2, "dense": 8} | options
    pictures = {"image": (SIDE, SIDE)} if "image" in names else {}
    dims = {name: DIMS[name] for name in names}
    return ConvLSTM(dims, 3, pictures=pictures, depth=depth, layers=layers, width=4, options=told)


def front_padded(tokens: dict[str, Tokens], least: int) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """By hand: the picture, the sound that ends at the last step, and where it has begun."""
    rows = len(LENGTHS)
    picture = sound = None
    if "image" in tokens:
        picture = tokens["image"].x.view(rows, SIDE, SIDE, CHANNELS).permute(0, 3, 1, 2)
    kept = LENGTHS if "audio" in tokens else (0,) * rows
    longest = max(*kept, least)
    begun = torch.zeros(rows, longest, dtype=torch.bool)
    if "audio" in tokens:
        sound = torch.zeros(rows, longest, BINS)
        for row, length in enumerate(kept):
            sound[row, longest - length :] = tokens["audio"].x[row, :length]
    for row, length in enumerate(kept):
        begun[row, longest - max(length, least) :] = True
    return picture, sound, begun


def outputs_and_gradients(model: ConvLSTM, out: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    generator = torch.Generator().manual_seed(5)
    (out * torch.randn(out.shape, generator=generator)).sum().backward()
    return out.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("names", [BOTH, SEEN, HEARD])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("checkpoint", [0, 3])
def test_equals_the_naive_one(names: tuple[str, ...], depth: int, checkpoint: int) -> None:
    if names == HEARD and depth < 2:
        pool = 1  # the naive one cannot pool a single place
    else:
        pool = 2
    tokens = batch(names)
    if depth and "audio" in tokens:  # of an absent sound the fast one takes nothing, the naive one does not know of it
        tokens = {name: found.take(torch.tensor([0, 1, 3, 4, 5])) for name, found in tokens.items()}
    model = network(names, depth, pool=pool, checkpoint=checkpoint)
    rows = torch.tensor([0, 1, 3, 4, 5]) if depth and "audio" in tokens else torch.arange(6)
    picture, sound, begun = front_padded(batch(names), 2)
    found, gradients = outputs_and_gradients(model, model(tokens))
    given = (None if t is None else t[rows] for t in (picture, sound))
    expected, wanted = outputs_and_gradients(model, naive_outputs(model, *given, begun[rows]))
    assert torch.allclose(found, expected, atol=1e-5)
    assert gradients.keys() == wanted.keys() == dict(model.named_parameters()).keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, wanted[name], atol=1e-4), name
