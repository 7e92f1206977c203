"""MuG: eight tables of games with text, a picture and properties, in their own published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd

from plait.base.documents import read_json
from plait.base.errors import TableError
from plait.datasets.base import Dataset, File, Loaded, modality

#: Table -> its folder.
FOLDERS = {
    "pkm_t1": "Pokemon-primary_type",
    "pkm_t2": "Pokemon-secondary_type",
    "hs_ac": "Hearthstone-All-cardClass",
    "hs_as": "Hearthstone-All-set",
    "hs_mr": "Hearthstone-Minion-race",
    "hs_ss": "Hearthstone-Spell-spellSchool",
    "lol_sc": "LeagueOfLegends-Skin-category",
    "csgo_sq": "CSGO-Skin-quality",
}
IMAGE = "Image Path"
_PARTS = {"train": "train", "dev": "valid", "test": "test"}
#: Words per cell from which on a column of words is text rather than a category.
_TEXT = 4.0


class Mug(Dataset):
    """MuG: one of its eight tables by ``table``; Pokemon, Hearthstone, League of Legends or CS:GO.

    Published layout: ``mug/FOLDER/`` with ``info.json`` (``label``: the column of the target), ``train.csv``, ``dev.csv``,
    ``test.csv`` and ``train_images.zip``, ``dev_images.zip``, ``test_images.zip``, pictures named in the column ``Image Path``;
    80, 5 and 15 % of the rows, 937 to 10,700 of them. The same tables rebuilt from other sources are ``pokemon`` and
    ``hearthstone``.

    Inputs: text = columns of words with more than four to a cell; image; tabular = every other column. The target is called
    ``label``, whatever its column was.

    Args:
        table: pkm_t1, pkm_t2, hs_ac, hs_as, hs_mr, hs_ss, lol_sc or csgo_sq.
        categories_in_text: the text holds the columns of single words, too, as the early-fusion paper prepares it.
    """

    title = "MuG"
    url = "https://doi.org/10.6084/m9.figshare.21454413"
    licence = "CC BY-NC 4.0; texts and pictures of the games' owners"
    licence_from = "https://github.com/lujiaying/MUG-Bench (LICENSE; figshare's own line was not read)"
    citation = "Lu et al. 2023, MuG: A Multimodal Classification Benchmark on Game Data, arXiv:2302.02978"
    tasks = {"label": "classification"}
    files = tuple(
        File(f"mug/{folder}/{name}")
        for folder in FOLDERS.values()
        for name in ("info.json", *(f"{part}{end}" for part in _PARTS for end in (".csv", "_images.zip")))
    )

    def __init__(
        self,
        *,
        table: Literal["pkm_t1", "pkm_t2", "hs_ac", "hs_as", "hs_mr", "hs_ss", "lol_sc", "csgo_sq"] = "pkm_t1",
        categories_in_text: bool = False,
    ) -> None:
        self.table, self.categories_in_text = table, categories_in_text

    def load(self, root: str | Path | None = None) -> Loaded:
        folder = ("mug", FOLDERS[self.table])
        info = read_json(self.file(root, *folder, "info.json").read_bytes())
        target = info.get("label") if isinstance(info, dict) else None
        parts = []
        for name, part in _PARTS.items():
            path = self.file(root, *folder, f"{name}.csv")
            frame = pd.read_csv(path)
            if target not in frame or IMAGE not in frame:
                raise TableError(f"MuG {self.table}, {path}: no column '{target}' or '{IMAGE}'; is it another version?")
            archive = self.file(root, *folder, f"{name}_images.zip")
            frame[IMAGE] = [f"zip://{archive}!{cell}" if isinstance(cell, str) else None for cell in frame[IMAGE]]
            parts.append(frame.assign(split=part))
        frame = pd.concat(parts, ignore_index=True).rename(columns={target: "label", IMAGE: "image"})
        used = [str(c) for c in frame if c not in ("label", "image", "split")]
        said = [c for c in used if _is_text(frame[c])]
        rest = [c for c in used if c not in said and not c.lower().endswith("id")]
        reasons = {c: "identifier" for c in used if c not in said and c not in rest}
        words = [c for c in rest if self.categories_in_text and not pd.api.types.is_numeric_dtype(frame[c])]
        modalities = [modality("text", *said, *words)] if said or words else []
        modalities += [modality("image"), *([modality("tabular", *rest)] if rest else [])]
        return self.loaded(frame, modalities, reasons, split="split")


def _is_text(column: pd.Series[Any]) -> bool:
    cells = [cell for cell in column if isinstance(cell, str)]
    words = sum(len(cell.split()) for cell in cells)
    return len(cells) == int(column.notna().sum()) and words > _TEXT * len(cells)
