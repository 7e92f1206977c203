"""The network of MiniLM (a BERT of six layers), for inference, whole or cut in two.

Our own definition, because it starts in a tenth of the time that transformers needs to be imported, and because rows of
like length can be computed together without padding one to another's length.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.encoders._cut import Cut
from plait.precision import autocast, fast_dtype
from plait.tokens import Tokens

WIDTH, HEADS, LAYERS, HIDDEN, POSITIONS = 384, 12, 6, 1536, 512
_VOCABULARY = 30522
#: BERT's epsilon of layer normalisation.
_EPSILON = 1e-12
#: Tokens that are computed together: enough to keep the processor busy, few enough to stay in its cache.
_TOGETHER = 2048


class Layer(nn.Module):
    """Self-attention and two linear maps, each added to its input and normalised.

    Only the linear maps and attention are in the fast number type: what goes from layer to layer stays in float32, which
    costs nothing and halves the error.
    """

    def __init__(self) -> None:
        """Weights are loaded, not initialised."""
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, _EPSILON), nn.LayerNorm(WIDTH, _EPSILON)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens (B, T, D); mask (B, 1, 1, T), or None when nothing is padding."""
        rows, tokens, _ = x.shape
        narrow = self.qkv.weight.dtype
        q, k, v = (
            self.qkv(x.to(narrow)).view(rows, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        )  # each (B, heads, T, d)
        attended = _attended(q, k, v, mask)
        x = self.norm1(x + self.out(attended.transpose(1, 2).reshape(rows, tokens, WIDTH)))
        normalised: Tensor = self.norm2(x + self.down(functional.gelu(self.up(x.to(narrow)))))
        return normalised


def _attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Each token's mean over what it attends to; q, k, v and the answer (B, heads, T, d).

    Where it is differentiated on a CPU, in float32: torch's derivative in bf16 takes three times as long (105 ms against 39
    for 32 texts of 96 tokens, forward and back, one thread of an EPYC with AVX512-BF16).
    """
    if not q.requires_grad or q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        found = functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)
    return found.to(q.dtype)


class MiniLM(nn.Module):
    """Token ids to one vector of length one: the mean over the tokens of the last layer."""

    def __init__(self) -> None:
        """Weights are loaded, not initialised."""
        super().__init__()
        self.words, self.positions = nn.Embedding(_VOCABULARY, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, _EPSILON)
        self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """``ids`` (B, T) and ``length`` (B, 1) -> one token per row."""
        lengths = batch["length"][:, 0].long()
        found = torch.zeros(len(lengths), WIDTH, device=lengths.device)
        for rows in _together(lengths):
            longest = int(lengths[rows].max())
            found[rows] = self._pooled(batch["ids"][rows, :longest].long(), lengths[rows])
        return Tokens.of_vectors(found)

    def _pooled(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return functional.normalize(self.through(ids, lengths).pooled(), dim=1)

    def through(self, ids: Tensor, lengths: Tensor) -> Tokens:
        """All tokens (B, T, D) after the last layer, of ids (B, T)."""
        there = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]  # (B, T)
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        mask = None if bool(there.all()) else there[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        return Tokens(x.float(), there)


class Below(nn.Module):
    """All but the last layers: token ids to tokens."""

    def __init__(self, network: MiniLM, layers: int) -> None:
        """Take the last ``layers`` off the network, which is used up."""
        super().__init__()
        network.layers = network.layers[: len(network.layers) - layers]
        self.network = network

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """``ids`` (B, T) and ``length`` (B, 1) -> (B, T, D)."""
        lengths = batch["length"][:, 0].long()
        found = torch.zeros(len(lengths), int(lengths.max()), WIDTH, device=lengths.device)
        for rows in _together(lengths):
            longest = int(lengths[rows].max())
            found[rows, :longest] = self.network.through(batch["ids"][rows, :longest].long(), lengths[rows]).x
        return Tokens(found, torch.arange(found.shape[1], device=found.device) < lengths[:, None])


class Above(nn.Module):
    """The last layers and the mean over the tokens; products in the fast number type, weights in float32."""

    def __init__(self, network: MiniLM, layers: int) -> None:
        """Copy the last ``layers``."""
        super().__init__()
        self.layers = copy.deepcopy(network.layers[len(network.layers) - layers :]).float()

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, T, D) -> one token of length one per row."""
        x, mask = tokens.x, None if bool(tokens.mask.all()) else tokens.mask[:, None, None, :]
        with autocast(x.device):
            for layer in self.layers:
                x = layer(x, mask)
        return Tokens.of_vectors(functional.normalize(Tokens(x.float(), tokens.mask).pooled(), dim=1))


def cut(path: Path, layers: int) -> Cut:
    """The network with the weights of a safetensors file, in two."""
    upper = Above(load(path, fast=False), layers).eval()
    targets = tuple(name for name, part in upper.named_modules() if isinstance(part, nn.Linear))
    return Cut(Below(load(path), layers).eval(), upper, targets)


def _together(lengths: Tensor) -> Iterator[Tensor]:
    """Rows of like length, as many as ``_TOGETHER`` tokens hold."""
    order = lengths.argsort(descending=True, stable=True)
    start = 0
    while start < len(order):
        rows = order[start : start + max(1, _TOGETHER // max(1, int(lengths[order[start]])))]
        yield rows
        start += len(rows)


def load(path: Path, *, fast: bool = True) -> MiniLM:
    """The network with the weights of a safetensors file; ``fast``: its linear maps in the processor's fastest type."""
    from safetensors.torch import load_file

    network = MiniLM()  # on the meta device it would take ten times as long: that imports sympy
    network.load_state_dict(_renamed(load_file(path)), assign=True)
    for part in network.layers.modules():
        if fast and isinstance(part, nn.Linear):
            part.to(fast_dtype())
    return network.eval().requires_grad_(False)


def _renamed(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BERT's names to ours; the one token type there is becomes part of the positions."""
    first_type = given["embeddings.token_type_embeddings.weight"][0]
    names = {"words.weight": "embeddings.word_embeddings.weight"}
    found = {"positions.weight": given["embeddings.position_embeddings.weight"] + first_type}
    for part in ("weight", "bias"):
        names[f"norm.{part}"] = f"embeddings.LayerNorm.{part}"
        for i in range(LAYERS):
            theirs = f"encoder.layer.{i}."
            qkv = [given[f"{theirs}attention.self.{word}.{part}"] for word in ("query", "key", "value")]
            found[f"layers.{i}.qkv.{part}"] = torch.cat(qkv)
            for name, other in _PARTS.items():
                names[f"layers.{i}.{name}.{part}"] = f"{theirs}{other}.{part}"
    return found | {name: given[other] for name, other in names.items()}


_PARTS = {
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}
