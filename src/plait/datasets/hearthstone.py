"""Hearthstone: card text, a picture tile and the card's properties of 11,905 cards; four targets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from plait.datasets.base import Dataset, File, Loaded, in_archive, modality
from plait.datasets.hearthstone_tables import NAMES, TARGETS, TYPES, named, plain


class Hearthstone(Dataset):
    """Hearthstone: text, image tile and tabular; class, set, race or spell school of a card.

    Rebuilt stand-in for the four Hearthstone tables of the MuG benchmark (hs_ac, hs_as, hs_mr, hs_ss).

    Inputs: text = name, card text, flavor text; image = the 130x34 tile; tabular = every other property that is printed
    on the card (cost, attack, health, durability, type, class, race, school, rarity, set, collectible, elite). The
    three targets that are not asked for stay inputs: they are printed on the card too and none of them tells the
    answer (a race belongs to many classes and sets). Left out: ``id``, whose prefix names the set, and ``artist``,
    empty for half of the cards and otherwise a proxy of when the card was drawn. Rows without the target are dropped.
    Cards are reprinted: 2,223 rows repeat name and text of another row. ``groups`` (the name) keeps them together;
    a plain random split, as MuG has it, does not, and its figures are higher for it.

    Args:
        categories_in_text: the other properties in words (class, set, race, school, rarity, type) stand in the text, too, as
            MuG's own preparation (and Wernlein et al., section 4.1.1) reads textual and categorical columns as one string.

    Licence: texts and pictures (c) Blizzard Entertainment; for tests and benchmarks only.
    """

    title = "Hearthstone"
    url = "https://github.com/lujiaying/MUG-Bench"
    licence = "(c) Blizzard; tests only"
    citation = "Lu et al. 2023, MuG: A Multimodal Classification Benchmark on Game Data, arXiv:2302.02978"
    tasks = TARGETS
    files = (
        File(
            "hearthstone/hearthstone.csv", "1c57728aa6538664c316f462b224556237c4ac18453f0d21768a9c5da8f38617", 1_822_174
        ),
        File("hearthstone/images.zip", "53b8f48f63d59f9f2da435695a323fb8d2bd8e7f811b85d31810932fc53ba9dc", 29_619_212),
    )
    rebuilt = True

    def __init__(self, *, categories_in_text: bool = False) -> None:
        self.categories_in_text = categories_in_text

    def load(self, root: str | Path | None = None) -> Loaded:
        frame = pd.read_csv(self.file(root, "hearthstone", "hearthstone.csv"))
        frame["image"] = in_archive(self.file(root, "hearthstone", "images.zip"), frame["image"])
        for column in NAMES:
            frame[column] = named(frame[column], column)
        for column in ("name", "text", "flavor"):
            frame[column] = plain(frame[column])
        for column in ("collectible", "elite"):
            frame[column] = frame[column].fillna(0).astype(bool)
        reasons = {"id": "its prefix names the set", "artist": "empty for half of the cards, and a proxy of the year"}
        words = [c for c, kind in TYPES.items() if kind == "category"] if self.categories_in_text else []
        modalities = [
            modality("text", "name", "text", "flavor", *words),
            modality("image"),
            modality("tabular", *TYPES),
        ]
        return self.loaded(frame, modalities, reasons, TYPES, groups="name")
