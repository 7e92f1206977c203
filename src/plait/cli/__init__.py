"""The command line. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import os
import pkgutil
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from plait.base.errors import PlaitError, PlaitWarning
from plait.cli.app import Interrupted, Typer, app
from plait.cli.show import wrapped

__all__ = ["app", "main", "registered"]


def registered() -> Typer:
    """The application with all its commands: every module here brings some, but for what they share."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return app


@contextmanager
def _ending_well() -> Iterator[list[int]]:
    """Within the block a SIGTERM (of a queue, a container, systemd) ends a command as Ctrl-C does, and is noted."""
    received: list[int] = []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what the user can put right is one line and exit code 2."""
    # Threads of torch that spin while they wait slow a busy machine down (4 to 8 times, measured); let them sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    gc.set_threshold(100_000, 20, 50)  # a fifth of the time that imports take is the collector looking for cycles
    atexit.register(gc.freeze)  # and it need not look once more at what ends with the process
    warnings.simplefilter("always", PlaitWarning)
    shown = warnings.showwarning
    said: set[str] = set()  # what is found out anew in every part of a command is said once

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, PlaitWarning):
            shown(message, category, *place, **more)
        elif str(message) not in said:
            said.add(str(message))
            _say("warning", str(message))

    warnings.showwarning = show
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name of bytes that are no text is shown, not a trace
    with _ending_well() as received:
        _run(arguments, received)


def _run(arguments: list[str] | None, received: list[int]) -> None:
    try:
        registered()(args=arguments)
    except PlaitError as error:
        _fail(str(error))
    except (Interrupted, KeyboardInterrupt) as stop:
        _say("stopped", str(stop) or "nothing was written")
        sys.exit(128 + received[0] if received else 130)
    except SystemExit as end:
        if received and end.code == 130:  # the parser met it, before the command began or after it ended
            _say("stopped", "by a signal")
            sys.exit(128 + received[0])
        raise
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        if error.errno is None:
            raise
        _fail(f"{error.filename or 'standard output, or a temporary file in $TMPDIR'}: {error.strerror}")
    except MemoryError:
        _fail("out of memory; give fewer rows at a time, or a smaller batch_size")


def _fail(message: str) -> None:
    _say("error", message)
    sys.exit(2)


def _say(kind: str, message: str) -> None:
    color = {"error": typer.colors.RED, "warning": typer.colors.YELLOW}.get(kind)
    line = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
    typer.secho(wrapped(f"{kind}: {line}", sys.stderr), fg=color, err=True)
