"""The application that commands join: progress from the first moment on, and what a stopped command leaves behind."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from plait.base import progress
from plait.base.errors import ConfigError
from plait.base.folders import check_file, check_room

_Function = TypeVar("_Function", bound=Callable[..., Any])
_AGAIN = "the same command carries on from there"
_STORED = "what was encoded is kept in the store"
#: What is kept besides by a command that Ctrl-C stops; most write nothing before they end.
_KEPT = {
    "fit": "finished epochs are kept beside the model's folder",
    "demo": "the table of cards, once written, is kept",
    "reproduce": "finished runs are kept in the folders of the studies",
    "study run": "finished runs are kept in the study's folder",
    "study plan": "finished probes are kept in the study's folder",
    "advise": "finished fits are kept in the folder of the advice",
    "sensitivity": "finished trials are kept in the folder of the search",
}
#: Commands that fill the store themselves.
_ENCODING = (
    *("fit", "demo", "pretrain", "encode", "predict", "evaluate", "explain"),
    *("align", "search", "classify", "inspect"),
)


#: Commands whose --out is a file in a folder that is there; others make theirs.
_FILES = ("predict", "classify", "encode")


class Interrupted(Exception):  # noqa: N818 - not an error
    """Ctrl-C, under a name that the argument parser does not swallow; says what is kept."""


#: What the parser raises where a command is called in a way that it does not have.
_UsageError: Any = typer.BadParameter.__base__


class Command(TyperCommand):
    """A command that shows on a terminal that it works, from before its imports on, and says what Ctrl-C leaves behind."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options and arguments by what was given; an option without its value says what may stand there."""
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            name = getattr(error, "option_name", None)
            option: Any = next((p for p in self.params if name in (*p.opts, *p.secondary_opts)), None)
            if option is not None and not getattr(option, "is_flag", False) and option.help:
                error.message = f"{error.message.rstrip('.')}: {option.help}"
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        name = ctx.command_path.removeprefix(ctx.find_root().command_path).strip()
        _check_out(name, ctx.params)
        try:
            with progress.session("loading libraries"), _cleared_before_output():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted(_kept(name, ctx.params)) from None


def _check_out(command: str, options: dict[str, Any]) -> None:
    """Before any work: what is written has a place, and never replaces the table or the file that it is made of."""
    out = options.get("out")
    if out is None:
        return
    for name in ("table", "schema", "file"):
        source = options.get(name)
        if source is not None and Path(source).is_file() and _same_file(source, out):
            raise ConfigError(f"--out {out}: is the {name} that is read, and would be replaced; name another file")
    if command in (*_FILES, "curves"):
        check_file(out, folders=command == "curves")
    else:
        check_room(f"--out {out}", Path(out).expanduser().absolute())


def _same_file(one: str | Path, other: str | Path) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:  # the other is not there, or cannot be
        return False


#: Commands in the order in which they are needed; others follow.
_ORDER = (
    *("demo", "schema", "fit", "predict", "evaluate", "explain"),
    *("advise", "study", "reproduce", "sensitivity", "inspect", "curves"),
    *("export", "serve", "push", "align", "search", "classify", "pretrain"),
    *("encode", "store", "list", "data", "doctor"),
)


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return [*(name for name in _ORDER if name in names), *(name for name in names if name not in _ORDER)]

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None


class Typer(typer.Typer):
    """An application whose commands are all of the kind above."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[_Function], _Function]:
        """Register a command, as ``typer.Typer.command`` does."""
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


def _version(wanted: bool) -> None:
    if wanted:
        from plait.base import __version__

        typer.echo(f"plait {__version__}")
        raise typer.Exit


app = Typer(
    name="plait",
    cls=_Commands,
    help="Light, honest, robust multimodal fusion: a table of mixed columns in, one small model out, with the evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Say which plait this is.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass
