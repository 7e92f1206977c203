"""The contract of every condition: a table in, the same table with changed cells out."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np

from plait.base import checks, config, registry
from plait.base.checks import Seed, Within
from plait.base.documents import read_yaml_value
from plait.base.errors import ConfigError, nearest, warn

if TYPE_CHECKING:
    import pandas as pd

    from plait.data.modality import Modality, Schema

#: How much: a number from 0.
Strength = Annotated[float, Within(0, infinite=True)]


@dataclasses.dataclass(kw_only=True)
class Condition(registry.Named, ABC):
    """Changes the cells of some modalities of a table.

    Strength 0 changes nothing. Randomness comes from ``seed`` and from what a cell (of a number: its row) holds, never
    from where the row stands: the same row gets the same noise in every run, in any order, in any part of a table; and
    the same noise, only more of it, at another strength. Equal cells get equal noise. Absent cells stay absent.

    A subclass is a dataclass whose fields are its options (plain JSON values).

    Attributes:
        strength: how much, from 0; ``measure`` says of what.
        modality: name of a modality, or a kind; None: all modalities of the kinds that it can change.
        seed: of everything random.
    """

    #: Kinds of modalities that it can change.
    kinds: ClassVar[tuple[str, ...]]
    #: What strength says.
    measure: ClassVar[str]
    #: Greatest strength.
    most: ClassVar[float] = 1.0
    #: Raise it whenever the result changes: it is part of the store's key.
    version: ClassVar[int] = 1

    strength: Strength = 1.0
    modality: str | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        """Check the options; refuse a strength outside of its range."""
        checks.check(self, f"condition {self.name()}")
        self.check_number("strength", 0.0, self.most)
        self._learned: Any = None

    @classmethod
    def from_options(cls, options: Mapping[str, object], where: str) -> Self:
        """Build a condition from a mapping of options; unknown names are refused."""
        return config.build(cls, options, where)

    def options(self) -> dict[str, Any]:
        """The strength and all options that differ from their defaults, as JSON values."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
        return {
            name: value for name, value in listed.items() if name == "strength" or options[name] != self._default(name)
        }

    def to_dict(self) -> Any:
        """Plain values that ``conditions.parse`` takes back."""
        return {self.name(): self.options()}

    @property
    def label(self) -> str:
        """The condition in one line, as the command line takes it: ``white_noise:image:snr_db=0``."""
        value = self.options()
        return text_form(self.name(), value.pop("modality", None), value)

    @property
    def axes(self) -> dict[str, Any]:
        """Coordinates of this condition in plots: ``kind`` of condition, ``modality``, ``strength``."""
        return {"kind": self.name(), "modality": self.modality or "all", "strength": self.strength}

    def at(self, strength: float) -> Self:
        """The same condition, with the same noise, at another strength."""
        return self._replaced(strength=strength)

    def fingerprint(self) -> str:
        """Hex digest of all that decides the result of a cell: part of the store's key."""
        options = {k: v for k, v in dataclasses.asdict(self).items() if k != "modality"}
        said = json.dumps([self.name(), self.version, options], sort_keys=True)
        return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()

    def generator(self, content: bytes) -> np.random.Generator:
        """Random numbers for this content: the same at every strength and whatever the modality is called."""
        seed = hashlib.blake2b(f"{self.name()} {self.version} {self.seed} ".encode(), digest_size=16)
        seed.update(content)
        return np.random.default_rng(int.from_bytes(seed.digest(), "little"))

    def targets(self, schema: Schema) -> list[Modality]:
        """The modalities that are changed.

        Raises:
            ConfigError: there is no such modality, or none of a kind that this condition can change.
        """
        named = [m for m in schema.modalities if m.name == self.modality] or [
            m for m in schema.modalities if self.modality in (None, m.kind)
        ]
        if not named:
            raise self.unknown_modality(str(self.modality), schema)
        result = [m for m in named if m.kind in self.kinds]
        if not result:
            there = ", ".join(f"'{m.name}' is {m.kind}" for m in named)
            raise ConfigError(f"condition {self.name()}: changes {', '.join(self.kinds)}; {there}")
        return result

    def fit(self, frame: pd.DataFrame, schema: Schema, root: str | None = None) -> Self:
        """Learn what the condition needs from training rows (such as the spread of numbers); most need nothing."""
        return self

    def warn_unfitted(self, rows: int) -> None:
        """Warn that statistics of training rows are missing and are taken from the rows given instead."""
        message = f"condition {self.name()}: drawn after the {rows:,} rows given, not after the training rows"
        warn(f"{message}; fit it on those")

    def apply(self, frame: pd.DataFrame, schema: Schema, root: str | None = None) -> pd.DataFrame:
        """A new table in which the cells of ``targets`` are changed; ``frame`` stays as it is.

        Media cells become ``plait.data.media.Changed``: nothing is decoded here.

        Args:
            frame: the rows.
            schema: what its columns are.
            root: folder or zip archive that relative paths start from; None takes the schema's.

        Raises:
            ConfigError: the schema has no modality that this condition is for.
            TableError: a column is missing or holds what its kind cannot be.
        """
        from plait.data.schema import validate

        chosen = self.targets(schema)
        validate(schema, frame, partial=True)
        changed = frame.copy()
        if not self.idle:
            there = [m for m in chosen if set(m.columns) <= set(frame.columns)]  # the others are absent as a whole
            self._warn_shared(there, schema)
            for column, cells in self.columns(frame, schema, there, root if root is not None else schema.root).items():
                changed[column] = cells
        return changed

    def _warn_shared(self, chosen: list[Modality], schema: Schema) -> None:
        """Warn that a column which is changed also serves in another modality."""
        own = {c for m in chosen for c in m.columns}
        for other in schema.modalities:
            shared = [c for c in other.columns if c in own and other not in chosen]
            if shared:
                named = ", ".join(map(repr, shared))
                message = f"condition {self.name()}: column {named} serves in modality '{other.name}', too, and is changed there"
                warn(message)

    @property
    def idle(self) -> bool:
        """Whether it changes nothing."""
        return self.strength == 0

    @abstractmethod
    def columns(
        self, frame: pd.DataFrame, schema: Schema, chosen: list[Modality], root: str | None
    ) -> Mapping[str, Any]:
        """The new columns (arrays of n cells) of the chosen modalities."""

    def check_number(self, option: str, low: float, high: float) -> None:
        """The option must be a number between two bounds, both included."""
        checks.number(getattr(self, option), f"condition {self.name()}: {option}", low, high, infinite=math.isinf(high))

    def refusal(self, option: str, expected: str) -> ConfigError:
        """The error to raise for an option that cannot be meant."""
        return ConfigError(f"condition {self.name()}: {option} must be {expected}, found {getattr(self, option)!r}")

    @classmethod
    def _default(cls, option: str) -> object:
        field = next(f for f in dataclasses.fields(cls) if f.name == option)
        return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()

    def _replaced(self, **changes: Any) -> Self:
        other = dataclasses.replace(self, **changes)
        other._learned = copy.copy(self._learned)
        return other

    def unknown_modality(self, name: str, schema: Schema) -> ConfigError:
        """The error to raise for a modality that the table has not."""
        known = {m.name for m in schema.modalities} | {m.kind for m in schema.modalities}
        return ConfigError(f"condition {self.name()}: unknown modality '{name}'; {nearest(name, known)}")


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?\.?inf", re.IGNORECASE)
_OPEN, _CLOSE = "{[", "}]"


def text_form(name: str, modality: str | None, options: Mapping[str, object]) -> str:
    """The line that ``from_text`` takes back.

    Example:
        >>> text_form("white_noise", "image", {"snr_db": 0.0}), text_form("blur", None, {})
        ('white_noise:image:snr_db=0', 'blur')
    """
    setting = ",".join(f"{key}={_written(value)}" for key, value in options.items())
    return ":".join(part for part in (name, modality, setting) if part)


def from_text(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a line; a number alone is the strength.

    Raises:
        ConfigError: it has not that form.

    Example:
        >>> from_text("white_noise:image:snr_db=-5"), from_text("blur:0.1")
        (('white_noise', {'modality': 'image', 'snr_db': -5}), ('blur', {'strength': 0.1}))
    """
    name, _, rest = (part.strip() for part in text.partition(":"))
    options: dict[str, Any] = {}
    first, _, others = rest.partition(":")
    if first and "=" not in first and not _NUMBER.fullmatch(first.strip()):
        options["modality"], rest = first.strip(), others
    for part in split(rest, ","):
        key, sign, value = (p.strip() for p in part.partition("="))
        if not sign and _NUMBER.fullmatch(key):
            key, value = "strength", key
        elif not sign or not key or not value:
            raise ConfigError(
                f"condition '{text}': '{part.strip()}' is no option; "
                "expected name:strength, name:modality=strength or name:modality:option=value,option=value"
            )
        if key in options:
            raise ConfigError(f"condition '{text}': '{key}' is given twice; keep one")
        options[key] = _read(value, text)
    return name, options


def split(text: str, sign: str) -> list[str]:
    """Parts between the signs that stand outside of brackets; no empty ones.

    Example:
        >>> split("a={x: 1, y: 2},b=3", ",")
        ['a={x: 1, y: 2}', 'b=3']
    """
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if depth == 0 and text.startswith(sign, i):
            parts.append(text[start:i])
            start = i + len(sign)
    return [part for part in [*parts, text[start:]] if part.strip()]


def _read(value: str, text: str) -> object:
    if value.lower().lstrip("+-") == "inf":  # YAML writes .inf
        return float(value)
    try:
        return read_yaml_value(value, f"condition '{' '.join(text.split())[:80]}'")
    except ConfigError as error:
        raise ConfigError(f"{error}; quote it") from None


def _written(value: object) -> str:
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
