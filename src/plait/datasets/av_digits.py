"""Digits seen and heard: MNIST images paired with spoken digits of the same class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from plait.base.checks import Count, Natural, Seed
from plait.base.errors import ConfigError, TableError
from plait.datasets.base import Dataset, File, Loaded, modality
from plait.datasets.digits import RATE, Spoken, Written, spoken, written

_OFFICIAL_TEST = 5  # recordings 0 to 4 of each speaker and digit are the spoken digits' official test part
PARTS = ("train", "valid", "test")
WAYS = ("official", "pooled", "speaker")
#: Shares of training, validation and test where a source is split here (the paper's, section A.3).
_SHARES = (0.8, 0.1, 0.1)

_RELEASE, _NEW = "1.0.10", "lucas"  # whose recordings came with it
_KERAS = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"  # the same digits, packed otherwise


class AvDigits(Dataset):
    """MNIST + FSDD: an image and a sound of the same digit, drawn at random with a seed.

    The multimodal digits of the convolutional-LSTM study (Barnum, Talukder and Yue 2020). Images and recordings are put into
    parts first and paired within a part, so that none is in two parts; ``split`` names the part, and only that split is fair,
    since a recording serves many pairs. Cells are views of the two files' arrays: a pair costs next to no memory.

    ``parts`` says how: ``official`` keeps the official test parts of both sources for testing; ``pooled`` pools all images and
    all recordings and splits each 8:1:1 (the paper, which thereby tests on speakers and writers it trained on); ``speaker``
    is ``official`` for the images and keeps one of the six speakers for testing and one for validation.

    ``release`` 1.0.9 of the spoken digits leaves out the speaker who came with 1.0.10: 2,500 recordings of five, which is what
    the paper's numbers of pairs come from.

    Published layout: MNIST's four idx files below ``mnist/`` or ``mnist.npz``; below ``fsdd/`` the folder ``recordings``, a
    release as GitHub packs it, or ``fsdd.npz``.

    Inputs: image = 28 x 28 bytes; audio = (samples, 8000 Hz). ``speaker`` and ``recording`` are left out; pairs of one
    recording are one group, so that what is held out in training has not been heard.
    """

    title = "MNIST + FSDD"
    url = "http://yann.lecun.com/exdb/mnist/ and https://github.com/Jakobovski/free-spoken-digit-dataset"
    licence = "MNIST: CC BY-SA 3.0, FSDD: CC BY-SA 4.0"
    licence_from = (
        "https://github.com/Jakobovski/free-spoken-digit-dataset (README); of MNIST Keras, which distributes it (tensorflow.org, "
        "tf.keras.datasets.mnist.load_data); its owners' page could not be read"
    )
    citation = (
        "LeCun et al. 2010, MNIST; Jackson et al. 2018, Free Spoken Digit Dataset; "
        "Barnum et al. 2020, On the Benefits of Early Fusion in Multimodal Representation Learning, arXiv:2011.07191"
    )
    tasks = {"digit": "classification"}
    files = (
        File(
            "mnist/mnist.npz",
            f"c3b4aadaefe08c5229d60a6d5e39187df38c4f0952536322357dcf401a6a3008 {_KERAS}",
            url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
            instead=(File("mnist/train-images-idx3-ubyte"), File("mnist/train-images-idx3-ubyte.gz")),
        ),
        File(
            f"fsdd/free-spoken-digit-dataset-{_RELEASE}.zip",
            url=f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v{_RELEASE}.zip",
            instead=(
                File("fsdd/fsdd.npz", "ffd61a50c758319b0f75752a0abe0ea8b44bc32816a4196dcd138c96e50a9947", 15_429_026),
                File("fsdd/recordings"),
            ),
        ),
    )
    resplit = False

    def __init__(
        self,
        pairs: Count = 3000,
        test_pairs: Natural = 1000,
        seed: Seed = 0,
        *,
        valid_pairs: Natural = 0,
        parts: Literal["official", "pooled", "speaker"] = "official",
        release: Literal["1.0.9", "1.0.10"] = "1.0.10",
    ) -> None:
        self.counts = {"train": pairs, "valid": valid_pairs, "test": test_pairs}
        self.seed, self.parts, self.release = seed, parts, release

    def load(self, root: str | Path | None = None) -> Loaded:
        seen, heard = written(self.folder(root, "mnist")), spoken(self.folder(root, "fsdd"))
        rng = np.random.default_rng(self.seed)
        parts = self.split(seen, heard)
        rows: list[dict[str, Any]] = []
        for part in ("train", "test", "valid"):  # validation last: what it draws must not change the other two
            i, r = (np.flatnonzero(of == part) for of in parts)
            if not self.counts[part]:
                continue
            drawn = self._drawn(seen.digits[i], heard.digit[r], self.counts[part], rng)
            rows += [self._pair(seen, heard, i[a], r[b], part) for a, b in zip(*drawn, strict=True)]
        frame = pd.DataFrame(rows)
        reasons = {"speaker": "who spoke", "recording": "which recording: it names the digit", "split": "part"}
        modalities = [modality("image"), modality("audio")]
        return self.loaded(frame, modalities, reasons, split="split", groups="recording")

    def split(self, seen: Written, heard: Spoken) -> tuple[np.ndarray, np.ndarray]:
        """The part of every image and of every recording; none of those that the release does not have."""
        here = (heard.speaker != _NEW) | (self.release == _RELEASE)
        images, sounds = self._of(seen.official, heard, here)
        return images, np.where(here, sounds, "")

    def _of(self, official: np.ndarray, heard: Spoken, here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.seed, WAYS.index(self.parts)])  # apart from what draws the pairs
        sounds = np.full(len(here), "", "<U5")
        if self.parts == "pooled":
            images = _shuffled(np.zeros(len(official), bool), rng)
            sounds[here] = _shuffled(np.zeros(int(here.sum()), bool), rng)
        elif self.parts == "speaker":
            names = rng.permutation(np.unique(heard.speaker[here]))
            sounds = np.select([heard.speaker == names[0], heard.speaker == names[1]], ["test", "valid"], "train")
            images = self._trimmed(official, rng)
        else:
            images = self._trimmed(official, rng)
            sounds[here] = self._trimmed(heard.index[here] < _OFFICIAL_TEST, rng)
        return images, sounds

    def _trimmed(self, test: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The official parts; where validation pairs are asked for, a ninth of the training part is for them."""
        return _shuffled(test, rng) if self.counts["valid"] else np.where(test, "test", "train")

    def _drawn(
        self, seen: np.ndarray, heard: np.ndarray, count: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places of ``count`` pairs; of the official parts no image twice while they last, else all pairs equally likely."""
        if self.parts != "official":
            return Pairs(seen, heard).draw(count, rng)
        chosen = rng.choice(len(seen), count, replace=count > len(seen))
        recordings = {digit: np.flatnonzero(heard == digit) for digit in range(10)}
        return chosen, np.array([rng.choice(recordings[int(seen[i])]) for i in chosen], np.int64)

    @staticmethod
    def _pair(seen: Written, heard: Spoken, i: int, r: int, part: str) -> dict[str, object]:
        return {
            "image": seen.images[i],
            "audio": (heard.sound(r), RATE),
            "speaker": heard.speaker[r],
            "recording": f"{heard.digit[r]}_{heard.speaker[r]}_{heard.index[r]}",
            "digit": str(seen.digits[i]),
            "split": part,
        }


def _shuffled(test: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Names of parts (n,): 8:1:1 at random, or, beside what is in ``test``, 8:1."""
    shares = np.array(_SHARES[:2] if test.any() else _SHARES)
    rest = rng.permutation(np.flatnonzero(~test))
    ends = np.round(np.cumsum(shares) / shares.sum() * len(rest)).astype(int)
    result = np.where(test, "test", "train").astype("<U5")
    for name, places in zip(PARTS, np.split(rest, ends[:-1]), strict=False):
        result[places] = name
    return result


class Pairs:
    """All pairs of a row of one set and a row of another that have equal labels, numbered and never listed.

    Two sets of 60,000 and 3,000 rows have eighteen million such pairs; they take the memory of the two sets' row numbers.

    Example:
        >>> pairs = Pairs(["a", "b", "b"], ["b", "c", "b"])
        >>> len(pairs), [pairs[i] for i in range(4)]
        (4, [(1, 0), (1, 2), (2, 0), (2, 2)])
    """

    def __init__(self, left: Sequence[Any] | np.ndarray, right: Sequence[Any] | np.ndarray) -> None:
        """Match the labels of two sets; rows without a label (None, NaN) and labels that only one set has are left out."""
        known = [_rows_by_label(labels) for labels in (left, right)]
        self.labels = sorted(known[0].keys() & known[1].keys(), key=str)
        if not self.labels:
            raise TableError(f"no label is in both sets: one has {_shown(known[0])}, the other {_shown(known[1])}")
        self._left = [known[0][label] for label in self.labels]
        self._right = [known[1][label] for label in self.labels]
        sizes = [len(a) * len(b) for a, b in zip(self._left, self._right, strict=True)]
        self._ends = np.cumsum(sizes)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> tuple[int, int]:
        if not -len(self) <= number < len(self):
            raise IndexError(f"pair {number} of {len(self)}")
        left, right = self.at(np.array([number % len(self)]))
        return int(left[0]), int(right[0])

    def at(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows in the first and in the second set of the pairs with these numbers (n,)."""
        block = np.searchsorted(self._ends, numbers, side="right")
        left, right = np.empty(len(numbers), np.int64), np.empty(len(numbers), np.int64)
        for label in np.unique(block):
            here = block == label
            first = self._ends[label - 1] if label else 0
            place, partner = np.divmod(numbers[here] - first, len(self._right[label]))
            left[here], right[here] = self._left[label][place], self._right[label][partner]
        return left, right

    def draw(self, count: int, seed: int | np.random.Generator = 0) -> tuple[np.ndarray, np.ndarray]:
        """``count`` different pairs at random, each equally likely, in random order."""
        if not 0 <= count <= len(self):
            raise ConfigError(f"{count:,} pairs asked for; expected 0 to the {len(self):,} that there are")
        return self.at(np.random.default_rng(seed).choice(len(self), count, replace=False))


def paired(
    left: pd.DataFrame, right: pd.DataFrame, on: str | tuple[str, str], count: int, seed: int = 0
) -> pd.DataFrame:
    """A table of ``count`` pairs: the columns of both, the label once, under its name in ``left``.

    Split both sets first and pair each part with its like (``plait.data.table.split``): a row serves many pairs, so that a table
    that is split after pairing has the same pictures and sounds on both sides.

    Args:
        left: one labelled set.
        right: the other; media cells are shared by all rows that hold them, not copied.
        on: the column of labels, or its names in both; labels are compared as text.
        count: pairs.
        seed: of what is drawn.

    Raises:
        TableError: no column of labels, columns of one name in both, or no label in both.
        ConfigError: more pairs are asked for than there are.

    Example:
        >>> seen = pd.DataFrame({"image": ["cat.png", "dog.png"], "label": ["cat", "dog"]})
        >>> heard = pd.DataFrame({"audio": ["bark.ogg", "rain.ogg"], "label": ["dog", "rain"]})
        >>> paired(seen, heard, "label", 1).to_dict("records")
        [{'image': 'dog.png', 'label': 'dog', 'audio': 'bark.ogg'}]
    """
    names = (on, on) if isinstance(on, str) else on
    for frame, name in zip((left, right), names, strict=True):
        if name not in frame.columns:
            there = ", ".join(map(str, frame.columns))
            raise TableError(f"the table has no column '{name}' of labels; it has: {there}")
    others = right.drop(columns=names[1])
    twice = [str(column) for column in others.columns if column in left.columns]
    if twice:
        raise TableError(f"both tables have a column {', '.join(twice)}; rename it in one")
    labels = [frame[name].astype("string").to_numpy(object) for frame, name in zip((left, right), names, strict=True)]
    a, b = Pairs(*labels).draw(count, seed)
    first, second = left.iloc[a].reset_index(drop=True), others.iloc[b].reset_index(drop=True)
    return pd.concat([first, second], axis=1)


def _rows_by_label(labels: Sequence[object] | np.ndarray) -> dict[object, np.ndarray]:
    """Label -> its rows, in order."""
    result = pd.Series(np.asarray(labels)).groupby(np.asarray(labels), sort=False).indices
    return {label: np.sort(np.asarray(rows)) for label, rows in result.items()}


def _shown(rows: dict[Any, np.ndarray]) -> str:
    """The first labels, as one would write them."""
    plain = [label.item() if isinstance(label, np.generic) else label for label in list(rows)[:3]]
    return ", ".join(map(repr, plain)) + (", ..." if len(rows) > 3 else "") if plain else "none"
