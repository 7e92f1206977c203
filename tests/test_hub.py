"""Models on a hub: the card, a local folder, and a fake endpoint on the loopback."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import plait
from plait import FusionClassifier, fit_table, load
from plait.base.errors import ConfigError, ModelError
from plait.cli import main

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")

TABLE = pd.DataFrame({"size": np.tile([1.0, 2.0, 8.0, 9.0], 15), "kind": ["ant", "ant", "cow", "cow"] * 15})
SETTINGS: dict[str, Any] = {
    "store": "none",
    "members": 1,
    "epochs": 2,
    "progress": False,
    "branches": ("joint",),
    "width": 4,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "animals"
    FusionClassifier(**SETTINGS).fit(TABLE[["size"]], TABLE["kind"]).save(folder)
    score = {"value": 0.9375, "low": 0.9, "high": 0.97}
    judged = {"rows": 16, "metrics": {"accuracy": score, "log_loss": {"value": None}}}
    (folder / "results.json").write_text(json.dumps({"evaluation": judged}))
    (folder / "report.html").write_text("<p>rows of the table</p>")
    return folder


def head_of(folder: Path) -> dict[str, Any]:
    _, head, text = (folder / "README.md").read_text().split("---\n", 2)
    assert text.lstrip().startswith("# FusionClassifier for kind")
    result: dict[str, Any] = yaml.safe_load(head)
    return result


def test_a_folder_as_the_hub_has_it(saved: Path, tmp_path: Path) -> None:
    assert plait.push(saved, str(tmp_path / "hub")) == str(tmp_path / "hub")
    head = head_of(tmp_path / "hub")
    assert head["library_name"] == "plait"
    assert {"plait", "tabular"} <= set(head["tags"])
    assert head["pipeline_tag"] == "tabular-classification"
    assert head["metrics"] == ["accuracy"]
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": 0.9375}]
    assert {p.name for p in (tmp_path / "hub").iterdir()} == {
        "model.json",
        "weights.safetensors",
        "README.md",
        ".plait.json",
    }
    expected = load(saved).predict_proba(TABLE[["size"]])
    assert np.array_equal(load(tmp_path / "hub").predict_proba(TABLE[["size"]]), expected)
    plait.push(tmp_path / "hub", str(tmp_path / "again"))  # a card that has a head gets no second one
    assert (tmp_path / "again" / "README.md").read_text().count("---\n") == 2


def test_rows_of_the_tables_are_sent_only_where_that_is_asked(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["push", str(saved), str(tmp_path / "all"), "--report"])
    assert not ended.value.code
    assert capsys.readouterr().out.strip() == str(tmp_path / "all")
    assert {"report.html", "results.json"} <= {p.name for p in (tmp_path / "all").iterdir()}


def test_several_targets(tmp_path: Path) -> None:
    table = TABLE.assign(big=TABLE["size"] > 5)
    fit_table(table, settings=SETTINGS, target=["kind", "big"], out=tmp_path / "both", report=False)
    plait.push(tmp_path / "both", str(tmp_path / "hub"))
    assert set(load(tmp_path / "hub")) == {"kind", "big"}
    head = yaml.safe_load((tmp_path / "hub" / "README.md").read_text().split("---\n")[1])
    assert len(head["model-index"][0]["results"]) == 2


def test_what_cannot_be_sent(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        plait.push(tmp_path / "nothing", "me/animals")
    with pytest.raises(ConfigError, match="expected owner/name"):
        plait.push(saved, "animals")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.json").write_bytes((saved / "model.json").read_bytes())
    with pytest.raises(ModelError, match=r"weights\.safetensors"):
        plait.push(tmp_path / "broken", "me/animals")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ModelError, match="nothing there is touched"):
        plait.push(saved, str(tmp_path / "mine"))


def test_the_reason_below_a_hubs_first_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(repo: str, **options: Any) -> str:
        raise OSError("404 Client Error. (Request ID: 1)\n\nRepository Not Found for url: https://hub/me/animals.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(ModelError, match=r"\(404 Client Error\. \(Request ID: 1\) Repository Not Found for url: "):
        load("hf://me/animals", download=True)


def test_nothing_is_fetched_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def snapshot_download(repo: str, *, local_files_only: bool, **options: Any) -> str:
        asked.append(not local_files_only)
        raise FileNotFoundError("not here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.delenv("PLAIT_DOWNLOAD", raising=False)
    with pytest.raises(ModelError, match="hf://me/animals: cannot be had .*PLAIT_DOWNLOAD=1"):
        load("hf://me/animals")
    with pytest.raises(ModelError, match=r"cannot be had \(not here\)$"):
        load("hf://me/animals", download=True)
    monkeypatch.setenv("PLAIT_DOWNLOAD", "1")
    with pytest.raises(ModelError, match="cannot be had"):
        load("hf://me/animals@v1")
    assert asked == [False, True, True]
    with pytest.raises(ConfigError, match="expected hf://owner/name"):
        load("hf://animals")


class FakeHub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's protocol as one repository of small files needs."""

    files: dict[str, bytes]
    said: list[Any]
    COMMIT = "0" * 39 + "1"

    def _json(self, value: Any) -> None:
        self._bytes(json.dumps(value).encode(), {"content-type": "application/json"})

    def _bytes(self, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def do_POST(self) -> None:
        body = self._body()
        address = f"http://127.0.0.1:{self.server.server_port}/me/animals"  # type: ignore[attr-defined]
        if self.path == "/api/repos/create":
            self.said.append(json.loads(body))
            self._json({"url": address})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            self._json({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        else:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self._json(
                {"commitUrl": f"{address}/commit/{self.COMMIT}", "commitOid": self.COMMIT, "pullRequestUrl": None}
            )

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/me/animals/tree"):
            self._json(
                [
                    {"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                    for n, d in self.files.items()
                ]
            )
        elif path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in self.files]
            self._json({"id": "me/animals", "sha": self.COMMIT, "siblings": siblings, "private": True, "tags": []})
        else:
            data = self.files[path.rpartition("/")[2]]
            etag = f'"{hashlib.sha1(data).hexdigest()}"'
            self._bytes(data, {"etag": etag, "x-repo-commit": self.COMMIT, "accept-ranges": "none"})

    do_HEAD = do_GET  # noqa: N815 - as the base class calls it

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[tuple[str, type[FakeHub]]]:
    handler = type("Own", (FakeHub,), {"files": {}, "said": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def test_there_and_back_over_a_fake_endpoint(saved: Path, tmp_path: Path, endpoint: tuple[str, type[FakeHub]]) -> None:
    address, handler = endpoint
    program = (
        "import sys, plait, numpy as np, pandas as pd\n"
        "print(plait.push(sys.argv[1], 'me/animals'))\n"
        "model = plait.load('hf://me/animals', download=True)\n"
        "np.save('answers.npy', model.predict_proba(pd.DataFrame({'size': [1.0, 9.0]})))\n"
        "plait.load('hf://me/animals')\n"  # from the cache
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "cache"),
        "HF_TOKEN": "hf_fake",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", program, str(saved)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1] == "hf://me/animals"
    assert set(handler.files) == {"model.json", "weights.safetensors", "README.md"}
    made = handler.said[0]  # huggingface_hub 1 and 2 say it in two ways
    assert made.get("private") is True or made.get("visibility") == "private"
    expected = load(saved).predict_proba(pd.DataFrame({"size": [1.0, 9.0]}))
    assert np.array_equal(np.load(tmp_path / "answers.npy"), expected)
