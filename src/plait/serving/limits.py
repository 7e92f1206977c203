"""How much a service takes: sizes, rows, seconds and requests at once, held before a model sees anything."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any

from plait.base import checks
from plait.base.checks import Count, Positive, Within

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a service takes.

    Attributes:
        body_mb: megabytes of one request; a larger one is refused before it is read.
        rows: of one batch.
        seconds: that a request may take to arrive, and the same again for its answer.
        requests: that are worked on or wait at once; further ones are told to come again.
        url_hosts: hosts from which pictures and sounds that are named by a URL are fetched; none: no URL is.

    Example:
        >>> Limits(rows=10).rows
        10
    """

    body_mb: Positive = 20.0
    rows: Count = 1000
    seconds: Annotated[float, Within(0, 3600, above=True)] = 30.0
    requests: Count = 16
    url_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks.check(self, "serve")

    @property
    def body_bytes(self) -> int:
        """The same in bytes."""
        return int(self.body_mb * 1_000_000)


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that is not taken, with its status and one line that says why."""

    def __init__(self, status: int, message: str) -> None:
        """``status``: of HTTP."""
        super().__init__(message)
        self.status, self.message = status, message


class Guard:
    """Stands before the application and holds its limits."""

    def __init__(self, app: App, limits: Limits) -> None:
        self.app, self.limits = app, limits
        self.open = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        try:
            self._enter(scope)
        except Refused as refused:
            await _answer(send, refused)
            return
        try:
            body = await asyncio.wait_for(self._body(receive), self.limits.seconds)
            await self.app(scope, _given(body, receive), send)
        except Refused as refused:
            await _answer(send, refused)
        except TimeoutError:
            await _answer(send, Refused(408, f"the request did not arrive within {self.limits.seconds:g} seconds"))
        finally:
            self.open -= 1

    def _enter(self, scope: Message) -> None:
        """Count a request in, or refuse it by what its head says."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise Refused(400, "Content-Length is no number")
        if int(length) > self.limits.body_bytes:
            raise self._too_large(f"{int(length):,} bytes")
        if self.open >= self.limits.requests:
            raise Refused(503, f"{self.open} requests are being answered, which is the limit; try again in a moment")
        self.open += 1

    async def _body(self, receive: Receive) -> bytes:
        """All of the request, however it is cut into pieces."""
        parts, size, more = list[bytes](), 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the connection was closed before the request was whole")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.limits.body_bytes:
                raise self._too_large("more")
            more = message.get("more_body", False)
        return b"".join(parts)

    def _too_large(self, result: str) -> Refused:
        return Refused(413, f"the request has {result}; at most {self.limits.body_bytes:,} bytes are taken (--body-mb)")


def _given(body: bytes, receive: Receive) -> Receive:
    """The body as one message; then whatever comes, such as that the client has gone."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _answer(send: Send, refused: Refused) -> None:
    """One line of JSON; the connection ends, for the rest of a body that was not read would follow."""
    body = json.dumps({"error": refused.message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    headers += [(b"retry-after", b"1")] * (refused.status == 503)
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
