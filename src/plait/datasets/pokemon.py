"""Pokemon: text, an image and battle numbers of 898 creatures; which of 18 types are they?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from plait.datasets.base import Dataset, File, Loaded, in_archive, modality

_TYPES = {
    **dict.fromkeys(("height_m", "weight_kg"), "number"),
    **dict.fromkeys(("abilities", "egg_groups"), "list"),
    **dict.fromkeys(("male_percent", "hp", "attack", "defense", "special_attack", "special_defense"), "number"),
    **dict.fromkeys(("speed", "generation"), "number"),
}


def male_percent(gender: pd.Series[str]) -> pd.Series[float]:
    """``87.5:12.5`` to 87.5; ``Genderless`` to NaN (the same share is written in two ways in the file)."""
    return pd.to_numeric(gender.str.partition(":")[0], errors="coerce")


class Pokemon(Dataset):
    """Pokemon: text, image and tabular; the first and the second of 18 types.

    Rebuilt stand-in for the Pokemon tables of the MuG benchmark (pkm_t1, pkm_t2): same kind of columns,
    not the same rows.

    Inputs: text = name, species, description; image = artwork; tabular = the rest. The other type is left out of both
    targets. 172 descriptions name the type: that is what the entry says to every reader, so it stays.

    Args:
        categories_in_text: abilities and egg groups stand in the text, too, as MuG's own preparation (and Wernlein et al.,
            section 4.1.1) reads textual and categorical columns as one string.

    Licence: names, texts and artwork (c) The Pokemon Company / Nintendo; for tests and benchmarks only.
    """

    title = "Pokemon"
    url = "https://github.com/lujiaying/MUG-Bench"
    licence = "(c) The Pokemon Company; tests only"
    citation = "Lu et al. 2023, MuG: A Multimodal Classification Benchmark on Game Data, arXiv:2302.02978"
    tasks = {"type_1": "classification", "type_2": "classification"}
    files = (
        File("pokemon/pokemon.csv", "edc54f1e4bf64072e10c6374dccb3e1451a477faed78ec640792653070f75307", 225_912),
        File("pokemon/images.zip", "d14c6e5a912c2865f0a78d69bbbd3730b557c034edf490835b2a128c88f33506", 10_165_179),
    )
    rebuilt = True

    def __init__(self, *, categories_in_text: bool = False) -> None:
        self.categories_in_text = categories_in_text

    def load(self, root: str | Path | None = None) -> Loaded:
        frame = pd.read_csv(self.file(root, "pokemon", "pokemon.csv"))
        frame["image"] = in_archive(self.file(root, "pokemon", "images.zip"), frame["image"])
        frame["male_percent"] = male_percent(frame.pop("gender"))
        lists = ("abilities", "egg_groups") if self.categories_in_text else ()
        modalities = [modality("text", "name", "species", "description", *lists), modality("image")]
        modalities.append(modality("tabular", *_TYPES))
        other = "the other type: near to the answer"
        reasons = {"id": "number in the catalogue", "type_1": other, "type_2": other}
        return self.loaded(frame, modalities, reasons, _TYPES)
