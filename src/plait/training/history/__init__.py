"""Records of epochs as files: ``epoch_metrics.json`` and ``.csv``, TensorBoard's events, and how they are read back.

``plait.training.history.read(folder)`` is the table of a model or a study; ``docs/records.md`` says what is in it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.base.errors import ConfigError, need
from plait.base.parts import write_file
from plait.store.model_files import MANIFEST, plain_values
from plait.training.history.table import (
    BESIDE,
    PRETRAIN,
    TRAIN,
    epochs_to,
    of_record,
    parts,
    pretrain_history,
    select,
    table,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["document", "epochs_to", "read", "select", "slim", "table", "write"]

JSON, CSV, HISTORY = "epoch_metrics.json", "epoch_metrics.csv", "epochs.jsonl"
_RESULTS = "results.jsonl"


def document(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The paper's file: one entry per epoch (from 1) and member, with ``train``, ``validation`` and ``test``.

    ``stage`` is ``train``, or ``pretrain`` for an encoder alone, with its ``modality`` and ``from_store``.
    """
    result = []
    for record in history:
        of = of_record(record)
        entry: dict[str, Any] = {"epoch": int(record["epoch"]) + 1, "member": int(of["member"]), "stage": of["stage"]}
        entry |= {k: of[k] for k in ("modality", "from_store")} if of["stage"] == PRETRAIN else {}
        value = ("diverged",) if "diverged" in record else ()
        result.append(plain_values({**entry, **parts(record), **{k: record[k] for k in value}}))
    return result


def write(place: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Both files into a folder that exists, where any epoch was scored; nothing else."""
    if not any("metrics" in record for record in history):
        return
    write_file(place / JSON, json.dumps(document(history), indent=1, allow_nan=False).encode())
    write_file(place / CSV, table(history).to_csv(index=False).encode())


def slim(history: Sequence[Mapping[str, object]]) -> list[dict[str, Any]]:
    """The history without scores, as model.json and epochs.jsonl keep it; what is no number is None."""
    return [plain_values({k: v for k, v in record.items() if k != "metrics"}) for record in history]


def read(folder: str | Path) -> pd.DataFrame:
    """The long table of everything recorded in a folder.

    Returns:
        ``run`` (the folder's or the run's name), ``label`` (the folder, or a study's data set and variant), ``seed``, then
        ``stage``, ``modality`` (empty: all of them), ``from_store``, ``member``, ``epoch`` (from 1), ``part``, ``pattern`` (empty
        for losses and times), ``metric``, ``value``.

    Raises:
        ConfigError: nothing was recorded there.
    """
    import pandas as pd

    place = Path(folder)
    if not place.is_dir():
        raise ConfigError(f"{folder}: no such folder; expected a model folder or a study folder")
    result = [_one(path, about) for path, about in _places(place)]
    result = [one for one in result if one is not None and len(one)]
    if not result:
        raise ConfigError(f"{folder}: holds no record of epochs; expected a model folder or a study folder")
    return pd.concat(result, ignore_index=True)


def _places(place: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    if not (place / _RESULTS).is_file():
        yield place, {"run": place.name, "label": place.name, "seed": None}
        return
    lines = [json.loads(line) for line in (place / _RESULTS).read_text(encoding="utf-8").splitlines() if line.strip()]
    done = {line["run"]: line for line in lines if line.get("status") == "done"}
    several = len({line["dataset"] for line in done.values()}) > 1
    subsets = len({tuple(line.get("subset", ())) for line in done.values()}) > 1
    for run, line in done.items():
        words = [line["dataset"]] * several + [str(line["variant"])] + ["+".join(line["subset"])] * subsets
        yield place / "runs" / run, {"run": run, "label": " · ".join(words), "seed": line.get("seed")}


def _one(place: Path, about: Mapping[str, Any]) -> pd.DataFrame | None:
    import pandas as pd

    try:
        if (place / CSV).is_file():
            result = _filled(pd.read_csv(place / CSV, dtype={"pattern": object, "modality": object}))
        elif (place / HISTORY).is_file():
            result = table([json.loads(line) for line in (place / HISTORY).read_text(encoding="utf-8").splitlines()])
        elif (place / MANIFEST).is_file():
            setting = json.loads((place / MANIFEST).read_bytes())
            result = table([*pretrain_history(setting.get("record", {})), *setting.get("history", [])])
        else:
            return None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{place}: its record of epochs cannot be read ({error}); fit it again") from error
    for column, value in reversed(list(about.items())):
        result.insert(0, column, value)
    return result


def _filled(frame: pd.DataFrame) -> pd.DataFrame:
    """What CSV cannot say, and what files that were written before pretraining was recorded do not."""
    for place, (column, usual) in enumerate(BESIDE.items()):
        if column not in frame:
            frame.insert(place, column, usual)
    return frame.fillna({"pattern": "", "modality": ""})


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


def _name(record: Mapping[str, object]) -> str:
    of = of_record(record)
    if of["stage"] == TRAIN:
        return f"member_{of['member']}"
    return f"{of['stage']}_{of['modality']}_{of['member']}{'_from_store' if of['from_store'] else ''}"


def scalars(record: Mapping[str, object]) -> dict[str, float]:
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
