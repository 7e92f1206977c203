"""Digits seen and heard: MNIST images paired with spoken digits of the same class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from plait.datasets._base import Dataset, Loaded, make_schema
from plait.errors import ConfigError
from plait.schema import Modality

#: Hz, of the spoken digits.
RATE = 8000
_OFFICIAL_TEST = 5  # recordings 0 to 4 of each speaker and digit are the spoken digits' official test part


class AvDigits(Dataset):
    """MNIST + FSDD: an image and a sound of the same digit, drawn at random with a seed.

    The multimodal digits of the convolutional-LSTM study (Barnum, Talukder and Yue 2020). Test pairs are made from the
    official test parts of both sources alone, training pairs from their training parts; ``split`` names the part, and
    only that split is fair, since a recording serves many pairs. Cells are views of the two files' arrays: a pair costs
    next to no memory.

    Inputs: image = 28 x 28 bytes; audio = (samples, 8000 Hz). ``speaker`` is left out.

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

    def __init__(self, pairs: int = 3000, test_pairs: int = 1000, seed: int = 0) -> None:
        """Decide how many pairs to draw for training and for testing."""
        if pairs < 1 or test_pairs < 0:
            raise ConfigError(f"av_digits: expected pairs >= 1 and test_pairs >= 0, found {pairs} and {test_pairs}")
        self.pairs, self.test_pairs, self.seed = pairs, test_pairs, seed

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``mnist/mnist.npz`` and ``fsdd/fsdd.npz``, and draw the pairs."""
        with np.load(self.file(root, "mnist", "mnist.npz"), allow_pickle=False) as archive:
            images = {part: (archive[f"x_{part}"], archive[f"y_{part}"]) for part in ("train", "test")}
        with np.load(self.file(root, "fsdd", "fsdd.npz"), allow_pickle=False) as archive:
            spoken = {name: archive[name] for name in archive.files}  # once: each access decompresses again
        rng = np.random.default_rng(self.seed)
        test = spoken["index"] < _OFFICIAL_TEST
        parts = [
            self._pairs("train", self.pairs, images["train"], spoken, ~test, rng),
            self._pairs("test", self.test_pairs, images["test"], spoken, test, rng),
        ]
        frame = pd.concat([part for part in parts if len(part)], ignore_index=True)
        modalities = (Modality("image", "image", ("image",)), Modality("audio", "audio", ("audio",)))
        reasons = {"speaker": "who spoke", "split": "official part"}
        schema = make_schema(frame, modalities, "digit", "classification", reasons)
        return Loaded(frame, {"digit": schema}, split="split")

    @staticmethod
    def _pairs(
        part: str,
        count: int,
        images: tuple[np.ndarray, np.ndarray],
        spoken: Mapping[str, np.ndarray],
        usable: np.ndarray,
        rng: np.random.Generator,
    ) -> pd.DataFrame:
        """``count`` pairs of one part: no image twice while they last, each with a recording of its digit."""
        pixels, digits = images
        chosen = rng.choice(len(digits), count, replace=count > len(digits))
        rows: list[dict[str, Any]] = []
        recordings = {digit: np.flatnonzero(usable & (spoken["digit"] == digit)) for digit in range(10)}
        for i in chosen:
            r = rng.choice(recordings[int(digits[i])])
            sound = spoken["wave"][spoken["offset"][r] : spoken["offset"][r + 1]]
            rows.append(
                {
                    "image": pixels[i],
                    "audio": (sound, RATE),
                    "speaker": spoken["speaker"][r],
                    "digit": str(digits[i]),
                    "split": part,
                }
            )
        return pd.DataFrame(rows)
