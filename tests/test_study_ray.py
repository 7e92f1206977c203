"""Ray: the same results as one process, on a local cluster of two workers: studies, encodings, fits, predictions."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plait import FusionClassifier
from plait.base import cluster
from plait.base.cluster import Head, on_cluster
from plait.base.errors import ConfigError, PlaitError
from plait.cli import main
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


def test_what_died_with_its_machine_is_done_by_whoever_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plait.study.engine_ray import RayEngine

    here = study(tmp_path).run(tmp_path / "here", engine="inline")
    real, killed = RayEngine.submit, list[int]()

    def submit(self: RayEngine, worker: int, job: Any) -> None:
        real(self, worker, job)
        if job["kind"] == "run" and not killed:
            killed.append(worker)
            self._ray.kill(self._actors[worker])

    monkeypatch.setattr(RayEngine, "submit", submit)
    there = study(tmp_path).run(
        tmp_path / "there", engine="ray", workers=3
    )  # one more than there are cores: it never starts
    assert killed
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


def test_a_worker_loads_an_encoders_weights_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from plait.encoders.batches import let_go
    from plait.encoders.hashed_ngrams import HashedNgrams
    from plait.study.engine_ray import EncodeCells

    let_go()  # what another test left at hand
    made, module = [], HashedNgrams.module
    monkeypatch.setattr(HashedNgrams, "module", lambda self: made.append(1) or module(self))
    work = EncodeCells("hashed_ngrams", {})
    for first in (0, 100):  # more than those after which an idle network is let go
        assert len(work([f"cell {first + i}" for i in range(100)])) == 100
    assert len(made) == 1


def test_a_search_on_a_cluster_is_the_search_of_one_process(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    search = {"ranges": {"dropout": [0.0, 0.5], "learning_rate": "1e-3..1e-1,log"}, "trials": 3}
    told: dict[str, Any] = {"grid": None, "seeds": 1, "split": "none", "metrics": ["accuracy"], "search": search}
    here = study(tmp_path, **told).run(tmp_path / "here", engine="inline")
    there = study(tmp_path, **told).run(tmp_path / "there", engine="ray", workers=2)
    assert there.status()["done"] == 3
    pd.testing.assert_frame_equal(values(there), values(here))


def test_members_trained_on_a_cluster_are_those_trained_here() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"size": rng.normal(size=120), "kind": rng.choice(list("abc"), 120)})
    label = np.where(rows["size"] > 0, "large", "small")
    settings: dict[str, Any] = {"epochs": 2, "members": 3, "store": "none", "branches": ["joint", "trees"]}
    here = FusionClassifier(**settings).fit(rows, label)
    there = FusionClassifier(**settings, engine="ray", workers=2).fit(rows, label)
    assert (here.predict_proba(rows) == there.predict_proba(rows)).all()
    assert [r["valid_loss"] for r in here.history_] == [r["valid_loss"] for r in there.history_]
    with pytest.raises(ConfigError, match="engine 'ray' with minutes"):
        FusionClassifier(engine="ray", minutes=1.0).fit(rows, label)


def test_a_table_predicted_on_a_cluster_is_predicted_as_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.DataFrame({"size": np.arange(90.0), "photo": ["no.png"] * 90, "big": ["no", "yes"] * 45})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    schema = {"photo": {"kind": "image", "columns": ["photo"]}, "size": {"kind": "tabular", "columns": ["size"]}}
    model = FusionClassifier(modalities=schema, root=str(tmp_path), epochs=2, members=1, store="none")
    Image.new("RGB", (8, 8)).save(tmp_path / "no.png")
    model.fit(rows[["size", "photo"]], rows["big"]).save(tmp_path / "model")
    (tmp_path / "no.png").unlink()
    rows.drop(columns="photo").to_csv(tmp_path / "plain.csv", index=False)
    refused = []
    for engine in ("local", "ray"):
        order = ["--rows", "20", "--store", "none", "--engine", engine, "--workers", "2", "--out"]
        (out := tmp_path / f"{engine}.csv").touch()
        assert _code("predict", tmp_path / "model", tmp_path / "rows.csv", *order, out) == 2
        refused.append(capsys.readouterr().err.splitlines()[-1])
        assert out.read_text() == ""
        assert not _code("predict", tmp_path / "model", tmp_path / "plain.csv", "--partial", *order, out)
    assert refused[0] == refused[1]
    assert "none of its 90 files is there" in " ".join(refused[0].split())
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    assert len((tmp_path / "ray.csv").read_text().splitlines()) == 91


def _code(*words: Any) -> Any:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return stopped.value.code


def test_a_worker_that_is_killed_is_started_anew_and_an_error_is_told_as_it_is(tmp_path: Path) -> None:
    def killed_once(place: Path) -> Callable[[int], int]:
        def work(job: int) -> int:
            if job == 2 and not place.exists():
                place.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return job * job

        return work

    def refusing() -> Callable[[int], int]:
        def work(job: int) -> int:
            raise ConfigError(f"no: {job}")

        return work

    found = on_cluster(killed_once, (tmp_path / "killed",), ((n,) for n in range(9)), 2)
    assert list(found) == [n * n for n in range(9)]
    with pytest.raises(ConfigError, match="^no: 0$"):
        list(on_cluster(refusing, (), [(0,)], 1))


def test_jobs_that_end_while_an_error_is_told_do_not_end_this_process() -> None:
    """To cancel a job that is about to answer makes Ray abort: so jobs under way are left to end."""

    def mixed() -> Callable[[int], int]:
        def work(job: int) -> int:
            if job == 0:
                raise ConfigError("no")
            time.sleep(0.0005 * (job % 7))
            return job

        return work

    for _ in range(60):  # with cancelling, about the fifth aborted
        with pytest.raises(ConfigError, match="^no$"):
            list(on_cluster(mixed, (), ((n,) for n in range(40)), 4))


def test_a_cluster_that_is_not_there_is_said_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"127.0.0.1:{there.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was asked"))
    with pytest.raises(PlaitError, match=f"the Ray cluster at {address} cannot be reached: .*unset RAY_ADDRESS"):
        list(on_cluster(lambda: lambda job: job, (), [(0,)], 1))


def test_a_cluster_whose_head_is_silent_is_said_to_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"127.0.0.1:{there.getsockname()[1]}"
        head = Head(SimpleNamespace(get_runtime_context=lambda: SimpleNamespace(gcs_address=address)))
        head.check()
    head.check()  # it may come back
    assert not head.lost
    monkeypatch.setattr(cluster, "AWAY", -1.0)
    with pytest.raises(PlaitError, match=f"{address} is lost: its head is silent; start it again"):
        head.check()
    assert head.lost
