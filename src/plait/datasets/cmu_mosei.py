"""CMU-MOSEI as published: words, sound and face of a sentence, step by step; how positive is it?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from plait.datasets.base import Dataset, File, Loaded
from plait.datasets.opinions import FACES, read, schemas

#: Files of the CMU Multimodal SDK.
FILES = {
    "labels": "CMU_MOSEI_Labels.csd",
    "words": "CMU_MOSEI_TimestampedWords.csd",
    "audio": "CMU_MOSEI_COVAREP.csd",
    "video": "CMU_MOSEI_VisualFacet42.csd",
}


class CMUMosei(Dataset):
    """CMU-MOSEI: 22,856 sentences of 1,000 speakers; the transcript, and sequences of sound and face features.

    Published layout: ``cmu_mosei/`` with the four ``.csd`` files of the CMU Multimodal SDK (labels, timestamped words,
    COVAREP, Facet 4.2) and ``folds.json`` ({train, valid, test: videos}, the standard folds of the SDK).
    16,326 / 1,871 / 4,659 sentences.

    Inputs: text = the words within the utterance; audio and video = its steps (T, D), at most 256, for a recurrent encoder.
    Targets: ``binary`` (neutral left out), ``three`` (neutral at exactly 0), ``seven``, ``score`` (-3 to 3).
    No video is on two sides.

    Licence: research use, as the CMU MultiComp Lab states.
    """

    title: ClassVar[str] = "CMU-MOSEI"
    url: ClassVar[str] = "http://multicomp.cs.cmu.edu/resources/cmu-mosei-dataset/"
    licence: ClassVar[str] = "research use"
    citation: ClassVar[str] = (
        "Zadeh et al. 2018, Multimodal Language Analysis in the Wild: CMU-MOSEI Dataset and Interpretable Dynamic Fusion "
        "Graph, ACL, P18-1208"
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
    rows: ClassVar[int | None] = 22_856
    files: ClassVar[tuple[File, ...]] = tuple(File(f"cmu_mosei/{name}") for name in (*FILES.values(), "folds.json"))

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read the four files and the folds."""
        files = {name: self.file(root, "cmu_mosei", file) for name, file in FILES.items()}
        frame = read(files, self.file(root, "cmu_mosei", "folds.json"))
        return Loaded(frame, schemas(frame, self.tasks, FACES), split="split", groups="video_id")
