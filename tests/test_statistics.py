from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from plait.base.errors import ConfigError
from plait.metrics.base import measure, metrics
from plait.study.statistics.claims import check_claims
from plait.study.statistics.compare import compare, critical_difference, rank, rank_variants
from plait.study.statistics.paired import (
    cliffs_delta,
    cohens_d,
    crossed_t,
    family_variance,
    holm,
    least_p,
    mcnemar,
    permutation,
    resampled_t,
    wilcoxon,
)
from plait.study.statistics.scores import headline, metric_of, scores
from plait.study.statistics.summary import Resampler, seed_weights, summarise, two_level
from plait.study.statistics.verdicts import chance, default_margin, in_words, seeds_needed, tost, verdict
from study_results import Plan, study

GOOD = {"good": 1.4, "twin": 1.4, "fair": 1.0, "poor": 0.2}


def variants(*names):
    return {name: {"fusion": name} for name in names}


def by_skill(skills):
    return lambda place: skills[place["variant"]]


def rng(seed=0):
    return np.random.default_rng(seed)


# -- formulas against loops and published examples ---------------------------------------------------------------------


def naive_t(differences, ratio):
    k = len(differences)
    mean = sum(differences) / k
    variance = sum((d - mean) ** 2 for d in differences) / (k - 1)
    t = mean / math.sqrt((1 / k + ratio) * variance)
    return t, 2 * stats.t.sf(abs(t), k - 1)


@pytest.mark.parametrize("k", [2, 5, 25])
@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_resampled_t_is_its_formula(k, ratio):
    differences = rng(k).normal(0.02, 0.03, k)
    t, p = naive_t(differences, ratio)
    told = resampled_t(differences, ratio)
    assert told.p == pytest.approx(p)
    assert told.value / told.error == pytest.approx(t)
    assert (told.low <= 0 <= told.high) == (told.p >= 0.05)
    assert told.low < told.value < told.high


def test_resampled_t_without_overlap_is_the_paired_t_test():
    a, b = rng(1).normal(size=(2, 8))
    assert resampled_t(a - b, 0.0).p == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_crossed_t_is_its_formula():
    d, rows, row_variance = rng(2).normal(0.1, 0.05, 5), 120, 4e-4
    a = d.var(ddof=1) / 5
    df = (a + row_variance) ** 2 / (a**2 / 4 + row_variance**2 / 119)
    t = d.mean() / math.sqrt(a + row_variance)
    told = crossed_t(d, row_variance, rows)
    assert told.df == pytest.approx(df)
    assert told.p == pytest.approx(2 * stats.t.sf(abs(t), df))
    assert crossed_t(d, 0.0, rows).p == pytest.approx(stats.ttest_1samp(d, 0).pvalue)


def test_seeds_that_do_not_vary_are_judged_by_the_rows_alone():
    told = crossed_t(np.full(5, 0.1), 4e-4, 120)
    assert told.error == pytest.approx(0.02)
    assert told.df == pytest.approx(119)


@pytest.mark.parametrize("test", [lambda d: resampled_t(d, 0.2), lambda d: crossed_t(d, 0.0, 50)])
def test_without_any_spread_there_is_no_p_but_for_no_difference(test):
    assert test(np.zeros(5)).p == 1.0
    for differences in (np.full(5, 0.1), np.full(5, 0.1 + 1e-17), np.array([0.3]), np.array([])):
        assert math.isnan(test(differences).p)
        assert math.isnan(test(differences).low)


def test_family_variance_only_makes_tests_more_careful():
    quiet, loud = np.array([0.10, 0.101, 0.099, 0.10, 0.10]), rng(0).normal(0, 0.05, 5)
    least = family_variance([quiet, loud, 2 * loud])
    assert least == pytest.approx(loud.var(ddof=1))
    assert resampled_t(quiet, 0.2, least).p > resampled_t(quiet, 0.2).p
    assert resampled_t(2 * loud, 0.2, least).p == resampled_t(2 * loud, 0.2).p
    assert crossed_t(quiet, 1e-5, 99, least).p > crossed_t(quiet, 1e-5, 99).p
    assert family_variance([quiet]) == 0.0


@pytest.mark.parametrize("n", [3, 5, 8, 12])
def test_wilcoxon_and_permutation_count_every_way_of_swapping(n):
    differences = np.round(rng(n).normal(0.5, 1.0, n), 1)
    ranks = np.sign(differences) * stats.rankdata(np.abs(differences))
    for told, terms in ((permutation(differences), differences), (wilcoxon(differences), ranks)):
        terms = terms[differences != 0] if told == wilcoxon(differences) else terms
        as_far = 0
        for signs in itertools.product((-1, 1), repeat=len(terms)):
            as_far += abs(sum(s * t for s, t in zip(signs, terms, strict=True))) >= abs(terms.sum()) - 1e-12
        assert told == pytest.approx(as_far / 2 ** len(terms))


def test_wilcoxon_agrees_with_scipy():
    for n in (6, 10, 30):
        differences = rng(n).normal(0.3, 1.0, n)
        assert wilcoxon(differences) == pytest.approx(stats.wilcoxon(differences).pvalue, rel=0.02)


def test_random_swaps_come_close_to_all_of_them():
    differences = rng(5).normal(0.4, 1.0, 14)
    signs = np.array(list(itertools.product((-1, 1), repeat=14)))
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12).mean()
    assert permutation(differences) == pytest.approx(exact, abs=0.01)
    assert permutation(differences) == permutation(differences)


def test_five_pairs_cannot_be_significant_by_ranks_or_swaps():
    large = np.array([10.0, 11.0, 12.0, 13.0, 14.0])
    assert wilcoxon(large) == permutation(large) == least_p(5) == 0.0625
    assert wilcoxon(np.append(large, 15.0)) == least_p(6) < 0.05
    assert math.isnan(wilcoxon(np.array([])))
    assert wilcoxon(np.zeros(5)) == permutation(np.zeros(5)) == 1.0


def test_ties_and_zeros_do_not_make_wilcoxon_surer():
    assert wilcoxon(np.array([1.0, 1.0, 1.0, 0.0, 0.0])) == 0.25


def test_mcnemar_counts_only_where_they_differ():
    right = np.array([1] * 40 + [1] * 8 + [0] * 2 + [0] * 30)
    other = np.array([1] * 40 + [0] * 8 + [1] * 2 + [0] * 30)
    naive = 2 * sum(math.comb(10, i) for i in range(3)) / 2**10
    assert mcnemar(right, other) == pytest.approx(naive)
    assert mcnemar(right, right) == 1.0


def test_holm_step_by_step():
    p = np.array([0.012, 0.001, 0.04, 0.3, 0.02])
    naive, running = {}, 0.0
    for i, place in enumerate(np.argsort(p)):
        running = max(running, min(1.0, (len(p) - i) * p[place]))
        naive[place] = running
    np.testing.assert_allclose(holm(p), [naive[i] for i in range(len(p))])
    np.testing.assert_allclose(holm(np.array([0.02, np.nan, 0.01])), [0.02, np.nan, 0.02])
    assert len(holm(np.array([]))) == 0


def test_effect_sizes_against_loops():
    x, y = np.round(rng(3).normal(size=(2, 9)), 1)
    wins = sum(a > b for a in x for b in y) - sum(a < b for a in x for b in y)
    assert cliffs_delta(x, y) == pytest.approx(wins / 81)
    d = x - y
    assert cohens_d(d) == pytest.approx(d.mean() / math.sqrt(((d - d.mean()) ** 2).sum() / 8))
    assert cohens_d(np.full(3, -0.2)) == -math.inf
    assert cohens_d(np.zeros(3)) == 0.0
    assert math.isnan(cohens_d(np.array([1.0])))


def test_tost_is_two_one_sided_tests():
    d = rng(4).normal(0.001, 0.004, 10)
    for margin in (0.002, 0.005, 0.02):
        lower = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
        upper = stats.ttest_1samp(d, margin, alternative="less").pvalue
        assert tost(resampled_t(d, 0.0), margin) == pytest.approx(max(lower, upper))
    assert tost(resampled_t(np.zeros(5), 0.0), 0.01) == 0.0
    assert math.isnan(tost(resampled_t(np.full(5, 0.001), 0.0), 0.01))


def test_margins_are_in_the_metric_s_unit():
    assert default_margin(metrics("regression")["r2"], 0.5) == 0.01
    assert default_margin(metrics("classification")["log_loss"], 2.0) == pytest.approx(0.04)


@pytest.mark.parametrize(("effect", "known"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_those_of_the_textbook(effect, known):
    """G*Power's numbers of pairs for d_z, two-sided 0.05, power 0.8."""
    assert seeds_needed(effect, 1.0) == known
    assert chance(effect, 1.0, known) >= 0.8 > chance(effect, 1.0, known - 1)


def test_more_seeds_do_not_help_against_few_test_rows():
    assert seeds_needed(0.01, 0.01, floor=0.01**2) is None
    assert seeds_needed(0.01, 0.02, floor=0.25 * 0.02**2) is None  # never better than mean / sd = 1
    assert seeds_needed(0.1, 0.02, floor=0.25 * 0.02**2) == 3
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(5.0, 0.01) == 2
    assert seeds_needed(0.01, 0.02, floor=1e-5) > seeds_needed(0.01, 0.02)


#: Demsar 2006, table 6: AUC of C4.5, with m, with cf, with both. The wines' and the voters' ties are broken as printed.
DEMSAR = """0.763 0.768 0.771 0.798|0.599 0.591 0.590 0.569|0.954 0.971 0.968 0.967|0.628 0.661 0.654 0.657
0.882 0.888 0.886 0.898|0.936 0.931 0.916 0.931|0.661 0.668 0.609 0.685|0.583 0.583 0.563 0.625
0.775 0.838 0.866 0.875|1.000 1.000 1.000 1.000|0.940 0.962 0.965 0.962|0.619 0.666 0.614 0.669
0.972 0.981 0.9751 0.975|0.957 0.978 0.946 0.970"""


def test_ranks_are_demsar_s():
    table = np.array([[float(v) for v in row.split()] for row in DEMSAR.replace("\n", "|").split("|")])
    told = rank(table, ["C4.5", "m", "cf", "m+cf"], [str(i) for i in range(14)])
    assert told.names == ("m+cf", "m", "cf", "C4.5")
    np.testing.assert_allclose(told.mean, [1.964, 2.000, 2.893, 3.143], atol=5e-4)
    assert told.critical == pytest.approx(1.25, abs=5e-3)
    # The paper's 9.28 is without the correction for ties; its F is 3.69.
    n, k = table.shape
    plain = 12 * n / (k * (k + 1)) * (sum(m**2 for m in told.mean) - k * (k + 1) ** 2 / 4)
    assert plain == pytest.approx(9.28, abs=0.01)
    assert told.chi2 == pytest.approx(stats.friedmanchisquare(*table.T).statistic)
    f = (n - 1) * told.chi2 / (n * (k - 1) - told.chi2)
    assert told.p == pytest.approx(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
    assert told.level == [(0, 3)]  # as in the paper's figure 1a all lie within 1.25


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_values_are_demsar_s_table_5a(k, q):
    assert critical_difference(k, 6) / math.sqrt(k * (k + 1) / 36) == pytest.approx(q, abs=1.5e-3)


def test_equal_and_perfectly_ordered_ranks():
    same = rank(np.ones((4, 3)), ["a", "b", "c"], list("wxyz"))
    assert same.mean == (2.0, 2.0, 2.0)
    assert same.chi2 == 0
    assert same.p == 1.0
    ordered = rank(np.tile([3.0, 2.0, 1.0], (4, 1)), ["a", "b", "c"], list("wxyz"))
    assert ordered.p == pytest.approx(6.0**-3)
    assert rank(np.array([[2.0, 1.0]] * 30), ["a", "b"], list(map(str, range(30)))).level == []


def test_statsmodels_says_the_same():
    pytest.importorskip("statsmodels")
    from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.power import TTestPower
    from statsmodels.stats.weightstats import ttost_paired

    p = rng(6).uniform(0, 0.1, 20)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
    right, other = rng(7).integers(0, 2, (2, 60))
    counts = [[((right == i) & (other == j)).sum() for j in (0, 1)] for i in (0, 1)]
    assert mcnemar(right, other) == pytest.approx(mcnemar_of(counts, exact=True).pvalue)
    a, b = rng(8).normal(0, 0.01, (2, 12))
    assert tost(resampled_t(a - b, 0.0), 0.01) == pytest.approx(ttost_paired(a, b, -0.01, 0.01)[0])
    assert chance(0.3, 1.0, 40) == pytest.approx(TTestPower().power(0.3, 40, 0.05), abs=1e-6)


# -- words --------------------------------------------------------------------------------------------------------------


def test_the_rule_of_words():
    assert verdict(0.04, 0.9, 0.1) == "better"
    assert verdict(0.04, 0.01, -0.1) == "worse"
    assert verdict(0.06, 0.01, 0.1) == "equivalent"
    assert verdict(0.06, 0.06, 0.1) == "not decided"
    assert verdict(math.nan, math.nan, 0.1) == "not decided"
    assert verdict(1.0, 0.0, 0.0, identical=True) == "identical"


def test_words_name_what_they_stand_on():
    told = {"p": 0.03, "d": 2.345, "margin": 0.01, "equivalence": 0.004, "seeds": 5}
    assert in_words("better", **told | {"equivalence": 0.4}) == "better (p = 0.030, d = 2.3)"
    assert in_words("worse", **told) == "worse, within 0.01 (p = 0.030, d = 2.3)"
    assert in_words("equivalent", **told) == "equivalent within 0.01 (p = 0.004)"
    assert in_words("not decided", **told) == "not decided with 5 seeds"
    assert in_words("not decided", **told, needed=None) == "not decided with 5 seeds (more rows would be needed)"
    assert in_words("not decided", **told | {"seeds": 1}, splits=5) == "not decided with 1 seed of 5 splits"
    assert in_words("identical", **told) == "identical in 5 seeds"
    assert "d = ∞" in in_words("better", **told | {"d": math.inf})


# -- intervals ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Four variants of known order, five seeds that share 120 test rows."""
    kept = ("accuracy", "log_loss", "f1_macro")
    plan = Plan(skill=by_skill(GOOD), variants=variants(*GOOD), luck=0.02, metrics=kept)
    return study(tmp_path_factory.mktemp("toy"), plan)


def test_seed_weights_have_the_variance_of_a_mean_over_seeds():
    weights = seed_weights(5, 20_000)
    assert weights.shape == (20_000, 5)
    np.testing.assert_allclose(weights.sum(1), 1.0)
    values = np.array([0.1, 0.5, 0.2, 0.9, 0.4])
    drawn = weights @ values
    assert drawn.mean() == pytest.approx(values.mean(), abs=3e-3)
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 5, rel=0.03)


def test_resampled_values_are_those_of_rows_taken_so_often(toy):
    """Against a plain loop: rows repeated as often as they were drawn."""
    for name in ("accuracy", "log_loss", "f1_macro"):
        table = headline(scores(toy, "toy/kind", name))
        known = metric_of(toy, "toy/kind", name)
        resampler = Resampler(toy, table, known, resamples=5)
        row = table.iloc[0]
        found = resampler.values(row["run"], row["evaluation"], row["value"])
        told = toy.predictions(row["run"], 0)
        order = np.argsort(told.rows)
        naive = []
        for column in range(5):
            drawn = np.repeat(order, resampler._counts[:, column])
            naive.append(measure("classification", told.target[drawn], told.output[drawn])[name].value)
        shift = np.mean(naive) - row["value"] if known.biased else 0.0
        np.testing.assert_allclose(found, np.array(naive) - shift, rtol=1e-5)


def test_an_interval_counts_seeds_and_rows(toy):
    told = summarise(toy, "accuracy", resamples=500).set_index("label")
    frame = toy.frame[toy.frame["metric"] == "accuracy"]
    for label, part in frame.groupby("variant"):
        values = part["value"].to_numpy()
        row = told.loc[label]
        assert row["mean"] == pytest.approx(values.mean())
        assert row["sd"] == pytest.approx(values.std(ddof=1))
        assert row["low"] < row["mean"] < row["high"]
        told_runs = [toy.predictions(run, 0) for run in part["run"]]
        right = np.mean([t.output.argmax(1) == t.target for t in told_runs], axis=0)
        error = math.sqrt(values.var(ddof=1) / 5 + right.var() / 120)  # seeds and rows
        assert (row["high"] - row["low"]) / 2 == pytest.approx(1.96 * error, rel=0.25)
        assert row["over"] == "seeds and rows"
    assert list(told.index[:2]) in (["good", "twin"], ["twin", "good"])
    assert list(told.index[2:]) == ["fair", "poor"]


def test_resamples_lie_around_the_value_that_was_recorded(toy):
    """Whatever a metric is off by on resamples, and where labels were read by another threshold."""
    for name, off in (("accuracy", 0.05), ("accuracy", 0.0), ("f1_macro", 0.0), ("f1_macro", -0.1)):
        table = headline(scores(toy, "toy/kind", name))
        row = table.iloc[0]
        resampler = Resampler(toy, table, metric_of(toy, "toy/kind", name), resamples=400)
        found = resampler.values(row["run"], row["evaluation"], row["value"] + off)
        exact = off != 0.0 or name == "f1_macro"
        assert found.mean() == pytest.approx(row["value"] + off, abs=1e-9 if exact else 0.01)
        assert found.std() > 0.01


def test_an_interval_over_seeds_and_rows_is_moved_to_the_mean():
    metric = metrics("regression")["mae"]  # without an upper bound
    draws = rng(0).normal(size=(4, 4000))
    low, high = two_level(list(draws + 3.0), 10.0, metric)
    assert (low + high) / 2 == pytest.approx(10.0, abs=0.05)
    plain = two_level(list(draws + 3.0), 3.0, metric)
    assert (low - plain[0], high - plain[1]) == pytest.approx((7.0, 7.0), abs=0.01)


def test_intervals_cover_what_they_say():
    """Means of a crossed design (seeds x rows) whose true mean is 0, 200 studies of five seeds and 60 rows."""
    draws, inside = rng(9), 0
    metric = metrics("regression")["r2"]
    for study_number in range(200):
        values = 0.1 * draws.normal(size=(5, 1)) + draws.normal(size=60) + 0.3 * draws.normal(size=(5, 60))
        counts = rng(study_number).multinomial(60, np.full(60, 1 / 60), size=300)
        by_seed = list(values @ counts.T / 60)
        low, high = two_level(by_seed, float(values.mean()), metric, seed=study_number)
        inside += low <= 0 <= high
    assert 0.90 <= inside / 200 <= 0.99


def test_one_seed_speaks_for_its_rows_only(tmp_path):
    told = summarise(study(tmp_path, Plan(skill=by_skill(GOOD), variants=variants("good", "poor"), seeds=[3])))
    assert set(told["over"]) == {"rows"}
    assert told["sd"].isna().all()
    assert (told["low"] < told["high"]).all()


def test_without_predictions_the_interval_is_over_seeds(tmp_path):
    results = study(tmp_path, Plan(skill=by_skill(GOOD), variants=variants("good", "poor")))
    paths = list(tmp_path.rglob("predictions.npz"))
    assert len(paths) == 10  # two variants, five seeds
    for path in paths:
        path.unlink()
    told = summarise(results)
    assert set(told["over"]) == {"seeds"}
    assert (told["low"] < told["high"]).all()
    assert set(compare(results)["design"].dropna()) == {"resampled rows"}


def test_words_say_what_is_missing_to_know_whether_equal_runs_are_better_than_a_constant(tmp_path, monkeypatch):
    results = study(tmp_path, Plan(skill=by_skill(GOOD), variants=variants("good", "twin")))
    with monkeypatch.context() as without:
        without.setattr(Resampler, "constant", lambda self, run: None)  # as of a metric that says nothing of a constant
        told = compare(results, "accuracy", margin=0.2)["words"].tolist()
    assert any("these runs do not tell whether both are better than the majority; add seeds" in words for words in told)
    for path in tmp_path.rglob("predictions.npz"):
        path.unlink()
    told = compare(results, "accuracy", margin=0.2)["words"].tolist()
    assert any("predictions.npz are missing, which tell whether both are better" in words for words in told)


def test_splits_of_a_seed_are_drawn_together(tmp_path):
    plan = Plan(skill=by_skill(GOOD), variants=variants("good", "poor"), seeds=[0, 1, 2], splits=4, rows=200)
    told = summarise(study(tmp_path, plan)).set_index("label").loc["good"]
    assert told["runs"] == 12
    assert told["seeds"] == 3
    one = study(tmp_path / "one", Plan(skill=by_skill(GOOD), variants=variants("good", "poor"), seeds=[0], splits=4))
    told = summarise(one).set_index("label").loc["good"]
    assert (told["seeds"], told["over"]) == (1, "seeds and rows")  # the splits stand for what training brings


# -- comparisons --------------------------------------------------------------------------------------------------------


def test_known_effects_are_found(toy):
    told = compare(toy, "log_loss").set_index("label")
    assert told.loc["poor", "verdict"] == told.loc["fair", "verdict"] == "worse"
    assert {told.loc["good", "verdict"], told.loc["twin", "verdict"]} <= {"best", "equivalent", "not decided"}
    best = told.index[0]
    assert told.loc[best, "words"] == "best"
    assert set(told["reference"]) == {best}
    others = told.drop(index=best)
    frame = toy.frame[toy.frame["metric"] == "log_loss"].pivot(index="seed", columns="variant", values="value")
    for label, row in others.iterrows():
        assert row["difference"] == pytest.approx((frame[label] - frame[best]).mean())
        assert row["wilcoxon"] == pytest.approx(wilcoxon((frame[label] - frame[best]).to_numpy()))
        assert row["p_holm"] >= row["p"]
        assert row["least_p"] == 0.0625
        assert row["design"] == "same test rows"
        assert 0 <= row["mcnemar"] <= 1
    np.testing.assert_allclose(others["p_holm"], holm(others["p"].to_numpy()))


def test_against_a_reference_the_sign_follows_the_metric(toy):
    for metric, sign in (("accuracy", 1), ("log_loss", -1)):
        told = compare(toy, metric, against="poor").set_index("label")
        assert told.loc["good", "verdict"] == "better"
        assert np.sign(told.loc["good", "difference"]) == sign
        assert told.loc["poor", "words"] == "the reference"


def test_a_wide_margin_makes_equivalence(toy):
    narrow = compare(toy, "accuracy", margin=1e-6).set_index("label")
    wide = compare(toy, "accuracy", margin=0.2).set_index("label")
    twin = next(label for label in ("good", "twin") if narrow.loc[label, "verdict"] != "best")
    assert narrow.loc[twin, "verdict"] == "not decided"
    assert wide.loc[twin, "words"].startswith("equivalent within 0.2 (p ")


def test_runs_with_rows_of_their_own_get_the_corrected_test(tmp_path):
    plan = Plan(skill=by_skill(GOOD), variants=variants("good", "fair"), shared=False)
    results = study(tmp_path, plan)
    told = compare(results, "accuracy").iloc[1]
    pivot = results.frame[results.frame["metric"] == "accuracy"].pivot(index="seed", columns="variant", values="value")
    other, best = told["label"], told["reference"]
    expected = resampled_t((pivot[other] - pivot[best]).to_numpy(), 120 / 280)
    assert told["design"] == "resampled rows"
    assert told["p"] == pytest.approx(expected.p)


def test_folds_are_all_counted_and_mcnemar_takes_them_together(tmp_path):
    plan = Plan(skill=by_skill(GOOD), variants=variants("good", "poor"), seeds=[0, 1], splits=5, rows=150)
    results = study(tmp_path, plan)
    told = compare(results).iloc[1]
    assert told["pairs"] == 10
    assert told["seeds"] == 2
    assert told["words"].startswith("worse (p ")
    frame = results.frame.query("metric == 'accuracy'").pivot(
        index=["seed", "split"], columns="variant", values="value"
    )
    assert told["p"] == pytest.approx(resampled_t((frame["poor"] - frame["good"]).to_numpy(), 30 / 120).p)
    assert told["least_p"] == 0.5  # two seeds
    found = []
    for seed in (0, 1):
        right = {}
        for variant in ("good", "poor"):
            runs = results.runs[(results.runs["seed"] == seed) & (results.runs["variant"] == variant)]["run"]
            told_runs = [results.predictions(run, 0) for run in runs]
            right[variant] = np.concatenate([t.output.argmax(1) == t.target for t in told_runs])
        found.append(mcnemar(right["poor"], right["good"]))
    assert told["mcnemar"] == pytest.approx(np.median(found))


def test_failed_runs_leave_the_pairs_that_both_have(tmp_path):
    def failing(place):
        return "ran out of memory" if place["variant"] == "good" and place["seed"] in (1, 3) else None

    results = study(tmp_path, Plan(skill=by_skill(GOOD), variants=variants(*GOOD), failing=failing))
    told = compare(results, "log_loss").set_index("label")
    assert told["verdict"]["good"] != "best"  # three runs of five do not make it the best
    assert told["pairs"]["good"] == 3
    assert "with 3 seeds" in told["words"]["good"] or told["verdict"]["good"] != "not decided"
    assert told["pairs"]["poor"] == 5


def test_no_common_seed_decides_nothing(tmp_path):
    def failing(place):
        return "no" if (place["variant"] == "good") == (place["seed"] < 2) else None

    told = compare(study(tmp_path, Plan(skill=by_skill(GOOD), variants=variants("good", "poor"), failing=failing)))
    row = told[told["verdict"] != "best"].iloc[0]
    assert row["words"] == "not decided with 0 seeds"
    assert row["pairs"] == 0


def test_one_seed_decides_nothing(tmp_path):
    told = compare(study(tmp_path, Plan(skill=by_skill(GOOD), variants=variants("good", "poor"), seeds=[0])))
    assert told.iloc[1]["words"] == "not decided with 1 seed"
    assert told.iloc[1]["mcnemar"] < 0.05  # though the two models differ


def test_twins_in_everything_are_identical(tmp_path):
    plan = Plan(skill=lambda place: 1.0, variants=variants("one"), seeds=range(4))
    results = study(tmp_path, plan)
    copied = [line | {"run": line["run"][::-1], "variant": "two"} for line in results.lines]
    for line, copy in zip(results.lines, copied, strict=True):
        (tmp_path / "runs" / line["run"]).rename(tmp_path / "runs" / copy["run"])
        (tmp_path / "runs" / line["run"]).symlink_to(tmp_path / "runs" / copy["run"])
    results.lines += copied
    told = compare(results)
    assert list(told["verdict"]) == ["best", "identical"]
    assert told["words"][1] == "identical in 4 seeds"


# -- models at chance -----------------------------------------------------------------------------------------------------

TASKS = {"classification": "majority", "multilabel": "most frequent labels", "regression": "mean"}


def constant_output(task, target):
    """What a model that has learned nothing answers: the same for every row."""
    if task == "classification":
        return np.repeat((np.bincount(target, minlength=3) / len(target))[None], len(target), 0)
    return (
        np.repeat(target.mean(0)[None], len(target), 0) if task == "multilabel" else np.full(len(target), target.mean())
    )


def chance_study(folder, task="classification", constant=("one", "two"), **told):
    """Variants of which some answer the same for every row; the others have skill 1.4."""
    names = ("one", "two")
    plan = Plan(skill=lambda p: 1.4, variants=variants(*names), task=task, luck=0.0, **told)
    results = study(folder, plan)
    for line in results.lines:
        if line["variant"] in constant:
            path = folder / "runs" / line["run"] / "predictions.npz"
            arrays = dict(np.load(path))
            for number, evaluation in enumerate(line["evaluations"]):
                output = constant_output(task, arrays["target"])
                arrays[f"output_{number}"] = output
                measured = measure(task, arrays["target"], output)
                evaluation["metrics"] = {k: measured[k].value for k in evaluation["metrics"]}
            np.savez(path, **arrays)
    return results


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("seeds", "test_rows"), [(2, 75), (5, 300)])
def test_models_at_chance_prove_nothing_of_each_other(tmp_path, task, seeds, test_rows):
    told = compare(chance_study(tmp_path, task, seeds=range(seeds), test_rows=test_rows, rows=400))
    assert told["verdict"].tolist() == ["best", "not decided"]
    assert told["words"][1] == f"both no better than the {TASKS[task]}; not decided"
    assert told["above"].tolist() == [False, False]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("shared", [True, False])
def test_a_model_with_skill_is_better_than_one_at_chance(tmp_path, task, shared):
    told = compare(chance_study(tmp_path, task, constant=("two",), shared=shared)).set_index("label")
    assert told.loc["two", "verdict"] == "worse"
    assert told["above"].to_dict() == {"one": True, "two": False}


def test_noise_around_the_majority_is_no_skill(tmp_path):
    told = compare(study(tmp_path, Plan(skill=lambda p: 0.0, variants=variants("one", "two"))), "accuracy", margin=0.2)
    assert told["above"].tolist() == [False, False]
    assert told["words"][1] == "both no better than the majority; not decided"


@pytest.mark.parametrize(
    ("seeds", "test_rows", "margin", "words"),
    [
        (2, 390, 0.2, "not decided with 2 pairs (at least 3 would be needed)"),
        (5, 120, 0.02, "not decided with 120 test rows (at least 150 would be needed)"),
        (5, 390, 0.2, "equivalent within 0.2 (p < 0.001)"),
    ],
)
def test_equivalence_needs_seeds_and_rows(tmp_path, monkeypatch, seeds, test_rows, margin, words):
    plan = Plan(skill=lambda p: 2.0, variants=variants("one", "two"), seeds=range(seeds), test_rows=test_rows, luck=0.0)
    results = study(tmp_path, plan)
    monkeypatch.setattr("plait.study.statistics.comparison.tost", lambda difference, margin: 0.0004)
    assert compare(results, "accuracy", margin=margin)["words"][1] == words


def test_without_predictions_no_equivalence_is_claimed(tmp_path):
    results = chance_study(tmp_path)
    for path in tmp_path.glob("runs/*/predictions.npz"):
        path.unlink()
    told = compare(results, "accuracy", margin=0.5)
    assert told["verdict"].tolist() == ["best", "not decided"]
    assert told["above"].tolist() == [None, None]


def test_a_dozen_rows_prove_nothing(tmp_path):
    skills = {"good": 9.0, "poor": -0.5}
    told = compare(study(tmp_path, Plan(skill=by_skill(skills), variants=variants(*skills), test_rows=12)))
    assert told["verdict"].tolist() == ["best", "not decided"]
    assert told["words"][1] == "not decided with 12 test rows (at least 20 would be needed)"


def test_an_order_of_claims_is_not_held_by_models_at_chance(tmp_path):
    claim = {"metric": "accuracy", "data": "toy/kind"}
    claims = [claim | {"variant": "one", "value": 0.7}, claim | {"variant": "two", "value": 0.7}]
    told = check_claims(chance_study(tmp_path, spec={"claims": claims})).set_index("kind")
    assert told.loc["order", "verdict"] == "not decidable"
    assert "both no better than the majority" in told.loc["order", "reason"]


def test_subsets_and_conditions_are_compared_for_the_best_variant(tmp_path):
    def skill(place):
        gone = 2 - len(place["present"])
        return GOOD[place["variant"]] - 1.2 * gone - (0.9 if place["condition"] == "noise" else 0)

    plan = Plan(
        skill=skill,
        variants=variants("good", "poor"),
        subsets=[("text", "image"), ("text",)],
        patterns=[("text", "image"), ("text",)],
        conditions=[("clean", None), ("noise", None)],
    )
    results = study(tmp_path, plan)
    assert list(compare(results, by="label")["label"]) == ["good", "poor"]
    for by, best, other in (("subset", "text+image", "text"), ("present", "text+image", "text")):
        told = compare(results, by=by)
        assert list(told[by]) == [best, other]
        assert told["verdict"][1] == "worse"
    assert list(compare(results, by="condition")["condition"]) == ["clean", "noise"]
    everything = summarise(results, everything=True, resamples=50)
    assert len(everything) == 2 * (2 + 1) * 2


def test_conditions_at_training_are_variants(tmp_path):
    plan = Plan(skill=lambda p: 1.0, variants=variants("one"), train=["clean", "noise"], seeds=[0, 1])
    assert set(compare(study(tmp_path, plan))["label"]) == {"one", "one, trained: noise"}


@pytest.mark.parametrize(("task", "metric"), [("multilabel", "f1_samples"), ("regression", "r2")])
def test_other_tasks(tmp_path, task, metric):
    results = study(tmp_path, Plan(skill=by_skill(GOOD), variants=variants(*GOOD), task=task, luck=0.02))
    told = compare(results)
    assert set(told["metric"]) == {metric}
    assert told["label"].iloc[-1] == "poor"
    assert told["verdict"].iloc[-1] == "worse"
    assert set(summarise(results)["over"]) == {"seeds and rows"}


def test_what_cannot_be_compared_is_said(toy):
    for told, message in (
        ({"metric": "acuracy"}, "did you mean 'accuracy'"),
        ({"against": "goood"}, "did you mean 'good'"),
        ({"by": "subsets"}, "did you mean 'subset'"),
        ({"dataset": "toy/kindd"}, "did you mean 'toy/kind'"),
    ):
        with pytest.raises(ConfigError, match=message):
            compare(toy, **told)


def test_everything_failed(tmp_path):
    results = study(tmp_path, Plan(skill=lambda p: 1.0, variants=variants("one"), failing=lambda p: "no GPU here"))
    assert compare(results).empty
    assert summarise(results).empty
    assert rank_variants(results) is None
    assert check_claims(results).empty


def test_undefined_values_are_left_out(tmp_path):
    results = study(tmp_path, Plan(skill=by_skill(GOOD), variants=variants("good", "poor")))
    results.lines[0]["evaluations"][0]["metrics"]["accuracy"] = None
    told = summarise(results).set_index("label")
    assert (told.loc["good", "runs"], told.loc["poor", "runs"]) == (4, 5)
    assert compare(results)["pairs"].max() == 4


# -- several data sets ---------------------------------------------------------------------------------------------------


def test_ranks_over_data_sets(tmp_path):
    names = [f"d{i}/y" for i in range(5)]
    results = study(tmp_path, Plan(skill=by_skill(GOOD), variants=variants(*GOOD), datasets=names, seeds=[0, 1]))
    told = rank_variants(results, "log_loss")
    assert told.names[2:] == ("fair", "poor")
    assert told.mean[-1] == 4.0
    assert told.p < 0.01
    assert len(compare(results, resamples=50)) == 20
    assert (
        rank_variants(study(tmp_path / "two", Plan(skill=by_skill(GOOD), variants=variants(*GOOD), datasets=names[:2])))
        is None
    )


def test_a_variant_without_runs_on_one_data_set_is_not_ranked(tmp_path):
    names = ["a/y", "b/y", "c/y"]
    plan = Plan(
        skill=by_skill(GOOD),
        variants=variants(*GOOD),
        datasets=names,
        seeds=[0, 1],
        failing=lambda p: "no" if (p["dataset"], p["variant"]) == ("b/y", "fair") else None,
    )
    assert "fair" not in rank_variants(study(tmp_path, plan)).names


# -- claims -------------------------------------------------------------------------------------------------------------


def claim(value, variant=None, data=None, metric="accuracy", **told):
    empty = {"where": "table 4", "subset": None, "condition": None, "text": ""}
    return SimpleNamespace(**empty | {"metric": metric, "value": value, "variant": variant, "data": data} | told)


def test_claims_are_held_not_held_or_not_decidable(toy):
    mean = toy.frame.query("metric == 'accuracy' and variant == 'fair'")["value"].mean()
    toy.spec = SimpleNamespace(
        claims=(
            claim(mean - 0.2, "fair"),
            claim(mean + 0.2, "fair"),
            claim(mean + 0.012, "fair"),
            claim(0.5, "fair", data="imagenet"),
        )
    )
    told = check_claims(toy)
    values = told[told["kind"] == "value"]
    assert list(values["verdict"]) == ["held", "not held", "not decidable", "not decidable"]
    assert list(values["their_data"]) == ["toy/kind"] * 3 + ["imagenet"]
    assert values["reason"].iloc[3] == "other data"
    assert (told["kind"] == "order").sum() == 0  # a variant is not ordered against itself


def test_orders_are_checked_on_other_data_too(toy):
    toy.spec = SimpleNamespace(
        claims=(
            claim(0.7, "good", data="pkm", metric="log_loss"),
            claim(0.9, "poor", data="pkm", metric="log_loss"),
            claim(0.71, "fair", data="pkm2", metric="log_loss"),
            claim(0.705, "poor", data="pkm2", metric="log_loss"),
        )
    )
    told = check_claims(toy)
    orders = told[told["kind"] == "order"].set_index("their_data")
    assert orders.loc["pkm", "text"] == "good better than poor"  # the lower loss
    assert orders.loc["pkm", "verdict"] == "held"
    assert orders.loc["pkm2", "text"] == "poor level with fair"
    assert orders.loc["pkm2", "verdict"] == "not held"
    assert orders.loc["pkm2", "reason"].startswith("ours is worse (p")


def test_a_claim_for_one_data_set_is_not_asked_of_another(tmp_path):
    names = ["a/y", "b/y"]
    results = study(tmp_path, Plan(skill=by_skill(GOOD), variants=variants("good"), datasets=names, seeds=[0, 1]))
    results.spec = SimpleNamespace(
        claims=(claim(0.1, data="a"), claim(0.1, data="elsewhere"), claim(0.1, metric="f1_samples"))
    )
    told = check_claims(results)
    assert list(zip(told["their_data"], told["our_data"], strict=True)) == [
        ("a", "a/y"),
        ("elsewhere", "a/y"),
        ("elsewhere", "b/y"),
    ]


def test_frames_have_no_object_numbers(toy):
    told = compare(toy)
    for column in ("mean", "difference", "p", "p_holm", "d", "wilcoxon", "equivalence"):
        assert pd.api.types.is_float_dtype(told[column]), column
