"""ESC-50: 2,000 environmental sounds of fifty kinds."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pandas as pd

from plait.datasets.base import Dataset, File, Loaded, in_archive, modality


class Esc50(Dataset):
    """ESC-50: five-second sounds (44.1 kHz wav) of animals, nature, people, homes and streets, 40 of each kind.

    Published layout: the repository as GitHub packs it, ``esc50/ESC-50-master.zip``, with ``meta/esc50.csv`` and ``audio/``.
    Clips of one recording lie in one of the five official ``fold``s; ``groups`` (the recording) keeps them together elsewhere.

    Licence: CC BY-NC 3.0 (each clip's author is named in the source's list); the ten kinds of ``esc10`` CC BY 3.0.
    """

    title = "ESC-50"
    url = "https://github.com/karolpiczak/ESC-50"
    licence = "CC BY-NC 3.0"
    licence_from = "https://github.com/karolpiczak/ESC-50 (LICENSE)"
    citation = "Piczak 2015, ESC: Dataset for Environmental Sound Classification, ACM Multimedia"
    tasks = {"label": "classification"}
    rows = 2_000
    files = (
        File("esc50/ESC-50-master.zip", url="https://github.com/karolpiczak/ESC-50/archive/refs/heads/master.zip"),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        archive = self.file(root, "esc50", "ESC-50-master.zip")
        with zipfile.ZipFile(archive) as file:
            [meta] = [name for name in file.namelist() if name.endswith("meta/esc50.csv")]
            sheet = pd.read_csv(io.BytesIO(file.read(meta)), dtype={"src_file": str})
        folder = meta.removesuffix("meta/esc50.csv")
        sounds = in_archive(archive, [f"{folder}audio/{name}" for name in sheet["filename"]])
        columns = {"audio": sounds, "label": sheet["category"], "fold": sheet["fold"], "recording": sheet["src_file"]}
        reasons = {"recording": "which recording the clip was cut from"}
        frame = pd.DataFrame(columns)
        return self.loaded(frame, [modality("audio")], reasons, folds="fold", groups="recording")
