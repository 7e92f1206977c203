"""Microsoft paraphrase corpus: do two news sentences say the same?"""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from plait.datasets.base import TEXTS, Dataset, File, Loaded

_COLUMNS = {"#1 String": "a", "#2 String": "b", "#1 ID": "id_a", "#2 ID": "id_b"}

#: The original files, under other names.
_SENTEVAL = "https://dl.fbaipublicfiles.com/senteval/senteval_data"


class Mrpc(Dataset):
    """MRPC: two sentences, each a text modality; paraphrase or not.

    ``split`` is the official one (4,076 / 1,725).
    """

    title = "MRPC"
    url = "https://www.microsoft.com/en-us/download/details.aspx?id=52398"
    licence = "Microsoft Research terms"
    licence_from = "LICENSE.txt of STSbenchmark, of its source MSRpar"
    citation = "Dolan and Brockett 2005, Automatically Constructing a Corpus of Sentential Paraphrases, IWP"
    tasks = {"paraphrase": "classification"}
    files = (
        File(
            "textpairs/mrpc_train.tsv",
            "793daf7b6224281e75fe61c1f80afe35 61a88818ec384d8465297dda1883b469f1b22d442ab90183d13e06233b180591",
            url=f"{_SENTEVAL}/msr_paraphrase_train.txt",
        ),
        File(
            "textpairs/mrpc_test.tsv",
            "e437fdddb92535b820fe8852e2df8a49 0360d0d3427a0ae14882e2b3a799df0fab6cb5203d5e8ee481949283da62acb6",
            url=f"{_SENTEVAL}/msr_paraphrase_test.txt",
        ),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``textpairs/mrpc_train.tsv`` and ``mrpc_test.tsv``: a byte-order mark in front, quotes mean nothing."""
        parts = []
        for part in ("train", "test"):
            path = self.file(root, "textpairs", f"mrpc_{part}.tsv")
            table = pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, encoding="utf-8-sig")
            parts.append(table.rename(columns=_COLUMNS).assign(split=part))
        frame = pd.concat(parts, ignore_index=True)
        frame["paraphrase"] = frame.pop("Quality").map({1: "yes", 0: "no"})
        reasons = {"id_a": "identifier", "id_b": "identifier"}
        return self.loaded(frame, TEXTS, reasons, split="split")
