"""Flickr8k: 1,000 photographs with five captions each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from plait.base.checks import Count
from plait.data.modality import Modality
from plait.datasets.base import Dataset, File, Loaded, in_archive, make_schema


class Flickr8k(Dataset):
    """Flickr8k: pairs of a photograph and a caption, for alignment and retrieval; no target.

    The first 1,000 photographs of the 8,091, five captions each. ``groups`` is the photograph: its captions stay
    together. ``photographs`` draws so many, always the same; ``captions`` takes the first so many of each.

    Licence: research use, not verified: no statement by its owner could be read; photographs of their Flickr owners.
    """

    title: ClassVar[str] = "Flickr8k (1,000 photographs)"
    url: ClassVar[str] = "https://hockenmaier.cs.illinois.edu/8k-pictures.html"
    licence: ClassVar[str] = "research use"
    licence_sought: ClassVar[str] = (
        "hockenmaier.cs.illinois.edu and its request form, which could not be read; copies at huggingface.co say CC0, Apache "
        "2.0 or nothing, and none of them is its owner's"
    )
    citation: ClassVar[str] = "Hodosh, Young and Hockenmaier 2013, Framing Image Description as a Ranking Task, JAIR 47"
    tasks: ClassVar[Mapping[str, str]] = {}
    metrics: ClassVar[Mapping[str, str]] = {}
    files: ClassVar[tuple[File, ...]] = (
        File(
            "flickr8k_1k/captions.csv", ("2e68c3e276f88a5193bf14b6dfac49db12a449fb7f988405875d9d16fed7d608",), 413_426
        ),
        File(
            "flickr8k_1k/images.zip", ("1da2b349790a2f1603d9452e9bfc658f32580e836704356dfe77223ac7f4322e",), 9_323_768
        ),
    )

    def __init__(self, photographs: Count | None = None, captions: Count = 5) -> None:
        """Decide how many photographs to draw, and how many captions of each to take."""
        self.photographs, self.captions = photographs, captions

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``flickr8k_1k/captions.csv`` and ``flickr8k_1k/images.zip``."""
        frame = pd.read_csv(self.file(root, "flickr8k_1k", "captions.csv"))
        frame["photograph"] = frame["image"]
        if self.photographs is not None:
            drawn = np.random.default_rng(0).permutation(frame["photograph"].unique())[: self.photographs]
            frame = frame[frame["photograph"].isin(drawn)]
        frame = frame.groupby("photograph", sort=False).head(self.captions).reset_index(drop=True)
        frame["image"] = in_archive(self.file(root, "flickr8k_1k", "images.zip"), frame["image"])
        modalities = (Modality("text", "text", ("caption",)), Modality("image", "image", ("image",)))
        schema = make_schema(frame, modalities, None, "classification", {"photograph": "identifier"})
        return Loaded(frame, {"pairs": schema}, groups="photograph")
