"""The convolutional LSTM as one would first write it: what the fast one must equal, in outputs and gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.networks.conv_lstm import ConvLSTM
from plait.networks.conv_lstm_layer import ConvLSTMLayer


def naive_outputs(network: ConvLSTM, picture: Tensor | None, sound: Tensor | None, begun: Tensor) -> Tensor:
    """What ``network`` should answer (B, out_dim), computed from its own weights.

    Args:
        network: at any depth, with one or both modalities.
        picture: (B, C, H, W).
        sound: (B, T, F), front-padded with zeros.
        begun: (B, T) bool; before a row has begun, its state stays zero.
    """
    stack, options = network.stack, network.options
    for convolution in stack.convolutions:
        assert picture is not None
        picture = functional.max_pool2d(torch.relu(convolution(picture)), options.own_pool)
    for layer in stack.lstms:
        assert isinstance(layer, ConvLSTMLayer)
        sound = naive_layer(layer, None, sound, None, begun, (1, 1))[..., 0, 0]
    moving = None
    for place, layer in enumerate(stack.joint):
        assert isinstance(layer, ConvLSTMLayer)
        given = (None, None) if place else (picture, sound)
        size = (moving.shape[-2], moving.shape[-1]) if moving is not None else network.stack.size
        hidden = naive_layer(layer, *given, moving, begun, size)
        moving = functional.max_pool2d(hidden.flatten(0, 1), options.pool).unflatten(0, hidden.shape[:2])  # type: ignore[no-untyped-call]
    if moving is not None:
        return _answer(network, moving[:, -1].permute(0, 2, 3, 1).flatten(1))
    parts = [] if picture is None else [picture.permute(0, 2, 3, 1).flatten(1)]
    return _answer(network, torch.cat(parts if sound is None else [*parts, sound[:, -1]], 1))


def _answer(network: ConvLSTM, features: Tensor) -> Tensor:
    return nn.Sequential(network.dense, nn.ReLU(), network.head)(features)  # type: ignore[no-any-return]


def naive_layer(
    layer: ConvLSTMLayer,
    picture: Tensor | None,
    sound: Tensor | None,
    moving: Tensor | None,
    begun: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """Concatenate everything at each place and step, and convolve it: (B, T, K, H, W)."""
    weight = _weight_of_everything(layer)
    rows, steps = begun.shape
    h = c = weight.new_zeros(rows, layer.units, *size)
    result = []
    for t in range(steps):
        parts = [] if picture is None else [picture]
        if sound is not None:
            parts.append(sound[:, t, :, None, None].expand(-1, -1, *size))
        if moving is not None:
            parts.append(moving[:, t])
        everything = torch.cat([*parts, h], 1)  # (B, C + F + D + K, H, W)
        z = functional.conv2d(everything, weight, layer.bias, padding=weight.shape[-1] // 2)
        i, f, o, g = z.chunk(4, 1)
        now = begun[:, t, None, None, None]
        c = torch.where(now, f.sigmoid() * c + i.sigmoid() * g.tanh(), 0.0)
        h = torch.where(now, o.sigmoid() * c.tanh(), 0.0)
        result.append(h)
    return torch.stack(result, 1)


def _weight_of_everything(layer: ConvLSTMLayer) -> Tensor:
    """One kernel (4K, C + F + D + K, k, k); the sound's share has one tap, the middle one, for it has no place."""
    parts: list[Tensor] = [] if layer.still is None else [layer.still]
    if layer.driven is not None:
        edge = layer.weight.shape[-1] // 2
        parts.append(functional.pad(layer.driven[..., None, None], (edge, edge, edge, edge)))
    return torch.cat([*parts, layer.weight], 1)
