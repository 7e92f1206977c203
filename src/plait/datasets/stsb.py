"""STS benchmark: two sentences; how near are their meanings?"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from plait.base.errors import TableError
from plait.datasets.base import TEXTS, Dataset, File, Loaded

_NAMES = ["a", "b", "score"]


class Stsb(Dataset):
    """STS-B: two sentences, each a text modality; similarity from 0 to 5.

    ``split`` is the official one (5,749 / 1,500 / 1,379).

    Licence: CC BY-SA 4.0 for the scores; sentences from news, captions and forums under their own terms.
    """

    title = "STS-B"
    url = "https://ixa2.si.ehu.eus/stswiki/index.php/STSbenchmark"
    licence = "CC BY-SA 4.0 (scores)"
    licence_from = "LICENSE.txt of STSbenchmark (scores; each source of sentences has its own)"
    citation = "Cer et al. 2017, SemEval-2017 Task 1: Semantic Textual Similarity, arXiv:1708.00055"
    tasks = {"score": "regression"}
    files = (
        File("textpairs/stsb_train.csv", "e1e84fec60bbb598735552f54a35f4949904a484750fd2cb11e2720e49f63da6", 708_863),
        File("textpairs/stsb_dev.csv", "d29586e96558c4eb52cf5ea5d14e9c24d3bf0e44f111b017caba43a5adc33226", 204_675),
        File("textpairs/stsb_test.csv", "11523b625219e94e9ca05d2816b5f02cac1614c5894fe657376fa0806378d053", 158_891),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``textpairs/stsb_train.csv``, ``stsb_dev.csv`` and ``stsb_test.csv`` (no header).

        The published ``stsbenchmark/sts-train.csv``, ``sts-dev.csv`` and ``sts-test.csv`` where they are there: between tabs, the
        score and both sentences in columns 5 to 7, quotes mean nothing.
        """
        parts = []
        for file, part in (("train", "train"), ("dev", "valid"), ("test", "test")):
            base = root if root is not None else os.environ.get("PLAIT_DATA", "")
            if (Path(base).expanduser() / "stsbenchmark" / f"sts-{file}.csv").is_file():
                table = _published(self.file(root, "stsbenchmark", f"sts-{file}.csv"))
            else:
                table = pd.read_csv(self.file(root, "textpairs", f"stsb_{file}.csv"), header=None, names=_NAMES)
                table = table.astype({_NAMES[-1]: float}).dropna(subset=_NAMES[-1:])
            parts.append(table.assign(split=part))
        frame = pd.concat(parts, ignore_index=True)
        return self.loaded(frame, TEXTS, split="split")


def _published(path: Path) -> pd.DataFrame:
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line]
    wrong = next((number for number, line in enumerate(lines, 1) if len(line) < 7), None)
    if wrong is not None:
        raise TableError(f"{path}, line {wrong}: {len(lines[wrong - 1])} columns, expected 7 or more, between tabs")
    return pd.DataFrame([(line[5], line[6], float(line[4])) for line in lines], columns=_NAMES)
