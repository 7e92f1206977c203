"""The Dockerfile, as far as it can be tried without docker: its paths, install lines, user, command and health check."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from plait import FusionClassifier

ROOT = Path(__file__).parent.parent
#: Instruction and what stands behind it, continued lines joined.
LINES = [
    line.split(maxsplit=1)
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]


def all_of(instruction: str) -> list[str]:
    return [rest for name, rest in LINES if name == instruction]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for rest in all_of("COPY"):
        *sources, _ = rest.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source in kept, f"{source} is left out by .dockerignore"


def test_install_lines() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    arguments = dict(rest.split("=", 1) for rest in all_of("ARG"))
    installs = [shlex.split(rest)[2:] for rest in all_of("RUN") if rest.startswith("pip install")]
    packages = [words for words in installs if any(word.startswith((".[", "torch")) for word in words)]
    assert len(packages) == len(installs) == 2
    for words in installs:
        assert words[words.index("-c") + 1] in all_of("COPY")[0].split()
        assert words[words.index("--extra-index-url") + 1].endswith("/whl/cpu")  # never a wheel with CUDA
    assert installs[0][-1] in project["dependencies"]
    asked = re.fullmatch(r"\.\[(.*)\]", installs[1][-1].replace("${EXTRAS}", arguments["EXTRAS"]))
    assert asked is not None
    extras = set(asked[1].split(","))
    assert "serve" in extras
    assert extras <= set(project["optional-dependencies"])
    assert project["requires-python"] == ">=3.11"
    assert all_of("FROM")[0].startswith("python:3.1")


def test_the_user_is_not_root_when_the_command_starts() -> None:
    names = [name for name, _ in LINES]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert max(i for i, name in enumerate(names) if name == "RUN") < names.index("USER")
    user = all_of("USER")[-1]
    assert user not in ("root", "0")
    assert any(rest.startswith("useradd") and rest.split()[-1] == user for rest in all_of("RUN"))


@pytest.mark.skipif(find_spec("fastapi") is None, reason="the extra serve is not installed")
def test_the_command_starts_and_the_health_check_finds_it(tmp_path: Path) -> None:
    table = pd.DataFrame({"size": [1.0, 2.0, 8.0, 9.0] * 10})
    settings = {"store": "none", "members": 1, "epochs": 1, "progress": False, "branches": ("joint",), "width": 4}
    FusionClassifier(**settings).fit(table, ["ant", "ant", "cow", "cow"] * 10).save(tmp_path / "model")
    program, *entry = json.loads(all_of("ENTRYPOINT")[0])
    assert program == "plait"
    given = {
        "/model": str(tmp_path / "model"),
        "0.0.0.0": "127.0.0.1",
        "8000": "0",
    }  # here: any free port of the loopback
    words = [given.get(word, word) for word in json.loads(all_of("CMD")[0])]
    assert set(given.values()) <= set(words)
    (check,) = [json.loads(rest[rest.index("[") :]) for rest in all_of("HEALTHCHECK")]
    served = subprocess.Popen([sys.executable, "-m", program, *entry, *words], stderr=subprocess.PIPE, text=True)
    try:
        assert served.stderr is not None
        said = served.stderr.readline()
        port = said.partition("127.0.0.1:")[2].partition("/")[0]
        health = [word.replace(":8000/", f":{port}/") for word in check]
        assert health[0] == "python"
        assert f":{port}/health" in health[2]
        subprocess.run([sys.executable, *health[1:]], check=True, timeout=60)
    finally:
        served.terminate()
        served.communicate(timeout=60)
    down = subprocess.run([sys.executable, *health[1:]], capture_output=True, timeout=60)
    assert down.returncode != 0
