"""COCO captions: photographs with five captions each."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from plait.base.checks import Count
from plait.data.modality import Modality
from plait.datasets.base import TEXTS, Dataset, File, Loaded, in_archive, modality
from plait.datasets.captions import drawn

_SERVER = "http://images.cocodataset.org"


class CocoCaptions(Dataset):
    """COCO captions (2017): pairs of a photograph and a caption, or the captions alone, for alignment; no target.

    118,287 photographs to learn from and 5,000 to judge by (``split``), about five captions each. ``groups`` is the photograph.
    ``photographs`` draws so many, always the same. ``pairs: captions`` needs no pictures: both text modalities read captions,
    each paired with the next of its photograph (or mined anew by an aligner's ``mine``).
    """

    title = "COCO Captions"
    url = "https://cocodataset.org/#download"
    licence = "CC BY 4.0 (captions), Flickr terms (photographs)"
    licence_from = "https://cocodataset.org/#termsofuse"
    citation = "Lin et al. 2014, Microsoft COCO; Chen et al. 2015, Microsoft COCO Captions, arXiv:1504.00325"
    tasks = {}
    files = (
        File(
            "coco/annotations_trainval2017.zip",
            "f4bbac642086de4f52a3fdda2de5fa2c",
            252_907_541,
            url=f"{_SERVER}/annotations/annotations_trainval2017.zip",
        ),
        File(
            "coco/train2017.zip",
            "cced6f7f71b7629ddf16f17bbcfab6b2",
            19_336_861_798,
            url=f"{_SERVER}/zips/train2017.zip",
        ),
        File("coco/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80", 815_585_330, url=f"{_SERVER}/zips/val2017.zip"),
    )

    def __init__(self, photographs: Count | None = None, pairs: Literal["images", "captions"] = "images") -> None:
        self.photographs, self.pairs = photographs, pairs

    def load(self, root: str | Path | None = None) -> Loaded:
        path = self.file(root, "coco", "annotations_trainval2017.zip")
        frame = pd.concat([_captions(path, part) for part in ("train", "val")], ignore_index=True)
        frame = drawn(frame, self.photographs)
        if self.pairs == "captions":
            frame["b"] = frame.groupby("photograph", sort=False)["caption"].shift(-1)
            frame = frame[frame["b"].notna()].rename(columns={"caption": "a"}).reset_index(drop=True)
            modalities: Sequence[Modality] = TEXTS
        else:
            archives = {part: self.file(root, "coco", f"{part}2017.zip") for part in ("train", "val")}
            rows = zip(frame["split"], frame["photograph"], strict=True)
            places = [("train" if part == "train" else "val", name) for part, name in rows]
            frame["image"] = [in_archive(archives[part], [f"{part}2017/{name}"])[0] for part, name in places]
            modalities = [modality("text", "caption"), modality("image")]
        return self.loaded(frame, modalities, {"photograph": "identifier"}, split="split", groups="photograph")


def _captions(path: Path, part: str) -> pd.DataFrame:
    with zipfile.ZipFile(path) as archive:
        listing = json.loads(archive.read(f"annotations/captions_{part}2017.json"))
    names = {image["id"]: image["file_name"] for image in listing["images"]}
    rows = [(names[one["image_id"]], one["caption"].strip()) for one in listing["annotations"]]
    frame = pd.DataFrame(rows, columns=["photograph", "caption"])
    return frame.assign(split="train" if part == "train" else "test").sort_values("photograph", kind="stable")
