"""The one way in which files come from the web: redirects are checked, waiting is bounded, and what fails is tried again."""

from __future__ import annotations

import http.client
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from plait.base import __version__
from plait.base.errors import CellError, hidden

_Answer = TypeVar("_Answer")
#: Called with an address before it is asked; raises where it must not be.
Check = Callable[[str], None]
#: Seconds waited before another try.
WAITS = (0.2, 1.0)
CHUNK = 1 << 18
_REDIRECTS = 5


class Again(Exception):  # noqa: N818 - no error: another try may do
    """Something that may go better the next time."""


@dataclass(frozen=True)
class Patience:
    """How long an answer is waited for.

    Attributes:
        late: what is said when it did not come.
        step: seconds for the next bytes.
        end: by ``time.monotonic``, of all of it, other tries included.
    """

    late: str
    step: float = math.inf
    end: float = math.inf

    @property
    def seconds(self) -> float:
        """That the next step may take."""
        return max(0.05, min(self.step, self.end - time.monotonic()))

    def said(self, error: BaseException) -> str:
        """Why nothing came, in words."""
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError) or time.monotonic() >= self.end:
            return self.late
        return f"cannot be fetched ({str(reason) or type(reason).__name__})"


@dataclass(frozen=True)
class Reply:
    """A file as it comes.

    Attributes:
        chunks: its bytes, in pieces.
        size: of what comes, where the server says so.
        etag: the server's mark of this content, and when it was ``modified``.
        goes_on: it is the rest of a file, from the place that was asked for.
        close: call it where the bytes are not wanted.
    """

    chunks: Iterator[bytes]
    size: int | None
    etag: str | None
    modified: str | None
    goes_on: bool
    close: Callable[[], None]


def tried(once: Callable[[], _Answer], patience: Patience) -> _Answer:
    """What ``once`` gives; called again, up to three times in all, where it raises ``Again``."""
    for wait in WAITS:
        try:
            return once()
        except Again:
            if time.monotonic() + wait >= patience.end:
                raise
        time.sleep(wait)
    return once()


def shown(address: str) -> str:
    """An address for a message, without what may be a password, and not too long."""
    return hidden(address)[:200]


def check_web(address: str) -> None:
    """Refuse an address that carries a password, or climbs."""
    opening = re.split("[?&;#]", address, maxsplit=1)[0]
    if hidden(opening) != opening:
        raise CellError(f"{shown(address)}: carries a user or a password; credentials come from the environment alone")
    if ".." in urllib.parse.unquote(urllib.parse.urlsplit(address).path).split("/"):
        raise CellError(f"{shown(address)}: holds '..'; name the file itself")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, each to an address that may be asked, and never to another kind of place."""

    max_redirections = _REDIRECTS

    def __init__(self, check: Check) -> None:
        self.check = check

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        new = urllib.parse.urljoin(req.full_url, headers.get("location") or headers.get("uri") or "")
        if urllib.parse.urlsplit(new).scheme not in ("http", "https"):
            raise CellError(f"{shown(req.full_url)}: redirects to {shown(new)}, which is not fetched")
        try:
            self.check(new)
        except CellError as error:
            raise CellError(f"{shown(req.full_url)}: redirects elsewhere: {error}") from None
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def ask(address: str, check: Check, headers: Mapping[str, str], patience: Patience) -> Reply | None:
    """A file at an address of http or https; None: the server says that it has not changed.

    Raises:
        CellError: not there, forbidden, or it leads to where ``check`` refuses.
        Again: the server does not answer as it should, for now.
    """
    request = urllib.request.Request(_quoted(address), headers={"User-Agent": f"plait/{__version__}", **headers})
    try:
        response = urllib.request.build_opener(_Redirects(check)).open(request, timeout=patience.seconds)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 304:
            return None
        raise _refused(address, error.code, str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise Again(patience.said(error)) from None
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else None
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    chunks = pieces(response, response.read1, patience)
    return Reply(chunks, size, etag, modified, response.status == 206, response.close)


def _quoted(address: str) -> str:
    """An address whose blanks and letters beyond ASCII are written as the web has them."""
    parts = urllib.parse.urlsplit(address)
    host = parts.netloc.encode("idna").decode() if not parts.netloc.isascii() else parts.netloc
    quoted = [urllib.parse.quote(part, safe="%/:=&?~#+!$,;'@()*[]") for part in (parts.path, parts.query)]
    return urllib.parse.urlunsplit((parts.scheme, host, *quoted, ""))


def _refused(address: str, code: int, reason: str) -> CellError | Again:
    """What an answer other than the file says."""
    where = shown(address)
    if 300 <= code < 400:
        return CellError(f"{where}: redirects more than {_REDIRECTS} times, or in a circle")
    if code in (404, 410):
        return CellError(f"{where}: there is no such file (the server answers {code})")
    if code in (401, 403, 407):
        return CellError(f"{where}: the server forbids it ({code}); ask its owner, or save it and name the file")
    if code == 429 or code >= 500:
        return Again(f"the server answers {code} {reason}, also when asked again")
    return CellError(f"{where}: the server answers {code} {reason}")


def pieces(stream: Any, read: Callable[[int], bytes], patience: Patience) -> Iterator[bytes]:
    """Pieces as they arrive, until the time is up."""
    try:
        with stream:
            while True:
                if time.monotonic() > patience.end:
                    raise TimeoutError
                try:
                    chunk = read(CHUNK)
                except http.client.IncompleteRead as error:
                    chunk = error.partial
                if not chunk:
                    return
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise Again(patience.said(error)) from None
