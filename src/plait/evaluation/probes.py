"""What a space, or an encoder alone, is worth to a classifier: linear probes over frozen vectors, and fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.alignment.network import AlignmentNetwork, unit
from plait.base.machine import seeded
from plait.training.optimiser import AdamW

#: Epochs after which the papers look at the test part.
LOOKS = (20, 40, 60, 80, 100)


def linear_probe(
    train: np.ndarray,
    train_classes: np.ndarray,
    test: np.ndarray,
    test_classes: np.ndarray,
    *,
    looks: Sequence[int] = LOOKS,
    learning_rate: float = 1e-2,
    batch_size: int = 256,
    seed: int = 0,
) -> dict[int, float]:
    """Accuracy of a linear classifier over frozen vectors (n, D) after each number of epochs.

    Features are standardised by the training part. Nothing is chosen on the test part: it is only looked at.

    Source: Faye et al., Context-Based Multimodal Fusion, table V.
    """
    mean, scale = train.mean(0), np.maximum(train.std(0), 1e-6)
    x, held = ({"x": torch.from_numpy(((part - mean) / scale).astype(np.float32))} for part in (train, test))
    return _trained(_Given(), (x, train_classes), (held, test_classes), looks, learning_rate, batch_size, seed)


def fine_tuning(
    network: AlignmentNetwork,
    name: str,
    train: tuple[Mapping[str, Tensor], np.ndarray],
    test: tuple[Mapping[str, Tensor], np.ndarray],
    *,
    looks: Sequence[int] = LOOKS,
    learning_rate: float = 1e-3,
    batch_size: int = 256,
    seed: int = 0,
) -> dict[int, float]:
    """Accuracy when the aligned network learns with the classifier; the network that is given stays as it is.

    ``train`` and ``test``: a batch as ``ModalityAligner.inputs`` gives it, and classes (n,). Encoders that learned learn on.

    Source: Faye et al., Context-Based Multimodal Fusion, table VI.
    """
    return _trained(_Tower(copy.deepcopy(network), name), train, test, looks, learning_rate, batch_size, seed)


class _Given(nn.Module):
    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return batch["x"]


class _Tower(nn.Module):
    def __init__(self, network: AlignmentNetwork, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Vectors whose length is the root of their width: a classifier over length one learns slowly."""
        result: Tensor = unit(self.network(self.name, batch)) * self.network.out_dim**0.5
        return result


def _taken(batch: Mapping[str, Tensor], rows: Tensor | slice) -> dict[str, Tensor]:
    return {key: array[rows] for key, array in batch.items()}


def _trained(
    body: nn.Module,
    train: tuple[Mapping[str, Tensor], np.ndarray],
    test: tuple[Mapping[str, Tensor], np.ndarray],
    looks: Sequence[int],
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> dict[int, float]:
    (x, classes), (held, held_classes) = train, test
    known, target = np.unique(classes, return_inverse=True)
    y = torch.from_numpy(target)
    with seeded(seed), torch.no_grad():
        model = nn.Sequential(body, nn.Linear(body.eval()(_taken(x, slice(1))).shape[1], len(known)))
    generator = torch.Generator().manual_seed(seed)
    starts = range(0, len(classes), batch_size)
    optimiser = AdamW(model.parameters(), learning_rate, 1e-2, len(starts) * max(looks))
    result = {}
    for epoch in range(1, max(looks) + 1):
        if isinstance(body, _Tower):
            body.network.draw_from(seed + epoch)
        model.train()
        order = torch.randperm(len(classes), generator=generator)
        for start in starts:
            rows = order[start : start + batch_size]
            optimiser.clear()
            functional.cross_entropy(model(_taken(x, rows)), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if epoch in looks:
            model.eval()
            with torch.no_grad():
                parts = [_taken(held, slice(i, i + 1024)) for i in range(0, len(held_classes), 1024)]
                answer = torch.cat([model(part).argmax(1) for part in parts]).numpy()
            result[epoch] = float((known[answer] == held_classes).mean())
    return result
