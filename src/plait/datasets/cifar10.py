"""CIFAR-10: small photographs of ten kinds of things."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from plait.base.errors import need
from plait.datasets.base import File, Loaded, modality
from plait.datasets.cifar_records import Cifar


class Cifar10(Cifar):
    """CIFAR-10: 32 x 32 images in ten classes, as JPEG bytes (lossy: not bit-equal to the original).

    ``split`` is the official one (50,000 for training, 10,000 for testing).
    """

    title = "CIFAR-10 (JPEG)"
    licence_from = "https://huggingface.co/datasets/uoft-cs/cifar10 (unknown)"
    files = (
        File(
            "cifar10/cifar10_full.parquet",
            "a977e5ec02e5968c99d44f855ac426ca076c71cd0ec5303c175906e758d078b4",
            18_216_908,
        ),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        path = self.file(root, "cifar10", "cifar10_full.parquet")
        need("pyarrow", "parquet")
        frame = pd.read_parquet(path).rename(columns={"jpg": "image"})
        return self.loaded(frame, [modality("image")], split="split")
