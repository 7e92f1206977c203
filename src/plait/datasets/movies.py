"""Movies: a masked plot text and a poster; which of 15 genres apply?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd

from plait.base.checks import Within
from plait.datasets.base import Dataset, File, Loaded, in_archive, modality

#: Genres of fewer films cannot be split, learned and scored (Film-Noir 15, Documentary 3).
RAREST = 20
_NO_GENRES = ("(no genres listed)", "IMAX")


def common_genres(genres: pd.Series[str]) -> pd.Series[str]:
    """Bar-joined genres without what is no genre and those of fewer than ``RAREST`` films; None where none is left."""
    each = genres.str.split("|").explode()
    counts = each.value_counts()
    kept = each[each.map(counts).ge(RAREST) & ~each.isin(_NO_GENRES)]
    return kept.groupby(level=0).agg("|".join).reindex(genres.index).astype(object)


def without_commonest(genres: pd.Series[str], share: float) -> pd.Series[str]:
    """Bar-joined genres of which none stands on more than a share of the films that have any; None where none is left.

    Films that are left without a genre go, and those that remain are fewer: the share is taken again until all are within it.

    Example:
        >>> without_commonest(pd.Series(["A|B", "A", "C", "D", None]), 0.4).tolist()
        ['B', None, 'C', 'D', None]
    """
    each = genres.str.split("|").explode().dropna()
    while (common := each.value_counts() > share * each.index.nunique()).any():
        each = each[~each.map(common)]
    kept = each.groupby(level=0).agg("|".join).reindex(genres.index)
    return kept.astype(object).where(kept.notna(), None)


class Movies(Dataset):
    """Movies: text and poster; several genres at once (multi-label).

    Rebuilt stand-in for MM-IMDb: MovieLens films and genres, encyclopedia openings, posters.

    Inputs: text = the opening with every genre word masked as ``[GENRE]``; image = the poster. Left out: ``text_raw``
    (names the genre), ``poster_label`` (made from the genres), ``title`` (24 hold a genre word that the text masks; the
    text opens with it anyway) and ``year`` (stands in the text). Genres of fewer than 20 films, IMAX (a format) and
    ``(no genres listed)`` are dropped from the target, and rows that are left without a genre.

    Args:
        commonest: genres that stand on a larger share of the films are left out, so that always answering the commonest says
            little; 1: none is.

    Licence: MovieLens terms (research, no redistribution without permission); texts CC BY-SA; posters of their owners.
    """

    title = "movies"
    url = "https://grouplens.org/datasets/movielens/ (posters, texts: rebuilt; MM-IMDb: https://github.com/johnarevalo/gmu-mmimdb)"
    licence = "MovieLens terms; tests only"
    citation = (
        "Harper and Konstan 2015, The MovieLens Datasets, TiiS 5(4); "
        "Arevalo et al. 2017, Gated Multimodal Units for Information Fusion, arXiv:1702.01992"
    )
    tasks = {"genres": "multilabel"}
    files = (
        File("movies/movies.csv", "e79e02d345353b77084e014bed4d42333fac7172ffe335e38d42127b1c1c8636", 2_386_723),
        File("movies/posters.zip", "e213929652ddbc088aa6268b84af80e0c0339efbc5f4e9028d76d660a4c017e3", 35_426_564),
    )
    rebuilt = True

    def __init__(self, *, commonest: Annotated[float, Within(0, 1)] = 1.0) -> None:
        self.commonest = commonest

    def load(self, root: str | Path | None = None) -> Loaded:
        frame = pd.read_csv(self.file(root, "movies", "movies.csv"))
        frame["image"] = in_archive(self.file(root, "movies", "posters.zip"), frame["image"])
        frame["genres"] = without_commonest(common_genres(frame["genres"]), self.commonest)
        reasons = {
            "imdbId": "number in a catalogue",
            "title": "may hold a genre word; the text opens with it",
            "year": "stands in the text",
            "poster_label": "made from the genres",
            "text_raw": "names the genres",
        }
        return self.loaded(frame, [modality("text"), modality("image")], reasons)
