"""Flickr8k's captions alone: pairs of two captions of one photograph."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from plait.base.checks import Count, Seed
from plait.datasets.base import TEXTS, File, Loaded
from plait.datasets.captions import Flickr


class Flickr8kCaptions(Flickr):
    """Captions of all 8,091 photographs of Flickr8k in pairs, each a text modality, for alignment; no target.

    The captions of a photograph are put in random order (``seed``), so that none is always on one side, and neighbours are
    paired: four pairs of five captions. ``photographs`` are drawn, from the ``first`` so many of the file where that is told.
    A study draws them anew for each of its seeds.

    Licence: research use, not verified: no statement by its owner could be read.
    """

    title = "Flickr8k (captions)"
    files = (
        File(
            "flickr8k_1k/flickr8k_all_captions.csv",
            "e6cf5e8d8025d25b50a4945c38580d96a940b78644f31a90368dfcdca3c7e036",
            3_319_294,
        ),
    )
    resplit = False

    def __init__(self, photographs: Count | None = None, first: Count | None = None, seed: Seed = 0) -> None:
        self.photographs, self.first, self.seed = photographs, first, seed

    def load(self, root: str | Path | None = None) -> Loaded:
        captions = pd.read_csv(self.file(root, "flickr8k_1k", "flickr8k_all_captions.csv"))
        rng = np.random.default_rng(self.seed)
        names = captions["image"].unique()[: self.first]
        if self.photographs is not None:
            names = rng.permutation(names)[: self.photographs]
        captions = captions[captions["image"].isin(names)]
        captions = captions.iloc[rng.permutation(len(captions))]
        rows = [
            (one, two, name)
            for name, group in captions.groupby("image", sort=True)
            for one, two in itertools.pairwise(group["caption"])
        ]
        frame = pd.DataFrame(rows, columns=["a", "b", "photograph"])
        return self.loaded(frame, TEXTS, {"photograph": "identifier"}, groups="photograph")
