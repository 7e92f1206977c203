"""A worker process: ``python -m plait.study.worker``, jobs on its standard input, results on its standard output."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO

from plait.study.frames import receive, send


def main() -> None:
    """Serve until the runner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's business
    jobs, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get between the messages
    first = receive(jobs)
    if first is None:
        return
    setting, _ = first
    waiting: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs, waiting), daemon=True).start()
    worker = _worker(setting)
    send(results, {"ready": os.getpid()})
    while True:
        job = waiting.get()
        finished, facts = worker.do(job)
        told: dict[str, Any] = {"facts": facts}
        if finished is not None:
            told |= {"line": finished.line, "epochs": finished.epochs, "trace": finished.trace}
        try:
            send(results, told, finished.arrays if finished is not None else None)
        except BrokenPipeError:
            os._exit(0)


def _listen(jobs: BinaryIO, waiting: queue.Queue[Any]) -> None:
    """When the runner dies, so does the worker, in the middle of a run: nobody would take its result."""
    while True:
        message = receive(jobs)
        if message is None:
            os._exit(0)
        waiting.put(message[0])


def _worker(told: Any) -> Any:
    import torch

    from plait.study.engine import Worker, setting_from_dict

    torch.set_num_threads(int(told["threads"]))
    return Worker(setting_from_dict(told["setting"]))


if __name__ == "__main__":
    main()
