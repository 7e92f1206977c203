"""STS benchmark: two sentences; how near are their meanings?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pandas as pd

from plait.data.modality import Modality
from plait.datasets.base import Dataset, Loaded, make_schema


class Stsb(Dataset):
    """STS-B: two sentences, each a text modality; similarity from 0 to 5.

    ``split`` is the official one (5,749 / 1,500 / 1,379).

    Licence: CC BY-SA 4.0 for the scores; sentences from news, captions and forums under their own terms.
    """

    title: ClassVar[str] = "STS-B"
    url: ClassVar[str] = "https://ixa2.si.ehu.eus/stswiki/index.php/STSbenchmark"
    licence: ClassVar[str] = "CC BY-SA 4.0 (scores)"
    citation: ClassVar[str] = "Cer et al. 2017, SemEval-2017 Task 1: Semantic Textual Similarity, arXiv:1708.00055"
    tasks: ClassVar[Mapping[str, str]] = {"score": "regression"}
    metrics: ClassVar[Mapping[str, str]] = {"score": "mae"}

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``textpairs/stsb_train.csv``, ``stsb_dev.csv`` and ``stsb_test.csv`` (no header)."""
        parts = []
        for file, part in (("train", "train"), ("dev", "valid"), ("test", "test")):
            path = self.file(root, "textpairs", f"stsb_{file}.csv")
            parts.append(pd.read_csv(path, header=None, names=["a", "b", "score"]).assign(split=part))
        frame = pd.concat(parts, ignore_index=True)
        modalities = (Modality("a", "text", ("a",)), Modality("b", "text", ("b",)))
        schema = make_schema(frame, modalities, "score", "regression", {"split": "official part"})
        return Loaded(frame, {"score": schema}, split="split")
