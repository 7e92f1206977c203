"""A worker process: ``python -m plait.study.worker``, jobs on its standard input, results on its standard output."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from plait.study.frames import receive, send

if TYPE_CHECKING:
    from plait.study.engine import Worker


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
