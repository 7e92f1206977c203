"""AV-MNIST: a written digit and the spectrogram of a spoken one; which digit?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from plait.base.errors import TableError
from plait.datasets.base import Dataset, File, Loaded, modality

#: The last training rows choose, as in MultiBench.
_VALID = 5000
_WRITTEN, _HEARD = 28, 112


class AVMNIST(Dataset):
    """AV-MNIST: 28 x 28 grey digits of reduced contrast beside 112 x 112 spectrograms in noise; ten classes.

    Published layout (MultiBench): ``avmnist/image/train_data.npy`` and ``test_data.npy`` (n, 784), ``avmnist/audio/`` the same
    (n, 112, 112), ``avmnist/train_labels.npy`` and ``test_labels.npy``. 60,000 training rows, of which the last 5,000 choose, and
    10,000 test rows.

    Inputs: image = the digit; audio = the spectrogram, a picture of one channel: an encoder of images reads it (``resnet`` with
    ``channels: 1``), as in the thesis.
    """

    title = "AV-MNIST"
    url = "https://github.com/pliang279/MultiBench"
    licence = "MNIST: CC BY-SA 3.0; spoken digits: CC BY-SA 4.0"
    licence_from = (
        "https://github.com/Jakobovski/free-spoken-digit-dataset (README); of MNIST Keras, which distributes it (tensorflow.org, "
        "tf.keras.datasets.mnist.load_data); its owners' page could not be read"
    )
    citation = (
        "Vielzeuf et al. 2018, CentralNet: a Multilayer Approach for Multimodal Fusion, arXiv:1808.07275; "
        "Liang et al. 2021, MultiBench, arXiv:2107.07502"
    )
    tasks = {"digit": "classification"}
    rows = 70_000
    files = tuple(
        File(f"avmnist/{name}.npy")
        for part in ("train", "test")
        for name in (f"image/{part}_data", f"audio/{part}_data", f"{part}_labels")
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        parts = [self._part(root, part) for part in ("train", "test")]
        frame = pd.concat(parts, ignore_index=True)
        last = frame.index[frame["split"] == "train"][-min(_VALID, len(parts[0]) // 5) :]
        frame.loc[last, "split"] = "valid"
        modalities = [modality("image"), modality("audio", kind="image")]
        return self.loaded(frame, modalities, split="split")

    def _part(self, root: str | Path | None, part: str) -> pd.DataFrame:
        written = _pictures(self.file(root, "avmnist", "image", f"{part}_data.npy"), _WRITTEN)
        heard = _pictures(self.file(root, "avmnist", "audio", f"{part}_data.npy"), _HEARD)
        labels = np.load(self.file(root, "avmnist", f"{part}_labels.npy"), allow_pickle=False).ravel()
        if not len(written) == len(heard) == len(labels):
            raise TableError(
                f"AV-MNIST, {part}: {len(written)} digits, {len(heard)} spectrograms, {len(labels)} labels; not as many of each"
            )
        digit = [str(int(label)) for label in labels]
        return pd.DataFrame({"image": list(written), "audio": list(heard), "digit": digit, "split": part})


def _pictures(path: Path, size: int) -> np.ndarray:
    """Grey pictures uint8 (n, size, size)."""
    array = np.load(path, allow_pickle=False)
    if array.ndim < 2 or array[0].size != size * size:
        raise TableError(
            f"{path}: pictures of shape {array.shape[1:]}; expected {size} x {size}: is it another version?"
        )
    array = array.reshape(len(array), size, size)
    if array.dtype != np.uint8:
        array = np.round(255 * array if array.max(initial=0) <= 1 else array)
    return np.asarray(np.clip(array, 0, 255), dtype=np.uint8)
