"""Quora question pairs: do two questions ask the same?"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pandas as pd

from plait.base.errors import TableError
from plait.data.modality import Modality
from plait.datasets.base import Dataset, File, Loaded, make_schema

_COLUMNS = {"question1": "a", "question2": "b", "is_duplicate": "paraphrase"}


class Qqp(Dataset):
    """QQP: two questions, each a text modality; duplicates or not.

    As in GLUE, ``split`` is its training part (363,846) and, as ``test``, its development part (40,430; 36.8 % duplicates): the
    labels of the test part were never published.

    Licence: Quora's terms of service (non-commercial).
    """

    title: ClassVar[str] = "QQP"
    url: ClassVar[str] = "https://gluebenchmark.com/tasks"
    licence: ClassVar[str] = "Quora terms (non-commercial)"
    licence_sought: ClassVar[str] = (
        "quoradata.quora.com and gluebenchmark.com, which could not be read; those who pass it on name Quora's terms of service, "
        "for non-commercial use"
    )
    citation: ClassVar[str] = (
        "Iyer, Dandekar and Csernai 2017, First Quora Dataset Release: Question Pairs; in Wang et al. 2019, GLUE"
    )
    tasks: ClassVar[Mapping[str, str]] = {"paraphrase": "classification"}
    metrics: ClassVar[Mapping[str, str]] = {"paraphrase": "accuracy"}
    resplit: ClassVar[bool] = False
    files: ClassVar[tuple[File, ...]] = (
        File("qqp/QQP-clean.zip", url="https://dl.fbaipublicfiles.com/glue/data/QQP-clean.zip"),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``train.tsv`` and ``dev.tsv`` of ``qqp/QQP-clean.zip``; quotes mean nothing."""
        path = self.file(root, "qqp", "QQP-clean.zip")
        parts = []
        try:
            with zipfile.ZipFile(path) as archive:
                for file, part in (("train", "train"), ("dev", "test")):
                    text = io.StringIO(archive.read(f"QQP/{file}.tsv").decode())
                    parts.append(pd.read_csv(text, sep="\t", quoting=csv.QUOTE_NONE).assign(split=part))
        except (zipfile.BadZipFile, KeyError, pd.errors.ParserError) as error:
            raise TableError(f"{path}: not GLUE's QQP-clean.zip ({error}); fetch it again") from error
        frame = pd.concat(parts, ignore_index=True)
        gone = [name for name in _COLUMNS if name not in frame.columns]
        if gone:
            raise TableError(f"{path}: no column {', '.join(gone)}; it is of another layout")
        frame = frame.rename(columns=_COLUMNS)[["a", "b", "paraphrase", "split"]]
        frame = frame.dropna().reset_index(drop=True)
        frame["paraphrase"] = frame["paraphrase"].map({1: "yes", 0: "no"})
        modalities = (Modality("a", "text", ("a",)), Modality("b", "text", ("b",)))
        schema = make_schema(frame, modalities, "paraphrase", "classification", {"split": "official part"})
        return Loaded(frame, {"paraphrase": schema}, split="split")
