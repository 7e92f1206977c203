"""Quora question pairs: do two questions ask the same?"""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pandas as pd

from plait.datasets.base import TEXTS, Dataset, File, Loaded

_COLUMNS = {"question1": "a", "question2": "b", "is_duplicate": "paraphrase"}


class Qqp(Dataset):
    """QQP: two questions, each a text modality; duplicates or not.

    As in GLUE, ``split`` is its training part (363,846) and, as ``test``, its development part (40,430; 36.8 % duplicates): the
    labels of the test part were never published.
    """

    title = "QQP"
    url = "https://gluebenchmark.com/tasks"
    licence = "Quora terms (non-commercial)"
    licence_sought = (
        "quoradata.quora.com and gluebenchmark.com, which could not be read; those who pass it on name Quora's terms of service, "
        "for non-commercial use"
    )
    citation = "Iyer, Dandekar and Csernai 2017, First Quora Dataset Release: Question Pairs; in Wang et al. 2019, GLUE"
    tasks = {"paraphrase": "classification"}
    resplit = False
    files = (File("qqp/QQP-clean.zip", url="https://dl.fbaipublicfiles.com/glue/data/QQP-clean.zip"),)

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``train.tsv`` and ``dev.tsv`` of ``qqp/QQP-clean.zip``; quotes mean nothing."""
        path = self.file(root, "qqp", "QQP-clean.zip")
        parts = []
        with zipfile.ZipFile(path) as archive:
            for file, part in (("train", "train"), ("dev", "test")):
                text = io.StringIO(archive.read(f"QQP/{file}.tsv").decode())
                parts.append(pd.read_csv(text, sep="\t", quoting=csv.QUOTE_NONE).assign(split=part))
        frame = pd.concat(parts).rename(columns=_COLUMNS)[["a", "b", "paraphrase", "split"]]
        frame = frame.dropna().reset_index(drop=True)
        frame["paraphrase"] = frame["paraphrase"].map({1: "yes", 0: "no"})
        return self.loaded(frame, TEXTS, split="split")
