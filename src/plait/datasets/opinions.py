"""What MOSI and MOSEI share: computational sequences, utterances cut out of them, and their targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from plait.base.documents import read_json
from plait.base.errors import TableError, need
from plait.datasets.base import Dataset, Loaded, modality

#: What stands for a pause among the words.
PAUSE = "sp"


@contextmanager
def sequences(path: Path) -> Iterator[Mapping[str, Any]]:
    """Segment -> ``features`` (T, D) and ``intervals`` (T, 2) of a file, while it is open (extra ``hdf5``)."""
    with need("h5py", "hdf5").File(path, "r") as file:
        groups = [group for group in file.values() if "data" in group]
        if not groups:
            raise TableError(
                f"{path}: holds {', '.join(file) or 'nothing'}, no group with data; expected a .csd of the CMU SDK"
            )
        yield groups[0]["data"]


def labels(path: Path) -> dict[str, list[tuple[float, float, float]]]:
    """Video -> (start, end, first number of its label) of each segment, in order."""
    result = {}
    with sequences(path) as data:
        for video in data:
            numbers, spans = np.asarray(data[video]["features"]), np.asarray(data[video]["intervals"])
            result[str(video)] = [(float(a), float(b), float(n[0])) for (a, b), n in zip(spans, numbers, strict=True)]
    return result


def within(data: Mapping[str, Any], video: str, start: float, end: float) -> np.ndarray:
    """The steps (T, D) of a video whose middle lies within a span; none where it is not there."""
    if video not in data:
        return np.zeros((0, 0), np.float32)
    spans = np.asarray(data[video]["intervals"], float).mean(1)
    return np.asarray(np.asarray(data[video]["features"])[(spans >= start) & (spans < end)])


def words(steps: np.ndarray) -> str | None:
    """The words of a span as a text, without pauses.

    Example:
        >>> words(np.array([[b"a"], [b"sp"], [b"film"]]))
        'a film'
    """
    texts = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in np.ravel(steps)]
    return " ".join(text for text in texts if text and text != PAUSE) or None


def numbers(steps: np.ndarray, most: int = 256) -> np.ndarray | None:
    """A sequence of finite numbers (T, D), at most so many steps, evenly spaced; None where there is none."""
    if not steps.size:
        return None
    kept = np.nan_to_num(steps.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(kept[np.linspace(0, len(kept) - 1, min(most, len(kept))).round().astype(int)])


def polarity(score: float) -> str | None:
    """Positive or negative; None at exactly 0."""
    return None if score == 0 else "positive" if score > 0 else "negative"


def targets(score: pd.Series[float]) -> dict[str, pd.Series[Any]]:
    """A score from -3 to 3 as two, three and seven classes.

    Example:
        >>> {k: v.tolist() for k, v in targets(pd.Series([0.0, -2.5])).items()}
        {'binary': [None, 'negative'], 'three': ['neutral', 'negative'], 'seven': ['+0', '-3']}
    """
    rounded = pd.Series(np.sign(score) * np.floor(score.abs() + 0.5), index=score.index)
    return {
        "binary": pd.Series([polarity(one) for one in score], index=score.index, dtype=object),
        "three": score.map(lambda one: polarity(one) or "neutral"),
        "seven": rounded.astype(int).map("{:+d}".format),
    }


def read(files: Mapping[str, Path], folds: Path) -> pd.DataFrame:
    """One row per utterance of ``files["labels"]`` whose video is in a fold."""
    parts = read_json(folds.read_bytes())
    if not isinstance(parts, dict) or not {"train", "valid", "test"} <= set(parts):
        raise TableError(f"{folds}: expected {{train, valid, test: videos}}")
    part_of = {str(video): part for part in ("train", "valid", "test") for video in parts[part]}
    rows = []
    with sequences(files["words"]) as said, sequences(files["audio"]) as sound, sequences(files["video"]) as face:
        for video, spans in labels(files["labels"]).items():
            for place, (start, end, score) in enumerate(spans if video in part_of else ()):
                row = {"id": f"{video}[{place}]", "video_id": video, "split": part_of[video], "score": score}
                heard, seen = (numbers(within(data, video, start, end)) for data in (sound, face))
                rows.append(row | {"text": words(within(said, video, start, end)), "audio": heard, "video": seen})
    if not rows:
        raise TableError(f"{files['labels']}: no video of {folds} has a label; are they of one data set?")
    frame = pd.DataFrame(rows)
    return frame.assign(**targets(frame["score"]))


class Opinions(Dataset):
    """How positive an utterance is: ``binary``, ``three`` or ``seven`` classes, or the ``score`` from -3 to 3."""

    licence = "as is; its user answers for the use and for the rights of those filmed"
    licence_from = "https://github.com/A2Zadeh/CMU-MultimodalSDK (LICENSE.txt; MIT for the software)"
    tasks = {**dict.fromkeys(("binary", "three", "seven"), "classification"), "score": "regression"}


class Sequenced(Opinions):
    """The same as the CMU Multimodal SDK publishes it: four files of sequences, and the folds.

    Attributes:
        sequences: what a file holds (``labels``, ``words``, ``audio``, ``video``) -> its name.
    """

    sequences: ClassVar[Mapping[str, str]]

    def load(self, root: str | Path | None = None) -> Loaded:
        folder = self.name()
        files = {what: self.file(root, folder, file) for what, file in self.sequences.items()}
        frame = read(files, self.file(root, folder, "folds.json"))
        reasons = dict.fromkeys(self.tasks, "the same label in another form")
        reasons |= dict.fromkeys(("id", "video_id"), "identifier")
        modalities = [modality("text"), modality("audio", kind="vector"), modality("video", kind="vector")]
        return self.loaded(frame, modalities, reasons, split="split", groups="video_id")
