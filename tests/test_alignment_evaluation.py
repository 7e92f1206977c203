"""What judges a shared space, against naive counting; and the recipes on a few rows of real data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from plait import ModalityAligner
from plait.alignment.plain_heads import PlainHeads
from plait.base.errors import ConfigError, TableError
from plait.data.modality import Schema
from plait.evaluation import spaces
from plait.evaluation.probes import fine_tuning, linear_probe
from plait.evaluation.similarity import best_threshold, paraphrase, retrieval, sentence_similarity, top_k
from plait.evaluation.spaces import Asked, check_evaluation, judged
from plait.training.loop import Diverged


def test_tolerance_counts_each_class() -> None:
    rng = np.random.default_rng(0)
    cosines, scores = rng.uniform(-0.2, 1, 200), rng.uniform(0, 5, 200)
    scores[:3] = (0.0, 5.0, 4.0)
    found = sentence_similarity(cosines, scores)
    for place in range(5):
        rows = [i for i in range(200) if (place <= scores[i] < place + 1) or (place == 4 and scores[i] == 5)]
        for column in (0, 37, 99):
            tolerance = 0.1 + 0.9 * column / 99
            near = sum(abs(cosines[i] - scores[i] / 5) < tolerance for i in rows)
            assert found.accuracy[place, column] == pytest.approx(near / len(rows))
    assert found.pearson == pytest.approx(np.corrcoef(cosines, scores)[0, 1])
    assert found.at(0.1) == pytest.approx(found.accuracy[:, 0])


def test_cosines_that_are_all_the_same_correlate_with_nothing() -> None:
    found = sentence_similarity(np.ones(4), np.array([0.0, 1.0, 4.5, 5.0]))
    assert (found.pearson, found.spearman) == (0.0, 0.0)
    assert np.isnan(found.accuracy[2]).all()


def test_the_threshold_is_the_best_of_the_training_part() -> None:
    rng = np.random.default_rng(0)
    cosines = rng.normal(size=60).round(1)  # with ties
    same = cosines + rng.normal(size=60) > 0
    tried = [((cosines > t) == same).mean() for t in np.arange(-4.05, 4.1, 0.05)]
    assert ((cosines > best_threshold(cosines, same)) == same).mean() == pytest.approx(max(tried))


def test_paraphrase_counts_both_classes_and_never_looks_at_the_test_part() -> None:
    train, same = np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, False, True, True])
    test, truth = np.array([0.2, 0.7, 0.8, 0.3]), np.array([False, True, False, True])
    found = paraphrase(train, same, test, truth)
    assert found.threshold == pytest.approx(0.5)
    assert found.accuracy == 0.5
    assert (found.same.precision, found.same.recall, found.same.f1) == (0.5, 0.5, pytest.approx(0.5))
    assert paraphrase(train, same, test, ~truth).threshold == found.threshold
    never = paraphrase(np.array([0.1, 0.2]), np.array([False, False]), test, truth)
    assert (never.same.precision, never.same.recall, never.same.f1) == (0.0, 0.0, 0.0)


def test_top_k_against_counting() -> None:
    rng = np.random.default_rng(0)
    probabilities, truth = rng.random((40, 6)), rng.integers(0, 6, 40)
    found = top_k(probabilities, truth)
    for k in range(1, 6):
        right = [t in sorted(range(6), key=lambda c: -row[c])[:k] for row, t in zip(probabilities, truth, strict=True)]
        assert found[k] == pytest.approx(np.mean(right))
    assert top_k(np.ones((4, 3)), np.zeros(4, int)) == {1: 0.0, 2: 0.0, 3: 1.0}


def test_retrieval_against_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.evaluation.similarity.BLOCK", 4)
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(9, 3)), rng.normal(size=(20, 3))
    asked, there = np.arange(9) % 5, np.arange(20) % 4
    found = retrieval(queries, gallery, asked, there, ks=(1, 5, 10), curve=(5, 15, 100))
    ranks, shares = [], []
    for query, thing in zip(queries, asked, strict=True):
        if thing == 4:
            continue  # nothing of it in the gallery
        similar = [q @ query / np.linalg.norm(q) for q in gallery]
        order = sorted(range(20), key=lambda i: -similar[i])
        ranks.append(1 + min(place for place, i in enumerate(order) if there[i] == thing))
        shares.append(np.mean([there[i] == thing for i in order[:5]]))
    assert found.queries == len(ranks)
    assert found.median_rank == np.median(ranks)
    assert found.recall == {k: pytest.approx(np.mean([r <= k for r in ranks])) for k in (1, 5, 10)}
    assert found.found == {k: pytest.approx(np.mean([r <= k for r in ranks])) for k in (5, 15)}
    assert found.precision[5] == pytest.approx(np.mean(shares))
    assert found.precision[15] < found.found[15]


def test_vectors_that_are_all_alike_find_nothing() -> None:
    found = retrieval(np.ones((6, 3)), np.ones((6, 3)), np.arange(6), np.arange(6), ks=(1, 5))
    assert found.recall == {1: 0.0, 5: 0.0}
    assert found.median_rank == 6


def test_absent_rows_take_no_part() -> None:
    vectors = np.eye(4)
    gone = vectors.copy()
    gone[2] = 0.0
    there, back = (retrieval(*sides, np.arange(4), np.arange(4)) for sides in ((vectors, gone), (gone, vectors)))
    assert (there.queries, there.gallery) == (3, 3)
    assert (back.queries, back.gallery) == (3, 4)


def test_what_cannot_be_judged() -> None:
    with pytest.raises(TableError, match="0 to 5"):
        sentence_similarity(np.zeros(2), np.array([0.0, 7.0]))
    with pytest.raises(TableError, match="one each"):
        paraphrase(np.zeros(2), np.zeros(3, bool), np.zeros(2), np.zeros(2, bool))
    with pytest.raises(TableError, match="anything to find"):
        retrieval(np.ones((2, 2)), np.ones((2, 2)), np.array([0, 1]), np.array([2, 3]))
    with pytest.raises(TableError, match=r"expected \(n, C\)"):
        top_k(np.ones(3), np.zeros(3, int))


def clusters(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 3
    return (np.eye(3)[kind] @ np.random.default_rng(9).normal(size=(3, 8)) + 0.3 * rng.normal(size=(n, 8))).astype(
        np.float32
    ), kind


def test_probes_learn_and_are_reproducible() -> None:
    (x, y), (held, truth) = clusters(120, 0), clusters(60, 1)
    names = np.array(["ant", "bee", "cow"])
    found = linear_probe(x, names[y], held, names[truth], looks=(1, 8), batch_size=16)
    assert set(found) == {1, 8}
    assert found[8] > 0.9
    assert found == linear_probe(x, names[y], held, names[truth], looks=(1, 8), batch_size=16)


def test_a_probe_that_diverges_says_so() -> None:
    (x, y), (held, truth) = clusters(120, 0), clusters(60, 1)
    with pytest.raises(Diverged, match="lower learning_rate"):
        linear_probe(x, y, held, truth, looks=(8,), learning_rate=1e39)


def test_fine_tuning_moves_a_copy() -> None:
    (x, y), (held, truth) = clusters(120, 0), clusters(60, 1)
    torch.manual_seed(0)
    network = PlainHeads(width=8).network({"a": 8, "b": 8}).eval()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    batches = ({"x": torch.from_numpy(x)}, {"x": torch.from_numpy(held)})
    found = fine_tuning(network, "a", (batches[0], y), (batches[1], truth), looks=(2, 12), learning_rate=1e-2)
    assert found[12] > 0.9
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


# -- recipes ---------------------------------------------------------------------------------------------------------


def sentences() -> ModalityAligner:
    told = {
        "short": {"kind": "text", "columns": ["a"], "encoder": {"name": "hashed_ngrams", "width": 64}},
        "long": {"kind": "text", "columns": ["b"], "encoder": {"name": "hashed_ngrams", "width": 128}},
    }
    rng = np.random.default_rng(0)
    words = ["dog", "cat", "runs", "sleeps", "house", "tree", "red", "blue"]
    rows = [" ".join(rng.choice(words, 5)) for _ in range(80)]
    table = pd.DataFrame({"a": rows, "b": [" ".join(row.split()[::-1]) for row in rows]})
    return ModalityAligner(modalities=told, stage="cca", store="none", progress=False).fit(table)


def test_ways_to_compare_sentences() -> None:
    found = spaces.sentence_cosines(sentences(), ["a dog runs", "red house"], ["a dog runs", "blue tree sleeps"])
    assert set(found) == {
        "short alone",
        "long alone",
        "concatenated",
        "short aligned",
        "long aligned",
        "across",
        "joined",
    }
    for name, cosines in found.items():
        assert cosines.shape == (2,)
        assert cosines[0] > cosines[1], name
    for name in ("short alone", "concatenated", "long aligned", "joined"):
        assert found[name][0] == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(found["concatenated"], (found["short alone"] + found["long alone"]) / 2)


def test_recipes_of_sentences_on_real_data(data_root: Path) -> None:
    asked = Asked(sentences(), root=str(data_root))
    similar = judged({"name": "sentence_similarity", "rows": 40}, asked)
    same = judged({"name": "paraphrase", "rows": 40, "train_rows": 30}, asked)
    assert [part.name for part in similar] == [part.name for part in same]
    assert [part.name for part in similar if part.frozen] == ["short alone", "long alone", "concatenated"]
    for one, two in zip(similar, same, strict=True):
        assert one.rows is not None
        assert two.rows is not None
        assert one.truth is not None
        assert len(one.rows) == len(one.truth) == len(two.rows) == 40
        assert one.metrics["pearson"] == pytest.approx(np.corrcoef(one.rows, one.truth)[0, 1], abs=1e-5)
        assert two.metrics["accuracy"] == pytest.approx(two.rows.mean())
        assert two.chance is not None
        assert 0.5 <= two.chance < 1
    with pytest.raises(ConfigError, match="retrieval in flickr8k: no text for 'long'; it has image"):
        judged({"name": "retrieval", "dataset": "flickr8k", "rows": 20}, asked)


def test_recipes_of_images_on_real_data(data_root: Path) -> None:
    from plait.datasets.flickr8k import Flickr8k

    frame, schema = Flickr8k().load(data_root).of("pairs")
    encoders = {"text": {"name": "hashed_ngrams", "width": 64}, "image": "pixel_statistics"}
    aligner = ModalityAligner(
        modalities=schema,
        encoders=encoders,
        stage={"name": "plain_heads", "width": 8, "epochs": 1},
        group="photograph",
        store="none",
        progress=False,
    ).fit(frame[:40])
    found = spaces.searched(aligner, frame[40:60], "photograph")
    assert (found["image to text"].queries, found["image to text"].gallery) == (4, 20)
    assert (found["text to image"].queries, found["text to image"].gallery) == (20, 4)
    asked = Asked(aligner, root=str(data_root))
    # A data set that is named is searched in place of held-out rows, of which there are none here.
    whole = judged({"name": "retrieval", "dataset": "flickr8k", "rows": 30}, asked)
    drawn = frame.iloc[np.sort(np.random.default_rng(0).permutation(len(frame))[:30])]
    for part in whole:
        one = spaces.searched(aligner, drawn, "photograph")[part.name]
        assert (part.metrics["median rank"], part.metrics["gallery"]) == (one.median_rank, one.gallery)
    (zero,) = judged({"name": "zero_shot", "rows": 20}, asked)
    assert set(zero.metrics) == {f"top-{k}" for k in range(1, 6)}
    assert zero.rows is not None
    assert zero.metrics["top-1"] == pytest.approx(zero.rows.mean())
    assert zero.chance is not None
    assert 0.1 <= zero.chance <= 1
    told = {"rows": 20, "train_rows": 30, "epochs": (1, 2)}
    for part in (*judged({"name": "linear_probe", **told}, asked), *judged({"name": "fine_tuning", **told}, asked)):
        assert list(part.metrics) == ["2 epochs", "1 epochs"]


def test_what_an_evaluation_needs() -> None:
    asked = Asked(sentences())
    with pytest.raises(TableError, match="no rows are held out; take split"):
        judged({"name": "retrieval"}, asked)
    for told, match in (
        ({"name": "retrievel"}, "did you mean 'retrieval'"),
        ({"name": "zero_shot", "row": 20}, "unknown field 'row'.*did you mean 'rows'"),
        ({"name": "zero_shot", "rows": 3}, "rows must be a whole number from 10"),
        ({"name": "zero_shot", "templates": ["a photo"]}, "expected texts with {} where the name goes"),
        ({"name": "linear_probe", "epochs": []}, "epochs: the list is empty"),
        ({"name": "linear_probe", "image": 3}, "image must be text, found 3"),
    ):
        with pytest.raises(ConfigError, match=match):
            check_evaluation(told)


def test_pictures_of_named_things_need_a_modality_of_pictures(data_root: Path) -> None:
    with pytest.raises(ConfigError, match="cifar10 needs an image modality; 'image' is none"):
        judged({"name": "zero_shot"}, Asked(sentences()))


def test_a_cell_that_a_thing_has_twice_is_searched_once() -> None:
    aligner = sentences()
    frame = pd.DataFrame({"a": ["dog runs", "dog runs", "cat"], "b": ["runs dog", "dog", "cat"], "of": ["x", "x", "y"]})
    found = spaces.searched(aligner, frame, "of")
    assert (found["short to long"].queries, found["short to long"].gallery) == (2, 3)
    assert (found["long to short"].queries, found["long to short"].gallery) == (3, 2)


def test_only_text_is_read_as_sentences() -> None:
    aligner = sentences()
    aligner.schema_ = Schema((dataclasses.replace(aligner.schema_.modalities[0], kind="image"),))
    with pytest.raises(ConfigError, match="read by text modalities only; 'short' is none"):
        spaces.sentence_cosines(aligner, ["a"], ["b"])
