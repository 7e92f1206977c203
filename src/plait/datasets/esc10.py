"""ESC-10: 400 environmental sounds of ten kinds."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd

from plait.datasets.base import Dataset, File, Loaded, in_archive, modality


class Esc10(Dataset):
    """ESC-10: five-second sounds (44.1 kHz ogg); dog bark, rain, sea waves and seven others.

    Several clips may be cut from one recording: they lie in one of the five official ``fold``s, and ``groups`` (the
    recording) keeps them together in any other split.

    Licence: CC BY 3.0 (each clip's author is named in the source's list).
    """

    title = "ESC-10"
    url = "https://github.com/karolpiczak/ESC-10"
    licence = "CC BY 3.0"
    licence_from = "https://github.com/karolpiczak/ESC-50 (LICENSE)"
    citation = "Piczak 2015, ESC: Dataset for Environmental Sound Classification, ACM Multimedia"
    tasks = {"label": "classification"}
    files = (
        File(
            "esc10/esc10_orig_ogg.zip", "477c18d752d4ddd187b806adb6f2293c8a9f28cb3a58e76b5e0f522a5f35a3fc", 41_547_846
        ),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read the names in ``esc10/esc10_orig_ogg.zip``: ``001 - Dog bark/1-100032-A.ogg``: class, fold, recording."""
        archive = self.file(root, "esc10", "esc10_orig_ogg.zip")
        with zipfile.ZipFile(archive) as opened:
            members = sorted(name for name in opened.namelist() if name.endswith(".ogg"))
        parts = pd.Series(members).str.extract(r"^\d+ - (?P<label>[^/]+)/(?P<fold>\d)-(?P<recording>\d+)-\w+\.ogg$")
        frame = parts.assign(audio=in_archive(archive, members))
        modalities, reasons = [modality("audio")], {"recording": "identifier"}
        return self.loaded(frame, modalities, reasons, folds="fold", groups="recording")
