"""Digits seen and heard: MNIST images paired with spoken digits of the same class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from plait.checks import Count, Natural, Seed
from plait.datasets._base import Dataset, Loaded, make_schema
from plait.datasets._paired import Pairs
from plait.schema import Modality

#: Hz, of the spoken digits.
RATE = 8000
_OFFICIAL_TEST = 5  # recordings 0 to 4 of each speaker and digit are the spoken digits' official test part
PARTS = ("train", "valid", "test")
WAYS = ("official", "pooled", "speaker")
#: Shares of training, validation and test where a source is split here (the paper's, section A.3).
_SHARES = (0.8, 0.1, 0.1)


class AvDigits(Dataset):
    """MNIST + FSDD: an image and a sound of the same digit, drawn at random with a seed.

    The multimodal digits of the convolutional-LSTM study (Barnum, Talukder and Yue 2020). Images and recordings are put into
    parts first and paired within a part, so that none is in two parts; ``split`` names the part, and only that split is fair,
    since a recording serves many pairs. Cells are views of the two files' arrays: a pair costs next to no memory.

    ``parts`` says how: ``official`` keeps the official test parts of both sources for testing; ``pooled`` pools all images and
    all recordings and splits each 8:1:1 (the paper, which thereby tests on speakers and writers it trained on); ``speaker``
    is ``official`` for the images and keeps one of the six speakers for testing and one for validation.

    Inputs: image = 28 x 28 bytes; audio = (samples, 8000 Hz). ``speaker`` and ``recording`` are left out; pairs of one
    recording are one group, so that what is held out in training has not been heard.

    Licence: MNIST by LeCun, Cortes and Burges (copy with an MIT repository); Free Spoken Digit Dataset CC BY-SA 4.0.
    """

    title: ClassVar[str] = "MNIST + FSDD"
    url: ClassVar[str] = "http://yann.lecun.com/exdb/mnist/ and https://github.com/Jakobovski/free-spoken-digit-dataset"
    licence: ClassVar[str] = "MNIST: MIT copy; FSDD: CC BY-SA 4.0"
    citation: ClassVar[str] = (
        "LeCun et al. 2010, MNIST; Jackson et al. 2018, Free Spoken Digit Dataset; "
        "Barnum et al. 2020, On the Benefits of Early Fusion in Multimodal Representation Learning, arXiv:2011.07191"
    )
    tasks: ClassVar[Mapping[str, str]] = {"digit": "classification"}
    metrics: ClassVar[Mapping[str, str]] = {"digit": "accuracy"}
    resplit: ClassVar[bool] = False

    def __init__(
        self,
        pairs: Count = 3000,
        test_pairs: Natural = 1000,
        seed: Seed = 0,
        *,
        valid_pairs: Natural = 0,
        parts: Literal["official", "pooled", "speaker"] = "official",
    ) -> None:
        """Decide how many pairs to draw for training, testing and validation, and from which parts."""
        self.counts = {"train": pairs, "valid": valid_pairs, "test": test_pairs}
        self.seed, self.parts = seed, parts

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``mnist/mnist.npz`` and ``fsdd/fsdd.npz``, and draw the pairs."""
        images, digits, official = self._images(root)
        with np.load(self.file(root, "fsdd", "fsdd.npz"), allow_pickle=False) as archive:
            spoken = {name: archive[name] for name in archive.files}  # once: each access decompresses again
        rng = np.random.default_rng(self.seed)
        seen, heard = self._parts(official, spoken)
        rows: list[dict[str, Any]] = []
        for part in ("train", "test", "valid"):  # validation last: what it draws must not change the other two
            i, r = np.flatnonzero(seen == part), np.flatnonzero(heard == part)
            drawn = self._drawn(digits[i], spoken["digit"][r], self.counts[part], rng)
            rows += [self._pair(images, digits, spoken, i[a], r[b], part) for a, b in zip(*drawn, strict=True)]
        frame = pd.DataFrame(rows)
        modalities = (Modality("image", "image", ("image",)), Modality("audio", "audio", ("audio",)))
        reasons = {"speaker": "who spoke", "recording": "which recording: it names the digit", "split": "part"}
        schema = make_schema(frame, modalities, "digit", "classification", reasons)
        return Loaded(frame, {"digit": schema}, split="split", groups="recording")

    def _images(self, root: str | Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All images, their digits, and whether they are of the official test part."""
        with np.load(self.file(root, "mnist", "mnist.npz"), allow_pickle=False) as archive:
            x = [archive["x_train"], archive["x_test"]]
            y = [archive["y_train"], archive["y_test"]]
        return np.concatenate(x), np.concatenate(y), np.repeat([False, True], [len(y[0]), len(y[1])])

    def _parts(self, official: np.ndarray, spoken: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The part of every image and of every recording."""
        rng = np.random.default_rng([self.seed, WAYS.index(self.parts)])  # apart from what draws the pairs
        if self.parts == "pooled":
            return _shuffled(np.zeros(len(official), bool), rng), _shuffled(np.zeros(len(spoken["digit"]), bool), rng)
        test = spoken["index"] < _OFFICIAL_TEST
        if self.parts == "speaker":
            names = rng.permutation(np.unique(spoken["speaker"]))
            heard = np.select(
                [spoken["speaker"] == names[0], spoken["speaker"] == names[1]], ["test", "valid"], "train"
            )
            return self._trimmed(official, rng), heard
        return self._trimmed(official, rng), self._trimmed(test, rng)

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
    def _pair(
        images: np.ndarray, digits: np.ndarray, spoken: Mapping[str, np.ndarray], i: int, r: int, part: str
    ) -> dict[str, Any]:
        sound = spoken["wave"][spoken["offset"][r] : spoken["offset"][r + 1]]
        return {
            "image": images[i],
            "audio": (sound, RATE),
            "speaker": spoken["speaker"][r],
            "recording": f"{spoken['digit'][r]}_{spoken['speaker'][r]}_{spoken['index'][r]}",
            "digit": str(digits[i]),
            "split": part,
        }


def _shuffled(test: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Names of parts (n,): 8:1:1 at random, or, beside what is in ``test``, 8:1."""
    shares = np.array(_SHARES[:2] if test.any() else _SHARES)
    rest = rng.permutation(np.flatnonzero(~test))
    ends = np.round(np.cumsum(shares) / shares.sum() * len(rest)).astype(int)
    found = np.where(test, "test", "train").astype("<U5")
    for name, places in zip(PARTS, np.split(rest, ends[:-1]), strict=False):
        found[places] = name
    return found
