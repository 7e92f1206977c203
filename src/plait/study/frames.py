"""Messages between a runner and its workers: plain values and arrays, framed; no pickle."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

import numpy as np

_HEAD = struct.Struct("<QQ")


def send(stream: BinaryIO, value: Any, arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """One message.

    Example:
        >>> pipe = io.BytesIO()
        >>> send(pipe, {"a": 1}, {"x": np.zeros(2)})
        >>> _ = pipe.seek(0)
        >>> receive(pipe)
        ({'a': 1}, {'x': array([0., 0.])})
    """
    text = json.dumps(value, default=str).encode()
    held = io.BytesIO()
    if arrays:
        np.savez(held, **cast(dict[str, Any], arrays))
    stream.write(_HEAD.pack(len(text), held.tell()) + text + held.getvalue())
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Any, dict[str, np.ndarray]] | None:
    """The next message; None when the other end is gone."""
    head = _exactly(stream, _HEAD.size)
    if head is None:
        return None
    sizes = _HEAD.unpack(head)
    text, packed = _exactly(stream, sizes[0]), _exactly(stream, sizes[1])
    if text is None or packed is None:
        return None
    arrays: dict[str, np.ndarray] = {}
    if packed:
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    return json.loads(text), arrays


def _exactly(stream: BinaryIO, size: int) -> bytes | None:
    parts, missing = [], size
    while missing:
        part = stream.read(missing)
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
