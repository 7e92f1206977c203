"""CIFAR-10 as it is published: small photographs of ten kinds of things."""

from __future__ import annotations

from pathlib import Path

from plait.datasets.base import File, Loaded, modality
from plait.datasets.cifar_records import Cifar, read_records


class Cifar10Binary(Cifar):
    """CIFAR-10: 32 x 32 images in ten classes, from the published binary version; ``cifar10`` is a lossy copy.

    ``split`` is the official one (50,000 for training, 10,000 for testing). Pictures are arrays, to the bit.
    """

    title = "CIFAR-10"
    licence_from = "https://huggingface.co/datasets/uoft-cs/cifar10 (unknown)"
    files = (
        File(
            "cifar-10/cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
            170_052_171,
            url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        ),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        path = self.file(root, "cifar-10", "cifar-10-binary.tar.gz")
        parts = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
        frame = read_records(path, parts, {"label": "batches.meta.txt"})
        return self.loaded(frame, [modality("image")], split="split")
