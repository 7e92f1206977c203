"""CIFAR-100: small photographs of a hundred kinds of things."""

from __future__ import annotations

from pathlib import Path

from plait.datasets.base import File, Loaded, modality
from plait.datasets.cifar_records import Cifar, read_records


class Cifar100(Cifar):
    """CIFAR-100: 32 x 32 images in 100 classes (``fine``) of 20 groups (``coarse``), from the published binary version.

    ``split`` is the official one (50,000 for training, 10,000 for testing). Pictures are arrays, to the bit.
    """

    title = "CIFAR-100"
    licence_from = "https://huggingface.co/datasets/uoft-cs/cifar100 (unknown)"
    tasks = {"fine": "classification", "coarse": "classification"}
    files = (
        File(
            "cifar-100/cifar-100-binary.tar.gz",
            "03b5dce01913d631647c71ecec9e9cb8",
            168_513_733,
            url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        ),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        path = self.file(root, "cifar-100", "cifar-100-binary.tar.gz")
        parts = {"train": ["train.bin"], "test": ["test.bin"]}
        frame = read_records(path, parts, {"coarse": "coarse_label_names.txt", "fine": "fine_label_names.txt"})
        reasons = {"fine": "it tells the group", "coarse": "the group of the class"}
        return self.loaded(frame, [modality("image")], reasons, split="split")
