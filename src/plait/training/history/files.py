"""``epoch_metrics.json`` in the shape of the paper, the same as ``epoch_metrics.csv``, and reading them back.

Source: Late fusion with pretrained encoders, appendix 1 (full example of epoch_metrics.json).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.base.errors import ConfigError
from plait.base.folders import write_file
from plait.store.model_files import MANIFEST
from plait.training.history.stages import PRETRAIN, of_record, pretrain_history
from plait.training.history.table import BESIDE, parts, table

if TYPE_CHECKING:
    import pandas as pd

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
        result.append(_plain({**entry, **parts(record), **{k: record[k] for k in value}}))
    return result


def write(place: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Both files into a folder that exists, where any epoch was scored; nothing else."""
    if not any("metrics" in record for record in history):
        return
    write_file(place / JSON, json.dumps(document(history), indent=1, allow_nan=False).encode())
    write_file(place / CSV, table(history).to_csv(index=False).encode())


def slim(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The history without scores, as model.json and epochs.jsonl keep it; what is no number is None."""
    return [_plain({k: v for k, v in record.items() if k != "metrics"}) for record in history]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read(folder: str | Path) -> pd.DataFrame:
    """The long table of everything recorded in a folder.

    Args:
        folder: of a model, of a study (all its runs), or of one run of a study.

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
