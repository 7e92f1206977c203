"""Flickr8k as it is published: 8,000 photographs with five captions each."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
import pandas as pd

from plait.base.checks import Count
from plait.base.errors import TableError
from plait.data.modality import Modality
from plait.datasets.base import Dataset, File, Loaded, in_archive, make_schema

_PARTS = {"train": "train", "dev": "valid", "test": "test"}


class Flickr8kFull(Dataset):
    """Flickr8k, whole, in its published layout: pairs of a photograph and a caption; no target.

    ``split`` is the official one (6,000 / 1,000 / 1,000 photographs); photographs of none of them are left out. ``groups`` is the
    photograph. ``photographs`` draws so many, always the same. ``flickr8k`` is a thousand of them.

    Licence: research use, not verified: no statement by its owner could be read; photographs of their Flickr owners.
    """

    title: ClassVar[str] = "Flickr8k"
    url: ClassVar[str] = "https://hockenmaier.cs.illinois.edu/8k-pictures.html"
    licence: ClassVar[str] = "research use"
    licence_sought: ClassVar[str] = (
        "hockenmaier.cs.illinois.edu and its request form (forms.illinois.edu/sec/1713398), which could not be read; copies at "
        "huggingface.co say CC0, Apache 2.0 or nothing, and none of them is its owner's"
    )
    citation: ClassVar[str] = "Hodosh, Young and Hockenmaier 2013, Framing Image Description as a Ranking Task, JAIR 47"
    tasks: ClassVar[Mapping[str, str]] = {}
    metrics: ClassVar[Mapping[str, str]] = {}
    files: ClassVar[tuple[File, ...]] = (File("flickr8k/Flickr8k_text.zip"), File("flickr8k/Flickr8k_Dataset.zip"))

    def __init__(self, photographs: Count | None = None) -> None:
        """Decide how many photographs to draw."""
        self.photographs = photographs

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``flickr8k/Flickr8k_text.zip`` and ``flickr8k/Flickr8k_Dataset.zip``; nothing of them is unpacked."""
        text, pictures = (self.file(root, "flickr8k", f"Flickr8k_{name}.zip") for name in ("text", "Dataset"))
        frame = _captions(text)
        try:
            with zipfile.ZipFile(pictures) as archive:
                members = {PurePosixPath(m).name: m for m in archive.namelist() if m.endswith(".jpg")}
        except zipfile.BadZipFile as error:
            raise TableError(f"{pictures}: no whole archive ({error}); fetch it again") from error
        frame = frame[frame["photograph"].isin(members)].reset_index(drop=True)
        if self.photographs is not None:
            drawn = np.random.default_rng(0).permutation(frame["photograph"].unique())[: self.photographs]
            frame = frame[frame["photograph"].isin(drawn)].reset_index(drop=True)
        frame["image"] = in_archive(pictures, frame["photograph"].map(members))
        modalities = (Modality("text", "text", ("caption",)), Modality("image", "image", ("image",)))
        reasons = {"photograph": "identifier", "split": "official part"}
        schema = make_schema(frame, modalities, None, "classification", reasons)
        return Loaded(frame, {"pairs": schema}, split="split", groups="photograph")


def _captions(path: Path) -> pd.DataFrame:
    """Photograph, caption and official part; lines are ``1000.jpg#0<tab>A caption .``."""
    try:
        with zipfile.ZipFile(path) as archive:
            tokens = archive.read("Flickr8k.token.txt").decode()
            listed = {part: archive.read(f"Flickr_8k.{part}Images.txt").decode().split() for part in _PARTS}
    except (zipfile.BadZipFile, KeyError) as error:
        raise TableError(f"{path}: not the published Flickr8k_text.zip ({error}); fetch it again") from error
    lines = [line.split("\t", 1) for line in tokens.splitlines() if "\t" in line]
    frame = pd.DataFrame([(name.split("#")[0], caption) for name, caption in lines], columns=["photograph", "caption"])
    part = {name: official for key, official in _PARTS.items() for name in listed[key]}
    frame["split"] = frame["photograph"].map(part)
    return frame[frame["split"].notna()].reset_index(drop=True)
