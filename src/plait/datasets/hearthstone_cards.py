"""Hearthstone cards that come by pip alone: text, flavor text and properties of about 6,100 cards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from plait.base.errors import TableError, need
from plait.datasets.base import Dataset, Loaded, modality
from plait.datasets.hearthstone_tables import TARGETS, TYPES, named, plain

#: Tag of the game's file -> column.
_COLUMNS = {
    "CARDNAME": "name",
    "CARDTEXT": "text",
    "FLAVORTEXT": "flavor",
    "CARDTYPE": "cardType",
    "CLASS": "cardClass",
    "RARITY": "rarity",
    "CARD_SET": "set",
    "CARDRACE": "race",
    "SPELL_SCHOOL": "spellSchool",
    "COST": "cost",
    "ATK": "attack",
    "HEALTH": "health",
    "ELITE": "elite",
}
_TEXTS = ("name", "text", "flavor")
#: Sets made of cards that came out before, in another set.
_REPRINTS = ("CORE", "CORE_HIDDEN", "CLASSIC", "LEGACY", "CAVERNS_OF_TIME", "EVENT")
_INPUTS = {c: t for c, t in TYPES.items() if c not in ("durability", "collectible")}


def read_cards(path: str | Path) -> pd.DataFrame:
    """All collectible cards of a ``CardDefs.xml``, one row each, numbers still numbers.

    A document type declaration, the only place where a bomb of entities can be defined, is refused before parsing.
    """
    with open(path, "rb") as file:
        before, root_tag, _ = file.read(65536).partition(b"<CardDefs")
    if not root_tag or b"<!" in before:
        raise TableError(f"{path}: expected <CardDefs> right after the XML declaration; is it a CardDefs.xml?")
    try:
        rows = list(_rows(path))
    except ElementTree.ParseError as error:
        raise TableError(f"{path}: not valid XML ({error}); is the file complete?") from None
    if not rows:
        raise TableError(f"{path}: holds no collectible card; is it a CardDefs.xml?")
    frame = pd.DataFrame(rows)
    numbers = [column for column in _COLUMNS.values() if column not in _TEXTS]
    frame[numbers] = frame[numbers].astype(float)
    return frame


def _rows(path: str | Path) -> Iterator[dict[str, str | None]]:
    events = ElementTree.iterparse(path, events=("start", "end"))
    _, root = next(events)
    for event, element in events:
        if event == "end" and element.tag == "Entity":
            card = _card(element)
            if "COLLECTIBLE" in card:
                yield {column: card.get(tag) for tag, column in _COLUMNS.items()}
            root.clear()  # or the whole file, 100 MB of it, stays in memory


def _card(entity: ElementTree.Element) -> dict[str, str | None]:
    """Tags of one card: English texts and plain numbers."""
    result = {}
    for tag in entity.iterfind("Tag"):
        name = tag.get("name", "")
        if name in _COLUMNS or name == "COLLECTIBLE":
            result[name] = tag.findtext("enUS") if tag.get("type") == "LocString" else tag.get("value")
    return result


class HearthstoneCards(Dataset):
    """Hearthstone cards that come by pip: text, flavor and tabular; class, set, race or spell school of a card.

    The data behind four of the MuG benchmark's tables, read from the pip package
    ``hearthstone-data``: no ``PLAIT_DATA``.
    What ``plait demo`` uses, with the target ``cardClass``: 12 classes, a text that helps, categories that help, both
    together better.

    Rows: collectible cards that are played from a hand (no hero skins). A card that was reprinted stays once, in
    its first set, so that no test card has a twin in training.
    Inputs: text = name and card text; flavor = the joke below it, on its own so that its worth is seen; tabular = type,
    rarity, cost, attack, health, elite and the targets that are not asked for (all printed on the card).
    Rows without the target are dropped.
    """

    title = "Hearthstone cards"
    url = "https://pypi.org/project/hearthstone-data/"
    licence = "MIT (package); texts (c) Blizzard"
    citation = "HearthSim, python-hearthstone-data; game data by Blizzard Entertainment"
    tasks = TARGETS
    package = "hearthstone-data"

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``CardDefs.xml`` of the installed package (or of a folder ``root``)."""
        if root is None:
            path = Path(str(need("hearthstone_data", "demo").get_carddefs_path()))
        else:
            path = self.file(root, "CardDefs.xml")
        frame = self._tidy(read_cards(path))
        modalities = [modality("text", "name", "text"), modality("flavor", kind="text"), modality("tabular", *_INPUTS)]
        return self.loaded(frame, modalities, types=_INPUTS)

    @staticmethod
    def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
        """Names for numbers, texts without markup, one row per card."""
        for column in ("cardType", "cardClass", "rarity", "set", "race", "spellSchool"):
            frame[column] = named(frame[column], column)
        for column in _TEXTS:
            frame[column] = plain(frame[column])
        frame["elite"] = frame["elite"].fillna(0).astype(bool)
        frame = frame[(frame["cardType"] != "HERO") | frame["text"].notna()]
        first = frame.assign(reprint=frame["set"].isin(_REPRINTS)).sort_values("reprint", kind="stable")
        return first.drop_duplicates("name").drop(columns="reprint").sort_index().reset_index(drop=True)
