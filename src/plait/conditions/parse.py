"""Conditions from texts and mappings, and one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Self, cast

from plait.base import config, registry
from plait.base.errors import ConfigError
from plait.conditions.base import Condition, from_text, split

if TYPE_CHECKING:
    import pandas as pd

    from plait.data.modality import Modality, Schema


@dataclasses.dataclass(kw_only=True)
class Chain(Condition):
    """Applies conditions in turn, each to the result of the one before; a chain has no strength of its own.

    Attributes:
        parts: the conditions, in order.
    """

    kinds = ()
    measure = "the greatest of its parts"
    most = float("inf")

    parts: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        """Take the greatest strength, so that 0 still says that nothing is changed."""
        if not self.parts:
            raise ConfigError("a chain of conditions without a condition; name at least one")
        self.strength = max(part.axes["strength"] for part in self.parts)
        super().__post_init__()

    def to_dict(self) -> Any:
        """A list of what the parts give."""
        return [part.to_dict() for part in self.parts]

    @property
    def label(self) -> str:
        """The parts' labels, with `` + `` between them."""
        return " + ".join(part.label for part in self.parts)

    @property
    def axes(self) -> dict[str, Any]:
        """Kinds and modalities joined by `` + ``; for a plot over two strengths take those of ``parts``."""
        values = [part.axes for part in self.parts]
        joined = {key: " + ".join(dict.fromkeys(str(t[key]) for t in values)) for key in ("kind", "modality")}
        return {**joined, "strength": self.strength}

    def at(self, strength: float) -> Self:
        """Raise ConfigError: a chain has no single strength to change."""
        raise ConfigError(f"the chain '{self.label}' has no strength of its own; change its parts")

    def targets(self, schema: Schema) -> list[Modality]:
        """What any of its parts changes."""
        named = {m.name for part in self.parts for m in part.targets(schema)}
        return [m for m in schema.modalities if m.name in named]

    def fit(self, frame: pd.DataFrame, schema: Schema, root: str | None = None) -> Self:
        """Every part learns from the training rows as they are."""
        for part in self.parts:
            part.fit(frame, schema, root)
        return self

    def apply(self, frame: pd.DataFrame, schema: Schema, root: str | None = None) -> pd.DataFrame:
        """One after the other."""
        for part in self.parts:
            frame = part.apply(frame, schema, root)
        return frame

    def columns(
        self, frame: pd.DataFrame, schema: Schema, chosen: list[Modality], root: str | None
    ) -> Mapping[str, Any]:
        """All columns of the chosen modalities, through every part."""
        changed = self.apply(frame, schema, root)
        return {c: changed[c] for m in chosen for c in m.columns}


#: What messages call the grammar of all conditions.
FORM = "write name:strength, name:modality=strength or name:modality:option=value, as in typos:text=0.3"

ConditionSpec = Condition | Mapping[str, Any] | str | Sequence[Any]


def parse(spec: ConditionSpec, where: str = "conditions") -> Condition:
    """A condition from plain values or from a line of text; several of them follow each other.

    Args:
        spec: ``{white_noise: {modality: image, snr_db: 0}}``, ``{blur: 0.1}`` (a number is the strength),
            ``{typos: {text: 0.3}}`` (a modality with its strength), a list of such, ``"white_noise:image:snr_db=0"``,
            ``"typos:text=0.3"``, ``"absent:image=0.5"``, with `` + `` between several, or YAML in braces.
        where: what messages call the place it comes from.

    Example:
        >>> parse({"white_noise": {"modality": "image", "snr_db": 0}}).label
        'white_noise:image:snr_db=0'
        >>> parse("absent:image=0.5 + typos:0.1").to_dict()
        [{'absent': {'rates': {'image': 0.5}}}, {'typos': {'strength': 0.1}}]
        >>> parse("typos:text=0.3").label
        'typos:text:strength=0.3'
    """
    if isinstance(spec, Condition):
        return spec
    if isinstance(spec, str):
        parts = [_from_line(part, where) for part in split(spec, " + ")]
    elif isinstance(spec, Mapping):
        parts = [_made(str(name), options, where) for name, options in spec.items()]
    elif isinstance(spec, Sequence):
        parts = [parse(part, where) for part in spec]
    else:
        raise ConfigError(f"{where}: expected a condition's name with its options, found {type(spec).__name__}")
    if not parts:
        raise ConfigError(f"{where}: no condition is named; known: {', '.join(registry.names('conditions'))}")
    return parts[0] if len(parts) == 1 else Chain(parts=tuple(parts))


def _from_line(text: str, where: str) -> Condition:
    if text.strip().startswith("{"):
        return parse(config.parse_yaml(text, where), where)
    name, options = from_text(text)
    return _made(name, options, where)


def _made(name: str, options: object, where: str) -> Condition:
    if "=" in name:
        raise ConfigError(f"{where}: '{name}' has no ':' behind the condition's name; {FORM}")
    variant = cast(type[Condition], registry.find("conditions", name))
    if isinstance(options, int | float) and not isinstance(options, bool):
        options = {"strength": options}
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(f"{where}: condition {name}: expected its options or its strength, found {options!r}")
    mapping = {str(k): v for k, v in (options or {}).items()}
    parts = [variant.from_options(part, f"condition {name}") for part in _by_modality(variant, mapping)]
    return parts[0] if len(parts) == 1 else Chain(parts=tuple(parts))


def _by_modality(variant: type[Condition], options: dict[str, Any]) -> list[dict[str, Any]]:
    """Options of one condition per modality that is given with its strength, as in ``text=0.3``.

    ``absent`` draws several modalities at once and reads them itself.
    """
    known = config.fields_of(variant)
    named = {k: v for k, v in options.items() if k not in known}
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in named.values())
    mistaken = [k for k in named if get_close_matches(k, known, 1, 0.7)]
    if not named or ("rates" in known and not mistaken):
        return [options]
    if mistaken or not numbers or "modality" in options or "strength" in options:
        try:
            config.check_fields(options, known, f"condition {variant.name()}")
        except ConfigError as error:
            raise ConfigError(f"{error}; {FORM}") from None
    others = {k: v for k, v in options.items() if k in known}
    return [{"modality": name, "strength": value, **others} for name, value in named.items()]
