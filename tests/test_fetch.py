"""Data sets that are fetched: here or not, cut and resumed, changed on the way, not accepted; from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from plait.base import registry
from plait.base.errors import ConfigError, TableError
from plait.cli import main
from plait.data import web
from plait.datasets.base import Dataset, File, Loaded
from plait.datasets.fetch import DOWNLOADS, fetch, listed

BODY = bytes(range(256)) * 8000
SHA = hashlib.sha256(BODY).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Gives BODY; ``cut`` bytes at most in the first answer; honours ranges while the mark is the same; sends ``/to/`` on."""

    bodies: ClassVar[dict[str, bytes]] = {}
    cut: ClassVar[int | None] = None
    asked: ClassVar[list[str]] = []
    mark: ClassVar[str] = '"one"'

    def do_GET(self) -> None:
        span = self.headers.get("Range")
        type(self).asked.append(f"{self.path} {span}")
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path not in self.bodies:
            self.send_error(404)
            return
        body, begun = self.bodies[self.path], 0
        if span and self.headers.get("If-Range") == self.mark:
            begun = int(span.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if begun else 200)
        self.send_header("Content-Length", str(len(body) - begun))
        self.send_header("ETag", self.mark)
        self.end_headers()
        cut, type(self).cut = self.cut, None
        self.wfile.write(body[begun : None if cut is None else begun + cut])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def packed(kind: str, members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def server() -> Iterator[str]:
    Server.bodies = {
        "/one.csv": BODY,
        "/all.zip": packed("zip", {"in/a.csv": b"a", "in/b.csv": b"b"}),
        "/all.tar.gz": packed("tar", {"in/a.csv": b"a", "in/b.csv": b"b"}),
    }
    Server.cut, Server.asked, Server.mark = None, [], '"one"'
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> type[Dataset]:
    class Made(Dataset):
        """Made up."""

        title, url, licence, citation = "Made", "https://example.org/made", "made up, tests only", "nobody"
        tasks: ClassVar = {}
        metrics: ClassVar = {}

        def load(self, root: str | Path | None = None) -> Loaded:
            raise NotImplementedError

    find, names = registry.find, registry.names
    monkeypatch.setattr(registry, "find", lambda family, name: Made if name == "made" else find(family, name))
    monkeypatch.setattr(registry, "names", lambda family: [*names(family), "made"])
    monkeypatch.setattr(
        registry, "name_of", lambda variant: "made" if variant is Made else variant.__module__.split(".")[-1]
    )
    return Made


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def state(root: Path, check: bool = False) -> str:
    return next(s.state for s in listed(root, check) if s.name == "made")


def test_a_file_comes_whole_and_is_not_asked_for_again(server: str, made: type[Dataset], tmp_path: Path) -> None:
    made.files = (File("made/one.csv", SHA, len(BODY), f"{server}/one.csv"),)
    assert state(tmp_path) == "could be fetched"
    assert fetch("made", tmp_path, accept_licence=True) == [tmp_path / "made" / "one.csv"]
    assert (tmp_path / "made" / "one.csv").read_bytes() == BODY
    assert fetch("made", tmp_path) == [tmp_path / "made" / "one.csv"]  # here already: nothing to accept
    assert Server.asked == ["/one.csv None"]
    assert state(tmp_path, check=True) == "here"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    (tmp_path / "made" / "one.csv").write_bytes(b"changed")
    assert state(tmp_path) == "here"
    assert state(tmp_path, check=True) == "other files"
    published = hashlib.md5(BODY, usedforsecurity=False).hexdigest()  # some sources state no other
    made.files = (File("made/two.csv", f"{'0' * 64} {published}", len(BODY), f"{server}/one.csv"),)
    assert fetch("made", tmp_path, accept_licence=True) == [tmp_path / "made" / "two.csv"]
    assert state(tmp_path, check=True) == "here"


def test_a_download_that_breaks_off_goes_on_by_itself(server: str, made: type[Dataset], tmp_path: Path) -> None:
    made.files = (File("made/one.csv", SHA, len(BODY), f"{server}/one.csv"),)
    Server.cut = 700_000
    fetch("made", tmp_path, accept_licence=True)
    assert Server.asked == ["/one.csv None", "/one.csv bytes=700000-"]
    assert (tmp_path / "made" / "one.csv").read_bytes() == BODY


def test_half_a_download_goes_on_where_it_stopped(
    server: str, made: type[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "WAITS", ())
    made.files = (File("made/one.csv", SHA, len(BODY), f"{server}/one.csv"),)
    Server.cut = 700_000
    with pytest.raises(TableError, match="700000 bytes are kept, the same command goes on"):
        fetch("made", tmp_path, accept_licence=True)
    assert not (tmp_path / "made" / "one.csv").exists()
    fetch("made", tmp_path, accept_licence=True)
    assert Server.asked == ["/one.csv None", "/one.csv bytes=700000-"]
    assert (tmp_path / "made" / "one.csv").read_bytes() == BODY


def test_half_a_download_of_what_has_changed_since_begins_anew(
    server: str, made: type[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "WAITS", ())
    made.files = (File("made/one.csv", url=f"{server}/one.csv"),)
    Server.cut = 700_000
    with pytest.raises(TableError, match="goes on"):
        fetch("made", tmp_path, accept_licence=True)
    Server.bodies["/one.csv"], Server.mark = BODY[::-1], '"two"'
    fetch("made", tmp_path, accept_licence=True)
    assert (tmp_path / "made" / "one.csv").read_bytes() == BODY[::-1]


@pytest.mark.parametrize("archive", ["all.zip", "all.tar.gz"])
def test_members_of_one_archive_are_one_download(
    server: str, made: type[Dataset], tmp_path: Path, archive: str
) -> None:
    made.files = tuple(File(f"made/{n}.csv", url=f"{server}/{archive}", member=f"in/{n}.csv") for n in "ab")
    fetch("made", tmp_path, accept_licence=True)
    assert [(tmp_path / "made" / f"{n}.csv").read_bytes() for n in "ab"] == [b"a", b"b"]
    assert Server.asked == [f"/{archive} None"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_what_is_wrong_is_said_and_not_kept(server: str, made: type[Dataset], tmp_path: Path) -> None:
    def refused(words: str, *files: File) -> None:
        made.files = files
        with pytest.raises(TableError, match=words):
            fetch("made", tmp_path, accept_licence=True)
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and "all.zip" not in path.name]

    refused(
        "checksum of made/one.csv is .* expected 000000000000.*nothing was kept",
        File("made/one.csv", "0" * 64, None, f"{server}/one.csv"),
    )
    refused("checksum of made/one.csv is", File("made/one.csv", "0" * 32, None, f"{server}/one.csv"))  # an MD5
    refused("more than the 5 bytes expected", File("made/one.csv", SHA, 5, f"{server}/one.csv"))
    refused("the server answers 404", File("made/x.csv", url=f"{server}/x.csv"))
    refused("no readable in/c.csv.*another version", File("made/c.csv", url=f"{server}/all.zip", member="in/c.csv"))
    refused("cannot be downloaded by a program; bring it by hand from https://example.org/made", File("made/one.csv"))
    refused(
        "redirects to file:///etc/passwd, which is not fetched",
        File("made/x", url=f"{server}/to/file:///etc/passwd"),
    )
    refused("redirects elsewhere: .*carries a user", File("made/x", url=f"{server}/to/http://me:secret@a.org/x"))
    refused("the download stopped", File("made/one.csv", url="http://127.0.0.1:9/one.csv"))


def test_a_licence_is_accepted_first(
    server: str,
    made: type[Dataset],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made.files = (File("made/one.csv", SHA, len(BODY), f"{server}/one.csv"),)
    with pytest.raises(ConfigError, match=r"not accepted \(made up, tests only.*--accept-licence"):
        fetch("made", tmp_path)
    assert run(["data", "fetch", "made", "--root", str(tmp_path)]) == 2
    assert not Server.asked
    assert run(["data", "fetch", "made", "--root", str(tmp_path), "--accept-licence"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'made' / 'one.csv'}\n"
    monkeypatch.delenv("PLAIT_DATA", raising=False)
    assert run(["data", "fetch", "made"]) == 2
    assert "no folder for data" in capsys.readouterr().err


def test_every_data_set_says_how_it_could_be_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "list", "--root", str(tmp_path), "--json"]) == 0
    records = {record["name"]: record for record in json.loads(capsys.readouterr().out)}
    assert set(records) == set(registry.names("datasets"))
    assert records["mrpc"]["state"] == "could be fetched"
    assert records["pokemon"]["state"] == "by hand"
    for name, record in records.items():
        variant = registry.find("datasets", name)
        assert record["licence"], name
        assert record["source"], name
        assert variant.files or variant.package or name == "multabench", f"{name}: no files"
        assert all(len(one) in (32, 64) for file in variant.files for one in file.checksums)


def test_the_list_says_where_a_licence_was_looked_for_and_counts_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "list", "--root", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for name in ("qqp", "flickr8k", "tiny_imagenet"):
        assert f"{name}: no statement of its licence by its owner; looked for at" in out
    assert "mug/Pokemon-primary_type/info.json and 55 more" in out


def test_data_here_are_the_files_that_are_meant() -> None:
    if not os.environ.get("PLAIT_DATA"):
        pytest.skip("needs PLAIT_DATA")
    wrong = [s.name for s in listed(check=True) if s.state in ("other files", "incomplete")]
    assert wrong == []


def test_downloads_in_the_way_are_told(server: str, made: type[Dataset], tmp_path: Path) -> None:
    made.files = (File("made/one.csv", SHA, len(BODY), f"{server}/one.csv"),)
    (tmp_path / DOWNLOADS).write_text("in the way")
    with pytest.raises(TableError, match=r"cannot be written \(File exists\)"):
        fetch("made", tmp_path, accept_licence=True)
