"""CMU-MOSI as published: words, sound and face of an utterance, step by step; how positive is it?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from plait.datasets.base import Dataset, File, Loaded
from plait.datasets.opinions import FACES, read, schemas

#: Files of the CMU Multimodal SDK.
FILES = {
    "labels": "CMU_MOSI_Opinion_Labels.csd",
    "words": "CMU_MOSI_TimestampedWords.csd",
    "audio": "CMU_MOSI_COVAREP.csd",
    "video": "CMU_MOSI_Visual_Facet_41.csd",
}


class CMUMosi(Dataset):
    """CMU-MOSI: 2,199 utterances of 93 speakers; the transcript, and sequences of sound and face features.

    Published layout: ``cmu_mosi/`` with the four ``.csd`` files of the CMU Multimodal SDK (opinion labels, timestamped words,
    COVAREP, Facet 4.1) and ``folds.json`` ({train, valid, test: videos}, the standard folds of the SDK). A smaller
    rendering without faces is the data set ``mosi``.

    Inputs: text = the words within the utterance; audio and video = its steps (T, D), at most 256, for a recurrent encoder.
    Targets: ``binary`` (neutral left out), ``three`` (neutral at exactly 0), ``seven``, ``score`` (-3 to 3).
    No video is on two sides.

    Licence: research use, as the CMU MultiComp Lab states.
    """

    title: ClassVar[str] = "CMU-MOSI"
    url: ClassVar[str] = "http://multicomp.cs.cmu.edu/resources/cmu-mosi-dataset/"
    licence: ClassVar[str] = "research use"
    citation: ClassVar[str] = (
        "Zadeh et al. 2016, MOSI: Multimodal Corpus of Sentiment Intensity and Subjectivity Analysis, arXiv:1606.06259"
    )
    tasks: ClassVar[Mapping[str, str]] = {
        "binary": "classification",
        "three": "classification",
        "seven": "classification",
        "score": "regression",
    }
    metrics: ClassVar[Mapping[str, str]] = {
        "binary": "accuracy",
        "three": "accuracy",
        "seven": "accuracy",
        "score": "mae",
    }
    rows: ClassVar[int | None] = 2199
    files: ClassVar[tuple[File, ...]] = tuple(File(f"cmu_mosi/{name}") for name in (*FILES.values(), "folds.json"))

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read the four files and the folds."""
        files = {name: self.file(root, "cmu_mosi", file) for name, file in FILES.items()}
        frame = read(files, self.file(root, "cmu_mosi", "folds.json"))
        return Loaded(frame, schemas(frame, self.tasks, FACES), split="split", groups="video_id")
