"""Batches of an alignment: pairs mined among texts; the loss of a batch of any size in pieces, with the memory of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from plait.alignment.losses import Contrast, Couples
from plait.alignment.network import AlignmentNetwork, Side, unit
from plait.alignment.pairs import Pairs, features_of, table_of
from plait.base.errors import ConfigError, TableError
from plait.data.modality import Schema
from plait.encoders.defaults import default_encoder
from plait.encoders.featurize import make_encoder
from plait.store import Store

PairNames = Sequence[tuple[str, str]]

#: Similarities that are in memory at a time: 4 MB of float32 took half the memory of 16 MB, and less time (4,096 rows, one core).
SIMILARITIES = 1 << 20


def backward(
    network: AlignmentNetwork, contrast: Contrast, spec: PairNames, batch: Pairs, rows: int, seed: int | None = None
) -> float:
    """Add the gradients of the batch's loss to the parameters; the loss.

    A batch of more than ``rows`` rows is embedded in pieces, twice: once without a graph, to get the gradient of every
    embedding from blocks of the similarity matrix, and once with one, a piece at a time, to pass it on. Memory is that of
    one piece and one block; dropout draws the same masks both times.

    Source: Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (gradient cache),
        arXiv 2101.06983; the blocks of the similarity matrix are ours.
    """
    sides = sides_of(network, spec)
    if len(batch) <= rows:
        network.draw_from(seed)
        vectors = {side: embed(network, side, batch) for side in sides}
        loss = torch.zeros(())
        for couples, _ in couples_of(network, contrast, spec, batch, vectors, heat(network)):
            for term in contrast.blocks(couples, rows):
                loss = loss + term
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())
    with torch.no_grad():
        vectors = {side: torch.cat(list(_pieces(network, side, batch, rows, seed))) for side in sides}
    total, gradients = _in_blocks(network, contrast, spec, batch, vectors, rows)
    for side, gradient in gradients.items():
        starts = range(0, len(batch), rows)
        for start, piece in zip(starts, _pieces(network, side, batch, rows, seed), strict=True):
            if piece.requires_grad:
                piece.backward(gradient[start : start + rows])  # type: ignore[no-untyped-call]
    return total


def _in_blocks(
    network: AlignmentNetwork,
    contrast: Contrast,
    spec: PairNames,
    batch: Pairs,
    vectors: Mapping[Side, Tensor],
    rows: int,
) -> tuple[float, dict[Side, Tensor]]:
    """The loss and its gradient with respect to every vector; that of the temperature is passed on."""
    total, gradients = 0.0, {side: torch.zeros_like(result) for side, result in vectors.items()}
    temperature = heat(network)
    own = temperature.detach().clone().requires_grad_()
    for couples, (first, second, chosen) in couples_of(network, contrast, spec, batch, vectors, own):
        leaves = couples.a.requires_grad_(), couples.b.requires_grad_()
        for term in contrast.blocks(couples, _block(rows, len(couples))):
            total += float(term.detach())
            term.backward()  # type: ignore[no-untyped-call]
        for side, leaf in zip((first, second), leaves, strict=True):
            if leaf.grad is not None:
                gradients[side].index_add_(0, chosen, leaf.grad)
    if temperature.requires_grad and own.grad is not None:
        temperature.backward(own.grad)  # type: ignore[no-untyped-call]
    return total, gradients


def loss_of(network: AlignmentNetwork, contrast: Contrast, spec: PairNames, batch: Pairs, rows: int) -> float:
    """The loss without gradients, nothing dropped."""
    with torch.no_grad():
        vectors = {side: torch.cat(list(_pieces(network, side, batch, rows, None))) for side in sides_of(network, spec)}
        result = couples_of(network, contrast, spec, batch, vectors, heat(network))
        return sum(
            float(term) for couples, _ in result for term in contrast.blocks(couples, _block(rows, len(couples)))
        )


def _block(rows: int, n: int) -> int:
    """Rows of similarities at a time: matrices small enough to stay in the processor's cache."""
    return min(rows, max(64, SIMILARITIES // max(1, n)))


def sides_of(network: AlignmentNetwork, spec: PairNames) -> list[Side]:
    """Every kind of vector that is needed, once."""
    return list(dict.fromkeys(side for a, b in spec for side in (network.side(a, b), network.side(b, a))))


def embed(network: AlignmentNetwork, side: Side, batch: Pairs) -> Tensor:
    """Vectors (B, D) of length one."""
    return unit(network(side.name, batch.x[side.name], side.towards))


def heat(network: AlignmentNetwork) -> Tensor:
    """The network's temperature."""
    assert network.temperature is not None, "a stage that learns by contrast has a temperature"
    result: Tensor = network.temperature()
    return result


def couples_of(
    network: AlignmentNetwork,
    contrast: Contrast,
    spec: PairNames,
    batch: Pairs,
    vectors: Mapping[Side, Tensor],
    temperature: Tensor,
) -> Iterator[tuple[Couples, tuple[Side, Side, Tensor]]]:
    """For each pair of modalities: its rows, and where they come from; the loss is the mean over the pairs.

    Rows without either modality are left out; so are pairs of modalities with fewer than two rows.
    """
    usable = [(a, b, batch.both(a, b).nonzero()[:, 0]) for a, b in spec]
    usable = [(a, b, chosen) for a, b, chosen in usable if len(chosen) > 1]
    for a, b, chosen in usable:
        first, second = network.side(a, b), network.side(b, a)
        fixed = (_fixed(network, a, batch)[chosen], _fixed(network, b, batch)[chosen]) if contrast.needs_fixed else None
        result = vectors[first][chosen], vectors[second][chosen]
        labels = None if contrast.same == "negatives" else batch.labels(a, b, chosen)
        couples = Couples(*result, temperature, labels, fixed, 1 / len(usable))
        yield couples, (first, second, chosen)


@torch.no_grad()
def _fixed(network: AlignmentNetwork, name: str, batch: Pairs) -> Tensor:
    return unit(network.inputs(name, batch.x[name]))


def _pieces(network: AlignmentNetwork, side: Side, batch: Pairs, rows: int, seed: int | None) -> Iterator[Tensor]:
    """Vectors of length one, so many rows at a time; each piece has masks of its own that can be drawn again."""
    for number, start in enumerate(range(0, len(batch), rows)):
        network.draw_from(None if seed is None else seed + number)
        piece = {k: t[start : start + rows] for k, t in batch.x[side.name].items()}
        yield unit(network(side.name, piece, side.towards))


#: Partners that a text is paired with, at most, and rows whose similarities are in memory at a time.
_PARTNERS, _ROWS = 4, 1024


def mined(vectors: Tensor, above: float) -> tuple[Tensor, Tensor]:
    """Rows (n,) and (n,) of vectors (N, D) whose cosine is above a threshold: of each row the most similar, each pair once.

    Source: Faye et al., Context-Based Multimodal Fusion, section IV.B (above 0.7).
    """
    x = torch.nn.functional.normalize(vectors)
    result = set()
    for start in range(0, len(x), _ROWS):
        similar = x[start : start + _ROWS] @ x.T
        similar[torch.arange(len(similar)), torch.arange(start, start + len(similar))] = -1.0
        near, places = similar.topk(min(_PARTNERS, len(x) - 1))
        for row, place in (near > above).nonzero().tolist():
            one, two = start + row, int(places[row, place])
            result.add((min(one, two), max(one, two)))
    pairs = torch.tensor(sorted(result), dtype=torch.int64).view(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def mined_pairs(
    frame: pd.DataFrame, thing: Tensor, schema: Schema, above: float, store: str | None
) -> tuple[pd.DataFrame, Tensor]:
    """Pairs of the texts of two modalities, as the best text encoder there is finds them alike, and what the first is about."""
    known = schema.modalities
    if len(known) != 2 or any(m.kind != "text" for m in known):
        raise ConfigError(f"mine: pairs are mined of two text modalities, found {', '.join(m.name for m in known)}")
    texts = pd.concat([frame[m.columns[0]] for m in known], ignore_index=True)
    kept = texts.notna() & ~texts.duplicated()
    texts, about = texts[kept].reset_index(drop=True), thing.repeat(2)[torch.from_numpy(kept.to_numpy().copy())]
    modality = dataclasses.replace(known[0], encoder=default_encoder("text"))
    batch, _ = features_of(modality, make_encoder(modality), table_of(modality, list(texts)), None, Store(store))
    one, two = mined(batch["x"], above)
    if not len(one):
        raise TableError(f"mine: no two of {len(texts):,} texts are more alike than {above:g}; lower it")
    pairs = {m.columns[0]: texts[rows.numpy()].array for m, rows in zip(known, (one, two), strict=True)}
    return pd.DataFrame(pairs), about[one]
