"""Rows that a request brings, which open no file of the server, and what a service answers for them."""

from __future__ import annotations

import copy
import math
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import CellError, ModelError, PlaitWarning, nearest
from plait.data.cells import MEDIA
from plait.data.labels import label_text
from plait.data.media import Blob
from plait.data.media.given import data_of_uri, is_data_uri
from plait.data.modality import Schema
from plait.estimators.base import FusionEstimator
from plait.estimators.estimators import load
from plait.estimators.target_models import TargetModels
from plait.evaluation.explain import MOST, explain
from plait.serving.limits import Limits, Refused


class Reader:
    """Makes tables of what requests hold."""

    def __init__(self, schemas: Sequence[Schema], limits: Limits) -> None:
        self.limits = limits
        self.kinds: dict[str, str] = {}
        for schema in schemas:
            for modality in schema.modalities:
                self.kinds |= dict.fromkeys(modality.columns, modality.kind)

    def table(self, rows: Sequence[object]) -> pd.DataFrame:
        """One column per column of the model; what a row does not name is empty.

        Raises:
            Refused: 422, with the row, the column and what to send instead.
        """
        if not rows:
            raise Refused(422, "there are no rows; send at least one")
        if len(rows) > self.limits.rows:
            raise Refused(413, f"{len(rows):,} rows; at most {self.limits.rows:,} are taken at a time (--rows)")
        columns: dict[str, list[Any]] = {name: [] for name in self.kinds}
        for place, row in enumerate(rows):
            where = f"row {place}" if len(rows) > 1 else "the row"
            if not isinstance(row, Mapping):
                raise Refused(422, f"{where}: expected an object of columns and cells, found {type(row).__name__}")
            for name in row:
                if name not in self.kinds:
                    raise Refused(422, f"{where}: unknown column {str(name)[:80]!r}: {nearest(str(name), self.kinds)}")
            for name, kind in self.kinds.items():
                columns[name].append(self._cell(row.get(name), kind, f"{where}, column {name!r}"))
        return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})

    def _cell(self, value: object, kind: str, where: str) -> Any:
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            return None
        if kind in MEDIA:
            return self._media(value, kind, where)
        if kind == "vector":
            numbers = _numbers(value)
            if numbers is None:
                raise Refused(422, f"{where}: expected a list of numbers, found {_short(value)}")
            return numbers
        if isinstance(value, Mapping) or (isinstance(value, list) and kind != "tabular"):
            raise Refused(422, f"{where}: expected a {'cell' if kind == 'tabular' else 'text'}, found {_short(value)}")
        if isinstance(value, list):
            return [str(item) for item in value]
        return value if kind == "tabular" else str(value)

    def _media(self, value: Any, kind: str, where: str) -> Any:
        if isinstance(value, bytes):
            return Blob.of_bytes(value)
        if isinstance(value, list):
            return [self._media(item, kind, where) for item in value]
        if isinstance(value, str) and is_data_uri(value):
            try:
                return Blob.of_bytes(data_of_uri(value))
            except CellError as error:
                raise Refused(422, f"{where}: {error}") from None
        if isinstance(value, str) and value.lower().startswith(("http://", "https://")):
            return Blob.of_bytes(self._fetched(value, where))
        raise Refused(
            422,
            f"{where}: expected the {kind} itself (an upload, or 'data:...;base64,...'), found {_short(value)}; files of the "
            "server are never read",
        )

    def _fetched(self, url: str, where: str) -> bytes:
        """What lies at a URL of a host on the list; redirections are not followed."""
        parts = urllib.parse.urlsplit(url)
        if not self.limits.url_hosts:
            raise Refused(
                422, f"{where}: URLs are not fetched here; send the file itself (whoever serves: --url-hosts)"
            )
        if parts.hostname not in self.limits.url_hosts or parts.username is not None:
            raise Refused(422, f"{where}: the host {str(parts.hostname)[:80]!r} is not on this service's list")
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
            with opener.open(url, timeout=min(10.0, self.limits.seconds)) as answer:
                data: bytes = answer.read(self.limits.body_bytes + 1)
        except (OSError, ValueError) as error:  # also what urllib raises
            raise Refused(422, f"{where}: {url[:120]} could not be fetched ({error})") from None
        if len(data) > self.limits.body_bytes:
            raise Refused(413, f"{where}: {url[:120]} is larger than {self.limits.body_bytes:,} bytes (--body-mb)")
        return data


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Else a host on the list could send the service to any other one."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        """Follow none."""
        return


def _numbers(value: object) -> list[object] | None:
    """A list of numbers, or of such lists; also as text with commas, as a form sends it."""
    if isinstance(value, str):
        try:
            return [float(part) for part in value.strip("[] ").split(",")]
        except ValueError:
            return None
    if not isinstance(value, list) or not value:
        return None
    rows = value if isinstance(value[0], list) else [value]
    same = all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows)
    return value if same and all(isinstance(x, int | float) for row in rows for x in row) else None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class Answers:
    """Models that answer for rows of one table, one per target."""

    def __init__(self, models: FusionEstimator | Mapping[str, FusionEstimator] | str | Path) -> None:
        """A fitted model, several by target, or a folder of either.

        Raises:
            ModelError: a folder that is broken, of a newer version, or of a model that predicts nothing.
        """
        where = str(models) if isinstance(models, str | Path) else "serve"
        given: Any = load(models) if isinstance(models, str | Path) else models
        if isinstance(given, FusionEstimator):
            given = {str(given.schema_.target or "answer"): given}
        if not isinstance(given, Mapping) or not all(isinstance(m, FusionEstimator) for m in given.values()):
            raise ModelError(
                f"{where}: holds a {type(given).__name__}, which predicts nothing; expected a model of plait fit"
            )
        self.models: dict[str, FusionEstimator] = {target: copy.copy(model) for target, model in given.items()}
        for model in self.models.values():
            model.partial, model.progress, model.root, model.strict = True, False, None, False

    def __call__(self, frame: pd.DataFrame, *, worth: bool) -> list[dict[str, Any]]:
        """One answer per row; ``worth``: with what each modality adds to it."""
        with TargetModels(self.models).sharing() as models:
            parts = {target: _answered(model, frame, worth) for target, model in models.items()}
        if len(parts) == 1:
            return next(iter(parts.values()))
        return [{"targets": {t: rows[i] for t, rows in parts.items()}} for i in range(len(frame))]


def _answered(model: FusionEstimator, frame: pd.DataFrame, worth: bool) -> list[dict[str, object]]:
    """The rows' answers by one model; what plait warned of is a note of each."""
    with warnings.catch_warnings(record=True) as seen, model.remembering():
        warnings.simplefilter("always", PlaitWarning)
        answers, decoded = model.answers(frame)
        absent = model.absent(frame)
        explained = explain(model, frame, bootstrap=0).rows if worth and len(model.modality_names_) <= MOST else None
    notes = list(dict.fromkeys(str(w.message) for w in seen if issubclass(w.category, PlaitWarning)))
    names = [label_text(label) for label in model.labels]
    result = []
    for place in range(len(frame)):
        there = [name for name, gone in zip(model.modality_names_, absent[place], strict=True) if not gone]
        row: dict[str, Any] = {"answer": _answer(model, answers[place], names)}
        if names:
            row["probabilities"] = {n: float(p) for n, p in zip(names, decoded[place], strict=True)}
        row["present"] = there
        if explained is not None:
            one = explained.iloc[place]
            row["worth"] = {name: float(one[f"value_{name}"]) for name in model.modality_names_}
            row["without_anything"] = float(one["base"])
        result.append(row | ({"notes": notes} if notes else {}))
    return result


def _answer(model: FusionEstimator, answer: Any, names: list[str]) -> Any:
    if model.task_ == "multilabel":
        return [name for name, on in zip(names, answer, strict=True) if on]
    return label_text(answer) if names else float(np.asarray(answer))
