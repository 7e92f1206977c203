"""The network of MiniLM (a BERT of six layers), for inference, whole or cut in two.

Our own definition, because it starts in a tenth of the time that transformers needs to be imported, and because rows of
like length can be computed together without padding one to another's length.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base.encoder import Cut
from plait.base.machine import autocast, fast_dtype
from plait.base.tokens import Tokens

WIDTH, HEADS, LAYERS, HIDDEN, POSITIONS = 384, 12, 6, 1536, 512
_VOCABULARY = 30522
#: BERT's epsilon of layer normalisation.
_EPSILON = 1e-12
#: Tokens that are computed together: enough to keep the processor busy, few enough to stay in its cache.
_TOGETHER = 2048
#: Tokens are filled up to a multiple of this: for fewer, products in float32 are summed in another order.
_WHOLE = 16
#: What attention makes of queries, keys and values side by side (..., 3 D): (..., D).
Attend = Callable[[Tensor], Tensor]


class Linear(nn.Linear):
    """A linear map whose weight is laid out once where oneDNN multiplies in bf16: the same to the bit, in 4 to 8 % less time."""

    _laid_out: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., in) -> (..., out)."""
        return self._laid(x, "none", "") if self.fits(x) else super().forward(x)

    def fits(self, x: Tensor) -> bool:
        """Whether it is multiplied so: nothing learns, and all is in bf16 on a processor that has it."""
        return torch.is_inference_mode_enabled() and _one_dnn(x) and _one_dnn(self.weight)

    def gelu(self, x: Tensor) -> Tensor:
        """GELU of what comes out, before it is rounded to bf16: a third sooner than after."""
        return self._laid(x, "gelu", "none")

    def _laid(self, x: Tensor, then: str, how: str) -> Tensor:
        if self._laid_out is None:
            self._laid_out = torch.ops.mkldnn._reorder_linear_weight(self.weight, _TOGETHER)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._laid_out, self.bias, then, [], how)
        return out


def _one_dnn(x: Tensor) -> bool:
    """Whether oneDNN multiplies it as it is."""
    wide = x.dtype is torch.bfloat16 and x.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return wide and fast_dtype() is torch.bfloat16 and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Layer(nn.Module):
    """Self-attention and two linear maps, each added to its input and normalised.

    Only the linear maps and attention are in the fast number type: what goes from layer to layer stays in float32, which
    costs nothing and halves the error.
    """

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = Linear(WIDTH, 3 * WIDTH), Linear(WIDTH, WIDTH)
        self.up, self.down = Linear(WIDTH, HIDDEN), Linear(HIDDEN, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, _EPSILON), nn.LayerNorm(WIDTH, _EPSILON)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        """Tokens (..., D), laid out as ``attend`` takes them."""
        narrow = self.qkv.weight.dtype
        x = self.norm1(x + self.out(attend(self.qkv(x.to(narrow)))))
        up, low = self.up, x.to(narrow)
        wide = up.gelu(low) if isinstance(up, Linear) and up.fits(low) else functional.gelu(up(low))
        normalised: Tensor = self.norm2(x + self.down(wide))
        return normalised


def _attention(qkv: Tensor, mask: Tensor | None = None) -> Tensor:
    """Each token's mean over what it attends to: qkv (B, T, 3 D), mask (B, 1, 1, T) or None without padding -> (B, T, D).

    Where it is differentiated on a CPU, in float32: torch's derivative in bf16 takes three times as long (105 ms against 39
    for 32 texts of 96 tokens, forward and back, one thread of an EPYC with AVX512-BF16).
    """
    rows, tokens, _ = qkv.shape
    q, k, v = qkv.view(rows, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)  # each (B, heads, T, d)
    if not q.requires_grad or q.device.type != "cpu":
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    else:
        with torch.autocast("cpu", enabled=False):
            exact = functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)
        attended = exact.to(q.dtype)
    return attended.transpose(1, 2).reshape(rows, tokens, WIDTH)


class MiniLM(nn.Module):
    """Token ids to one vector of length one: the mean over the tokens of the last layer.

    Tokens of many rows are computed together, yet a row's vector is the same in any company, to the last bit: linear maps
    see tokens one beside another without padding, and attention sees rows of one length.
    """

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(_VOCABULARY, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, _EPSILON)
        self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """``ids`` (B, T) and ``length`` (B, 1) -> one token per row."""
        vectors = torch.zeros(len(batch["length"]), WIDTH, device=batch["length"].device)
        for rows, x in self.through(batch):
            vectors[rows] = functional.normalize(x.mean(1), dim=1)
        return Tokens.of_vectors(vectors)

    def through(self, batch: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows of one length (b,) and all their tokens after the last layer (b, T, D), until every row was there."""
        for groups in _together(batch["length"][:, 0].long()):
            ids = [batch["ids"][rows, :length] for rows, length in groups]
            shapes = [part.shape for part in ids]
            x = self._layers(torch.cat([part.flatten() for part in ids]).long(), shapes)
            for (rows, _), part in zip(groups, _rows(x, shapes), strict=True):
                yield rows, part

    def _layers(self, ids: Tensor, shapes: Sequence[torch.Size]) -> Tensor:
        """Ids (N,) of groups of rows, each of a shape (b, T), one after another -> tokens (N, D)."""
        places = torch.cat([torch.arange(length).repeat(rows) for rows, length in shapes])
        filled = (0, -len(ids) % _WHOLE)
        ids, places = functional.pad(ids, filled), functional.pad(places, filled).to(ids.device)

        def attend(qkv: Tensor) -> Tensor:
            parts = [_attention(part).flatten(0, 1) for part in _rows(qkv, shapes)]
            return functional.pad(torch.cat(parts), (0, 0, *filled))

        x: Tensor = self.norm(self.words(ids) + self.positions(places))
        for layer in self.layers:
            x = layer(x, attend)
        return x.float()


def _rows(x: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Groups of rows (b, T, D) out of tokens one after another (N, D); what fills up the end is left out."""
    sizes = [shape.numel() for shape in shapes]
    parts = torch.split(x[: sum(sizes)], sizes)
    return [part.view(*shape, -1) for part, shape in zip(parts, shapes, strict=True)]


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
        tokens = torch.zeros(len(lengths), int(lengths.max()), WIDTH, device=lengths.device)
        for rows, x in self.network.through(batch):
            tokens[rows, : x.shape[1]] = x
        return Tokens(tokens, torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None])


class Above(nn.Module):
    """The last layers and the mean over the tokens; products in the fast number type, weights in float32."""

    def __init__(self, network: MiniLM, layers: int) -> None:
        super().__init__()
        self.layers = copy.deepcopy(network.layers[len(network.layers) - layers :]).float()

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, T, D) -> one token of length one per row."""
        x, mask = tokens.x, None if bool(tokens.mask.all()) else tokens.mask[:, None, None, :]
        with autocast(x.device):
            for layer in self.layers:
                x = layer(x, lambda qkv: _attention(qkv, mask))
        return Tokens.of_vectors(functional.normalize(Tokens(x.float(), tokens.mask).pooled(), dim=1))


def cut(path: Path, layers: int) -> Cut:
    """The network with the weights of a safetensors file, in two."""
    upper = Above(load(path, fast=False), layers).eval()
    targets = tuple(name for name, part in upper.named_modules() if isinstance(part, nn.Linear))
    return Cut(Below(load(path), layers).eval(), upper, targets)


def _together(lengths: Tensor) -> Iterator[list[tuple[Tensor, int]]]:
    """Rows in groups of one length, and that length; as many groups as ``_TOGETHER`` tokens hold, at least one row."""
    groups: list[tuple[Tensor, int]] = []
    room = _TOGETHER
    for length in sorted(set(lengths.tolist()), reverse=True):
        rows = (lengths == length).nonzero()[:, 0]
        while len(rows):
            count = room // max(1, length)
            if count == 0 and groups:
                yield groups
                groups, room = [], _TOGETHER
                continue
            groups.append((rows[: max(1, count)], length))
            room -= length * len(groups[-1][0])
            rows = rows[max(1, count) :]
    if groups:
        yield groups


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
    result = {"positions.weight": given["embeddings.position_embeddings.weight"] + first_type}
    for part in ("weight", "bias"):
        names[f"norm.{part}"] = f"embeddings.LayerNorm.{part}"
        for i in range(LAYERS):
            theirs = f"encoder.layer.{i}."
            qkv = [given[f"{theirs}attention.self.{word}.{part}"] for word in ("query", "key", "value")]
            result[f"layers.{i}.qkv.{part}"] = torch.cat(qkv)
            for name, other in _PARTS.items():
                names[f"layers.{i}.{name}.{part}"] = f"{theirs}{other}.{part}"
    return result | {name: given[other] for name, other in names.items()}


_PARTS = {
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}
