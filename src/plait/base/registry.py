"""A variant is a file: its name is the file's name, and nothing else mentions it. Other packages may bring their own.

A class of one's own gets a name by ``register``, or by an entry point of the package that brings it::

    [project.entry-points."plait.encoders"]
    word_lengths = "my_package.encoders:WordLengths"

From then on the name stands wherever a name of plait's own may stand, and a model that uses it is saved and loaded like any
other, in every process that has registered the class or has the package installed.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import cache, partial
from importlib import metadata
from typing import Any, TypeVar, overload

from plait.base import outline
from plait.base.errors import ConfigError, nearest, warn

#: family -> name of the base class, which lives in the family's ``_base.py``.
FAMILIES = {
    "branches": ("base.branch", "Branch"),
    "encoders": ("base.encoder", "Encoder"),
    "fusion": ("base.fusion", "Fusion"),
    "datasets": ("datasets.base", "Dataset"),
    "networks": ("networks.base", "Network"),
    "alignment": ("alignment.base", "Alignment"),
    "conditions": ("conditions.base", "Condition"),
    "advisers": ("base.fusion", "Adviser"),
    "samplers": ("study.samplers", "Sampler"),
    "sections": ("study.report", "ReportSection"),
    "subjects": ("study.subjects", "Subject"),
}
#: Packages in which the variants of a family stand, where it is not the one of its name.
HOMES = {
    "advisers": (),
    "samplers": ("study.samplers",),
    "sections": ("study.report.sections",),
    "subjects": ("study.subjects",),
}

#: Variants that stand elsewhere, as they need what is built upon their family.
ELSEWHERE = {"encoders": ("training.pretrained", "alignment.aligned"), "advisers": ("study.auto",)}

#: Kind of a model folder -> the module of its class, which may stand above whoever opens the folder.
MODELS = {
    "FusionClassifier": "estimators.estimators",
    "FusionRegressor": "estimators.estimators",
    "ModalityAligner": "alignment.aligner",
}

V = TypeVar("V", bound=type[Any])
#: (family, name) -> class, of those that were registered.
_REGISTERED: dict[tuple[str, str], type[Any]] = {}


@overload
def register(family: str, variant: V, name: str | None = None) -> V: ...
@overload
def register(family: str, variant: None = None, name: str | None = None) -> Callable[[V], V]: ...
def register(family: str, variant: object = None, name: str | None = None) -> Any:
    """Give a class of one's own a name in a family; also as a decorator, ``@register("encoders")``.

    Args:
        family: ``encoders``, ``fusion``, ``branches``, ``conditions``, ``networks``, ``alignment`` or ``datasets``.
        variant: the class, which extends the family's base class.
        name: by which it is found; None: the class's name in small letters with ``_`` between its words.

    Raises:
        ConfigError: an unknown family, a class that does not extend its base, or a name that is another variant's.

    Example:
        >>> from plait.encoders.hashed_ngrams import HashedNgrams
        >>> class LetterPairs(HashedNgrams):
        ...     "Pairs of letters."
        >>> register("encoders", LetterPairs, "minilm")
        Traceback (most recent call last):
        plait.base.errors.ConfigError: register: the name 'minilm' in encoders is taken; give another one (name=...)
    """
    if variant is None:
        return partial(register, family, name=name)
    _known(family)
    base = _base(family)
    if not (inspect.isclass(variant) and issubclass(variant, base)) or inspect.isabstract(variant):
        raise ConfigError(f"register: {variant!r} must be a class that extends {base.__name__} and lacks nothing of it")
    name = name or _snake(variant.__name__)
    there = _REGISTERED.get((family, name))
    same = there is not None and (there.__module__, there.__qualname__) == (variant.__module__, variant.__qualname__)
    if name in _own(family) or (there is not None and not same):
        raise ConfigError(f"register: the name '{name}' in {family} is taken; give another one (name=...)")
    _REGISTERED[family, name] = variant
    return variant


def names(family: str) -> list[str]:
    """Names of all variants of a family, sorted, without importing any of them.

    Example:
        >>> "concat" in names("fusion")
        True
    """
    _known(family)
    registered = {name for kind, name in _REGISTERED if kind == family}
    return sorted({*_own(family), *registered, *entry_points(family)})


def find(family: str, name: str) -> type[Any]:
    """The class of the variant ``name``: the one public class of that file that extends the base, or what was registered.

    Raises:
        ConfigError: no such variant; the message names the nearest one.
    """
    if name not in names(family):
        raise ConfigError(f"unknown name '{name}' in {family}: {nearest(name, names(family))}")
    if (family, name) in _REGISTERED:
        return _REGISTERED[family, name]
    if name not in _own(family):
        return _loaded(family, name)
    base = _base(family)
    module = importlib.import_module(_own(family)[name])
    result = [
        member
        for label, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, base) and member.__module__ == module.__name__ and not label.startswith("_")
    ]
    if len(result) != 1:
        raise ConfigError(f"{module.__file__}: expected one public {base.__name__}, found {len(result)}")
    return result[0]


def name_of(variant: type[Any]) -> str:
    """The name by which a variant is found: its own file's name, the one it was registered by, or that of its entry point."""
    for (_, name), known in _REGISTERED.items():
        if known is variant:
            return name
    if variant.__module__.startswith("plait."):
        return variant.__module__.rpartition(".")[2]
    value = f"{variant.__module__}:{variant.__qualname__}"
    named = (name for family in FAMILIES for name, setting in entry_points(family).items() if setting.value == value)
    return next(named, variant.__module__.rpartition(".")[2])


class Named:
    """Base of the families' bases: a variant has a name, and facts that ``plait list`` shows beside it."""

    @classmethod
    def name(cls) -> str:
        """The name in the registry: the file's name, or the one it was registered by."""
        return name_of(cls)

    @classmethod
    def facts(cls) -> dict[str, str]:
        """What ``plait list`` shows beside name and summary."""
        above = {(c.__module__, c.__name__) for c in cls.__mro__}
        family = next(family for family, (module, base) in FAMILIES.items() if (f"plait.{module}", base) in above)
        return outline.OF_FAMILY[family](cls)


def model_class(kind: str) -> type[Any]:
    """The class of the models that folders of a kind hold.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in MODELS:
        raise ConfigError(f"model.json: kind '{kind}' is not known to this plait")
    result: type[Any] = getattr(importlib.import_module(f"plait.{MODELS[kind]}"), kind)
    return result


def model_kind(variant: type[Any], *, warns: bool = True) -> str:
    """The kind as which a model is saved: its class's name, or that of the class it extends which ``model_class`` finds."""
    known = (c.__name__ for c in variant.__mro__ if f"plait.{MODELS.get(c.__name__)}" == c.__module__)
    kind = next(known, None)
    if kind is None:
        raise ConfigError(f"a {variant.__name__} could not be loaded again: let it extend {' or '.join(MODELS)}")
    if warns and kind != variant.__name__:
        warn(
            f"a {variant.__name__} is saved as a {kind}, which is what load will give: what the class adds is not kept"
        )
    return kind


def is_known(family: str, variant: type[Any]) -> bool:
    """Whether a class is found by its name, as it must be to be loaded again."""
    name = name_of(variant)
    return name in names(family) and find(family, name) is variant


def describe(family: str) -> list[dict[str, str]]:
    """One record per variant: its name, the first line of its docstring and what its base says of it.

    plait's own are read from their source; one that cannot be read so, and what others bring, is imported.
    """
    return [{"name": name, **(_outlined(family, name) or _imported(family, name))} for name in names(family)]


def _imported(family: str, name: str) -> dict[str, str]:
    variant = find(family, name)
    summary = inspect.cleandoc(variant.__doc__ or "").partition("\n")[0]  # not what its base says
    return {"summary": summary, **(variant.facts() if hasattr(variant, "facts") else {})}


def _outlined(family: str, name: str) -> dict[str, str] | None:
    """The same without an import; None: the source does not say it in so many words."""
    if name not in _own(family):
        return None
    try:
        base = outline.Outline(*FAMILIES[family])
        variant = outline.only_class(_own(family)[name].removeprefix("plait."), base)
        if variant.defines("facts", base):
            return None
        return {"summary": variant.summary, **outline.OF_FAMILY.get(family, lambda _: {})(variant)}
    except outline.UnreadableError:
        return None


def _known(family: str) -> None:
    if family not in FAMILIES:
        raise ConfigError(f"unknown family '{family}': {nearest(family, FAMILIES)}")


def _base(family: str) -> type[object]:
    module, name = FAMILIES[family]
    result: type[Any] = getattr(importlib.import_module(f"plait.{module}"), name)
    return result


@cache
def _own(family: str) -> dict[str, str]:
    """Names of plait's own variants, each with its module."""
    result = {module.rpartition(".")[2]: f"plait.{module}" for module in ELSEWHERE.get(family, ())}
    for home in HOMES.get(family, (family,)):
        result |= {name: f"plait.{home}.{name}" for name in outline.variants(home)}
    return result


@cache
def entry_points(family: str) -> dict[str, metadata.EntryPoint]:
    """What installed packages bring; plait's own names cannot be taken away from it."""
    return {
        value.name: value for value in metadata.entry_points(group=f"plait.{family}") if value.name not in _own(family)
    }


def _loaded(family: str, name: str) -> type[object]:
    value = entry_points(family)[name]
    try:
        variant = value.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{family} '{name}' of entry point {value.value} cannot be imported ({error})") from error
    registered: type[Any] = register(family, variant, name)
    return registered


def _snake(name: str) -> str:
    """WordLengths -> word_lengths."""
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
