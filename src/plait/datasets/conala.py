"""CoNaLa: what somebody wants to do, and the Python line that does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pandas as pd

from plait.data.modality import Modality
from plait.datasets.base import Dataset, File, Loaded, make_schema

_ARCHIVE = "http://www.phontron.com/download/conala-corpus-v1.1.zip"


class Conala(Dataset):
    """CoNaLa: pairs of a question's intent (text) and a Python snippet (code), for alignment and retrieval; no target.

    ``rewritten_intent`` is left out: written by annotators who saw the snippet. ``groups`` is the question, which may
    have several snippets.

    Licence: MIT for the corpus as released; the texts come from Stack Overflow (CC BY-SA). Not stated beside the files.
    """

    title: ClassVar[str] = "CoNaLa"
    url: ClassVar[str] = "https://conala-corpus.github.io/"
    licence: ClassVar[str] = "not stated (Stack Overflow texts: CC BY-SA)"
    citation: ClassVar[str] = "Yin et al. 2018, Learning to Mine Aligned Code and Natural Language Pairs, MSR"
    tasks: ClassVar[Mapping[str, str]] = {}
    metrics: ClassVar[Mapping[str, str]] = {}
    files: ClassVar[tuple[File, ...]] = (
        File("conala/conala-train.json", url=_ARCHIVE, member="conala-corpus/conala-train.json"),
        File("conala/conala-test.json", url=_ARCHIVE, member="conala-corpus/conala-test.json"),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``conala/conala-train.json`` and ``conala/conala-test.json``."""
        parts = [
            pd.read_json(self.file(root, "conala", f"conala-{part}.json"), dtype=False).assign(split=part)
            for part in ("train", "test")
        ]
        frame = pd.concat(parts, ignore_index=True)
        modalities = (Modality("text", "text", ("intent",)), Modality("code", "code", ("snippet",)))
        reasons = {
            "rewritten_intent": "written with the snippet in view",
            "question_id": "identifier",
            "split": "official part",
        }
        schema = make_schema(frame, modalities, None, "classification", reasons)
        return Loaded(frame, {"pairs": schema}, split="split", groups="question_id")
