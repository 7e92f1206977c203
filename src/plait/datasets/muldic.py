"""MulDIC: title, picture and code of an issue; is it a bug or a feature?"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from plait.base.errors import TableError
from plait.datasets.base import Dataset, File, Loaded, modality

#: Project -> its folder.
FOLDERS = {"vscode": "VS Code", "kubernetes": "Kubernetes", "flutter": "Flutter", "roslyn": "Roslyn"}
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")


class MulDIC(Dataset):
    """MulDIC: issues of one of four projects by ``project``; title, a picture and code, bug or feature.

    Published layout (``Datasets_uploadToGithub.7z`` unpacked): ``muldic/PROJECT/train_data/PROJECT_train_bug.csv`` and
    ``..._feature.csv`` (title, code, label), the same under ``test_data``, and pictures in a folder per class beside them
    (``train_data/bug/``, ``train_data/feature/``), one per issue in the order of their names. VS Code 1,566 / 394 issues,
    Kubernetes 236 / 60, Flutter 1,214 / 304, Roslyn 420 / 106.

    Inputs: text = the title; code; image, absent where there are fewer pictures than issues.

    Args:
        project: vscode, kubernetes, flutter or roslyn.
    """

    title = "MulDIC"
    url = "https://github.com/chang26/MulDIC"
    licence = "not stated"
    licence_from = "https://github.com/chang26/MulDIC (no licence file, none in README)"
    citation = (
        "Kwak and Lee 2023, MulDIC: A Multimodal Deep Learning Model Using Text, Image, and Code Data for Improving Issue "
        "Classification Tasks, Applied Sciences 13(16)"
    )
    tasks = {"label": "classification"}
    metrics = {"label": "f1_weighted"}
    files = tuple(
        File(f"muldic/{name}/{part}_data/{name}_{part}_{kind}.csv")
        for name in FOLDERS.values()
        for part in ("train", "test")
        for kind in ("bug", "feature")
    )

    def __init__(self, *, project: Literal["vscode", "kubernetes", "flutter", "roslyn"] = "vscode") -> None:
        self.project = project

    def load(self, root: str | Path | None = None) -> Loaded:
        parts = [self._part(root, part, kind) for part in ("train", "test") for kind in ("bug", "feature")]
        frame = pd.concat(parts, ignore_index=True)
        return self.loaded(frame, [modality(name) for name in ("text", "code", "image")], split="split")

    def _part(self, root: str | Path | None, part: str, kind: str) -> pd.DataFrame:
        name = FOLDERS[self.project]
        path = self.file(root, "muldic", name, f"{part}_data", f"{name}_{part}_{kind}.csv")
        table = pd.read_csv(path)
        if missing := {"title", "code", "label"} - set(table):
            raise TableError(f"{path}: no column {', '.join(sorted(missing))}; is it another version of MulDIC?")
        folder = path.parent / kind
        there = sorted(p for p in folder.iterdir() if p.suffix.lower() in _PICTURES) if folder.is_dir() else []
        images = [str(p) for p in there[: len(table)]] + [None] * max(0, len(table) - len(there))
        columns = {"text": table["title"], "code": table["code"], "image": images, "label": table["label"].astype(str)}
        return pd.DataFrame(columns).assign(split=part)
