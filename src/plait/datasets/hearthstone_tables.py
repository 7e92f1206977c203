"""What both Hearthstone tables share: names behind the game's numbers, texts without markup, fair inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

# The game's own numbers (public facts; HearthSim's names).
CLASSES = {1: "DEATHKNIGHT", 2: "DRUID", 3: "HUNTER", 4: "MAGE", 5: "PALADIN", 6: "PRIEST", 7: "ROGUE", 8: "SHAMAN"}
CLASSES |= {9: "WARLOCK", 10: "WARRIOR", 11: "DREAM", 12: "NEUTRAL", 13: "WHIZBANG", 14: "DEMONHUNTER"}
CARD_TYPES = {3: "HERO", 4: "MINION", 5: "SPELL", 6: "ENCHANTMENT", 7: "WEAPON", 10: "HERO_POWER", 39: "LOCATION"}
RARITIES = {1: "COMMON", 2: "FREE", 3: "RARE", 4: "EPIC", 5: "LEGENDARY"}
SCHOOLS = {1: "ARCANE", 2: "FIRE", 3: "FROST", 4: "NATURE", 5: "HOLY", 6: "SHADOW", 7: "FEL"}
RACES = {1: "BLOODELF", 2: "DRAENEI", 3: "DWARF", 4: "GNOME", 5: "GOBLIN", 6: "HUMAN", 7: "NIGHTELF", 8: "ORC"}
RACES |= {9: "TAUREN", 10: "TROLL", 11: "UNDEAD", 12: "WORGEN", 13: "GOBLIN2", 14: "MURLOC", 15: "DEMON"}
RACES |= {16: "SCOURGE", 17: "MECHANICAL", 18: "ELEMENTAL", 19: "OGRE", 20: "BEAST", 21: "TOTEM", 22: "NERUBIAN"}
RACES |= {23: "PIRATE", 24: "DRAGON", 25: "BLANK", 26: "ALL"}
RACES |= {38: "EGG", 43: "QUILBOAR", 80: "CENTAUR", 81: "FURBOLG", 83: "HIGHELF", 84: "TREANT", 85: "OWLKIN"}
RACES |= {88: "HALFORC", 89: "LOCK", 92: "NAGA", 93: "OLDGOD", 94: "PANDAREN", 95: "GRONN", 96: "CELESTIAL"}
RACES |= {97: "GNOLL", 98: "GOLEM", 100: "VULPERA", 126: "ABERRATION"}
SETS = {2: "BASIC", 3: "EXPERT1", 5: "MISSIONS", 12: "NAXX", 13: "GVG", 14: "BRM", 15: "TGT", 16: "CREDITS"}
SETS |= {17: "HERO_SKINS", 18: "TAVERN_BRAWL", 20: "LOE", 21: "OLD_GODS", 23: "KARAZHAN", 25: "GADGETZAN", 27: "UNGORO"}
SETS |= {1001: "ICECROWN", 1004: "KOBOLDS", 1125: "WITCHWOOD", 1127: "BOOMSDAY", 1129: "RASTAKHAN", 1130: "DALARAN"}
SETS |= {1143: "TAVERNS_OF_TIME", 1158: "ULDUM", 1347: "DRAGONS", 1403: "GALAKROND", 1414: "OUTLAND"}
SETS |= {1443: "SCHOLOMANCE", 1453: "BATTLEGROUNDS", 1463: "DEMON_HUNTER_INITIATE", 1466: "DARKMOON", 1525: "BARRENS"}
SETS |= {1578: "STORMWIND", 1586: "MERCENARIES", 1626: "ALTERAC_VALLEY", 1635: "LEGACY", 1637: "CORE"}
SETS |= {1646: "CLASSIC", 1658: "SUNKEN_CITY", 1691: "REVENDRETH", 1776: "LICH_KING", 1809: "FESTIVAL"}
SETS |= {1810: "CORE_HIDDEN", 1858: "TITANS", 1869: "PATH_OF_ARTHAS", 1892: "BADLANDS", 1897: "WHIZBANG"}
SETS |= {1898: "CAVERNS_OF_TIME", 1904: "TUTORIAL", 1905: "PARADISE", 1935: "GREAT_DARK_BEYOND", 1941: "EVENT"}
SETS |= {1946: "EMERALD_DREAM", 1952: "LOST_CITY", 1957: "TIMEWAYS", 1961: "PET", 1980: "CATACLYSM"}
SETS |= {1988: "VIOLET_HOLD", 1994: "BLACK_EMPIRE"}

#: Column -> names of its numbers.
NAMES: Mapping[str, Mapping[int, str]] = {
    "cardType": CARD_TYPES,
    "cardClass": CLASSES,
    "rarity": RARITIES,
    "set": SETS,
    "race": RACES,
    "spellSchool": SCHOOLS,
}
#: Kind of every column that may be a tabular input.
TYPES: Mapping[str, str] = {
    **dict.fromkeys(NAMES, "category"),
    **dict.fromkeys(("cost", "attack", "health", "durability"), "number"),
    **dict.fromkeys(("collectible", "elite"), "boolean"),
}
TARGETS: Mapping[str, str] = dict.fromkeys(("cardClass", "set", "race", "spellSchool"), "classification")
_MARKUP = re.compile(r"</?[a-zA-Z]+[^>]*>|\[x\]|[$#](?=\d)")


def named(numbers: pd.Series[float], column: str) -> pd.Series[str]:
    """Numbers of the game as names; an unknown one keeps its number (``set_2001``), an empty one stays empty."""
    names = NAMES[column]
    filled = numbers.dropna().astype(int)
    return filled.map(lambda n: names.get(n, f"{column}_{n}")).reindex(numbers.index).astype(object)


def plain(text: pd.Series[str]) -> pd.Series[str]:
    r"""Card texts without tags, layout marks and the signs before computed numbers; empty ones are None.

    Example:
        >>> plain(pd.Series(["[x]<b>Battlecry:</b> Deal $3 damage\nto a_minion."])).item()
        'Battlecry: Deal 3 damage to a minion.'
    """
    bare = text.str.replace(_MARKUP, "", regex=True).str.replace(r"[\s_]+", " ", regex=True).str.strip()
    return bare.astype(object).where(bare.fillna("") != "", None)
