"""Tables and cells on the network: a local web server and a local S3 (moto); nothing leaves this machine."""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plait import FusionClassifier, PlaitError, PlaitWarning, Study, fit_table, infer_schema, load, read_table
from plait.base.errors import CellError, ConfigError, MissingDependencyError, TableError, hidden, is_secret, warn
from plait.cli import main
from plait.data.cells import cells
from plait.data.remote import Allowed, address_of, cache_folder, fetch, not_allowed
from plait.data.remote_cells import fetch_cells
from plait.data.schema import absent

N = 24


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(out, "PNG")
    return out.getvalue()


class Server(ThreadingHTTPServer):
    """Files by path; odd paths misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {f"/{i}.png": png(i * 10) for i in range(N)}
        self.asked: list[str] = []
        self.failing: dict[str, int] = {}
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        if self.server.failing.get(path, 0):
            self.server.failing[path] -= 1
            return self._say(503)
        if path == "/slow.png":
            self.server.released.wait(20)
            return None
        if path == "/dripping.png":
            self.send_response(200)
            self.end_headers()
            while not self.server.released.wait(0.05):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return None
            return None
        if path in ("/forbidden.png", "/gone.png"):
            return self._say(403 if path == "/forbidden.png" else 404)
        if path == "/cut.png":
            self._say(200, b"half", {"Content-Length": "800"})
            return self.connection.close()
        if path.startswith("/to/"):
            return self._say(302, b"", {"Location": self.path.partition("?")[2]})
        if path not in self.server.files:
            return self._say(404)
        body = self.server.files[path]
        tag = f'"{hash(body)}"'
        if self.headers.get("If-None-Match") == tag:
            return self._say(304, b"")
        if path == "/endless.png":  # says nothing of its length
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)
            return None
        return self._say(200, body, {"ETag": tag, "Content-Length": str(len(body))})

    def _say(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PLAIT_REMOTE", str(tmp_path / "kept"))
    monkeypatch.setenv("no_proxy", "*")
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.released.set()
    made.shutdown()
    made.server_close()
    thread.join()


def frame_of(server: Server) -> pd.DataFrame:
    return pd.DataFrame({"photo": [f"{server.url}/{i}.png" for i in range(N)], "kind": ["dark", "light"] * (N // 2)})


SETTINGS: dict[str, Any] = {"store": "none", "members": 2, "epochs": 2, "progress": False}


# -- what may be fetched -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remote", "address", "answer"),
    [
        (None, "https://a.org/x", False),
        ("all", "s3://b/x", True),
        (True, "s3://b/x", True),
        ("https://a.org", "https://a.org/x", True),
        ("https://a.org", "https://a.org.evil.net/x", False),
        ("https://a.org", "https://a.org@evil.net/x", False),
        ("https://a.org/photos/", "https://a.org/private/x", False),
        (["s3://b", "https://a.org"], "s3://b/x", True),
        ("HTTPS://a.org", "https://a.org/x", True),
    ],
)
def test_an_address_is_allowed_by_how_it_begins(remote: Any, address: str, answer: bool) -> None:
    assert Allowed.of(remote)(address) is answer


@pytest.mark.parametrize("remote", ["a.org", "file:///etc", "ftp://a.org", ["all ", 3]])
def test_what_is_no_address_is_refused(remote: Any) -> None:
    with pytest.raises(ConfigError, match="remote: expected 'all', or how addresses begin"):
        Allowed.of(remote)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("file:///etc/passwd", "is no address that is fetched"),
        ("simplecache::s3://b/x", "is no address"),
        ("s3://b::file:///etc/passwd", "is no address"),
        ("https://me:secret@a.org/x.png", "carries a user or a password; credentials come from the environment"),
        ("https://a.org/photos/%2e%2e/x.png", r"holds '\.\.'"),
    ],
)
def test_an_address_that_is_a_trick_is_refused(address: str, said: str) -> None:
    with pytest.raises(CellError, match=said) as refused:
        fetch(address)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://me:topsecret@a.org/x.png",
        "https:/me:topsecret@a.org/x.png",
        "https://me:top/secret@a.org/x.png",
        "s3://me:t@psecret@a.org/x.png",
        "https://a.org/x.png?size=2&X-Amz-Signature=topsecret",
        "https://a.org/x.png?sv=2024&sig=topsecret: it is not there",
        "mysql://me:topsecret@a.org/trials",
        "https://me:topsecr",  # cut in a message
        "https://me:1topsecr",
        "https://a.org/x.png?size=2;key=topsecret",
        "https://a.org/view;size=2?key=topsecret;size=2",
        "https://a.org/view;sig=topsecret",
        "https://a.org/x.png#access_token=topsecret",
        "https://a.org/x.png?pass=topsecret",
        "https://a.org/x.png?%6Bey=topsecret",
        "https://a.org/x.png?size=2;k%65y=topsecret&of=3",
        "https://me%3Atopsecret@a.org/x.png",
        "https://me:top%40secret@a.org/x.png",
        "https%3A%2F%2Fme%3Atopsecret%40a.org/x.png",
        "https://b.org/go?to=https%3A%2F%2Fa.org%2Fx%3Fsig%3Dtopsecret",
        "https://b.org/go?to=https%253A%252F%252Fa.org%252Fx%253Fsig%253Dtopsecret",
    ],
)
def test_no_message_says_what_opens_an_address(address: str) -> None:
    with pytest.warns(PlaitWarning) as warned:
        warn(f"see {address}")
    for said in (str(warned[0].message), str(PlaitError(f"see {address}")), str(not_allowed(address))):
        assert "secr" not in said
        assert "top" not in said
    assert is_secret(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://a.org:8080/@me/x.png",
        "s3://bucket/a@b.png",
        "hf://datasets/a/b@main/t.csv",
        "s3://arn:aws:s3:eu:1:accesspoint/a",
        "https://a.org/x.png?size=2",
        "https://a.org;key=3",
        "https://a.org/view;key=3.png",
        "https://a.org/view;size=2;key=3.png?size=2",
        "https://a.org:8080",
        "https://a.org/my%20%26%20your.png?size=2#page=3",
        "https://a.org/t.csv?author=smith&sort_key=2&max_tokens=9&design=a",
        "abfss://pictures@account.dfs.core.windows.net/a.png",
    ],
)
def test_an_address_that_opens_nothing_is_said_whole(address: str) -> None:
    assert hidden(f"{address}: is not there") == f"{address}: is not there"
    assert not is_secret(address)


@pytest.mark.parametrize(
    "text", ["?" * 100_000, "a-" * 200_000, "?key" * 20_000, "ab:/" * 20_000, ";a" * 50_000, "%25" * 50_000]
)
def test_long_texts_are_searched_for_passwords_in_one_pass(text: str) -> None:
    assert hidden(text) == text


def test_a_path_with_a_semicolon_and_a_container_are_no_password() -> None:
    for address in ("https://a.org/view;key=3.png", "abfss://pictures@account.dfs.core.windows.net/a.png"):
        assert "unless it is allowed" in str(not_allowed(address))
        assert Allowed.of(address)(f"{address}/1.png")
    assert Allowed.of("abfss://pictures@account.dfs.core.windows.net/")


def code(*arguments: object) -> int:
    """Exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return int(stop.value.code or 0)


def test_what_opens_an_address_is_kept_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    n, secret = 60, "topsecret"
    for i in range(n):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    odd = [
        f"https://me:{secret}@127.0.0.1:9/{i}.png" if i % 2 else f"https://127.0.0.1:9/{i}.png?sig={secret}"
        for i in range(n)
    ]
    frame = pd.DataFrame({"picture": [f"{i}.png" if i % 3 else odd[i] for i in range(n)]})
    frame["size"], frame["label"] = np.arange(n) % 7, np.where(np.arange(n) % 4 < 2, "a", "b")
    frame.to_csv(tmp_path / "t.csv", index=False)
    place = ["--root", str(tmp_path), "--store", "none", "--json"]
    assert code("schema", tmp_path / "t.csv", "--target", "label") == 0
    light = ["--set", "members=1", "--epochs", "2", "--encoder", "image=pixel_statistics", "--set", "branches=[joint]"]
    assert code("fit", tmp_path / "t.csv", "--target", "label", "--out", tmp_path / "m", *light, *place) == 0
    assert code("evaluate", tmp_path / "m", tmp_path / "t.csv", *place) == 0
    for option in (["--root", f"https://me:{secret}@a.org/"], ["--remote", f"https://me:{secret}@a.org/"]):
        assert code("fit", tmp_path / "t.csv", "--target", "label", "--out", tmp_path / "n", *option) == 2
    assert code("advise", f"https://a.org/t.csv?sig={secret}", "--target", "label", "--out", tmp_path / "o") == 2
    written = capsys.readouterr()
    assert "carries a user or a password" in written.err
    assert secret not in written.out + written.err
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "t.csv"]
    assert len(files) > n + 3
    assert [p.name for p in files if secret.encode() in p.read_bytes()] == []
    with pytest.raises(ConfigError, match=r"root https://a.org/\?sig=\.\.\.: holds a password"):
        FusionClassifier(root=f"https://a.org/?sig={secret}").fit(frame[["size"]], frame["label"])


def test_a_study_keeps_no_signed_address(tmp_path: Path) -> None:
    about = {"name": "s", "data": {"table": "https://a.org/t.csv?sig=topsecret", "target": "y"}}
    with pytest.raises(ConfigError, match=r"data: table .*sig=\.\.\.: .*would stand in the folder") as refused:
        Study.from_dict(about).run(tmp_path / "s")
    assert "topsecret" not in str(refused.value)
    assert not (tmp_path / "s").exists()


def test_a_path_keeps_an_address() -> None:
    assert address_of(Path("s3://bucket/a/t.csv")) == "s3://bucket/a/t.csv"
    assert address_of("notes: https://a.org") is None


def test_a_store_without_its_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(MissingDependencyError, match="gcsfs"):
        fetch("gs://bucket/a.png")


# -- cells -------------------------------------------------------------------------------------------------------------


def test_nothing_is_fetched_unless_it_is_allowed(server: Server) -> None:
    frame = frame_of(server)
    with pytest.raises(
        TableError, match="nothing is fetched from the network unless it is allowed; pass --remote http"
    ):
        FusionClassifier(**SETTINGS, encoders={"image": "pixel_statistics"}).fit(frame[["photo"]], frame["kind"])
    assert fetch_cells(frame, ["https://elsewhere.org/"]) is frame
    assert not server.asked


def test_allowed_cells_are_fetched_once_and_a_model_says_nothing_of_it(server: Server, tmp_path: Path) -> None:
    frame = frame_of(server)
    model = FusionClassifier(**SETTINGS, encoders={"image": "pixel_statistics"}, remote=server.url)
    model.fit(frame[["photo"]], frame["kind"])
    assert model.schema_.modalities[0].kind == "image"
    assert sorted(server.asked) == sorted(f"/{i}.png" for i in range(N))
    answers = model.predict_proba(frame)
    assert len(server.asked) == N  # kept
    local = frame.assign(photo=[str(fetch(cell)) for cell in frame["photo"]])
    np.testing.assert_array_equal(answers, model.predict_proba(local))
    again = load(model.save(tmp_path / "model"))
    assert again.remote is None
    with pytest.warns(PlaitWarning, match="24 of 24 cells .*nothing is fetched"):
        again.predict(frame)


def test_the_same_content_is_kept_once(server: Server) -> None:
    server.files["/twin.png"] = server.files["/3.png"]
    assert fetch(f"{server.url}/3.png") == fetch(f"{server.url}/twin.png")
    assert len(list((cache_folder() / "content").iterdir())) == 1


def test_a_table_of_one_place_may_name_files_beside_it(server: Server) -> None:
    server.files["/list.csv"] = b"photo,kind\n" + b"".join(b"%d.png,%d\n" % (i, i % 2) for i in range(N))
    frame = read_table(f"{server.url}/list.csv", remote=server.url)
    assert {cell.address for cell in frame["photo"]} == {f"{server.url}/{i}.png" for i in range(N)}
    assert infer_schema(frame, target="kind").modalities[0].kind == "image"
    assert isinstance(read_table(f"{server.url}/list.csv")["photo"][0], str)  # the table alone


def test_several_pictures_in_a_cell(server: Server) -> None:
    url = server.url
    frame = pd.DataFrame({"photo": [f'["{url}/1.png", "{url}/2.png"]', f"{url}/3.png", None, "here.png"]})
    cell = fetch_cells(frame, "all")["photo"]
    assert [blob.address for blob in cell[0]] == [f"{url}/1.png", f"{url}/2.png"]
    assert cell[1].address == f"{url}/3.png"
    assert list(cell[2:]) == [None, "here.png"]


def test_a_column_that_is_said_to_hold_pictures_needs_no_ending(server: Server) -> None:
    server.files |= {f"/id/{i}": png(i) for i in range(N)}
    frame = pd.DataFrame({"photo": [f"{server.url}/id/{i}?w=8" for i in range(N)]})
    assert fetch_cells(frame, "all") is frame
    schema = {"image": {"kind": "image", "columns": ["photo"], "encoder": "pixel_statistics"}}
    model = FusionClassifier(**SETTINGS, modalities=schema, remote="all").fit(frame, ["a", "b"] * (N // 2))
    assert not model.absent(frame).any()


def test_a_broken_file_is_an_absent_cell_or_with_strict_an_error(server: Server) -> None:
    frame = frame_of(server)
    frame.loc[3, "photo"] = f"{server.url}/gone.png"
    settings = SETTINGS | {"encoders": {"image": "pixel_statistics"}, "remote": "all"}
    with pytest.warns(PlaitWarning, match=r"1 of 24 cells of 'image' .* row 3: .*gone\.png: there is no such file"):
        FusionClassifier(**settings).fit(frame[["photo"]], frame["kind"])
    fetched = fetch_cells(frame, "all")
    assert absent(infer_schema(fetched), fetched)[:, 0].sum() == 1
    with pytest.raises(CellError, match=r"gone\.png: there is no such file \(the server answers 404\)"):
        FusionClassifier(**settings, strict=True).fit(frame[["photo"]], frame["kind"])


def test_vectors_lie_there_too(server: Server) -> None:
    out = io.BytesIO()
    np.save(out, np.arange(4.0))
    server.files["/v.npy"] = out.getvalue()
    frame = fetch_cells(pd.DataFrame({"v": [f"{server.url}/v.npy"] * 4}), "all")
    schema = infer_schema(frame)
    (read,) = cells(frame, schema.modalities[0])
    assert read[0].tolist() == [0, 1, 2, 3]


# -- how it goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.png", "there is no such file (the server answers 404)"),
        ("forbidden.png", "the server forbids it (403)"),
        ("slow.png", "not there within 1 s; set PLAIT_MAX_REMOTE_SECONDS higher"),
        ("dripping.png", "not there within 1 s"),
        ("large.png", "5,000 bytes; at most 2,000 bytes of a fetched file are read; set PLAIT_MAX_REMOTE_BYTES"),
        ("endless.png", "is larger than it may be; at most 2,000 bytes"),
        ("to/file.png?file:///etc/passwd", "redirects to file:///etc/passwd, which is not fetched"),
        ("to/loop.png?", "redirects more than 5 times"),
    ],
)
def test_each_way_of_failing_is_one_clear_answer(
    name: str, said: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAIT_MAX_REMOTE_BYTES", "2000")
    if name in ("slow.png", "dripping.png"):
        monkeypatch.setenv("PLAIT_MAX_REMOTE_SECONDS", "1")
    server.files |= {"/large.png": bytes(5000), "/endless.png": bytes(5000)}
    with pytest.raises(CellError, match=re.escape(said)) as failed:
        fetch(f"{server.url}/{name}")
    assert "\n" not in str(failed.value)
    left = cache_folder() / "content"
    assert not left.exists() or not list(left.iterdir())


def test_a_redirect_may_not_lead_out_of_what_is_allowed(server: Server) -> None:
    allowed = Allowed.of(f"{server.url}/to/")
    with pytest.raises(CellError, match="redirects elsewhere: .*nothing is fetched"):
        fetch(f"{server.url}/to/1.png?/1.png", allowed)
    assert fetch(f"{server.url}/to/1.png?/1.png").read_bytes() == png(10)


def test_what_fails_for_a_while_is_asked_again(server: Server) -> None:
    server.failing["/1.png"] = 1
    assert fetch(f"{server.url}/1.png").read_bytes() == png(10)
    assert server.asked == ["/1.png"] * 2


def test_a_file_that_breaks_off_is_no_file(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.data.web.WAITS", (0.0,))
    with pytest.raises(CellError, match=r"broke off after 4 of 800 bytes|cannot be fetched"):
        fetch(f"{server.url}/cut.png")
    assert len(server.asked) == 2


def test_a_table_that_changed_is_fetched_anew_and_one_that_vanished_is_said_so(server: Server) -> None:
    url = f"{server.url}/t.csv"
    server.files["/t.csv"] = b"a,b\n1,2\n"
    assert read_table(url)["a"].tolist() == ["1"]
    assert read_table(url)["a"].tolist() == ["1"]  # 304
    server.files["/t.csv"] = b"a,b\n3,2\n"
    assert read_table(Path(url))["a"].tolist() == ["3"]
    del server.files["/t.csv"]
    with pytest.raises(TableError, match=r"t\.csv: there is no such file"):
        read_table(url)


# -- the command line and YAML -----------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    try:
        main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_command_line_says_it_by_the_same_name(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.csv"
    frame_of(server).to_csv(table, index=False)
    common = [str(table), "--target", "kind"]
    run("schema", *common, "--remote", server.url)
    printed = capsys.readouterr().out
    assert "kind: image" in printed
    assert "CHECK" not in printed
    out = tmp_path / "model"
    fit = ["fit", *common, "--remote", "all", "--no-report", "--out", str(out), "--encoder", "image=pixel_statistics"]
    assert run(*fit, "--members", "2", "--epochs", "2", "--store", "none") == 0
    capsys.readouterr()
    assert run("predict", str(out), str(table), "--remote", server.url) == 0
    assert capsys.readouterr().out.count("\n") == N + 1
    assert run("predict", str(out), str(table)) == 0
    assert "nothing is fetched" in capsys.readouterr().err


def test_a_schema_file_says_it_by_the_same_name(server: Server) -> None:
    frame = frame_of(server)
    schema = infer_schema(frame, target="kind")
    settings = SETTINGS | {"remote": [server.url], "encoders": {"image": "pixel_statistics"}}
    outcome = fit_table(frame, schema, settings, report=False)
    assert outcome.evaluation.absences == {"image": 0}


def test_cells_of_a_study_are_fetched_where_its_file_allows_it(server: Server, tmp_path: Path) -> None:
    frame_of(server).to_csv(tmp_path / "t.csv", index=False)
    spec: dict[str, Any] = {"name": "tiny", "seeds": 1, "data": {"table": "t.csv", "target": "kind"}}
    spec["model"] = {**SETTINGS, "encoders": {"image": "pixel_statistics"}, "branches": ["linear"]}
    del spec["model"]["store"], spec["model"]["progress"]
    usual: dict[str, Any] = {"engine": "inline", "store": "none", "view": False}
    (tmp_path / "s.yaml").write_text(json.dumps(spec))
    with pytest.raises((PlaitError, PlaitWarning), match="nothing is fetched"):
        Study.load(tmp_path / "s.yaml").run(tmp_path / "no", **usual)
    assert not server.asked
    spec["data"]["remote"] = server.url
    (tmp_path / "s.yaml").write_text(json.dumps(spec))
    results = Study.load(tmp_path / "s.yaml").run(tmp_path / "out", **usual)
    assert results.status()["done"] == 1
    assert results.lines[0]["modalities"] == ["image"]
    assert len(server.asked) == N
    assert Study.load(tmp_path / "s.yaml").spec.to_dict()["data"][0]["remote"] == [server.url]
    spec["data"]["remote"] = "ftp://x"
    (tmp_path / "s.yaml").write_text(json.dumps(spec))
    with pytest.raises(ConfigError, match="remote: expected 'all'"):
        Study.load(tmp_path / "s.yaml").require()


# -- S3 ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()
    served = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    monkeypatch.setenv("PLAIT_REMOTE", str(tmp_path / "kept"))
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "no_proxy": "*",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="shop")
    yield client
    served.stop()


def test_tables_and_cells_lie_in_s3(bucket: Any) -> None:
    pytest.importorskip("fsspec")
    for i in range(4):
        bucket.put_object(Bucket="shop", Key=f"photos/{i}.png", Body=png(i))
    rows = "".join(f"photos/{i}.png,s3://shop/photos/{i}.png,{i}\n" for i in range(4))
    bucket.put_object(Bucket="shop", Key="t.csv", Body=b"near,far,n\n" + rows.encode())
    frame = read_table("s3://shop/t.csv", remote="s3://shop/")
    assert [cell.digest() for cell in frame["near"]] == [cell.digest() for cell in frame["far"]]
    bucket.put_object(Bucket="shop", Key="t.csv", Body=b"near,far,n\na,b,7\n")
    assert read_table("s3://shop/t.csv")["n"].tolist() == ["7"]
    with pytest.raises(TableError, match=r"s3://shop/gone\.csv: there is no such file"):
        read_table("s3://shop/gone.csv")


def test_a_bucket_that_is_forbidden_or_too_large_says_so(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put_object(Bucket="shop", Key="a.png", Body=bytes(5000))
    monkeypatch.setenv("PLAIT_MAX_REMOTE_BYTES", "2000")
    with pytest.raises(CellError, match="5,000 bytes; at most 2,000 bytes"):
        fetch("s3://shop/a.png")

    async def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError("Access Denied")

    s3fs = pytest.importorskip("s3fs")
    monkeypatch.setattr(s3fs.S3FileSystem, "_info", refuse)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(CellError, match=r"forbidden \(Access Denied\); credentials come from the environment alone"):
        fetch("s3://shop/a.png")


# -- gs, az and hf ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["gs", "az", "hf"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A store in memory in place of Google's, Azure's or Hugging Face's, read through fsspec as theirs are."""
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem
    from fsspec.registry import _registry

    class Fake(MemoryFileSystem):  # type: ignore[misc]
        protocol = request.param
        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]
        options: ClassVar[list[dict[str, Any]]] = []

        def __init__(self, **options: Any) -> None:
            super().__init__()
            self.options.append(options)

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + path.removeprefix(f"{cls.protocol}://").strip("/")

    before = _registry.get(request.param)
    fsspec.register_implementation(request.param, Fake, clobber=True)
    for package in ("gcsfs", "adlfs", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    monkeypatch.setenv("PLAIT_REMOTE", str(tmp_path / "kept"))
    yield Fake()
    if before is not None:
        fsspec.register_implementation(request.param, before, clobber=True)
    else:
        _registry.pop(request.param, None)


def test_tables_and_cells_lie_in_other_stores(stored: Any, tmp_path: Path) -> None:
    place = f"{stored.protocol}://shop/data"
    for i in range(N):
        stored.pipe(f"{place}/photos/{i}.png", png(i * 10))
    rows = "".join(f"photos/{i}.png,{place}/photos/{i}.png,{'ab'[i % 2]}\n" for i in range(N))
    stored.pipe(f"{place}/t.csv", b"near,far,kind\n" + rows.encode())
    frame = read_table(f"{place}/t.csv", remote=f"{place}/")
    assert [cell.digest() for cell in frame["near"]] == [cell.digest() for cell in frame["far"]]
    assert {cell.address for cell in frame["near"]} == {f"{place}/photos/{i}.png" for i in range(N)}
    assert infer_schema(frame, target="kind").modalities[0].kind == "image"
    stored.pipe(f"{place}/t.csv", b"near,far,kind\nx,y,z\n")
    assert read_table(f"{place}/t.csv")["kind"].tolist() == ["z"]
    assert all(not options for options in stored.options)  # no credentials but those of the environment


def test_other_stores_say_what_is_wrong_in_one_line(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"{stored.protocol}://shop"
    stored.pipe(f"{place}/a.png", bytes(5000))
    monkeypatch.setenv("PLAIT_MAX_REMOTE_BYTES", "2000")
    monkeypatch.setattr("plait.data.web.WAITS", (0.0,))
    with pytest.raises(CellError, match="5,000 bytes; at most 2,000 bytes"):
        fetch(f"{place}/a.png")
    with pytest.raises(TableError, match=r"gone\.csv: there is no such file"):
        read_table(f"{place}/gone.csv")
    with pytest.raises(CellError, match="is a folder; name the files in it"):
        stored.pipe(f"{place}/deep/b.png", b"")
        fetch(f"{place}/deep")
    for error, said in (
        (PermissionError("no entry"), r"forbidden \(no entry\)"),
        (OSError("down"), "cannot be fetched"),
    ):

        def refuse(*args: Any, error: OSError = error, **options: Any) -> None:
            raise error

        monkeypatch.setattr(type(stored), "info", refuse)
        with pytest.raises(CellError, match=said) as failed:
            fetch(f"{place}/b.png")
        assert "\n" not in str(failed.value)


def test_hugging_faces_file_system_is_there() -> None:
    pytest.importorskip("huggingface_hub")
    assert pytest.importorskip("fsspec").get_filesystem_class("hf").protocol == "hf"
