"""CoNaLa: what somebody wants to do, and the Python line that does it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from plait.datasets.base import Dataset, File, Loaded, modality

_ARCHIVE = "http://www.phontron.com/download/conala-corpus-v1.1.zip"


class Conala(Dataset):
    """CoNaLa: pairs of a question's intent (text) and a Python snippet (code), for alignment and retrieval; no target.

    ``rewritten_intent`` is left out: written by annotators who saw the snippet. ``groups`` is the question, which may
    have several snippets.

    Licence: MIT for the corpus as released; the texts come from Stack Overflow (CC BY-SA). Not stated beside the files.
    """

    title = "CoNaLa"
    url = "https://conala-corpus.github.io/"
    licence = "not stated (Stack Overflow texts: CC BY-SA)"
    citation = "Yin et al. 2018, Learning to Mine Aligned Code and Natural Language Pairs, MSR"
    tasks = {}
    files = (
        File("conala/conala-train.json", url=_ARCHIVE, member="conala-corpus/conala-train.json"),
        File("conala/conala-test.json", url=_ARCHIVE, member="conala-corpus/conala-test.json"),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        parts = [
            pd.read_json(self.file(root, "conala", f"conala-{part}.json"), dtype=False).assign(split=part)
            for part in ("train", "test")
        ]
        frame = pd.concat(parts, ignore_index=True)
        reasons = {"rewritten_intent": "written with the snippet in view", "question_id": "identifier"}
        modalities = [modality("text", "intent"), modality("code", "snippet")]
        return self.loaded(frame, modalities, reasons, split="split", groups="question_id")
