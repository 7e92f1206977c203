"""A model as a service: what it answers, what it refuses, and how it holds its limits."""

from __future__ import annotations

import asyncio
import base64
import http.server
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import plait
from plait import FusionClassifier, FusionRegressor
from plait.base.errors import ConfigError, MissingDependencyError, ModelError
from plait.cli import main
from plait.data.media import Blob
from plait.estimators.target_models import TargetModels

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")
pytest.importorskip("python_multipart", reason="the extra serve is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from fastapi.testclient import TestClient  # noqa: E402

from plait.serving.app import create_app  # noqa: E402
from plait.serving.limits import Limits  # noqa: E402

ROWS = 60
RNG = np.random.default_rng(0)


def picture(red: bool) -> bytes:
    pixels = np.full((16, 16, 3), (200, 40, 40) if red else (40, 40, 200), np.uint8)
    pixels = np.clip(pixels + RNG.normal(0, 20, pixels.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    red = RNG.random(ROWS) < 0.5
    cells = [Blob.of_bytes(picture(bool(one))) for one in red]
    return pd.DataFrame(
        {
            "size": RNG.normal(size=ROWS) + 2 * red,
            "wood": np.where(red, "oak", RNG.choice(["elm", "fir"], ROWS)).astype(object),
            "text": [f"a {'warm' if one else 'cold'} board" for one in red],
            "photo": pd.Series(cells, dtype=object),
            "answer": np.where(red, "red", "blue"),
        }
    )


@pytest.fixture(scope="module")
def model(table: pd.DataFrame) -> Any:
    modalities = {
        "wood": {"kind": "tabular", "columns": ["size", "wood"]},
        "text": {"kind": "text", "columns": ["text"], "encoder": "hashed_ngrams"},
        "photo": {"kind": "image", "columns": ["photo"], "encoder": "pixel_statistics"},
    }
    settings = {"store": "none", "members": 1, "epochs": 4, "progress": False, "branches": ("joint", "own"), "width": 8}
    return FusionClassifier(modalities=modalities, **settings).fit(table.drop(columns="answer"), table["answer"])


@pytest.fixture(scope="module")
def client(model: Any) -> TestClient:
    return TestClient(create_app(model, Limits(rows=8, body_mb=1)))


def uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


# -- answers ----------------------------------------------------------------------------------------------------------


def test_a_row_is_answered_as_the_model_does(client: TestClient, model: Any, table: pd.DataFrame) -> None:
    row = table.iloc[0]
    given = {"size": row["size"], "wood": row["wood"], "text": row["text"], "photo": uri(row["photo"].data)}
    answer = client.post("/predict", json=given).json()
    expected = model.predict_proba(table.iloc[:1])[0]
    assert list(answer["probabilities"]) == list(model.classes_)
    np.testing.assert_allclose(list(answer["probabilities"].values()), expected, atol=1e-6)
    assert answer["answer"] == model.predict(table.iloc[:1])[0]
    assert answer["present"] == ["wood", "text", "photo"]
    total = answer["without_anything"] + sum(answer["worth"].values())
    assert total == pytest.approx(max(expected), abs=1e-6)


def test_an_upload_is_the_same_row(client: TestClient, table: pd.DataFrame) -> None:
    data = table["photo"].iloc[1].data
    fields = {"size": "1.5", "text": "a warm board", "wood": ""}
    form = client.post("/predict/upload", data=fields, files={"photo": ("x.png", data, "image/png")}).json()
    row = client.post("/predict", json={"size": 1.5, "text": "a warm board", "photo": uri(data)}).json()
    assert form == row


def test_absent_modalities(client: TestClient, model: Any, table: pd.DataFrame) -> None:
    answer = client.post("/predict", json={"text": "a warm board", "photo": None, "size": ""}).json()
    assert answer["present"] == ["text"]
    assert answer["worth"]["photo"] == answer["worth"]["wood"] == 0.0
    nothing = client.post("/predict", json={}).json()
    assert nothing["present"] == []
    expected = model.predict_subsets(table.iloc[:1], [()])[()][0]
    np.testing.assert_allclose(list(nothing["probabilities"].values()), expected, atol=1e-6)


def test_a_batch(client: TestClient) -> None:
    rows = [{"text": "a warm board"}, {"size": 3}, {}]
    answers = client.post("/predict/batch", json={"rows": rows}).json()["answers"]
    single = [client.post("/predict", json=row, params={"worth": False}).json() for row in rows]
    assert [a["answer"] for a in answers] == [a["answer"] for a in single]
    assert "worth" not in answers[0]
    assert "worth" in client.post("/predict/batch?worth=true", json={"rows": rows}).json()["answers"][0]


def test_health_schema_and_openapi(client: TestClient) -> None:
    assert client.get("/health").json()["status"] == "ok"
    schema = client.get("/schema").json()
    assert {c["column"]: c["kind"] for c in schema["columns"]}["photo"] == "image"
    assert schema["targets"][0]["classes"] == ["blue", "red"]
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/predict", "/predict/batch", "/predict/upload", "/health"} <= set(paths)
    assert "multipart/form-data" in paths["/predict/upload"]["post"]["requestBody"]["content"]
    assert client.get("/docs").status_code == 404  # its page would load scripts from elsewhere


def test_several_targets_and_numbers(model: Any, table: pd.DataFrame) -> None:
    settings = {"store": "none", "members": 1, "epochs": 2, "progress": False, "branches": ("joint",), "width": 4}
    number = FusionRegressor(**settings).fit(table[["wood", "text"]], table["size"])
    both = TestClient(create_app(TargetModels({"colour": model, "size": number})))
    targets = both.post("/predict", json={"wood": "oak", "size": 1.0}).json()["targets"]
    assert set(targets) == {"colour", "size"}
    assert isinstance(targets["size"]["answer"], float)
    assert number.predict(pd.DataFrame({"wood": ["oak"], "text": [None]}))[0] == pytest.approx(
        targets["size"]["answer"]
    )


def test_what_plait_warns_of_is_a_note(client: TestClient) -> None:
    answer = client.post("/predict", json={"photo": uri(b"no picture at all"), "text": "cold"}).json()
    assert answer["present"] == ["text"]
    assert "photo" in answer["notes"][0]


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"photo": "../../etc/passwd"}, "column 'photo': expected the image itself"),
        ({"photo": "/etc/passwd"}, "files of the server are never read"),
        ({"photo": "https://example.org/a.png"}, "URLs are not fetched here"),
        ({"photo": {"path": "/etc/passwd"}}, "files of the server are never read"),
        ({"photo": ["../x.png"]}, "files of the server are never read"),
        ({"photo": "data:image/png;base64,&&&"}, "not base64"),
        ({"txt": "warm"}, "unknown column 'txt': did you mean 'text'?"),
        ({"text": {"a": 1}}, "column 'text': expected a text"),
        ({"size": {"a": 1}}, "column 'size': expected a cell"),
        ([1, 2], "expected an object of columns"),
    ],
)
def test_rows_that_are_refused(client: TestClient, row: Any, said: str) -> None:
    answer = client.post("/predict", json=row)
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_requests_that_are_refused(client: TestClient) -> None:
    wrong = client.post("/predict", content=b"a,b", headers={"content-type": "text/csv"})
    assert (wrong.status_code, wrong.json()["error"]) == (415, "the request is text/csv; expected application/json")
    broken = client.post("/predict", content=b"{", headers={"content-type": "application/json"})
    assert (broken.status_code, "no JSON" in broken.json()["error"]) == (400, True)
    nested = client.post("/predict", content=b"[" * 200_000, headers={"content-type": "application/json"})
    assert nested.status_code == 400
    form = client.post("/predict/upload", content=b"xx", headers={"content-type": "multipart/form-data"})
    assert form.status_code == 400
    many = client.post("/predict/batch", json={"rows": [{}] * 9})
    assert (many.status_code, "at most 8" in many.json()["error"]) == (413, True)
    assert client.post("/predict/batch", json=[{}]).status_code == 422
    assert client.post("/predict/batch", json={"rows": []}).status_code == 422
    assert client.post("/predict?worth=maybe", json={}).status_code == 422
    large = client.post("/predict", content=b"x" * 1_000_001, headers={"content-type": "application/json"})
    assert (large.status_code, "at most 1,000,000 bytes" in large.json()["error"]) == (413, True)
    for path in ("/../pyproject.toml", "/%2e%2e/app.py"):
        nowhere = client.get(path)
        assert (nowhere.status_code, "this address is not served" in nowhere.json()["error"]) == (404, True)
    other = client.get("/predict")
    assert (other.status_code, other.headers["allow"]) == (405, "POST")
    assert "this way of asking is not served" in other.json()["error"]


def test_an_answer_that_takes_too_long(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setattr("plait.serving.answers.Answers.__call__", lambda *a, **k: free.wait(20) and [{}])
    slow = TestClient(create_app(model, Limits(seconds=0.05)))
    answer = slow.post("/predict", json={})
    free.set()
    assert (answer.status_code, "no answer within 0.05 seconds" in answer.json()["error"]) == (504, True)


def test_an_error_of_ours_shows_no_trace(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.serving.answers.Answers.__call__", lambda *a, **k: 1 / 0)
    broken = TestClient(create_app(model), raise_server_exceptions=False)
    answer = broken.post("/predict", json={})
    assert (answer.status_code, list(answer.json())) == (500, ["error"])
    assert "division" not in answer.text


def test_limits_that_are_none() -> None:
    with pytest.raises(ConfigError, match="rows"):
        Limits(rows=0)


def test_models_that_cannot_be_served(model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "model.json").read_text())
    (tmp_path / "model" / "model.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(ModelError, match="format 99, this plait reads up to"):
        create_app(tmp_path / "model")
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(tmp_path / "model")])
    assert ended.value.code == 2
    assert "upgrade plait" in capsys.readouterr().err
    with pytest.raises(ModelError, match="no such folder"):
        plait.serve(tmp_path / "nothing")


def test_without_the_extra(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(MissingDependencyError, match=r"plait\[serve\]"):
        create_app(model)


# -- URLs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(table: pd.DataFrame) -> Iterator[str]:
    """A host with a picture, a redirection away from it, and something too large."""
    data = table["photo"].iloc[0].data

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302 if self.path == "/away" else 200)
            if self.path == "/away":
                self.send_header("location", f"http://localhost:{self.server.server_port}/a.png")
            self.end_headers()
            if self.path != "/away":
                self.wfile.write(data if self.path == "/a.png" else b"x" * 1_000_001)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_urls_of_hosts_on_the_list_alone(model: Any, pictures: str, table: pd.DataFrame) -> None:
    app = TestClient(create_app(model, Limits(url_hosts=("127.0.0.1",), body_mb=1)))
    fetched = app.post("/predict", json={"photo": f"{pictures}/a.png"}).json()
    assert fetched == app.post("/predict", json={"photo": uri(table["photo"].iloc[0].data)}).json()
    for url, said in (
        (f"{pictures.replace('127.0.0.1', 'localhost')}/a.png", "the host 'localhost' is not on this service's list"),
        ("http://user@127.0.0.1/a.png", "not on this service's list"),
        (f"{pictures}/away", "could not be fetched"),
        (f"{pictures}/large", "larger than"),
        ("http://127.0.0.1:1/a.png", "could not be fetched"),
        ("file:///etc/passwd", "files of the server are never read"),
    ):
        assert said in app.post("/predict", json={"photo": url}).json()["error"], url


# -- over a socket ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(model: Any) -> Iterator[tuple[str, int]]:
    """The service itself, on the loopback."""
    app = create_app(model, Limits(seconds=1.0, requests=4, body_mb=1))
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        place.listen(2048)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        yield place.getsockname()
        server.should_exit = True
        thread.join(10)


def asked(address: tuple[str, int], head: str, body: bytes = b"") -> tuple[int, str]:
    """Status and body of a request that is written by hand."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        answer = b""
        while b"}" not in answer and (part := connection.recv(65536)):
            answer += part
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2].decode()


def test_a_gigabyte_is_refused_before_it_is_read(served: tuple[str, int]) -> None:
    head = "POST /predict HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 1000000000"
    status, said = asked(served, head, b"{")  # a byte of it is all that is ever sent
    assert (status, "1,000,000,000 bytes; at most 1,000,000" in said) == (413, True)


def test_a_gigabyte_that_does_not_say_so_is_cut_off(served: tuple[str, int]) -> None:
    head = "POST /predict HTTP/1.1\nHost: x\nContent-Type: application/json\nTransfer-Encoding: chunked"
    status, said = asked(served, head, (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 17)
    assert (status, "at most 1,000,000" in said) == (413, True)


def test_a_slow_client_is_told_and_does_not_keep_the_others_waiting(served: tuple[str, int]) -> None:
    head = "POST /predict HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 2"
    with socket.create_connection(served, timeout=20) as slow:
        slow.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n{")
        assert asked(served, head, b"{}")[0] == 200
        assert b"408" in slow.recv(65536).split(b"\r\n")[0]


def test_a_thousand_requests_at_once(served: tuple[str, int]) -> None:
    request = (
        b"POST /predict?worth=false HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )

    async def one() -> bytes:
        reader, writer = await asyncio.open_connection(*served)
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return answer.split(b"\r\n")[0]

    async def all_of_them() -> list[bytes]:
        return await asyncio.gather(*(one() for _ in range(1000)))

    lines = asyncio.run(all_of_them())
    statuses = {line.split()[1] for line in lines}
    assert len(lines) == 1000
    assert statuses <= {b"200", b"503", b"504"}
    assert {b"200", b"503"} <= statuses
    head = "POST /predict HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 2"
    assert asked(served, head, b"{}")[0] == 200  # and it goes on


# -- the front page ---------------------------------------------------------------------------------------------------


def test_the_form_has_a_field_for_every_column_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert 'type="file" name="photo" accept="image/*"' in page.text
    assert '<textarea name="text"' in page.text
    assert '<option value="oak">' in page.text
    for text in (page.text, client.get("/form.css").text, client.get("/form.js").text):
        assert not re.findall(r"(?:https?:)?//\w+\.\w+", text)
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_names_of_columns_are_text(table: pd.DataFrame) -> None:
    settings = {"store": "none", "members": 1, "epochs": 1, "progress": False, "branches": ("joint",), "width": 4}
    frame = table[["size"]].rename(columns={"size": '"><script>x</script>'})
    hostile = FusionClassifier(**settings).fit(frame, table["answer"])
    assert "<script>x" not in TestClient(create_app(hostile)).get("/").text


def test_the_page_answers_in_a_browser(served: tuple[str, int], tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here: the page is not tried in a browser")
    quiet = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    quiet += "--disable-component-update --disable-sync"
    url = f"http://{served[0]}:{served[1]}/?text=a+warm+board&size=3&answer=1"
    command = [browser, *quiet.split(), f"--user-data-dir={tmp_path}", "--dump-dom"]
    dom = ""
    for budget in (8_000, 80_000, 800_000):  # a browser's own time: on a busy machine the answer may come after it
        timed = [*command, f"--virtual-time-budget={budget}", url]
        dom = subprocess.run(timed, capture_output=True, text=True, timeout=240, check=True).stdout
        if 'class="answer"' in dom:
            break
    assert '<p class="answer">red</p>' in dom
    assert "What each modality adds" in dom
    assert "photo: absent" in dom


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_starts_answers_and_ends(model: Any, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    command = [sys.executable, "-m", "plait", "serve", str(tmp_path / "model"), "--port", "0", "--rows", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        address = "127.0.0.1", int(first.partition("127.0.0.1:")[2].partition("/")[0])
        assert asked(address, "GET /health HTTP/1.1\nHost: x\nConnection: close")[0] == 200
        body = json.dumps({"rows": [{}] * 3}).encode()
        head = f"POST /predict/batch HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: {len(body)}"
        assert asked(address, head, body)[0] == 413
        with pytest.raises(ConfigError, match="cannot be listened at"):
            plait.serve(model, port=address[1])
    finally:
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
