from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: tests run side by side
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PLAIT_QUIET", "1")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data, or a skip that says how to name it."""
    told = os.environ.get("PLAIT_DATA")
    if not told:
        pytest.skip("PLAIT_DATA names no folder: tests on real data are left out")
    return Path(told)


@pytest.fixture(autouse=True, scope="session")
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests never touch the user's store."""
    os.environ["PLAIT_STORE"] = str(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def _own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that a test registers has its name for that test alone."""
    from plait.base import registry  # after what is set above

    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
