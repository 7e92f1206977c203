"""Flickr8k: 1,000 photographs with five captions each."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from plait.base.checks import Count
from plait.datasets.base import File, Loaded, in_archive, modality
from plait.datasets.captions import Flickr, drawn


class Flickr8k(Flickr):
    """Flickr8k: pairs of a photograph and a caption, for alignment and retrieval; no target.

    The first 1,000 photographs of the 8,091, five captions each. ``groups`` is the photograph: its captions stay
    together. ``photographs`` draws so many, always the same; ``captions`` takes the first so many of each.

    Licence: research use, not verified: no statement by its owner could be read; photographs of their Flickr owners.
    """

    title = "Flickr8k (1,000 photographs)"
    files = (
        File("flickr8k_1k/captions.csv", "2e68c3e276f88a5193bf14b6dfac49db12a449fb7f988405875d9d16fed7d608", 413_426),
        File("flickr8k_1k/images.zip", "1da2b349790a2f1603d9452e9bfc658f32580e836704356dfe77223ac7f4322e", 9_323_768),
    )

    def __init__(self, photographs: Count | None = None, captions: Count = 5) -> None:
        self.photographs, self.captions = photographs, captions

    def load(self, root: str | Path | None = None) -> Loaded:
        frame = pd.read_csv(self.file(root, "flickr8k_1k", "captions.csv"))
        frame["photograph"] = frame["image"]
        frame = drawn(frame, self.photographs).groupby("photograph", sort=False).head(self.captions)
        frame = frame.reset_index(drop=True)
        frame["image"] = in_archive(self.file(root, "flickr8k_1k", "images.zip"), frame["image"])
        modalities, reasons = [modality("text", "caption"), modality("image")], {"photograph": "identifier"}
        return self.loaded(frame, modalities, reasons, groups="photograph")
