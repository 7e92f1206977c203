"""What a space, or an encoder alone, is worth to a classifier: linear probes over frozen vectors, and fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.alignment.network import AlignmentNetwork, unit
from plait.base.machine import seeded
from plait.networks.base import Masks
from plait.training.loop import Callbacks, Diverged, Learner, StatePart, train
from plait.training.optimiser import AdamW

#: Epochs after which the papers look at the test part.
LOOKS = (20, 40, 60, 80, 100)

#: A batch, and the class of each of its rows (n,).
Classed = tuple[Mapping[str, Tensor], np.ndarray]


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
    learner = Probing(_Given(), (x, train_classes), learning_rate, batch_size, max(looks), seed)
    return _followed(learner, (held, test_classes), looks)


def fine_tuning(
    network: AlignmentNetwork,
    name: str,
    train: Classed,
    test: Classed,
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
    body = _Tower(copy.deepcopy(network), name)
    return _followed(Probing(body, train, learning_rate, batch_size, max(looks), seed), test, looks)


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


class Probing(Learner[Tensor]):
    """Trains a linear layer over a body, and the body where it can learn, by the cross-entropy of classes."""

    def __init__(
        self, body: nn.Module, rows: Classed, learning_rate: float, batch_size: int, epochs: int, seed: int
    ) -> None:
        """``seed``: of the layer, the order of the rows and what the body drops."""
        self.body, (self.x, classes), self.size, self.seed = body, rows, batch_size, seed
        self.classes, target = np.unique(classes, return_inverse=True)
        self.y, self.generator = torch.from_numpy(target), torch.Generator().manual_seed(seed)
        self.masks = Masks(self.generator)
        with seeded(seed), torch.no_grad():
            width = body.eval()(_taken(self.x, slice(1))).shape[1]
            self.model = nn.Sequential(body, nn.Linear(width, len(self.classes)))
        steps = -(-len(classes) // batch_size) * epochs
        self.optimiser = AdamW(self.model.parameters(), learning_rate, 1e-2, steps)

    def parts(self) -> list[StatePart]:
        """The whole model; without held-out rows the last epoch is the best."""
        return [StatePart.of(self.model, ["loss"])]

    def begin(self, epoch: int) -> None:
        """What is dropped in an epoch does not depend on whether there was a look before it."""
        if isinstance(self.body, _Tower):
            self.body.network.draw_from(self.seed + epoch + 1)
        self.model.train()

    def batches(self) -> Sequence[Tensor]:
        """All rows, in an order of each epoch's own."""
        return torch.split(torch.randperm(len(self.y), generator=self.generator), self.size)

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        """Learn from these rows."""
        loss = functional.cross_entropy(self.model(_taken(self.x, batch)), self.y[batch])
        self.optimiser.clear()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return {"loss": loss.detach()}

    @torch.no_grad()
    def accuracy(self, rows: Classed) -> float:
        """Share of rows whose class the model as it is now names."""
        batch, classes = rows
        self.model.eval()
        parts = [_taken(batch, slice(start, start + 1024)) for start in range(0, len(classes), 1024)]
        answer = torch.cat([self.model(part).argmax(1) for part in parts]).numpy()
        return float((self.classes[answer] == classes).mean())


def _taken(batch: Mapping[str, Tensor], rows: Tensor | slice) -> dict[str, Tensor]:
    return {key: array[rows] for key, array in batch.items()}


def _followed(learner: Probing, test: Classed, looks: Sequence[int]) -> dict[int, float]:
    """Train up to the last look; the accuracy at each."""
    result: dict[int, float] = {}

    def look(record: Mapping[str, Any]) -> None:
        if (epochs := record["epoch"] + 1) in looks:
            result[epochs] = learner.accuracy(test)

    if lost := train(learner, max(looks), max(looks), Callbacks(on_epoch=look)).diverged:
        raise Diverged(lost)
    return result
