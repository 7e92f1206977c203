"""The record of every epoch as a long table and what is read from it; as files, and in TensorBoard's events.

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

if TYPE_CHECKING:
    import pandas as pd


from typing import TYPE_CHECKING

from plait.base.errors import nearest
from plait.branches.mixture import Pattern, patterns

if TYPE_CHECKING:
    import pandas as pd


#: ``train``: the members, encoders that learn with them included; ``pretrain``: one encoder alone.
TRAIN, PRETRAIN = "train", "pretrain"
STAGES = (TRAIN, PRETRAIN)
#: Columns that say which training a row is of, and what they hold for the members' own.
BESIDE: Mapping[str, str | bool] = {"stage": TRAIN, "modality": "", "from_store": False}
COLUMNS = (*BESIDE, "member", "epoch", "part", "pattern", "metric", "value")
PARTS = ("train", "validation", "test")
#: What history calls the parts.
_SHORT = {"train": "train", "validation": "valid"}
#: Metrics that are better when they are less.
LOWER = ("loss", "mae", "rmse", "total_time", "avg_batch_time")


def table(history: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """One row per training, epoch (from 1), part, pattern and metric; ``pattern`` is empty for losses and times.

    A training is one of a member (``stage`` train), or of an encoder alone for it (``stage`` pretrain, with its ``modality``).
    """
    import pandas as pd

    return pd.DataFrame([row for record in history for row in _rows(record)], columns=list(COLUMNS))


def _rows(record: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    about = (*of_record(record).values(), int(record["epoch"]) + 1)
    for part, setting in parts(record).items():
        for key, value in setting.items():
            if key == "timing":
                yield from ((*about, part, "", name, seconds) for name, seconds in value.items())
            elif isinstance(value, Mapping):
                yield from ((*about, part, key, name, score) for name, score in value.items())
            else:
                yield (*about, part, "", key, value)


def parts(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Part -> ``loss``, scores by pattern, ``timing``: an epoch of the paper's file, from a record of history."""
    scored: Mapping[str, Any] = record.get("metrics", {})
    result: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        short, value = _SHORT.get(part), scored.get(part, {})
        loss = record.get(f"{short}_loss") if short else value.get("loss")
        if loss is None and not value:
            continue
        patterns = {k: dict(v) for k, v in value.items() if k not in ("loss", "timing")}
        seconds, batches = record.get("seconds", {}).get(short), record.get("batches", {}).get(short)
        timing = {} if seconds is None else {"total_time": seconds, "avg_batch_time": seconds / max(1, batches or 1)}
        result[part] = {"loss": loss, **patterns, "timing": timing or dict(value.get("timing", {}))}
    return result


def epochs_to(
    frame: pd.DataFrame,
    threshold: float,
    metric: str,
    part: str = "validation",
    pattern: str | None = None,
    stage: str | None = TRAIN,
) -> pd.DataFrame:
    """The first epoch of each training in which a metric reached a threshold, and the training seconds until then.

    Args:
        frame: what ``table`` or ``read`` gave.
        threshold: to be reached from below, or from above where less is better.
        metric: name.
        part: ``train``, ``validation`` or ``test``.
        pattern: code; None: the full one, or none for losses.
        stage: ``train``, ``pretrain``, or None: all trainings of the table.

    Returns:
        One row per training with ``first`` (value after the first epoch), ``best``, ``best_epoch``, ``last``, ``epochs``,
        ``epochs_to`` and ``seconds_to`` (missing where it was never reached).
    """
    import numpy as np
    import pandas as pd

    chosen = select(frame, metric, part, pattern, stage)
    keys = [c for c in frame.columns if c not in ("epoch", "part", "pattern", "metric", "value")]
    lower = metric in LOWER
    rows = []
    for names, one in chosen.groupby(keys, sort=False, dropna=False):
        one = one.sort_values("epoch")
        values, epochs = one["value"].to_numpy(float), one["epoch"].to_numpy()
        reached = np.flatnonzero(values <= threshold if lower else values >= threshold)
        usable = np.where(np.isfinite(values), values, np.inf if lower else -np.inf)
        best = int(usable.argmin() if lower else usable.argmax())
        about = dict(zip(keys, names if isinstance(names, tuple) else (names,), strict=True))
        until = int(epochs[reached[0]]) if len(reached) else None
        rows.append(
            about
            | {"first": values[0], "best": values[best], "best_epoch": int(epochs[best]), "last": values[-1]}
            | {"epochs": len(values), "epochs_to": until, "seconds_to": _seconds(frame, about, until)}
        )
    return pd.DataFrame(rows).astype({"epochs_to": "Int64"} if rows else {})


def _seconds(frame: pd.DataFrame, about: Mapping[str, Any], until: int | None) -> float | None:
    import pandas as pd

    if until is None:
        return None
    setting = frame[(frame["part"] == "train") & (frame["metric"] == "total_time") & (frame["epoch"] <= until)]
    for key, value in about.items():
        setting = setting if pd.isna(value) else setting[setting[key] == value]
    return float(setting["value"].sum())


def select(
    frame: pd.DataFrame, metric: str, part: str, pattern: str | None = None, stage: str | None = TRAIN
) -> pd.DataFrame:
    """The rows of one metric, part, pattern and stage (None: all); what is not there is an error that names what is.

    Raises:
        ConfigError: an unknown metric, part, pattern or stage.
    """
    frame = frame if stage is None else of_stage(frame, stage)
    for column, value in (("part", part), ("metric", metric)):
        known = sorted(set(frame[column]))
        if value not in known:
            raise ConfigError(
                f"no {column} '{value}' was recorded: {nearest(value, known)} (scores are recorded with record_epochs)"
            )
    chosen = frame[(frame["part"] == part) & (frame["metric"] == metric)]
    known = list(dict.fromkeys(chosen["pattern"]))
    if not known:
        raise ConfigError(f"no '{metric}' of part '{part}' was recorded")
    code = known[0] if pattern is None else pattern
    if code not in known:
        raise ConfigError(f"no pattern '{code}' of '{metric}' was recorded: {nearest(code, known)}")
    return chosen[chosen["pattern"] == code]


def of_stage(frame: pd.DataFrame, stage: str) -> pd.DataFrame:
    """The rows of one stage.

    Raises:
        ConfigError: nothing of it was recorded.
    """
    known = sorted(set(frame["stage"]))
    if stage not in known:
        raise ConfigError(f"no stage '{stage}' was recorded: {nearest(stage, known)}")
    return frame[frame["stage"] == stage]


_LONGEST = 3


def codes(names: Sequence[str]) -> dict[str, str]:
    """The shortest beginning, up to three letters, by which each modality differs from the others; else its whole name.

    Example:
        >>> codes(["text", "image"]), codes(["text", "tabular", "image"])
        ({'text': 'T', 'image': 'I'}, {'text': 'Te', 'tabular': 'Ta', 'image': 'I'})
    """
    result = {}
    for name in names:
        others = [other.lower() for other in names if other != name]
        starts = (name[:n] for n in range(1, min(_LONGEST, len(name)) + 1) if name.isalnum())
        result[name] = next(
            (s.capitalize() for s in starts if not any(o.startswith(s.lower()) for o in others)), f"[{name}]"
        )
    return result


def pattern_codes(names: Sequence[str]) -> dict[str, Pattern]:
    """Code -> modalities of every pattern that is recorded, the full one first; letters in alphabetical order.

    Example:
        >>> pattern_codes(["text", "image"])
        {'IT': ('text', 'image'), 'T': ('text',), 'I': ('image',)}
    """
    code = codes(names)
    return {"".join(sorted(code[name] for name in pattern)): pattern for pattern in patterns(names)}


def of_encoder(modality: str, member: int, from_store: bool) -> dict[str, Any]:
    """What tells the records of an encoder that was trained alone for a member from those of the member."""
    return {"stage": PRETRAIN, "modality": modality, "from_store": from_store, "member": member}


def of_record(record: Mapping[str, object]) -> dict[str, Any]:
    """Stage, modality (empty: all), whether it was done in another run, and member.

    Example:
        >>> of_record({"epoch": 0, "member": 1})
        {'stage': 'train', 'modality': '', 'from_store': False, 'member': 1}
    """
    return {key: record.get(key, usual) for key, usual in {**BESIDE, "member": 0}.items()}


def pretrain_history(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Losses and times of pretraining from a model's ``record_``, as its ``pretrain_history_`` has them.

    Example:
        >>> told = {"from_store": True, "history": [{"member": 0, "epoch": 0, "train_loss": 1.0}]}
        >>> pretrain_history({"pretrain": {"image": told}})[0]["modality"]
        'image'
    """
    return [
        {**of_encoder(name, epoch.get("member", 0), bool(one.get("from_store"))), **epoch}
        for name, one in (record.get("pretrain") or {}).items()
        for epoch in one.get("history", [])
    ]


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
