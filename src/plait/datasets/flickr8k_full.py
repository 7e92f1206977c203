"""Flickr8k as it is published: 8,000 photographs with five captions each."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

import pandas as pd

from plait.base.checks import Count
from plait.datasets.base import File, Loaded, in_archive, modality
from plait.datasets.captions import Flickr, drawn

_PARTS = {"train": "train", "dev": "valid", "test": "test"}


class Flickr8kFull(Flickr):
    """Flickr8k, whole, in its published layout: pairs of a photograph and a caption; no target.

    ``split`` is the official one (6,000 / 1,000 / 1,000 photographs); photographs of none of them are left out. ``groups`` is the
    photograph. ``photographs`` draws so many, always the same. ``flickr8k`` is a thousand of them.

    Licence: research use, not verified: no statement by its owner could be read; photographs of their Flickr owners.
    """

    title = "Flickr8k"
    files = (File("flickr8k/Flickr8k_text.zip"), File("flickr8k/Flickr8k_Dataset.zip"))

    def __init__(self, photographs: Count | None = None) -> None:
        self.photographs = photographs

    def load(self, root: str | Path | None = None) -> Loaded:
        text, pictures = (self.file(root, "flickr8k", f"Flickr8k_{name}.zip") for name in ("text", "Dataset"))
        frame = _captions(text)
        with zipfile.ZipFile(pictures) as archive:
            members = {PurePosixPath(m).name: m for m in archive.namelist() if m.endswith(".jpg")}
        frame = drawn(frame[frame["photograph"].isin(members)].reset_index(drop=True), self.photographs)
        frame["image"] = in_archive(pictures, frame["photograph"].map(members))
        modalities, reasons = [modality("text", "caption"), modality("image")], {"photograph": "identifier"}
        return self.loaded(frame, modalities, reasons, split="split", groups="photograph")


def _captions(path: Path) -> pd.DataFrame:
    """Photograph, caption and official part; lines are ``1000.jpg#0<tab>A caption .``."""
    with zipfile.ZipFile(path) as archive:
        tokens = archive.read("Flickr8k.token.txt").decode()
        listed = {part: archive.read(f"Flickr_8k.{part}Images.txt").decode().split() for part in _PARTS}
    lines = [line.split("\t", 1) for line in tokens.splitlines() if "\t" in line]
    frame = pd.DataFrame([(name.split("#")[0], caption) for name, caption in lines], columns=["photograph", "caption"])
    part = {name: official for key, official in _PARTS.items() for name in listed[key]}
    frame["split"] = frame["photograph"].map(part)
    return frame[frame["split"].notna()].reset_index(drop=True)
