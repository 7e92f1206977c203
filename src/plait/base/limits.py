"""How much of what somebody else made is taken: limits against files that unpack to more than they seem.

Each has a default that usual tables stay far below, and an environment variable for those that do not.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

from plait.base.errors import ConfigError, TableError


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
        """The limit that holds now.

        Raises:
            ConfigError: the environment variable is no positive whole number.
        """
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
#: One file that is fetched, and the time for it, other tries included.
REMOTE_BYTES = Limit("PLAIT_MAX_REMOTE_BYTES", 1 << 30, "bytes of a fetched file")
REMOTE_SECONDS = Limit("PLAIT_MAX_REMOTE_SECONDS", 120, "seconds of a fetched file")


class Bounded(io.RawIOBase):
    """A binary stream whose lines, and whose whole where it is unpacked on the way, may not be longer than their limits.

    Reading beyond raises ``TableError`` with the file's name and the number of the line.
    """

    def __init__(self, stream: BinaryIO, name: object, *, packed: bool) -> None:
        """Limits are looked up once, here."""
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
