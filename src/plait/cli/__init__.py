"""The command line. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from plait import progress
from plait.errors import ConfigError, PlaitError, PlaitWarning

_Function = TypeVar("_Function", bound=Callable[..., Any])
_AGAIN = "the same command carries on from there"
_STORED = "what was encoded is kept in the store"
#: What is kept besides by a command that Ctrl-C stops; most write nothing before they end.
_KEPT = {
    "fit": "finished epochs are kept beside the model's folder",
    "demo": "the table of cards, once written, is kept",
    "study run": "finished runs are kept in the study's folder",
    "study plan": "finished probes are kept in the study's folder",
    "advise": "finished fits are kept in the folder of the advice",
    "sensitivity": "finished trials are kept in the folder of the search",
}
#: Commands that fill the store themselves.
_ENCODING = (
    "fit",
    "demo",
    "pretrain",
    "encode",
    "predict",
    "evaluate",
    "explain",
    "align",
    "search",
    "classify",
    "inspect",
)


class _Interrupted(Exception):  # noqa: N818 - not an error
    """Ctrl-C, under a name that the argument parser does not swallow; says what is kept."""


class Command(TyperCommand):
    """A command that shows on a terminal that it works, from before its imports on, and says what Ctrl-C leaves behind."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        _refuse_own_input(ctx.params)
        try:
            with progress.session("loading libraries"), _cleared_before_output():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            name = ctx.command_path.removeprefix(ctx.find_root().command_path).strip()
            raise _Interrupted(_kept(name, ctx.params)) from None


def _refuse_own_input(options: dict[str, Any]) -> None:
    """An answer never replaces the table or the file that it is made of."""
    out = options.get("out")
    if out is None or not Path(out).is_file():
        return
    for name in ("table", "schema", "file"):
        source = options.get(name)
        if source is not None and Path(source).exists() and Path(source).samefile(out):
            raise ConfigError(f"--out {out}: is the {name} that is read, and would be replaced; name another file")


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


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted from None


class Typer(typer.Typer):
    """An application whose commands are all of the kind above."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[_Function], _Function]:
        """As typer has it."""
        return super().command(name, cls=Command, **options)


def _kept(command: str, options: dict[str, Any]) -> str:
    """What a command that was stopped leaves behind, by its options."""
    parts = [_STORED] * (command in _ENCODING and options.get("store") != "none")
    if command in _KEPT and options.get("checkpoint") != "none":
        parts.append(_KEPT[command])
    written = ["nothing was written"] * (command not in ("fit", *_KEPT))
    again = [_AGAIN] * bool(parts and command not in ("search", "classify"))
    return "; ".join([*written, " and ".join(parts), *again] if parts else written or ["nothing was written"])


class _Output:
    """Standard output that has the lines about progress taken away before anything is written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        progress.clear()
        written: int = self._stream.write(text)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _cleared_before_output() -> Iterator[None]:
    """Results on a terminal do not mix with the lines about progress."""
    if sys.stdout is None or not sys.stdout.isatty() or not progress.wanted(None):
        yield
        return
    with contextlib.redirect_stdout(_Output(sys.stdout)):
        yield


app = Typer(
    name="plait",
    cls=_Commands,
    help="Light, honest, robust multimodal fusion: a table of mixed columns in, one small model out, with the evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what the user can put right is one line and exit code 2."""
    # Threads of torch that spin while they wait slow a busy machine down (4 to 8 times, measured); let them sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    gc.set_threshold(100_000, 20, 50)  # a fifth of the time that imports take is the collector looking for cycles
    atexit.register(gc.freeze)  # and it need not look once more at what ends with the process
    warnings.simplefilter("always", PlaitWarning)
    shown = warnings.showwarning
    warnings.showwarning = lambda message, category, *rest: (
        _say("warning", str(message)) if issubclass(category, PlaitWarning) else shown(message, category, *rest)
    )
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a name of bytes that are no text is shown, not a trace
    with _ending_well() as received:
        _run(arguments, received)


def _run(arguments: list[str] | None, received: list[int]) -> None:
    try:
        from plait.cli import advise, align, curves, fit, inspect, look, pretrain, sensitivity, study, use  # noqa: F401 - registers

        app(args=arguments)
    except PlaitError as error:
        _fail(str(error))
    except (_Interrupted, KeyboardInterrupt) as stop:
        _say("stopped", str(stop) or "nothing was written")
        sys.exit(128 + received[0] if received else 130)
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
    line: Any = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
    typer.secho(f"{kind}: {line}", fg=color, err=True)
