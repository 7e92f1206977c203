"""Tables and cells on the network: fetched only where somebody says so, kept by content, bounded in size and time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from plait.base.documents import REMOTE_BYTES, REMOTE_SECONDS
from plait.base.errors import CellError, ConfigError, TableError, hidden, is_secret, need, reason
from plait.base.parts import write_file
from plait.data.web import Again, Patience, ask, check_web, pieces, shown, tried

#: Scheme -> the package that reads it (extra ``remote``); None: the standard library.
SCHEMES: Mapping[str, str | None] = {
    **dict.fromkeys(("http", "https")),
    "s3": "s3fs",
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
    "hf": "huggingface_hub",
}
#: Value of ``remote`` that allows every address.
ALL = "all"
# A Path makes one slash of two, and on Windows a backslash.
_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):[/\\]{{1,2}}(?=[^/\\])", re.IGNORECASE)
_ENDING = re.compile(r"(?:\.[a-z0-9]{1,8}){1,2}")


def address_of(name: object) -> str | None:
    """The address that a name or a path is, with two slashes and its scheme in small letters; None: it is none.

    Example:
        >>> address_of("S3://bucket/a.png"), address_of(Path("s3://bucket/a.png")), address_of("a.png")
        ('s3://bucket/a.png', 's3://bucket/a.png', None)
    """
    if not isinstance(name, str | PurePath):
        return None
    text = str(name).strip()
    value = _ADDRESS.match(text)
    if value is None or "\n" in text:
        return None
    rest = text[value.end() :]
    return f"{value[1].lower()}://{rest.replace(os.sep, '/') if isinstance(name, PurePath) else rest}"


@dataclass(frozen=True)
class Allowed:
    """Which addresses may be fetched.

    Attributes:
        prefixes: beginnings of addresses (``s3://bucket/``, ``https://images.example.org/``); None: every address.

    Example:
        >>> allowed = Allowed.of(["https://example.org/photos"])
        >>> allowed("https://example.org/photos/1.png"), allowed("https://example.org.evil.net/photos/1.png")
        (True, False)
    """

    prefixes: tuple[str, ...] | None

    @classmethod
    def of(cls, remote: str | bool | Sequence[str] | None) -> Allowed:
        """What the setting ``remote`` says."""
        values: list[Any] = [remote] if isinstance(remote, str | bool) else list(remote or ())
        if any(value is True or value in (ALL, "true") for value in values):
            return cls(None)
        values = [value for value in values if value is not False and value not in ("none", "false")]
        odd = next((value for value in values if address_of(value) is None), None)
        if odd is not None:
            raise ConfigError(
                f"remote: expected 'all', or how addresses begin ({', '.join(list(SCHEMES)[:3])}, ... as in "
                f"https://images.example.org/), found {hidden(str(odd))!r:.80}"
            )
        if any(hidden(value) != value for value in values):
            raise ConfigError(
                "remote: an address there carries a user or a password; credentials come from the environment alone"
            )
        return cls(tuple(str(address_of(value)) for value in values))

    def __call__(self, address: str) -> bool:
        """Whether this address may be fetched."""
        if self.prefixes is None:
            return True
        return any(address == p or address.startswith(p if p.endswith("/") else f"{p}/") for p in self.prefixes)

    @property
    def settings(self) -> tuple[str, ...]:
        """The setting that says it."""
        return (ALL,) if self.prefixes is None else self.prefixes

    def __bool__(self) -> bool:
        return self.prefixes is None or bool(self.prefixes)


def cache_folder() -> Path:
    """Where fetched files are kept: ``$PLAIT_REMOTE``, else ``~/.cache/plait/remote``."""
    return Path(os.environ.get("PLAIT_REMOTE") or "~/.cache/plait/remote").expanduser()


def fetch(address: str, allowed: Allowed | None = None, *, fresh: bool = False) -> Path:
    """A file at an address as a local file, fetched once and kept by its content.

    Args:
        address: as ``address_of`` gives it.
        allowed: what may be fetched, redirects included; None: this address, and where it leads.
        fresh: ask whether the file has changed since it was fetched (tables); what a cell names is taken to stay as it is.

    Raises:
        CellError: it is not allowed, not there, forbidden, too large, too slow, or cannot be read; one line says which.
    """
    allowed = Allowed(None) if allowed is None else allowed
    _check(address, allowed)
    note = cache_folder() / "addresses" / f"{hashlib.blake2b(address.encode(), digest_size=16).hexdigest()}.json"
    known = _known(note)
    if known is not None and not fresh:
        return _content(known)
    late = (
        f"not there within {REMOTE_SECONDS.value} s; set {REMOTE_SECONDS.variable} higher if that is usual, or save it"
    )
    patience = Patience(late, end=time.monotonic() + REMOTE_SECONDS.value)
    get = _of_web if SCHEMES[address.partition(":")[0]] is None else _of_store
    try:
        return tried(lambda: _kept(note, address, get(address, allowed, known, patience), known), patience)
    except Again as problem:
        raise CellError(f"{shown(address)}: {problem}") from None


def _check(address: str, allowed: Allowed) -> None:
    """Refuse an address that may not be fetched, carries a password, or climbs."""
    where = shown(address)
    if address_of(address) is None or "::" in address:
        raise CellError(f"{where}: is no address that is fetched; expected one of {', '.join(SCHEMES)}")
    check_web(address)
    if not allowed(address):
        raise not_allowed(address)


def not_allowed(address: str) -> CellError:
    """The error for an address that nobody has allowed, or that carries a password."""
    try:
        check_web(address)
    except CellError as error:
        return error
    host = "/".join(address.split("/")[:3])
    return CellError(
        f"{shown(address)}: nothing is fetched from the network unless it is allowed; pass --remote {host}/ "
        "(in Python and YAML: remote), or save it and name the file"
    )


def _known(note: Path) -> dict[str, object] | None:
    """What was noted of an address when it was fetched, if its content is still there."""
    try:
        value = json.loads(note.read_text(encoding="utf-8"))
        path = _content(value)
        return value if path.stat().st_size == value["size"] else None
    except (OSError, ValueError, KeyError, TypeError):  # fetched anew, and written anew
        return None


def _content(known: Mapping[str, object]) -> Path:
    return cache_folder() / "content" / Path(str(known["file"])).name


def _kept(note: Path, address: str, got: tuple[Iterator[bytes], dict[str, Any]] | None, known: Any) -> Path:
    """Write what arrives under the name of its content, and note where it came from; None: it has not changed."""
    if got is None:
        return _content(known)
    chunks, facts = got
    folder = cache_folder() / "content"
    folder.mkdir(parents=True, exist_ok=True)
    note.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.blake2b(digest_size=16), 0
    handle, part = tempfile.mkstemp(".part", ".", folder)
    try:
        with open(handle, "wb") as out:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                if size > REMOTE_BYTES.value:
                    raise CellError(f"{shown(address)}: is larger than it may be; {REMOTE_BYTES.said}")
                out.write(chunk)
        if (expected := facts.pop("expected", None)) is not None and size != expected:
            raise Again(f"broke off after {size:,} of {expected:,} bytes; try again")
        path = folder / f"{digest.hexdigest()}{_ending(address)}"
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)
    write_file(note, json.dumps({"address": hidden(address), "file": path.name, "size": size, **facts}).encode())
    return path


def _ending(address: str) -> str:
    name = urllib.parse.unquote(urllib.parse.urlsplit(address).path).rpartition("/")[2].lower()
    value = re.search(rf"{_ENDING.pattern}$", name)
    return value[0] if value else ""


def _of_web(
    address: str, allowed: Allowed, known: Mapping[str, Any] | None, patience: Patience
) -> tuple[Iterator[bytes], dict[str, Any]] | None:
    """Bytes and facts of a file on the web; None: it has not changed."""
    headers = {}
    for name, header in (("etag", "If-None-Match"), ("modified", "If-Modified-Since")):
        if known is not None and known.get(name):
            headers[header] = known[name]
    reply = ask(address, lambda new: _check(str(address_of(new)), allowed), headers, patience)
    if reply is None:
        return None
    if reply.size is not None and reply.size > REMOTE_BYTES.value:
        reply.close()
        raise CellError(f"{shown(address)}: {reply.size:,} bytes; {REMOTE_BYTES.said}")
    return reply.chunks, {"etag": reply.etag, "modified": reply.modified, "expected": reply.size}


def _of_store(
    address: str, allowed: Allowed, known: Mapping[str, object] | None, patience: Patience
) -> tuple[Iterator[bytes], dict[str, object]] | None:
    """Bytes and facts of a file in an object store; None: it has not changed. Credentials come from the environment."""
    scheme = address.partition(":")[0]
    need(str(SCHEMES[scheme]), "remote")
    fsspec = need("fsspec", "remote")
    try:
        system, path = fsspec.core.url_to_fs(address, **_options(scheme))
        facts = system.info(path)
        if facts.get("type") == "directory":
            raise CellError(f"{shown(address)}: is a folder; name the files in it")
        size = int(facts.get("size") or 0)
        if size > REMOTE_BYTES.value:
            raise CellError(f"{shown(address)}: {size:,} bytes; {REMOTE_BYTES.said}")
        named = (facts.get(key) for key in ("ETag", "etag", "md5Hash", "content_settings", "blob_id", "LastModified"))
        stamp = next((str(value) for value in named if value), None)
        if known is not None and stamp is not None and known.get("etag") == stamp:
            return None
        stream = system.open(path, "rb")
    except CellError:
        raise
    except FileNotFoundError:
        raise CellError(f"{shown(address)}: there is no such file") from None
    except PermissionError as error:
        raise CellError(
            f"{shown(address)}: forbidden ({reason(error)}); credentials come from the environment alone"
        ) from None
    except Exception as error:  # noqa: BLE001 - each store has errors of its own
        raise Again(f"cannot be fetched ({reason(error)})") from None
    return pieces(stream, stream.read, patience), {"etag": stamp, "expected": size}


def _options(scheme: str) -> dict[str, Any]:
    """What a file system is opened with: time limits, and without credentials where the environment has none."""
    if scheme != "s3":
        return {}
    limit = min(60, REMOTE_SECONDS.value)
    options: dict[str, Any] = {"config_kwargs": {"connect_timeout": limit, "read_timeout": limit}}
    has_some = need("botocore.session", "remote").get_session().get_credentials() is not None
    return options if has_some else {**options, "anon": True}


def check_kept(address: object, what: str) -> None:
    """Refuse an address that holds a password or a signature where it would be kept in a folder."""
    if (kept := address_of(address)) is not None and is_secret(kept):
        raise ConfigError(
            f"{what} {shown(kept)}: holds a password or a signature, which would stand in the folder that is written; save "
            "the file and name it, or let the environment hold the credentials"
        )


def beside(folder: Path, name: str) -> Path:
    """A table that a file names: an address as it is, else below the file's folder."""
    return Path(name) if address_of(name) is not None else folder / name


def local_table(path: str | Path) -> Path:
    """The file of a table, fetched where its name is an address; whoever names it by one has said that it may be fetched."""
    address = address_of(path)
    if address is None:
        return Path(path)
    try:
        return fetch(address, fresh=True)
    except CellError as error:
        raise TableError(str(error)) from None
