"""Tiny ImageNet: small photographs of two hundred kinds of things."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

import pandas as pd

from plait.datasets.base import Dataset, File, Loaded, in_archive, modality

_TOP = "tiny-imagenet-200"


class TinyImagenet(Dataset):
    """Tiny ImageNet: 64 x 64 JPEGs in 200 classes, 500 each to learn from and 50 to judge by.

    ``split``: the published validation part, which has labels, is ``test``; the published test part has none and is left out.
    ``label`` is the first name of the class in WordNet, ``wnid`` its number there.
    """

    title = "Tiny ImageNet"
    url = "http://cs231n.stanford.edu/"
    licence = "ImageNet terms (non-commercial research and education)"
    licence_sought = (
        "cs231n.stanford.edu, which could not be read; "
        "copies at huggingface.co ask for ImageNet's terms of access (read there)"
    )
    citation = "Le and Yang 2015, Tiny ImageNet Visual Recognition Challenge, CS 231N"
    tasks = {"label": "classification"}
    files = (
        File(
            "tiny-imagenet/tiny-imagenet-200.zip",
            "90528d7ca1a48142e341f4ef8d21d0de",
            248_100_043,
            url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        ),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        path = self.file(root, "tiny-imagenet", "tiny-imagenet-200.zip")
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            words, marked = (archive.read(f"{_TOP}/{n}").decode() for n in ("words.txt", "val/val_annotations.txt"))
        learned = [m for m in members if m.startswith(f"{_TOP}/train/") and m.endswith(".JPEG")]
        rows = [(m, PurePosixPath(m).parts[2], "train") for m in learned]
        lines = [line.split("\t") for line in marked.splitlines()]
        rows += [(f"{_TOP}/val/images/{line[0]}", line[1], "test") for line in lines if len(line) > 1]
        frame = pd.DataFrame(rows, columns=["image", "wnid", "split"])
        frame["label"] = frame["wnid"].map(_first_names(words, set(frame["wnid"])))
        frame["image"] = in_archive(path, frame["image"])
        return self.loaded(frame, [modality("image")], {"wnid": "the class by another name"}, split="split")


def _first_names(words: str, wanted: set[str]) -> dict[str, str]:
    """Number -> first name; where two have the same one, their first two."""
    pairs = [line.split("\t") for line in words.splitlines()]
    named = {line[0]: line[1].split(", ") for line in pairs if len(line) > 1 and line[0] in wanted}
    first = [names[0] for names in named.values()]
    names = {n: v[0] if first.count(v[0]) == 1 else f"{v[0]} ({', '.join(v[1:2]) or n})" for n, v in named.items()}
    return names | {n: n for n in wanted - set(names)}
