"""What an option may be is declared once, in its annotation, and checked by the same code wherever the value comes from.

An annotation says the type, and ``Annotated[int, Within(1)]`` the range: ``Count``, ``Share`` and the like below. ``Literal``
names choices. ``check`` reads the fields of a dataclass, ``check_call`` the keyword arguments of a function; both tell all that
is wrong in one line. Numbers must be finite unless ``Within(infinite=True)`` says otherwise; True is no number, and 3.0 no count.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal

from plait.base.errors import ConfigError, hidden, nearest

#: The greatest whole number that libraries below us take for a size or a count.
MOST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Within:
    """Bounds of a number, included unless ``above`` (the lower one) or ``below`` (the upper one) says otherwise."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    infinite: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a number lies within."""
        if not self.infinite and not isinstance(value, numbers.Integral) and not math.isfinite(value):
            return False
        inside = self.low <= value <= self.high  # False for NaN
        return bool(inside and not (self.above and value == self.low) and not (self.below and value == self.high))

    def __str__(self) -> str:
        """The range in words, as in ``from 0 to below 1``."""
        words = []
        if not math.isinf(self.low):
            words.append(f"{'above' if self.above else 'from'} {_short(self.low)}")
        if not math.isinf(self.high) and self.high != MOST:
            words.append(f"{'to below' if self.below else 'to'} {_short(self.high)}")
        return " ".join(words)


Count = Annotated[int, Within(1, MOST)]
Natural = Annotated[int, Within(0, MOST)]
#: What numpy, torch and scikit-learn all take.
Seed = Annotated[int, Within(0, 2**32 - 1)]
Positive = Annotated[float, Within(0, above=True)]
NonNegative = Annotated[float, Within(0)]
Share = Annotated[float, Within(0, 1)]
#: A share that leaves something: of rows held out, of units dropped.
Part = Annotated[float, Within(0, 1, below=True)]
#: Sizes that are multiplied into weights or memory.
Layers = Annotated[int, Within(1, 1000)]
Width = Annotated[int, Within(1, 1_000_000)]


def check(instance: Any, where: str = "") -> None:
    """Refuse fields of a dataclass that are not what their annotations say, all of them at once.

    Raises:
        ConfigError: the message names every field, what it must be and what was found.

    Example:
        >>> @dataclasses.dataclass
        ... class Training:
        ...     epochs: Count = 5
        ...     dropout: Part = 0.1
        >>> check(Training(epochs=0), "training")
        Traceback (most recent call last):
        plait.base.errors.ConfigError: training: epochs must be a whole number from 1, found 0
    """
    values = {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance) if f.init}
    refuse(problems(type(instance), values), where)


def check_call(function: Callable[..., Any], options: Mapping[str, object], where: str = "") -> None:
    """Refuse keyword arguments that are not what the function's annotations say."""
    refuse(problems(function, options), where)


def problems(owner: object, values: Mapping[str, object]) -> list[str]:
    """What is wrong with values of a dataclass's fields or a function's arguments; unknown names are left to others."""
    hints = hints_of(owner)
    said = ((name, problem(value, hints[name])) for name, value in values.items() if name in hints)
    return [f"{name} {text}" for name, text in said if text]


def refuse(result: Iterable[str], where: str = "") -> None:
    """Raise one error of all problems, if there are any."""
    if text := "; ".join(result):
        raise ConfigError(f"{where}: {text}" if where else text)


def problem(value: object, hint: object) -> str | None:
    """What is wrong with a value; None if nothing is.

    Example:
        >>> problem(3, Count | None), problem("conct", Literal["concat", "mean"])
        (None, "must be concat or mean, found 'conct' (did you mean 'concat'?)")
    """
    if _fits(value, hint):
        return None
    for part in alternatives(hint):
        if isinstance(value, Mapping) and _is(_bare(part), Mapping):
            keys, inner = typing.get_args(_bare(part))
            said = {key: problem(item, inner) for key, item in value.items()}
            wrong = [f"of {key!r} {text}" for key, text in said.items() if text]
            wrong += [f"of {key!r}: the name {problem(key, keys)}" for key in value if not _fits(key, keys)]
            return "; ".join(wrong)
    words = [
        w
        for part in alternatives(hint)
        if typing.get_origin(_bare(part)) is Literal
        for w in typing.get_args(_bare(part))
    ]
    meant = nearest(value, words) if isinstance(value, str) and all(isinstance(w, str) for w in words) and words else ""
    guess = f" ({meant})" if meant.startswith("did") else ""
    flag = bool in alternatives(hint) and str(value).lower() in ("yes", "no", "on", "off", "y", "n")
    advice = "; YAML 1.2 has only true and false" if flag else ""
    return f"must be {describe(hint)}, found {shown(value)}{guess}{advice}"


def shown(value: object) -> str:
    """A value as it is written, not longer than fits into a line."""
    try:
        return hidden(repr(value)[:1000])[:60]
    except ValueError:  # a whole number of thousands of digits
        return "a number of thousands of digits"


@cache
def hints_of(owner: Any) -> dict[str, Any]:
    """Annotations by name; none where they name what is not there at run time (a plug-in's own types, say)."""
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except NameError:
        return {}


def whole(value: Any, what: str, low: int = 0, high: float = MOST) -> int:
    """A whole number within bounds, both included.

    Example:
        >>> whole(0, "pretrain: epochs", 1)
        Traceback (most recent call last):
        plait.base.errors.ConfigError: pretrain: epochs must be a whole number from 1, found 0
    """
    _one(value, Annotated[int, Within(low, high)], what)
    return int(value)


def number(
    value: Any,
    what: str,
    low: float = 0.0,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    infinite: bool = False,
) -> float:
    """A number within bounds, both included, or ``above`` the lower one, or ``below`` the upper one.

    Example:
        >>> number("much", "mlp: dropout", 0, 1)
        Traceback (most recent call last):
        plait.base.errors.ConfigError: mlp: dropout must be a number from 0 to 1, found 'much'
    """
    _one(value, Annotated[float, Within(low, high, above, below, infinite)], what)
    return float(value)


def _one(value: Any, hint: Any, what: str) -> None:
    if said := problem(value, hint):
        raise ConfigError(f"{what} {said}")


def describe(hint: object) -> str:
    """A type in words; that there may be nothing goes unsaid.

    Example:
        >>> describe(Share | Mapping[str, Share] | None)
        'a number from 0 to 1 or a mapping of names to a number from 0 to 1'
    """
    parts = alternatives(hint)
    plain = [p for p in parts if _is_plain(_bare(p))] or parts
    return describe_choices(list(dict.fromkeys(map(_described, plain))))


def _is_plain(kind: object) -> bool:
    """Whether a file can give it, too: no class of a library, and not nothing."""
    return not isinstance(kind, type) or kind in (int, float, str, bool) or _is(kind, Mapping) or _is(kind, Sequence)


def _described(hint: object) -> str:
    kind, bounds = _bare(hint), _bounds(hint)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return describe_choices(inner)
    if _is(kind, Mapping):
        key = "names" if not inner or inner[0] is str else "values"
        return "a mapping" if not inner or inner[1] is Any else f"a mapping of {key} to {describe(inner[1])}"
    if _is(kind, Sequence):
        return f"a list of {describe(inner[0])}" if inner else "a list"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "none"}
    word = words.get(kind) or str(getattr(kind, "__name__", kind))
    return f"{word} {bounds}".strip() if bounds else word


def describe_choices(choices: Sequence[object]) -> str:
    """Join choices as in ``a, b or c``."""
    *words, last = map(str, choices)
    return f"{', '.join(words)} or {last}" if words else last


def _fits(value: object, hint: object) -> bool:
    return any(_fits_one(value, part) for part in alternatives(hint))


def _fits_one(value: Any, hint: Any) -> bool:
    kind, bounds = _bare(hint), _bounds(hint)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if _is(kind, Mapping):
        return isinstance(value, Mapping) and (
            not inner or all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
        )
    if _is(kind, Sequence):
        plain = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return plain and (not inner or all(_fits(v, inner[0]) for v in value))
    if kind in (int, float):
        right = isinstance(value, numbers.Integral if kind is int else numbers.Real) and not isinstance(value, bool)
        return right and (bounds or Within()).holds(value)
    if kind is bool:
        return isinstance(value, bool) or type(value).__name__ == "bool"  # numpy's too
    if origin is not None:
        kind = origin
    return not isinstance(kind, type) or isinstance(value, kind)


def alternatives(hint: object) -> tuple[object, ...]:
    """The types that a hint allows, one by one."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return tuple(p for part in typing.get_args(hint) for p in alternatives(part)) if union else (hint,)


def _bare(hint: object) -> Any:
    bare = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return type(None) if bare is None else bare


def _bounds(hint: object) -> Within | None:
    given = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
    return next((g for g in given if isinstance(g, Within)), None)


def _is(kind: object, family: type) -> bool:
    """Whether a type is a mapping or a sequence, of whatever."""
    origin = typing.get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, family) and origin not in (str, bytes)


def _short(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"
