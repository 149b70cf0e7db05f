"""The anomaly detector: scikit-learn's contract, closed forms, and computing by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chi2, spearmanr
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import estimator_checks_generator

from narrows import AnomalyDetector, Autoencoder, load, storage
from narrows.errors import (
    DataError,
    FormatError,
    NarrowsWarning,
    NotFittedError,
    OutputExistsError,
    ParameterError,
)
from narrows.models.committee import Committee
from narrows.models.registry import MODELS
from narrows.signals import Windows

SEED = 20261130


def rows(count, seed=SEED, columns=6):
    """Rows near a plane, of which each column has its own unit."""
    generator = np.random.default_rng(seed)
    plane = np.random.default_rng(SEED).normal(size=(2, columns))
    noise = 0.2 * generator.normal(size=(count, columns))
    return (generator.normal(size=(count, 2)) @ plane + noise) * np.logspace(-2, 3, columns)


@pytest.fixture(scope="module")
def fitted():
    X = rows(400)
    X[:8, 3] += 8 * X[:, 3].std() * np.array([1, -1] * 4)  # each column by itself is usual
    return X, AnomalyDetector(random_state=SEED).fit(X)


def checks():
    for checked, check in estimator_checks_generator(AnomalyDetector(n_nets=6)):
        # It runs only where scipy's experimental array API is switched on.
        if check.func.__name__ != "check_array_api_input":
            yield pytest.param(checked, check, id=check.func.__name__)


@pytest.mark.filterwarnings("ignore")  # some checks provoke warnings of scikit-learn's own
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learns_contract_holds(estimator, check):
    check(estimator)


def test_the_outlier_contract(fitted):
    X, detector = fitted
    scores = detector.score_samples(X)
    assert np.array_equal(detector.decision_function(X), scores - detector.offset_)
    assert np.array_equal(detector.predict(X) == -1, scores < detector.offset_)
    assert np.array_equal(clone(detector).fit_predict(X), detector.predict(X))
    assert roc_auc_score(np.arange(400) < 8, -scores) > 0.99


def test_batched_networks_become_what_each_becomes_alone():
    """In double precision, as Adam magnifies the rounding of gradients that are almost zero."""
    X = np.random.default_rng(SEED).normal(size=(90, 7)).cumsum(axis=1)
    seen = np.array([np.random.default_rng(k).permutation(90)[:70] for k in range(3)])
    sizes, seeds = [1, 4, 2], [5, 6, 7]
    options = {"epochs": 6, "dtype": torch.float64}
    squares, codes = Committee.fit(X, seen, sizes=sizes, seeds=seeds, **options).measure(X)
    for k in range(3):
        one = Committee.fit(X, seen[[k]], sizes=[sizes[k]], seeds=[seeds[k]], **options)
        alone, code = one.measure(X)
        assert alone[0] == pytest.approx(squares[k], rel=1e-5)
        assert code[0] == pytest.approx(codes[k, :, : sizes[k]], abs=1e-5)
        assert not codes[k, :, sizes[k] :].any()


def test_members_start_at_pca():
    """Without training, they are the PCA of their rows, by the singular value decomposition."""
    X = np.random.default_rng(SEED).normal(size=(60, 5)).cumsum(axis=1)
    seen = np.arange(40).reshape(1, 40)
    squares, codes = Committee.fit(X, seen, sizes=[2], seeds=[0], epochs=0).measure(X)
    away = X - X[:40].mean(axis=0)
    axes = np.linalg.svd(away[:40], full_matrices=False)[2][:2]
    truth = np.square(away - away @ axes.T @ axes).sum(axis=1)
    assert squares[0] == pytest.approx(truth, rel=1e-4)
    assert codes[0, :40].std(axis=0) == pytest.approx(1, rel=1e-5)


def test_codes_and_residuals_are_those_of_single_networks():
    """Each member encodes and decodes as linear layers and activations of its weights alone do."""
    X = np.random.default_rng(SEED).normal(size=(30, 4))
    committee = Committee.fit(X, np.arange(30).reshape(2, 15), sizes=[2, 1], seeds=[0, 1], epochs=3)
    tensors = {name: tensor[0].double() for name, tensor in committee.tensors().items()}

    def net(letter, x):
        for layer in "012":
            x = x @ tensors[f"{letter}{layer}.weight"] + tensors[f"{letter}{layer}.bias"]
            x = x if layer == "2" else torch.nn.functional.silu(x)
        return x

    x = torch.from_numpy(X) - tensors["mean"]
    code = x @ tensors["P"] + net("E", x)
    left = torch.from_numpy(X) - (tensors["b"] + code @ tensors["D"] + net("G", code))
    squares, codes = committee.measure(X)
    assert squares[0] == pytest.approx(left.square().sum(dim=1).numpy())
    assert codes[0] == pytest.approx(code.numpy())


def test_a_row_is_scored_only_by_networks_that_have_not_seen_it(fitted):
    X, detector = fitted
    low, middle, high = np.percentile(X, [25, 50, 75], axis=0)
    scaled = np.clip((X - middle) / ((high - low) / 1.3489795), -4, 4)
    squares, _ = detector.committee_.measure(scaled)
    unseen = ~detector.seen_
    assert unseen.sum(axis=1).tolist() == [400 - 128] * 30
    medians = np.array([np.median(own[which]) for own, which in zip(squares, unseen, strict=True)])
    shares = squares / medians[:, None]
    truth = (shares * unseen).sum(axis=0) / unseen.sum(axis=0)
    assert detector.score_parts(X).residual == pytest.approx(truth)


def test_with_novelty_all_networks_score_all_rows(fitted):
    X, detector = fitted
    new = AnomalyDetector(random_state=SEED, novelty=True).fit(X)
    assert new.offset_ == detector.offset_
    later = rows(50, seed=1)
    assert np.array_equal(new.score_samples(later), detector.score_samples(later))
    assert (new.score_parts(X).neighbours < detector.score_parts(X).neighbours).all()


def test_the_threshold_is_a_rank(fitted):
    X, detector = fitted
    scores = np.sort(-detector.score_samples(X))
    assert detector.calibration_scores_ == pytest.approx(scores, abs=0)
    assert detector.offset_ == -scores[math.ceil(401 * 0.95) - 1]
    p_values = detector.p_values(X)
    assert p_values.min() == pytest.approx(2 / 401)  # the row itself is counted among 400
    assert (p_values > 0.05).sum() >= (detector.predict(X) == 1).sum()


def test_gaussian_rows_have_scores_like_chi_square():
    """The distance from the centre decides; new rows pass the threshold as often as asked."""
    generator = np.random.default_rng(SEED)
    X, new = generator.normal(size=(2_000, 3)), generator.normal(size=(4_000, 3))
    detector = AnomalyDetector(random_state=SEED).fit(X)
    truth = np.square(new).sum(axis=1)
    assert spearmanr(truth, -detector.score_samples(new)).statistic > 0.9
    outside = truth > chi2.ppf(0.95, 3)
    found = detector.predict(new) == -1
    assert 0.04 < found.mean() < 0.06
    assert (outside & found).sum() > 0.7 * outside.sum()


def test_one_column_is_scored_by_its_distance_from_the_median():
    """The code is the column: T squared is chi-square with one degree of freedom by its median."""
    x = np.random.default_rng(SEED).normal(10, 3, size=(1_000, 1))
    detector = AnomalyDetector(random_state=SEED).fit(x)
    parts = detector.score_parts(x)
    truth = np.square((x[:, 0] - 10) / 3) / chi2.median(1)
    inner = truth < 6
    assert spearmanr(parts.code[inner], truth[inner]).statistic > 0.98
    assert np.median(parts.code) == pytest.approx(1, abs=0.1)


def test_contamination_is_the_share_of_outliers_among_the_training_rows():
    X = rows(200)
    detector = AnomalyDetector(contamination=0.1, random_state=SEED)
    assert (detector.fit_predict(X) == -1).sum() == 20


def test_contributions_add_up_to_the_score(fitted):
    X, detector = fitted
    for some in (X[:20], rows(20, seed=3)):
        contributions = detector.contributions(some)
        assert contributions.shape == some.shape
        assert contributions.min() >= 0
        assert contributions.sum(axis=1) == pytest.approx(-detector.score_samples(some))


def test_contributions_name_the_column_that_changed():
    X = rows(400)
    detector = AnomalyDetector(random_state=SEED).fit(X)
    new = rows(60, seed=2)
    changed = np.arange(60) % 6
    new[np.arange(60), changed] += 5 * X.std(axis=0)[changed]
    assert (detector.contributions(new).argmax(axis=1) == changed).mean() > 0.85


def test_parts_add_up(fitted):
    X, detector = fitted
    parts = detector.score_parts(X)
    total = parts.residual + parts.code + parts.neighbours
    assert parts.total == pytest.approx(total)
    assert np.median(parts.neighbours) == pytest.approx(2)  # they count twice


def test_the_neighbours_are_the_five_nearest_other_rows(fitted):
    X, detector = fitted
    low, middle, high = np.percentile(X, [25, 50, 75], axis=0)
    scaled = np.clip((X - middle) / ((high - low) / 1.3489795), -4, 4)
    squares = np.square(scaled[:, None] - scaled).sum(axis=2)
    np.fill_diagonal(squares, np.inf)
    nearest = np.sort(squares, axis=1)[:, :5].mean(axis=1)
    around = nearest[np.argsort(squares, axis=1)[:, :5]].mean(axis=1)
    compared = nearest / ((around + np.median(nearest)) / 2)
    truth = 2 * compared / np.median(compared)
    assert detector.score_parts(X).neighbours == pytest.approx(truth)
    numbers, alike = detector.alike(X[:10], k=2)
    normal = detector.predict(X) == 1
    squares[:, ~normal] = np.inf
    assert numbers.tolist() == squares[:10].argsort(axis=1)[:, :2].tolist()
    assert np.array_equal(alike, X[numbers])


def test_the_same_seed_gives_the_same_scores(fitted):
    X, detector = fitted
    again = AnomalyDetector(random_state=SEED).fit(X)
    assert np.array_equal(again.score_samples(X), detector.score_samples(X))
    assert again.fingerprint_ == detector.fingerprint_
    other = AnomalyDetector(random_state=SEED + 1).fit(X)
    assert not np.array_equal(other.score_samples(X), detector.score_samples(X))


def test_rows_have_the_same_scores_alone_and_together(fitted):
    X, detector = fitted
    together = detector.score_samples(X[:9])
    alone = [detector.score_samples(X[[k]])[0] for k in range(9)]
    assert together == pytest.approx(alone, rel=1e-12)


@pytest.mark.filterwarnings("ignore:.*rows are too few for a threshold")
@pytest.mark.parametrize(
    "X",
    [
        np.arange(10.0).reshape(5, 2) ** 2,
        np.array([[0.0], [1.0]]),
        np.random.default_rng(SEED).normal(size=(40, 1)),
        np.ones((40, 3)),
        np.tile([[1.0, 2.0], [3.0, 5.0]], (20, 1)),
        np.column_stack([np.random.default_rng(SEED).normal(size=50), np.zeros(50)]),
        np.random.default_rng(SEED).integers(0, 2, (60, 4)).astype(bool),
        np.random.default_rng(SEED).integers(0, 2**40, (60, 3)),
        np.random.default_rng(SEED).normal(size=(6, 300)),
        1e-300 * np.random.default_rng(SEED).normal(size=(50, 3)),
        1e12 + np.random.default_rng(SEED).normal(size=(50, 3)),
    ],
    ids=["five rows", "two rows", "one column", "constant", "duplicates", "constant column",
         "booleans", "integers", "wide", "tiny values", "far from zero"],
)  # fmt: skip
def test_small_and_odd_tables(X):
    detector = AnomalyDetector(n_nets=6, random_state=SEED).fit(X)
    scores = detector.score_samples(X)
    assert np.isfinite(scores).all()
    assert (scores <= 0).all()
    assert np.array_equal(detector.predict(X) == -1, scores < detector.offset_)
    assert detector.contributions(X).sum(axis=1) == pytest.approx(-scores)
    assert len(detector.alike(X)[0]) == len(X)


def test_too_few_rows_for_the_threshold_are_said():
    with pytest.warns(NarrowsWarning, match="10 rows are too few for a threshold"):
        AnomalyDetector(n_nets=3, random_state=SEED).fit(rows(10))
    for n_rows, alarms in ((38, 0.05), (19, 0.05), (18, 0.1)):
        X = rows(n_rows)
        X[4] *= 9
        with pytest.warns(NarrowsWarning, match=f"{n_rows} rows are so few that none of them is"):
            detector = AnomalyDetector(n_nets=6, false_alarms=alarms, random_state=SEED).fit(X)
        assert detector.score_samples(X).argmin() == 4
        assert (detector.predict(X) == 1).all()  # as the warning says
    for n_rows, alarms in ((39, 0.05), (19, 0.1)):
        X = rows(n_rows)
        X[4] *= 9
        detector = AnomalyDetector(n_nets=6, false_alarms=alarms, random_state=SEED).fit(X)
        assert np.flatnonzero(detector.predict(X) == -1).tolist() == [4]


def test_outliers_among_fifty_rows_are_found():
    X = rows(50)
    X[:3] *= 6
    found = AnomalyDetector(random_state=SEED).fit(X).score_samples(X).argsort()[:3]
    assert set(found) == {0, 1, 2}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(fitted, value):
    X = rows(30)
    X[4, 2] = value
    with pytest.raises(DataError):
        AnomalyDetector().fit(X)
    with pytest.raises(DataError):
        fitted[1].predict(X)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"contamination": 0.6}, "contamination=0.6"),
        ({"contamination": 0}, "contamination=0"),
        ({"false_alarms": 1.0}, "false_alarms=1.0"),
        ({"n_nets": 0}, "n_nets=0"),
        ({"novelty": "yes"}, "novelty='yes'"),
        ({"model": 3}, "model=3"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, words):
    with pytest.raises(ParameterError, match=words):
        AnomalyDetector(**parameters).fit(rows(30))


def test_a_failed_fit_leaves_the_detector_as_it_was(fitted):
    X, _ = fitted
    detector = AnomalyDetector(n_nets=3, random_state=SEED).fit(X)
    before = detector.score_samples(X)
    with pytest.raises(DataError):
        detector.fit(np.full((5, 2), np.nan))
    assert np.array_equal(detector.score_samples(X), before)
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        AnomalyDetector().predict(X)


def test_names_of_columns_are_kept(tmp_path):
    table = pd.DataFrame(rows(60), columns=list("abcdef"))
    detector = AnomalyDetector(n_nets=3, random_state=SEED).fit(table)
    again = load(detector.save(tmp_path / "m"))
    assert list(again.feature_names_in_) == list("abcdef")
    with pytest.raises(DataError, match="missing 'f'"):
        again.predict(table.rename(columns={"f": "g"}))


def test_a_saved_detector_gives_the_same_bits(fitted, tmp_path):
    X, detector = fitted
    new = rows(50, seed=4)
    again = load(detector.save(tmp_path / "m"))
    for some in (X, new):
        assert np.array_equal(again.score_samples(some), detector.score_samples(some))
        assert np.array_equal(again.predict(some), detector.predict(some))
    assert np.array_equal(again.contributions(new), detector.contributions(new))
    assert np.array_equal(again.alike(new)[0], detector.alike(new)[0])
    assert again.drift(new) == detector.drift(new)
    assert again.get_params() == detector.get_params()
    assert again.fingerprint_ == detector.fingerprint_
    with pytest.raises(OutputExistsError):
        detector.save(tmp_path / "m")
    assert sorted(path.suffix for path in (tmp_path / "m").iterdir()) == [
        ".json", ".safetensors", ".safetensors", ".safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("change", ["offset", "neighbour_distance", "sample_shape", "ensemble"])
def test_an_altered_detector_is_refused(fitted, tmp_path, change):
    path = fitted[1].save(tmp_path / "m") / "narrows.json"
    facts = json.loads(path.read_text())
    facts[change] = {
        "offset": 0.0,
        "neighbour_distance": {"median": 2.0, "unit": 1.0},
        "sample_shape": [3],
        "ensemble": {"kind": "jury"},
    }[change]
    path.write_text(json.dumps(facts))
    with pytest.raises(FormatError):
        load(tmp_path / "m")


def test_any_model_may_take_the_place_of_the_committee(tmp_path):
    X = rows(300)
    X[np.arange(6), np.arange(6)] += 6 * X.std(axis=0)
    model = Autoencoder(2, max_epochs=5)
    detector = AnomalyDetector(model, random_state=SEED).fit(X)
    assert detector.seen_.shape == (5, 300)
    assert (~detector.seen_).sum(axis=0).tolist() == [1] * 300
    assert detector.committee_ is None
    assert roc_auc_score(np.arange(300) < 6, -detector.score_samples(X)) > 0.95
    assert detector.contributions(X).sum(axis=1) == pytest.approx(-detector.score_samples(X))
    again = load(detector.save(tmp_path / "m"))
    assert np.array_equal(again.score_samples(X), detector.score_samples(X))
    assert again.get_params()["model__max_epochs"] == 5


@pytest.mark.parametrize("name", list(MODELS))
def test_every_kind_of_model_scores_and_explains_and_is_saved(name, tmp_path):
    X = rows(60)
    detector = AnomalyDetector(MODELS[name](n_components=2, max_epochs=1), random_state=SEED).fit(X)
    scores = detector.score_samples(X)
    assert detector.contributions(X).sum(axis=1) == pytest.approx(-scores)
    assert detector.ensemble_ == "5 models"
    again = load(detector.save(tmp_path / "m"))
    assert np.array_equal(again.score_samples(X), scores)


def test_a_fitted_model_is_used_as_it_is(tmp_path):
    X, new = rows(300), rows(200, seed=7)
    path = Autoencoder(2, max_epochs=5, random_state=SEED).fit(X).save(tmp_path / "a")
    detector = AnomalyDetector(path, random_state=SEED).fit(new)
    assert not detector.seen_.any()
    assert 0.02 < (detector.predict(rows(2_000, seed=8)) == -1).mean() < 0.09
    again = load(detector.save(tmp_path / "m"))
    assert np.array_equal(again.score_samples(X), detector.score_samples(X))
    model = load(path)
    learned = X[[model.learned_rows_.membership(X[[k]])[0] == 3 for k in range(300)]]
    with pytest.warns(NarrowsWarning, match="learned from all rows given"):
        AnomalyDetector(model).fit(learned)


def test_drift_of_the_rows_learned_from_is_none_and_nothing_is_warned_of(fitted):
    X, detector = fitted
    assert detector.drift(X).p_value > 0.9
    assert detector.drift(X[::-1]).p_value > 0.9


def test_drift_is_calibrated_and_found(fitted):
    _, detector = fitted
    p_values = [detector.drift(rows(80, seed=seed)).p_value for seed in range(100, 130)]
    assert np.mean(np.array(p_values) <= 0.05) < 0.2
    assert np.median(p_values) > 0.2
    moved = rows(80, seed=5)
    moved[:, 2] += 1.5 * moved[:, 2].std()
    assert detector.drift(moved).p_value < 0.01


def test_pictures_and_windows_of_signals(tmp_path):
    generator = np.random.default_rng(SEED)
    X = np.clip(generator.normal(100, 9, (300, 14, 14)) + 60 * np.eye(14), 0, 255).astype(np.uint8)
    X[:4] = X[:4, :, ::-1]
    detector = AnomalyDetector(n_nets=6, random_state=SEED).fit(X)
    assert set(detector.score_samples(X).argsort()[:4]) == {0, 1, 2, 3}
    heat = detector.contributions(X[:4])
    assert heat.shape == (4, 14, 14)
    assert heat.sum(axis=(1, 2)) == pytest.approx(-detector.score_samples(X[:4]))
    assert heat[:, np.arange(14), 13 - np.arange(14)].mean() > 3 * heat.mean()
    again = load(detector.save(tmp_path / "m"))
    assert np.array_equal(again.score_samples(X), detector.score_samples(X))

    wave = np.sin(np.arange(6_000) / 5) + 0.1 * generator.normal(size=6_000)
    wave[3_000:3_020] = 0.3
    windows = Windows(wave, 32, 8)
    scores = AnomalyDetector(n_nets=6, random_state=SEED).fit(windows).score_samples(windows)
    assert 3_000 - 32 < 8 * scores.argmin() < 3_020


def test_windows_may_be_too_quiet():
    """The spread of a window counts beside its samples, and each channel has its own scale."""
    generator = np.random.default_rng(SEED)
    wave = np.sin(np.arange(6_000)[:, None] / [5, 9]) + 0.2 * generator.normal(size=(6_000, 2))
    wave *= [1, 1_000]
    detector = AnomalyDetector(n_nets=6, random_state=SEED).fit(Windows(wave, 32, 8))
    quiet = wave.copy()
    quiet[2_000:2_200, 0] *= 0.3
    windows = Windows(quiet, 32, 8)
    starts = 8 * np.arange(len(windows))
    inside = (starts >= 2_000) & (starts + 32 <= 2_200)
    outside = (starts + 32 <= 2_000) | (starts >= 2_200)
    scores = -detector.score_samples(windows)
    assert roc_auc_score(inside[inside | outside], scores[inside | outside]) > 0.95
    contributions = detector.contributions(windows[inside.nonzero()[0]])
    assert contributions.shape[1:] == (32, 2)
    assert contributions.sum(axis=(1, 2)) == pytest.approx(scores[inside])
    assert contributions[..., 0].sum() > contributions[..., 1].sum()


def test_heat_is_calibrated_by_place():
    generator = np.random.default_rng(SEED)
    X = generator.normal(100, 5, (400, 10, 10)) + 40 * generator.normal(size=(400, 1, 1))
    X[:, :3] += generator.normal(0, 40, (400, 3, 10))  # a restless corner
    detector = AnomalyDetector(n_nets=6, random_state=SEED).fit(X[:300])
    heat = detector.heat(X[300:])
    assert heat.shape == (100, 10, 10)
    assert 0.002 < (heat[:, :3] > 1).mean() < 0.05
    assert 0.002 < (heat[:, 3:] > 1).mean() < 0.05
    spot = X[300:301].copy()
    spot[0, 6, 6] += 60
    hot = detector.heat(spot)[0]
    assert np.unravel_index(hot.argmax(), hot.shape) == (6, 6)
    with pytest.raises(DataError, match="are no pictures"):
        AnomalyDetector(n_nets=3, random_state=SEED).fit(rows(60)).heat(rows(5))


def mixed(count, seed=SEED):
    """A table whose text says whether its numbers are high, with gaps and a date."""
    generator = np.random.default_rng(seed)
    high = generator.random(count) < 0.5
    days = pd.to_timedelta(generator.integers(0, 90, count), "D")
    table = pd.DataFrame(
        {
            "size": np.where(high, 10, 2) + generator.normal(size=count),
            "kind": np.where(high, "tall", "short"),
            "weight": np.where(high, 80, 20) + generator.normal(0, 5, count),
            "day": pd.Timestamp("2025-01-01") + days,
        }
    )
    table.loc[generator.random(count) < 0.1, "weight"] = np.nan
    return table


@pytest.mark.parametrize(("columns", "others"), [(3, 0.0), (1, 0.0), (4, 5.0)])
def test_a_rare_value_of_a_column_that_is_constant_otherwise_is_found(columns, others):
    X = np.full((500, columns), others)
    X[:10, 0] += 1

    scores = AnomalyDetector(random_state=SEED).fit(X).score_samples(X)

    assert np.isfinite(scores).all()
    assert scores[:10].max() < scores[10:].min()


@pytest.mark.parametrize("columns", [1, 3, 8, 100])
@pytest.mark.parametrize("count", [200, 500])
def test_a_value_between_those_of_binary_columns_is_found(count, columns):
    """Ten equal rows of 0.5 lie in the middle of zeros and ones, next to each other."""
    generator = np.random.default_rng(SEED)
    X = (generator.random((count, columns)) < generator.uniform(0.2, 0.8, columns)).astype(float)
    X[:10] = 0.5
    detector = AnomalyDetector(random_state=SEED).fit(X)
    scores = -detector.score_samples(X)
    assert scores[:10].min() > scores[10:].max()
    assert detector.contributions(X).sum(axis=1) == pytest.approx(scores)


def test_integers_that_few_rows_have_are_steps():
    """1 among zeros and twos is a whole step away; 0.5 is not."""
    X = np.random.default_rng(SEED).choice([0.0, 1.0, 2.0], (400, 4), p=[0.47, 0.06, 0.47])
    detector = AnomalyDetector(random_state=SEED).fit(X)
    new = X[:1].copy()
    new[0, 2] = 1
    other = new.copy()
    other[0, 2] = 0.5
    residuals = detector.score_parts(np.concatenate([new, other])).residual
    assert residuals[1] > 3 * residuals[0]
    assert detector.contributions(other)[0].argmax() == 2


@pytest.mark.parametrize("share", [0.02, 0.05, 0.3])
def test_gaps_in_columns_of_few_values_are_not_between_their_steps(share, tmp_path):
    generator = np.random.default_rng(SEED)
    table = pd.DataFrame(generator.normal(size=(400, 3)), columns=["a", "b", "c"])
    table["flag"] = generator.integers(0, 2, 400).astype(float)
    table.loc[generator.random(400) < share, "flag"] = np.nan
    table.loc[7, "flag"] = 0.5
    detector = AnomalyDetector(random_state=SEED).fit(table)
    residuals = detector.score_parts(table).residual
    gaps = table["flag"].isna().to_numpy()
    assert gaps.sum() > 5
    assert residuals[7] > np.median(residuals[gaps])
    assert detector.score_samples(table).argmin() == 7
    assert detector.contributions(table)[7].argmax() == 3
    detector.save(tmp_path / "detector")
    again = load(tmp_path / "detector")
    assert np.array_equal(again.score_samples(table), detector.score_samples(table))


def test_integers_are_steps_beside_texts_too():
    """Columns of tables with categories are scaled; their steps are those of the numbers given."""
    generator = np.random.default_rng(SEED)
    numbers = generator.choice([7.0, 8.0, 9.0], (400, 4), p=[0.47, 0.06, 0.47])
    table = pd.DataFrame(numbers, columns=list("abcd"))
    table["kind"] = generator.choice(["u", "v"], 400)
    detector = AnomalyDetector(random_state=SEED).fit(table)
    new = table.iloc[[0, 0]].copy()
    new["c"] = [8, 7.5]
    residuals = detector.score_parts(new).residual
    assert residuals[1] > 3 * residuals[0]
    assert detector.contributions(new)[1].argmax() == 2


def test_what_is_isolated_among_close_rows_scores_higher_than_among_loose_ones():
    """Local density: the same gap is odd in a dense cluster, and usual in a loose one."""
    generator = np.random.default_rng(SEED)
    dense, loose = 0.1 * generator.normal(size=(300, 2)), 6 + generator.normal(size=(300, 2))
    X = np.concatenate([dense, loose, [[0.6, -0.6]]])
    parts = AnomalyDetector(random_state=SEED).fit(X).score_parts(X).neighbours
    assert parts[-1] > np.quantile(parts[300:600], 0.98)


def test_tables_with_categories_dates_and_gaps(tmp_path):
    table = mixed(300)
    table.loc[5, "kind"] = "tall" if table.loc[5, "kind"] == "short" else "short"
    detector = AnomalyDetector(random_state=SEED).fit(table)
    scores = detector.score_samples(table)
    assert scores.argmin() == 5
    contributions = detector.contributions(table)
    assert contributions.shape == (300, 4)
    assert contributions.sum(axis=1) == pytest.approx(-scores)
    assert contributions[5].argmax() == 1
    again = load(detector.save(tmp_path / "m"))
    new = mixed(100, seed=1)
    assert np.array_equal(again.score_samples(new), detector.score_samples(new))
    assert list(again.feature_names_in_) == list(table.columns)
    assert detector.drift(new).p_value > 0.05
    unheard = new.copy()
    unheard.loc[3, "kind"] = "round"
    with pytest.warns(NarrowsWarning):
        assert detector.score_samples(unheard)[3] < 5 * detector.score_samples(new)[3]
    new.loc[:2, "size"] = np.nan
    with pytest.warns(NarrowsWarning, match=r"have gaps now: 'size' \(3\)"):
        detector.predict(new)
    with pytest.raises(DataError):
        detector.predict(new.drop(columns="kind"))


@pytest.mark.parametrize(
    "name",
    ["norms", "seen", "reference_hashes", "reference_scores", "centres", "scale", "references"],
)
def test_tensors_that_do_not_fit_are_refused(fitted, tmp_path, name):
    """Also where a stranger has made the hashes and fingerprints fit again."""
    path = fitted[1].save(tmp_path / "m")
    manifest, parts = storage.read(path)
    parts["scorer"][name] = parts["scorer"][name][:1].clone()
    _write_anew(path, manifest, parts)
    with pytest.raises(FormatError):
        load(path)


@pytest.mark.parametrize(
    ("name", "values"),
    [("discrete_columns", [0, 5]), ("discrete_columns", [0, -1]), ("steps", [1])],
)
def test_columns_of_few_values_that_the_table_lacks_are_refused(tmp_path, name, values):
    X = np.random.default_rng(SEED).integers(0, 2, (60, 2)).astype(float)
    path = AnomalyDetector(n_nets=2, random_state=SEED).fit(X).save(tmp_path / "m")
    manifest, parts = storage.read(path)
    stored = parts["scorer"][name]
    assert stored.tolist() == ([0, 1] if name == "discrete_columns" else [1.0, 1.0])
    parts["scorer"][name] = torch.tensor(values, dtype=stored.dtype)
    _write_anew(path, manifest, parts)
    with pytest.raises(FormatError, match="columns of few values"):
        load(path)


def _write_anew(path, manifest, parts):
    """Write altered tensors, with the fingerprint that they have."""
    written = ("format", "format_version", "versions", "weights", "created", "fingerprint")
    facts = {key: value for key, value in manifest.items() if key not in written}
    facts["fingerprint"] = storage.fingerprint(facts, parts)
    storage.write(path, facts, parts, overwrite=True)


def test_a_fitted_detector_is_displayed(fitted):
    html = fitted[1]._repr_html_()
    assert "<td>30 networks</td>" in html
    assert f"<td>{fitted[1].fingerprint_[:12]}</td>" in html
