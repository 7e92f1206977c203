"""What pairs of photographs and captions share: the facts of Flickr8k, and a draw of photographs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from plait.datasets.base import Dataset


class Flickr(Dataset):
    """Photographs of Flickr with five captions each; no target."""

    url = "https://hockenmaier.cs.illinois.edu/8k-pictures.html"
    licence = "research use"
    licence_sought = (
        "hockenmaier.cs.illinois.edu and its request form (forms.illinois.edu/sec/1713398), which could not be read; copies at "
        "huggingface.co say CC0, Apache 2.0 or nothing, and none of them is its owner's"
    )
    citation = "Hodosh, Young and Hockenmaier 2013, Framing Image Description as a Ranking Task, JAIR 47"
    tasks = {}


def drawn(frame: pd.DataFrame, photographs: int | None) -> pd.DataFrame:
    """The rows of so many photographs, always the same; None: all."""
    if photographs is None:
        return frame
    names = np.random.default_rng(0).permutation(frame["photograph"].unique())[:photographs]
    return frame[frame["photograph"].isin(names)].reset_index(drop=True)
