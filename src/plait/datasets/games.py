"""Video games: name, platform, year, genre and publisher; how many copies were sold?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from plait.datasets.base import Dataset, File, Loaded, modality

_TYPES: Mapping[str, str] = {"Platform": "category", "Year": "number", "Genre": "category", "Publisher": "category"}


class Games(Dataset):
    """Video game sales: text (the name) and table; copies sold world-wide, in millions, of games that sold 10,000 or more.

    Inputs: text = the game's name; tabular = platform, year, genre, publisher (578 names, 58 rows without one). The target
    is a heavy-tailed amount: half of the games sold less than 0.17 million, the most 82.74. The file is sorted by it, so
    the place of a row gives it away. A game that came out on several platforms has a row for each (5,090 rows repeat a
    name): ``groups`` (the name) keeps them together; a plain random split does not, and its figures are higher for it.
    """

    title = "video games"
    url = "https://www.kaggle.com/datasets/gregorut/videogamesales"
    licence = "not stated"
    citation = "Smith 2016, Video Game Sales, collected from vgchartz.com"
    tasks = {"Global_Sales": "regression"}
    files = (File("games/games.csv", "747b151bfdc95b27a3364f3304e2e140ae7f730c11ee67dab832e54e04ef602f", 1_017_840),)

    def load(self, root: str | Path | None = None) -> Loaded:
        frame = pd.read_csv(self.file(root, "games", "games.csv"))
        modalities = [modality("text", "Name"), modality("tabular", *_TYPES)]
        return self.loaded(frame, modalities, types=_TYPES, groups="Name")
