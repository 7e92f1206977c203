"""A worker process (python -m plait.study.worker), and the messages between it and the runner."""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

if TYPE_CHECKING:
    from plait.study.engine import Worker


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


def main() -> None:
    """Serve until the runner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's business
    # Without buffers: the thread that waits for jobs would hold their lock when this process ends.
    jobs = cast(BinaryIO, os.fdopen(0, "rb", buffering=0, closefd=False))
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get between the messages
    try:
        _serve(jobs, results)
    except BaseException:  # noqa: BLE001 - whatever it is, it is told, and the runner hears of the end
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _serve(jobs: BinaryIO, results: BinaryIO) -> None:
    first = receive(jobs)
    if first is None:
        return
    waiting: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs, waiting), daemon=True).start()
    worker = _worker(first[0])
    send(results, {"ready": os.getpid()})
    while True:
        finished, facts = worker.do(waiting.get())
        options: dict[str, Any] = {"facts": facts}
        if finished is not None:
            options |= {"line": finished.line, "epochs": finished.epochs, "trace": finished.trace}
        send(results, options, finished.arrays if finished is not None else None)


def _listen(jobs: BinaryIO, waiting: queue.Queue[Any]) -> None:
    """When the runner dies, so does the worker, in the middle of a run: nobody would take its result."""
    while True:
        message = receive(jobs)
        if message is None:
            os._exit(0)
        waiting.put(message[0])


def _worker(value: Any) -> Worker:
    from plait.study.engine import Worker, setting_from_dict

    return Worker(setting_from_dict(value))


if __name__ == "__main__":
    main()
