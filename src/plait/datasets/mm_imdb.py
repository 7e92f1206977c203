"""MM-IMDb: a plot text and a poster; which of 23 genres apply?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from plait.base.documents import read_json
from plait.base.errors import TableError
from plait.datasets.base import Dataset, File, Loaded, modality

#: The 23 genres of the authors' preparation; others (Adult, News, Reality-TV, Talk-Show) stand on few films and are left out.
GENRES = (
    *("Drama", "Comedy", "Romance", "Thriller", "Crime", "Action", "Adventure", "Horror", "Documentary", "Mystery"),
    *("Sci-Fi", "Music", "Fantasy", "Family", "Biography", "War", "History", "Animation", "Musical", "Western"),
    *("Sport", "Short", "Film-Noir"),
)
_PARTS = {"train": "train", "dev": "valid", "test": "test"}


class MMIMDb(Dataset):
    """MM-IMDb: the first plot outline and the poster of 25,959 films; several of 23 genres at once.

    Published layout: ``mmimdb/split.json`` (train, dev, test: numbers of films) and ``mmimdb/dataset/NUMBER.json`` with
    ``NUMBER.jpeg``, as ``mmimdb.tar.gz`` unpacks. 15,552 / 2,608 / 7,799 films.

    Inputs: text = ``plot[0]``; image = the poster, absent where there is no file. Left out: title and year. Other genres than the
    23 are dropped from the target, and films that are left without one.
    """

    title = "MM-IMDb"
    url = "https://archive.org/download/mmimdb/mmimdb.tar.gz"
    licence = "not stated; texts and posters of IMDb, research use"
    licence_from = "https://github.com/johnarevalo/gmu-mmimdb (MIT for the code, nothing of the data)"
    citation = (
        "Arevalo, Solorio, Montes-y-Gomez and Gonzalez 2017, Gated Multimodal Units for Information Fusion, "
        "arXiv:1702.01992"
    )
    tasks = {"genres": "multilabel"}
    rows = 25_959
    files = (File("mmimdb/split.json"),)  # and the folder dataset beside it

    def load(self, root: str | Path | None = None) -> Loaded:
        place = self.file(root, "mmimdb", "split.json")
        parts = read_json(place.read_bytes())
        if not isinstance(parts, dict) or not set(_PARTS) <= set(parts):
            raise TableError(
                f"{place}: expected {{train, dev, test: numbers of films}}; is it another version of MM-IMDb?"
            )
        folder = place.parent / "dataset"
        films = [_film(folder, str(number), _PARTS[part]) for part in _PARTS for number in parts[part]]
        frame = pd.DataFrame(films, dtype=object)
        frame = frame.where(frame.notna(), None)
        reasons = {"number": "number in a catalogue", "title": "stands in the text", "year": "tells little"}
        return self.loaded(frame, [modality("text"), modality("image")], reasons, split="split")


def _film(folder: Path, number: str, part: str) -> dict[str, object]:
    path = folder / f"{number}.json"
    try:
        film = read_json(path.read_bytes())
        plot, genres = film["plot"], film["genres"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        wanted = "expected title, plot and genres; unpack the archive again"
        raise TableError(f"{path}: no film of MM-IMDb ({error}); {wanted}") from error
    poster = folder / f"{number}.jpeg"
    known = "|".join(genre for genre in genres if genre in GENRES)
    return {
        "number": number,
        "title": film.get("title"),
        "year": film.get("year"),
        "text": plot[0] if plot else None,
        "image": str(poster) if poster.is_file() else None,
        "genres": known or None,
        "split": part,
    }
