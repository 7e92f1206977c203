"""From rows of a table to what a network takes: encoders resolved, fitted, run, and kept in memory."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from plait.base import config, registry
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, PlaitError
from plait.base.inputs import Columns, Inputs, SharedCells
from plait.base.mapped import NO_LIMITS, Limits
from plait.base.progress import step
from plait.base.tokens import Tokens
from plait.data.cells import MEDIA, Cells, cells
from plait.data.media.given import Changed
from plait.data.modality import Modality, Schema
from plait.data.row_numbers import row_numbers, whole_table
from plait.encoders.defaults import PRESETS, default_encoder, trainable_encoder, written_out
from plait.encoders.embed import ROWS, Column, How, embed_pieces, embed_rows, prepare_distinct
from plait.encoders.ngrams import Ngrams
from plait.store import Store


def make_encoder(
    modality: Modality,
    override: str | Mapping[str, object] | None = None,
    types: Mapping[str, str] | None = None,
    *,
    from_file: bool = False,
) -> Encoder:
    """The encoder that a modality names, or the best installed one of its kind; ``types`` are of its columns.

    ``from_file``: a model's file names it, not the user; it may fetch nothing.
    """
    value = override if override is not None else modality.encoder
    if isinstance(value, Encoder):
        return _suited(value, modality)
    usual = trainable_encoder if modality.learns else default_encoder
    options = written_out({} if value is None else value, modality.kind, usual(modality.kind))
    where = f"encoder of modality '{modality.name}'"
    variant = encoder_class(str(options.pop("name")), modality.kind, where)
    if modality.kind == "tabular" and types and "types" in config.fields_of(variant):
        options["types"] = {**types, **(options.get("types") or {})}
    encoder = config.build(variant, options, where)
    return _suited(encoder.fetch_nothing() if from_file else encoder, modality)


def _suited(encoder: Encoder, modality: Modality) -> Encoder:
    """The encoder, if it takes the modality's kind and may be trained as that says."""
    where = f"encoder of modality '{modality.name}'"
    if modality.kind not in encoder.kinds:
        raise ConfigError(f"{where}: '{encoder.name()}' takes {', '.join(encoder.kinds)}, not {modality.kind}")
    if modality.train == "tuned" and not encoder.tunable:
        raise ConfigError(f"{where}: '{encoder.name()}' cannot be tuned; set train: frozen")
    if modality.learns and not (encoder.trainable or (encoder.raw and modality.train == "scratch")):
        raise ConfigError(
            f"{where}: '{encoder.name()}' has nothing to train; set train: {'scratch' if encoder.raw else 'frozen'}"
        )
    if modality.train == "frozen" and not encoder.frozen:
        raise ConfigError(f"{where}: '{encoder.name()}' has no weights of its own; set train: scratch")
    return encoder


def check_found_again(encoders: Mapping[str, Encoder]) -> None:
    """Refuse, before anything is trained, encoders that a saved model could not be loaded with.

    Raises:
        ConfigError: a class that has no name in the registry, or options that cannot be written down.
    """
    for name, encoder in encoders.items():
        kind = type(encoder)
        where = f"encoder of modality '{name}'"
        if not registry.is_known("encoders", kind):
            raise ConfigError(
                f"{where}: {kind.__module__}.{kind.__qualname__} has no name in plait, and without one a saved model could "
                f"not be loaded; name it: plait.register('encoders', {kind.__name__}), or an entry point plait.encoders"
            )
        if kind.__module__.startswith("plait."):  # its contract is tested
            continue
        try:
            options = json.loads(json.dumps(encoder.options()))
            same = config.build(kind, options, where).fingerprint() == encoder.fingerprint() or encoder.state()
        except PlaitError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{where}: its options cannot be written down and read back ({error})") from None
        if not same:
            raise ConfigError(f"{where}: its options do not say all that it was made with; a loaded model would differ")


#: Encoders that take any model of a hub, by kind.
_HUB = {"text": "transformers_text", "code": "transformers_text", "image": "timm_image", "audio": "transformers_audio"}


def encoder_class(name: str, kind: str, where: str) -> type[Encoder]:
    """The encoder of a name; of an unknown one, those of the same kind are named."""
    if name in registry.names("encoders"):
        return cast(type[Encoder], registry.find("encoders", name))
    known = sorted(n for n in registry.names("encoders") if kind in registry.find("encoders", n).kinds)
    known += sorted(n for n, preset in PRESETS.items() if kind in preset.kinds)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    hub = f"; any model of a hub: {{name: {_HUB[kind]}, model: {name}}}" if kind in _HUB else ""
    raise ConfigError(
        f"{where}: unknown name '{name}' in encoders: "
        + (f"did you mean '{close[0]}'?" if close else f"of the kind {kind} there are {', '.join(known)}{hub}")
    )


class Featurizer:
    """The encoders of a schema, in its order, and what they make of a table."""

    def __init__(
        self,
        schema: Schema,
        overrides: Mapping[str, Any] | None = None,
        types: Mapping[str, str] | None = None,
        *,
        from_file: bool = False,
    ) -> None:
        """Resolve every encoder; names and options are checked here, weights are not loaded.

        Args:
            schema: the modalities.
            overrides: modality or kind -> encoder.
            types: of tabular columns that the schema names none for.
            from_file: a model's file names the encoders; they may fetch nothing.
        """
        self.schema = schema
        #: Modality -> the words that stand beside its features (``plait.encoders.ngrams``).
        self.ngrams: Mapping[str, Ngrams] = {}
        overrides = dict(overrides or {})
        known = {m.name for m in schema.modalities} | {m.kind for m in schema.modalities}
        config.check_fields(overrides, known, "encoders")
        self.encoders = {
            m.name: make_encoder(
                m,
                overrides.get(m.name, overrides.get(m.kind)),
                {**{c: t for c, t in (types or {}).items() if c in m.columns}, **schema.types_of(m)},
                from_file=from_file,
            )
            for m in schema.modalities
        }

    @property
    def column_types(self) -> dict[str, str]:
        """How each column is read: the type of a tabular one, else the kind of its modality."""
        result: dict[str, str] = {}
        for modality in self.schema.modalities:
            value = getattr(self.encoders[modality.name], "types", {}) if modality.kind == "tabular" else {}
            for column in modality.columns:
                kind = value.get(column, "" if modality.kind == "tabular" else modality.kind)
                result[column] = kind if result.get(column, kind) == kind else ""  # in two modalities: as it stands
        return result

    def without_ngrams(self) -> Featurizer:
        """The same encoders, beside which no words stand."""
        other = copy.copy(self)
        other.ngrams = {}
        return other

    def fit(self, frame: pd.DataFrame, root: str | None) -> None:
        """Let the encoders learn statistics and vocabularies from the training rows."""
        for modality in self.schema.modalities:
            encoder = self.encoders[modality.name]
            if modality.kind == "tabular":
                encoder.fit(frame[list(modality.columns)])  # type: ignore[arg-type]  # rows, not a sequence of cells
            elif type(encoder).fit is not Encoder.fit:  # most learn nothing: their cells need not be read
                groups = (group for piece in _pieces(frame, modality, root) for group in piece)
                present = (cell for group in groups for cell in group if cell is not None)
                encoder.fit(present if encoder.fits_once else list(present))  # type: ignore[arg-type]

    def transform(
        self,
        frame: pd.DataFrame,
        root: str | None,
        store: Store | None,
        *,
        strict: bool,
        progress: bool | None,
        ready: Mapping[str, Tokens] | None = None,
        whole: bool = True,
        limits: Limits = NO_LIMITS,
    ) -> Inputs:
        """Run every encoder over the rows: frozen ones through the store, the others up to ``prepare``.

        What is ``ready`` (modality -> tokens of these rows) is taken as it is. ``whole``: as ``cells`` has it.
        """
        tokens, columns = dict[str, Tokens](), dict[str, Columns]()
        prepared, present = dict[str, SharedCells](), dict[str, Tensor]()
        media = [m for m in self.schema.modalities if m.kind in MEDIA and not (ready and m.name in ready)]
        # Before anything is encoded: that no file is there should not show after an hour of texts.
        files = {m.name: cells(frame, m, root, whole=whole, strict=strict) for m in media}
        for modality in self.schema.modalities:
            name, encoder = modality.name, self.encoders[modality.name]
            if modality.kind == "tabular":
                embedded, view = embed_rows(encoder, frame[list(modality.columns)], limits.memory)
                tokens[name] = embedded.tokens()
                columns |= {} if view is None else {name: view}
            else:
                step(f"encode {name}", progress)
                if ready and name in ready:
                    tokens[name] = ready[name]
                else:
                    rows = row_numbers(frame)
                    how: How = {"name": name, "strict": strict, "rows": rows, "limits": limits}
                    if modality.learns:
                        groups = files.get(name) or cells(frame, modality, root, whole=whole, strict=strict)
                        prepared[name] = _prepared(encoder, groups, store, modality.train, how)
                    else:
                        read = files.get(name)
                        pieces = iter([read]) if read else _pieces(frame, modality, root, whole=whole, strict=strict)
                        tokens[name] = _embedded(encoder, pieces, store, rows, {**how, "progress": progress})
            present[name] = tokens[name].present if name in tokens else prepared[name].present
        return Inputs(tokens, prepared, present, columns)

    def state(self) -> dict[str, Any]:
        return {
            name: {
                "name": encoder.name(),
                "options": encoder.options(),
                "fingerprint": encoder.fingerprint(),
                "state": encoder.state(),
            }
            for name, encoder in self.encoders.items()
        }


def _pieces(
    frame: pd.DataFrame, modality: Modality, root: str | None, *, whole: bool = True, strict: bool = False
) -> Iterator[Cells]:
    """The cells of a modality; of many rows piece by piece, where each row has one cell in one column."""
    if len(frame) <= ROWS or modality.kind not in ("text", "code", "vector") or len(modality.columns) > 1:
        yield cells(frame, modality, root, whole=whole, strict=strict)
        return
    with whole_table() if whole else nullcontext() as files:
        for start in range(0, len(frame), ROWS):
            part = frame[list(modality.columns)].iloc[start : start + ROWS]
            yield cells(part if files is None else files.of(part), modality, root, whole=False, strict=strict)


def _embedded(encoder: Encoder, pieces: Iterator[Cells], store: Store | None, rows: np.ndarray, how: How) -> Tokens:
    """Tokens of one modality, those of one column after another: (n, columns T, D)."""
    first = next(pieces)
    many = len(first)
    tiled: How = {**how, "rows": np.tile(rows, many)}
    column = Column([], **tiled)
    flat = ([cell for group in groups for cell in group] for groups in chain([first], pieces))
    tokens = embed_pieces(encoder, flat, store, column).tokens()
    column.warn()
    if many == 1:
        return tokens
    n, length = len(rows), many * tokens.x.shape[1]
    x = tokens.x.reshape(many, n, -1, tokens.dim).transpose(0, 1).reshape(n, length, tokens.dim)
    return Tokens(x, tokens.mask.reshape(many, n, -1).transpose(0, 1).reshape(n, length))


def _prepared(encoder: Encoder, groups: Cells, store: Store | None, train: str, how: How) -> SharedCells:
    """Cells of a modality that learns, up to ``prepare``."""
    if len(groups) != 1:
        raise ConfigError(
            f"modality '{how['name']}': train: {train} takes one column with one cell a row, found {len(groups)}"
        )
    arrays, place = prepare_distinct(encoder, groups[0], store, **how)
    if not arrays:  # not one cell is present: the encoder says what its arrays would look like
        arrays = {k: np.zeros((1, *a.shape[1:]), a.dtype) for k, a in encoder.prepare([]).items()}
    shared = SharedCells({k: torch.from_numpy(v) for k, v in arrays.items()}, torch.from_numpy(place))
    if not any(isinstance(cell, Changed) and cell.redraws for cell in groups[0]):
        return shared
    places, first = np.unique(place, return_index=True)  # of the distinct cells in their order, then of absent rows
    kept = [groups[0][row] for row in first[places < len(next(iter(arrays.values()))) - 1]]

    def draw(cells: Sequence[object], generator: np.random.Generator) -> Mapping[str, np.ndarray]:
        return encoder.prepare([c.redrawn(generator) if isinstance(c, Changed) else c for c in cells])

    return dataclasses.replace(shared, cells=kept, draw=draw)
