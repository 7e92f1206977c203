"""YAML and JSON that somebody wrote, read in bounded time and memory, and without surprises.

YAML is read by the rules of its version 1.2: ``1e-4`` is a number; ``no``, ``on`` and ``1:30`` are text, as are dates. A key
may stand there only once. No tag makes anything but plain values.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from plait.base.errors import ConfigError, TableError

#: Letters of a text, brackets within brackets, and values once every alias is written out.
LETTERS, DEPTH, VALUES = 2_000_000, 40, 100_000

_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_RESOLVERS = (
    ("bool", _BOOL, "tTfF"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("null", _NULL, ["~", "n", "N", ""]),
)


class _Loader(yaml.SafeLoader):
    """A safe loader of YAML 1.2 that refuses a key given twice, which YAML itself lets the last one win."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as in yaml: shared by design
    depth = 0
    count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node and all that is in it, which is read by recursion."""
        self.depth, self.count = self.depth + 1, self.count + 1
        if self.depth > DEPTH:
            raise ConfigError(f"line {self.line + 1}: nested more than {DEPTH} deep")
        if self.count > VALUES:
            raise ConfigError(f"line {self.line + 1}: more than {VALUES:,} values; settings hold fewer")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """A safe dumper that quotes what YAML 1.1 or 1.2 would take for anything but text."""


for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, list(_first))
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, list(_first))


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict):
            raise ConfigError(f"line {key_node.start_mark.line + 1}: a key must be a plain word")
        if key in seen:
            raise ConfigError(f"line {key_node.start_mark.line + 1}: the key '{key}' is given twice; keep one")
        seen.add(key)
    return loader.construct_mapping(node, deep=deep)


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    word = str(loader.construct_scalar(node))
    return int(word, 0 if word[:2] in ("0o", "0x") else 10)


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(str(loader.construct_scalar(node)).lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)
for _name in ("binary", "set", "omap", "pairs"):
    _Loader.yaml_constructors.pop(f"tag:yaml.org,2002:{_name}", None)


def read_yaml_node(text: str, where: str) -> yaml.Node | None:
    """The tree of a YAML text, with the place of everything in it; None where it holds nothing.

    Raises:
        ConfigError: not YAML, or larger or deeper than anything that is written by hand.
    """
    if len(text) > LETTERS:
        raise ConfigError(f"{where}: {len(text):,} letters; settings are read up to {LETTERS:,}")
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
        if node is not None:
            _size(node, {}, set())
    except ConfigError as error:
        raise ConfigError(f"{where}, {error}") from None
    except yaml.YAMLError as error:
        raise _refusal(error, where) from None
    return node


def read_yaml_value(text: str, where: str) -> Any:
    """The plain value of a YAML text.

    Raises:
        ConfigError: not YAML, a key given twice, or more than is read; the message names the line.

    Example:
        >>> read_yaml_value("[1e-4, 1:30, no, 2020-02-30, 08, 0x10, .inf]", "here")
        [0.0001, '1:30', 'no', '2020-02-30', 8, 16, inf]
    """
    return value_of(read_yaml_node(text, where), where)


def value_of(node: yaml.Node | None, where: str) -> Any:
    """The plain value of a tree that ``read_yaml_node`` gave."""
    if node is None:
        return None
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except ConfigError as error:
        raise ConfigError(f"{where}, {error}") from None
    except yaml.YAMLError as error:
        raise _refusal(error, where) from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # a number of 5,000 digits, a foreign tag
        raise ConfigError(f"{where}: a value cannot be read ({str(error)[:100]})") from None
    finally:
        loader.dispose()


def write_yaml(value: object, **options: Any) -> str:
    """YAML text of plain values, in the order given, that any version of YAML reads back as it was."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **options)
    return text


def read_json(data: bytes | str) -> Any:
    """The value of a JSON text by the letter of its standard: no NaN, nothing deeper than the reader can go."""
    try:
        return json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _size(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Values in a tree once every alias is written out, counted without doing so."""
    if id(node) in above:
        raise ConfigError(f"line {node.start_mark.line + 1}: an alias stands within what it names")
    if id(node) not in known:
        above.add(id(node))
        known[id(node)] = 1 + sum(_size(inner, known, above) for inner in _inner(node))
        above.discard(id(node))
        if known[id(node)] > VALUES:
            line = node.start_mark.line + 1
            raise ConfigError(f"line {line}: more than {VALUES:,} values (aliases written out); settings hold fewer")
    return known[id(node)]


def _inner(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _refusal(error: yaml.YAMLError, where: str) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return ConfigError(f"{where}{place}: not valid YAML: {problem}")


def checksum(manifest: Mapping[str, object]) -> str:
    """Hex digest of a manifest, its own checksum aside."""
    options = {k: v for k, v in manifest.items() if k != "checksum"}
    text = json.dumps(options, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def is_manifest(path: Path) -> bool:
    """Whether a file is the manifest of a model that plait wrote, of whatever format."""
    try:
        value = read_json(path.read_bytes())
        return (
            isinstance(value, dict)
            and isinstance(value.get("format"), int)
            and value.get("checksum") == checksum(value)
        )
    except (OSError, ValueError):
        return False


def plain(text: object) -> str:
    r"""One line of Markdown in which nothing is markup, HTML included.

    Example:
        >>> plain("<b>a_b</b> & [c]")
        '&lt;b&gt;a\\_b&lt;/b&gt; &amp; \\[c\\]'
    """
    value = " ".join(str(text).split()).replace("&", "&amp;")
    for sign in "\\`*_[]":
        value = value.replace(sign, f"\\{sign}")
    return value.replace("<", "&lt;").replace(">", "&gt;")


def cell(text: object) -> str:
    """A text that cannot leave its cell of a table."""
    return plain(text).replace("|", "\\|")


@dataclass(frozen=True)
class Limit:
    """A greatest number of something.

    Attributes:
        variable: the environment variable that sets another.
        default: used where it is not set.
        things: what is counted, for messages.

    Example:
        >>> Limit("PLAIT_MAX_APPLES", 3, "apples").said
        'at most 3 apples are read; set PLAIT_MAX_APPLES higher if that is yours'
    """

    variable: str
    default: int
    things: str

    @property
    def value(self) -> int:
        """The limit that holds now."""
        value = os.environ.get(self.variable, "").strip()
        if not value:
            return self.default
        if not value.isdecimal() or int(value) < 1:
            raise ConfigError(f"{self.variable}: expected a whole number from 1, found {value!r:.40}")
        return int(value)

    @property
    def said(self) -> str:
        """The end of a message: what is read at most, and how to change it."""
        return f"at most {self.value:,} {self.things} are read; set {self.variable} higher if that is yours"


#: One line of a text table; also what stands between two quotes.
LINE_BYTES = Limit("PLAIT_MAX_LINE_BYTES", 1 << 26, "bytes of one line")
#: A table that is packed with gzip.
UNPACKED_BYTES = Limit("PLAIT_MAX_UNPACKED_BYTES", 1 << 32, "bytes of a packed table")
#: A table that is read as a whole; ``plait predict`` reads piece by piece and needs no such limit.
TABLE_ROWS = Limit("PLAIT_MAX_ROWS", 10_000_000, "rows of a table")
#: One member of a zip archive.
MEMBER_BYTES = Limit("PLAIT_MAX_MEMBER_BYTES", 1 << 30, "bytes of a member")
#: The manifest of a model folder: settings, words, numbers; arrays lie beside it.
MANIFEST_BYTES = Limit("PLAIT_MAX_MANIFEST_BYTES", 1 << 28, "bytes of a model.json")
#: One file that is fetched, and the time for it, other tries included.
REMOTE_BYTES = Limit("PLAIT_MAX_REMOTE_BYTES", 1 << 30, "bytes of a fetched file")
REMOTE_SECONDS = Limit("PLAIT_MAX_REMOTE_SECONDS", 120, "seconds of a fetched file")


class Bounded(io.RawIOBase):
    """A binary stream whose lines, and whose whole where it is unpacked on the way, may not be longer than their limits.

    Reading beyond raises ``TableError`` with the file's name and the number of the line.
    """

    def __init__(self, stream: BinaryIO, name: object, *, packed: bool) -> None:
        super().__init__()
        self._stream, self._name = stream, name
        self._line, self._started, self._total = 1, 0, 0
        self._longest, self._most = LINE_BYTES.value, UNPACKED_BYTES.value if packed else None

    def readable(self) -> bool:
        """It is only read."""
        return True

    def seekable(self) -> bool:
        """Whether the wrapped stream can seek."""
        return self._stream.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Lines are counted from the new place."""
        self._total = self._started = self._stream.seek(offset, whence)
        self._line = 1 if self._total == 0 else self._line
        return self._total

    def readinto(self, buffer: Any) -> int:
        """Read a piece and count it."""
        chunk = self._stream.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._count(chunk)
        return len(chunk)

    def close(self) -> None:
        """Close the stream within, too."""
        if not self.closed:
            self._stream.close()
        super().close()

    def _count(self, chunk: bytes) -> None:
        breaks = chunk.count(b"\n") or chunk.count(b"\r")
        if breaks:
            self._line += breaks
            self._started = self._total + max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        self._total += len(chunk)
        if self._total - self._started > self._longest:
            raise TableError(f"{self._name}, line {self._line}: the line does not end; {LINE_BYTES.said}")
        if self._most is not None and self._total > self._most:
            raise TableError(f"{self._name}: unpacks to more than it may; {UNPACKED_BYTES.said}")
