"""Event files for TensorBoard, written while a model is trained."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plait.base.errors import ConfigError, need
from plait.training.history.stages import TRAIN, of_record
from plait.training.history.table import parts


class Events:
    """A folder of event files, one subfolder per training; ``tensorboard --logdir FOLDER`` shows them side by side.

    They are called ``member_0``, ``pretrain_image_0`` (the encoder of ``image`` alone, for member 0) and, where that was trained
    in another run, ``pretrain_image_0_from_store``.
    """

    def __init__(self, folder: str | Path) -> None:
        """``folder`` may exist; a fit that is resumed adds to it."""
        self.folder = Path(folder)
        self._writers: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._package = need("tensorboardX", "tensorboard")
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"tensorboard: {folder} is not a folder; name another place")

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Write the record of an epoch; from any thread."""
        with self._lock:
            writer = self._writer(_name(record))
            for tag, value in scalars(record).items():
                writer.add_scalar(tag, value, int(record["epoch"]) + 1)
            writer.flush()

    def _writer(self, name: str) -> Any:
        if name not in self._writers:
            self._writers[name] = self._package.SummaryWriter(str(self.folder / name))
        return self._writers[name]

    def close(self) -> None:
        """Finish the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def _name(record: Mapping[str, Any]) -> str:
    of = of_record(record)
    if of["stage"] == TRAIN:
        return f"member_{of['member']}"
    return f"{of['stage']}_{of['modality']}_{of['member']}{'_from_store' if of['from_store'] else ''}"


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Tag -> value of one epoch: ``loss/train``, ``f1_macro/validation/IT``, ``seconds/train``.

    Example:
        >>> scalars({"epoch": 0, "train_loss": 0.5, "metrics": {"train": {"IT": {"accuracy": 0.9}}}})
        {'loss/train': 0.5, 'accuracy/train/IT': 0.9}
    """
    result: dict[str, float] = {}
    for part, setting in parts(record).items():
        for key, value in setting.items():
            if key == "timing":
                result |= {f"seconds/{part}": value["total_time"]} if value else {}
            elif isinstance(value, Mapping):
                result |= {f"{name}/{part}/{key}": score for name, score in value.items()}
            elif value is not None:
                result[f"{key}/{part}"] = value
    return result
