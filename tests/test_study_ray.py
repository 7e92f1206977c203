"""Ray: the same results as one process, on a local cluster of two workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plait.encoders.featurize import Featurizer
from plait.store import Store
from study_tiny import study, values

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """One for all tests here: starting it takes seconds. It is the cluster that is there already, for plait."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_two_workers_find_what_one_process_finds_and_survive_a_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plait.study.engine_ray import RayEngine

    here = study(tmp_path).run(tmp_path / "here", engine="inline")
    real, shot = RayEngine.submit, []

    def submit(self: RayEngine, worker: int, job: Any) -> None:
        real(self, worker, job)
        if job["kind"] == "run" and not shot:
            shot.append(worker)
            self.stop(worker, "shot")

    monkeypatch.setattr(RayEngine, "submit", submit)
    there = study(tmp_path).run(tmp_path / "there", engine="ray", workers=2)
    assert there.status()["reasons"] == {"shot": 1}
    monkeypatch.undo()
    there = study(tmp_path).run(tmp_path / "there", engine="inline", retry_failed=True)
    pd.testing.assert_frame_equal(values(there), values(here))


def test_cells_encoded_on_a_cluster_are_the_cells_encoded_here(tmp_path: Path) -> None:
    from plait.study.engine_ray import encode_ray

    table = study(tmp_path).tables[0, None]
    features = Featurizer(table.schema)
    features.fit(table.frame, None)
    with Store(tmp_path / "there") as there, Store(tmp_path / "here") as here:
        assert encode_ray(features, table.frame, None, there, 1) == 90
        assert encode_ray(features, table.frame, None, there, 1) == 0
        (facts,) = there.sizes()
        found = [features.transform(table.frame, None, s, strict=True, progress=False) for s in (there, here)]
    assert facts["entries"] == 90
    assert (found[0].tokens["text"].x == found[1].tokens["text"].x).all()


def test_a_search_on_a_cluster_is_the_search_of_one_process(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    search = {"ranges": {"dropout": [0.0, 0.5], "learning_rate": "1e-3..1e-1,log"}, "trials": 3}
    told: dict[str, Any] = {"grid": None, "seeds": 1, "split": "none", "metrics": ["accuracy"], "search": search}
    here = study(tmp_path, **told).run(tmp_path / "here", engine="inline")
    there = study(tmp_path, **told).run(tmp_path / "there", engine="ray", workers=2)
    assert there.status()["done"] == 3
    pd.testing.assert_frame_equal(values(there), values(here))
