"""What goes wrong, said in one line: where, what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
import urllib.parse
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import FrameType, ModuleType

#: User and password of an address, whose scheme a Path leaves one slash; a password may hold slashes and @, or be cut. What
#: Azure's addresses have before the @ is a container. Repeats are bounded: cells and messages may be long.
_USER = re.compile(
    r"""\b((?!abfss?://[^\s/:@]+@)[A-Za-z][A-Za-z0-9+.-]{1,30}:/{1,2})
    (?: (?: [^\s/?#'"]* | [^\s/?#'":]* : (?!\d+(?:/|\s|$)) [^\s'"]{0,1000} ) @
      | (?!arn:) [^\s/?#'":@\[\]]+ : (?!\d+(?:\W|$)|[:\\/]) [^\s/?#'"@]+ )""",
    re.VERBOSE,
)
#: What signs or opens an address, by its name; ``author``, ``sort_key`` and the like do not.
_SIGNED = re.compile(
    r"""([?&;#][^=&;?#\s'"]{0,60}
    (?: (?: signature | token(?!s) | secret | passw | passphrase | pwd | credential ) [^=&;?#\s'"]{0,60}
      | (?<!ssl)(?<!ssl_)(?<!sort)(?<!sort_)(?<!mon) key(?:id)? | sig | auth(?:orization)?
      | (?<![a-z])(?:sign|pass|jwt) )
    =) [^&;\s'"]*[^&;\s'":,.)]""",
    re.IGNORECASE | re.VERBOSE,
)
#: Where such names stand: from a question mark on, or a part of a path, which may hold ``;key=``.
_QUERY = re.compile(r"""[?&#][^\s'"]*|;(?!key=)[^=&;?#\s'"]{1,60}=[^&;\s'"]*""", re.IGNORECASE)
_WORD = re.compile(r"""[^\s'"]+""")
#: So often an address may be written into another, percent by percent.
_NESTED = 3


def hidden(text: str) -> str:
    """A text whose addresses are without what opens them: user and password, signatures, tokens.

    Example:
        >>> hidden("https://me:secret@a.org/x.png and s3://b/t.csv?size=2&X-Amz-Signature=0a1b")
        'https://...@a.org/x.png and s3://b/t.csv?size=2&X-Amz-Signature=...'
    """
    result = _masked(text)
    return _WORD.sub(_decoded, result) if "%" in result else result


def _masked(text: str) -> str:
    return _QUERY.sub(lambda query: _SIGNED.sub(r"\1...", query[0]), _USER.sub(r"\1...@", text))


def _decoded(word: re.Match[str]) -> str:
    """A word as it is, or up to its first percent sign, where what that and others spell opens an address."""
    plain = _plain(word[0])
    return word[0] if _masked(plain) == plain else f"{word[0].partition('%')[0]}..."


def _plain(text: str) -> str:
    for _ in range(_NESTED):
        text = urllib.parse.unquote(text)
    return text


def is_secret(address: str) -> bool:
    """Whether an address holds what opens it: a password or a signature; a user alone opens nothing.

    Example:
        >>> is_secret("mysql://me:secret@a.org/trials"), is_secret("mysql://me@a.org/trials")
        (True, False)
    """
    plain = _plain(address)
    users = (_USER.search(text) for text in (address, plain))  # which takes the place of what it finds
    signed = any(_SIGNED.search(query[0]) for text in (address, plain) for query in _QUERY.finditer(text))
    return signed or any(user is not None and ":" in user[0].partition("/")[2] for user in users)


class PlaitError(ValueError):
    """Something the user can put right. The command line prints it as one line and exits with code 2.

    Whatever address its message names, no password comes with it.
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(*(hidden(part) if isinstance(part, str) else part for part in parts))


class ConfigError(PlaitError):
    """A setting, a YAML file or a name that plait does not know."""


class TableError(PlaitError):
    """A table, a column or a target that cannot be used as it is."""


class CellError(PlaitError):
    """One cell that cannot be read: it becomes absent and is counted, or with ``strict`` it is an error."""


class ModelError(PlaitError):
    """A model folder that is broken, incomplete or of another format."""


class StoreError(PlaitError):
    """The store of embeddings cannot be opened, written or read."""


class MissingDependencyError(PlaitError, ImportError):
    """An optional package is needed and not installed."""


class PlaitWarning(UserWarning):
    """Something was handled (a cell made absent, a column left out) that the user should know of."""


#: Where plait's own files lie.
_OWN = str(Path(__file__).parents[1])


def warn(message: str) -> None:
    """Give a ``PlaitWarning`` that points at the line that called plait, however deep in plait it is found out."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith(_OWN):
        frame, level = frame.f_back, level + 1
    warnings.warn(hidden(message), PlaitWarning, stacklevel=level)


def need(module: str, extra: str | None) -> ModuleType:
    """Import an optional ``module``, or say which extra brings it; None: it is to be installed by itself.

    Example:
        >>> need("json", "text").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingDependencyError(
            f"the package '{package}' is needed and could not be imported ({error}); "
            f"run: pip install {package if extra is None else f'{chr(34)}plait[{extra}]{chr(34)}'}"
        ) from error


def reason(error: BaseException) -> str:
    """The first line of what an error says, or else its kind."""
    return next((line.strip()[:200] for line in str(error).splitlines() if line.strip()), type(error).__name__)


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is meant, or list them all.

    Example:
        >>> nearest("concatt", ["concat", "mean"])
        "did you mean 'concat'?"
        >>> nearest("acc", ["accuracy", "auc"])
        "did you mean 'accuracy'?"
    """
    options = sorted(known)
    folded = [option for option in options if option.strip().casefold() == name.strip().casefold()]
    begun = [option for option in options if len(name) > 2 and option.startswith(name)]
    close = folded or (begun if len(begun) == 1 else difflib.get_close_matches(name, options, n=1))
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(options) or 'none'}"
