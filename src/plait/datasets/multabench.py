"""MulTaBench: one of its 80 tables with text or images, in one of its six splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd

from plait.base.checks import Within
from plait.base.errors import ConfigError, nearest, need
from plait.data.modality import Modality, Schema
from plait.datasets.base import Dataset, Loaded

#: The folder below ``$PLAIT_DATA`` that is the benchmark's ``data_dir``.
FOLDER = "multabench"


class Multabench(Dataset):
    """MulTaBench: a table whose columns hold text or images beside numbers and categories; a class or a number.

    The files lie as the benchmark's ``data_dir`` asks: ``multabench/TABLE/data.parquet`` and ``metadata.json``, images extracted
    below ``multabench/TABLE/images``. ``table`` is the name of the repository, as ``core-text-reg-video-games-sales``. The rows
    are those of one split, training rows first; ``split`` says which are which. Each of a study's seeds 0 to 5 is one of the
    benchmark's six splits (two repeats of three folds; at most 10,000 and 5,000 rows in the size ``10k``).

    Inputs: the types that the file states: text columns together are one text; the image column; numbers, categories and dates
    are one table. The target is ``label`` where classes are asked for and ``value`` where a number is.
    """

    title = "MulTaBench"
    url = "https://huggingface.co/multabench"
    licence = "of each table's source"
    citation = (
        "Arazi et al. 2026, MulTaBench: Benchmarking Multimodal Tabular Learning with Text and Image, arXiv:2605.10616"
    )
    tasks = {"label": "classification", "value": "regression"}
    metrics = {"label": "log_loss", "value": "rmse"}
    resplit = False

    def __init__(
        self,
        table: str = "core-text-reg-video-games-sales",
        seed: Annotated[int, Within(0, 5)] = 0,
        size: Literal["10k", "full"] = "10k",
    ) -> None:
        self.table, self.split, self.size = table, seed, size

    def load(self, root: str | Path | None = None) -> Loaded:
        """Read ``multabench/TABLE`` by the benchmark's own reader and splits (extra ``multabench``)."""
        path = self.file(root, FOLDER, self.table, "data.parquet")
        read = need("multabench.benchmark.load", "multabench")
        known = {known.value: known for known in need("multabench", "multabench").MulTaBenchDatasetID}
        if self.table not in known:
            raise ConfigError(f"data set 'multabench': unknown table '{self.table}': {nearest(self.table, known)}")
        folder = path.parent
        whole = read.load_multabench_dataset(known[self.table], data_dir=str(folder.parent))
        parts = read.split_dataset(whole, fold=self.split, size=self.size)
        target = "label" if whole.is_cls else "value"
        sides = ((parts.x_train, parts.y_train, "train"), (parts.x_test, parts.y_test, "test"))
        frame = pd.concat([plain(x).assign(**{target: y, "split": side}) for x, y, side in sides], ignore_index=True)
        if whole.image_column:
            paths = frame[whole.image_column]
            frame[whole.image_column] = [str(folder / cell) if isinstance(cell, str) else None for cell in paths]
        schema = schema_of(whole.x, whole.image_column, target, self.tasks[target])
        return Loaded(frame, {target: schema}, split="split")


def plain(x: pd.DataFrame) -> pd.DataFrame:
    """The table with its categories as ordinary values."""
    return x.assign(**{str(c): x[c].astype(object) for c in x if isinstance(x[c].dtype, pd.CategoricalDtype)})


def schema_of(x: pd.DataFrame, image: str | None, target: str, task: str, root: str | None = None) -> Schema:
    """The schema that the types of a table of the benchmark state, as its protocol reads them.

    ``image``: the column that names image files, if there is one; ``root``: folder that these start from.

    Example:
        >>> x = pd.DataFrame({"name": ["a", "b"], "year": [1, 2], "kind": pd.Categorical(["u", "v"])})
        >>> schema = schema_of(x, None, "value", "regression")
        >>> [(m.name, m.columns) for m in schema.modalities], schema.types
        ([('text', ('name',)), ('tabular', ('year', 'kind'))], {'year': 'number', 'kind': 'category'})
    """
    types: dict[str, str] = {}
    text: list[str] = []
    for name in x.columns:
        kind: Any = x[name].dtype
        if name == image:
            continue
        if pd.api.types.is_datetime64_any_dtype(kind):
            types[name] = "date"
        elif isinstance(kind, pd.CategoricalDtype):
            types[name] = "category"
        elif pd.api.types.is_numeric_dtype(kind):  # True and False as well
            types[name] = "number"
        else:
            text.append(name)
    columns = {"text": tuple(text), "image": (image,) if image else (), "tabular": tuple(types)}
    modalities = tuple(Modality(kind, kind, names) for kind, names in columns.items() if names)
    return Schema(modalities, target, task, {"split": "official part"}, types, root)
