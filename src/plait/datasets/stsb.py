"""STS benchmark: two sentences; how near are their meanings?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pandas as pd

from plait.data.modality import Modality
from plait.datasets.base import Dataset, File, Loaded, make_schema


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
    files: ClassVar[tuple[File, ...]] = (
        File(
            "textpairs/stsb_train.csv", ("e1e84fec60bbb598735552f54a35f4949904a484750fd2cb11e2720e49f63da6",), 708_863
        ),
        File("textpairs/stsb_dev.csv", ("d29586e96558c4eb52cf5ea5d14e9c24d3bf0e44f111b017caba43a5adc33226",), 204_675),
        File("textpairs/stsb_test.csv", ("11523b625219e94e9ca05d2816b5f02cac1614c5894fe657376fa0806378d053",), 158_891),
    )

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
