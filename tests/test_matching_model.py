"""The matching autoencoder: its loss by brute force, what its codes find, and how it is kept.

The seed of everything random here is 0.
"""

import json
import math

import numpy as np
import pytest
import torch

from narrows import Autoencoder, Library, MatchingAutoencoder, datasets, load
from narrows.corruption import Limits, make
from narrows.errors import FormatError, NarrowsWarning, ParameterError
from narrows.losses import contrast

UNIT = Limits(torch.tensor(0.0), torch.tensor(1.0))
QUICK = {"n_components": 12, "max_epochs": 4, "random_state": 0}


def brute_force(first: np.ndarray, second: np.ndarray, temperature: float) -> list[float]:
    """Compute eq. 1 of Chen et al. (2020) term by term; the mean of the two of each row."""
    codes = [code / math.hypot(*code) for code in [*first, *second]]
    n = len(first)

    def similarity(i: int, j: int) -> float:
        return math.exp(sum(a * b for a, b in zip(codes[i], codes[j], strict=True)) / temperature)

    def term(i: int, j: int) -> float:
        others = sum(similarity(i, k) for k in range(2 * n) if k != i)
        return -math.log(similarity(i, j) / others)

    return [(term(i, i + n) + term(i + n, i)) / 2 for i in range(n)]


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("n_rows", [1, 2, 7])
def test_contrast_is_the_papers(n_rows: int, temperature: float) -> None:
    first, second = np.random.default_rng(0).normal(size=(2, n_rows, 3))
    found = contrast(torch.from_numpy(first), torch.from_numpy(second), temperature)
    np.testing.assert_allclose(
        found, brute_force(first, second, temperature), rtol=1e-12, atol=1e-12
    )


def test_the_gradient_of_contrast_is_right() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator)
    first.requires_grad_()
    second.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: contrast(a, b, 0.2), (first, second))


def test_codes_without_direction_have_a_finite_loss() -> None:
    first = torch.zeros(3, 2, requires_grad=True)
    value = contrast(first, torch.zeros(3, 2), 0.1)
    value.sum().backward()
    torch.testing.assert_close(value, torch.full((3,), math.log(5)))
    assert first.grad is not None
    assert first.grad.isfinite().all()


@pytest.fixture(scope="module")
def digits() -> datasets.Dataset:
    return datasets.load("digits")


@pytest.fixture(scope="module")
def model(digits: datasets.Dataset) -> MatchingAutoencoder:
    return MatchingAutoencoder(**{**QUICK, "n_components": 32, "max_epochs": 40}).fit(
        digits.X_train
    )


def test_distorted_rows_find_their_originals(
    model: MatchingAutoencoder, digits: datasets.Dataset
) -> None:
    """Better than pixels do, of rows that were not learned from."""
    X = digits.X_test[:200]
    turn = make(["crop", "rotation", "contrast"], [0.45, 0.03, 0.4], UNIT, (8, 8))
    distorted = turn(torch.from_numpy(X / 255), torch.Generator().manual_seed(0)).rows
    queries = (255 * distorted).numpy()

    def first(codes: np.ndarray, of_queries: np.ndarray) -> float:
        similarity = unit(of_queries) @ unit(codes).T
        return float((similarity.argmax(1) == np.arange(len(codes))).mean())

    by_codes = first(model.transform(X), model.transform(queries))
    by_pixels = first(X.reshape(200, -1) / 255.0, queries.reshape(200, -1) / 255.0)
    assert by_codes > by_pixels + 0.1
    assert 0 < model.originals_first_ <= 1


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_whitening_changes_the_codes_and_not_what_they_decode_to(
    digits: datasets.Dataset,
) -> None:
    """Along principal axes, variances are raised to 1 - 2 * whitening."""
    how = {**QUICK, "metric": "cosine", "early_stopping": False}
    X = digits.X_train
    plain, partly, fully = (
        MatchingAutoencoder(**how, whitening=power).fit(X) for power in (0, 0.25, 0.5)
    )
    variances = np.linalg.eigvalsh(np.cov(plain.transform(X), rowvar=False, bias=True))[::-1]
    assert variances[-1] > 1e-3 * variances[0]
    for model, power in ((partly, 0.25), (fully, 0.5)):
        codes = model.transform(X)
        np.testing.assert_allclose(codes.mean(0), 0, atol=1e-4)
        expected = np.diag(variances ** (1 - 2 * power))
        np.testing.assert_allclose(
            np.cov(codes, rowvar=False, bias=True), expected, rtol=1e-3, atol=1e-3 * expected.max()
        )
        np.testing.assert_allclose(model.reconstruct(X), plain.reconstruct(X), atol=0.01)
        assert model.whitening_ == power


def test_whitening_and_metric_are_those_by_which_originals_are_found(
    digits: datasets.Dataset,
) -> None:
    """Of all choices, "auto" takes the one that finds most; it is kept with the model."""
    how = {**QUICK, "max_epochs": 3}
    chosen = MatchingAutoencoder(**how, whitening="auto").fit(digits.X_train)
    shares = {}
    for power in (0, 0.25, 0.5):
        for metric in ("cosine", "euclidean"):
            model = MatchingAutoencoder(**how, whitening=power, metric=metric)
            shares[power, metric] = model.fit(digits.X_train).originals_first_
    found = shares[float(chosen.whitening_), chosen.spec_.metric]
    assert found == chosen.originals_first_
    assert found >= max(shares.values()) - 0.03  # the mean reciprocal rank decides
    assert len(set(shares.values())) > 1


def test_the_metric_is_kept_and_taken_by_libraries(
    model: MatchingAutoencoder, digits: datasets.Dataset, tmp_path
) -> None:
    assert model.spec_.metric == "cosine"
    again = load(model.save(tmp_path / "model"))
    assert again.spec_ == model.spec_
    assert again.fingerprint_ == model.fingerprint_
    assert again.whitening_ == model.whitening_
    assert again.originals_first_ == model.originals_first_
    encoder, _ = again.split()
    assert load(encoder.save(tmp_path / "encoder")).spec_.metric == "cosine"
    X = 255.0 * np.random.default_rng(0).random((40, 8, 8))
    library, _ = Library.build(tmp_path / "l.lance", [*X, *0.5 * X[:5]], model=model)
    assert library.metric == "cosine"
    by_default, by_angle, by_length = (
        [match.distance for match in library.match(ids=3, k=5, **how)]
        for how in ({}, {"metric": "cosine"}, {"metric": "euclidean"})
    )
    assert by_default == by_angle
    assert by_default != by_length


def test_a_metric_that_there_is_not_is_refused(model: MatchingAutoencoder, tmp_path) -> None:
    folder = model.save(tmp_path / "model")
    manifest = json.loads((folder / "narrows.json").read_text())
    manifest["network"]["metric"] = "manhattan"
    (folder / "narrows.json").write_text(json.dumps(manifest))
    with pytest.raises(FormatError, match="manhattan"):
        load(folder)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"corruption": None}, "no two versions"),
        ({"corruption_level": 0.5}, "does not go with corruption='auto'"),
        ({"temperature": 0}, "temperature=0"),
        ({"contrast_weight": -1}, "contrast_weight=-1"),
        ({"whitening": 0.6}, "whitening=0.6"),
        ({"metric": "manhattan"}, "metric='manhattan'"),
        ({"corruption": "blind_spot"}, "DenoisingAutoencoder"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters: dict, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        MatchingAutoencoder(**parameters).fit(np.eye(5))


def test_corruption_auto_is_said_and_follows_the_rows(digits: datasets.Dataset) -> None:
    of_pictures = MatchingAutoencoder(4, max_epochs=1, random_state=0).fit(digits.X_train[:100])
    names, why = of_pictures.choices_["corruption"]
    assert "crop" in names
    assert "mirror" not in names
    assert why == "mirrored pictures are unlike these"
    assert not of_pictures.mirrors_
    both_ways = np.concatenate([digits.X_train[:100], digits.X_train[:100, :, ::-1]])
    mirrored = MatchingAutoencoder(4, max_epochs=1, random_state=0).fit(both_ways)
    assert mirrored.mirrors_
    assert "mirror" in mirrored.choices_["corruption"].value
    of_rows = MatchingAutoencoder(2, max_epochs=1, random_state=0).fit(np.eye(30, 6))
    names, why = of_rows.choices_["corruption"]
    assert names == ("gaussian", "masking")
    assert "Autoencoder's codes match better" in why
    with pytest.raises(ParameterError, match="corruption='auto' is not known"):
        Autoencoder(corruption="auto").fit(np.eye(5))


def test_the_command_trains_indexes_and_says_the_metric(run, tmp_path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "pictures.npy", rng.integers(0, 256, (60, 8, 8), np.uint8))
    trained = run(
        "train", "pictures.npy", "--for", "matching", "-o", "m",
        "--max-epochs", "2", "--random-state", "0", "--json",
    )  # fmt: skip
    assert trained.json["model"] == "MatchingAutoencoder"
    assert "; corruption crop 0.45, mirror 0.5, rotation 0.03, border 0.1, " in trained.err
    told = run("info", "m", "--json").json
    assert told["metric"] in ("cosine", "euclidean")
    assert told["whitening"] == 0.25
    assert told["mirrors"] is True
    assert 0 <= told["originals_first"] <= 1
    assert "crop 0.45" in told["damage"]
    assert run("index", "m", "pictures.npy", "-o", "l.lance").code == 0
    matched = run("match", "l.lance", "--id", "3", "--json").json
    assert matched["metric"] == told["metric"]
    assert run("duplicates", "l.lance", "--json").json["metric"] == told["metric"]
    refused = run("train", "pictures.npy", "--for", "matching", "--model", "sparse", "-o", "x")
    assert refused.code == 2
    assert "--for matching is short for --model matching" in refused.err


def test_whitening_counts_rows_by_their_weights(digits: datasets.Dataset) -> None:
    """Rows of weight 2 count as twice as many; rows of weight 0 not at all."""
    X = digits.X_train[:300]
    weights = np.random.default_rng(0).integers(0, 3, len(X))
    how = {**QUICK, "n_components": 4, "early_stopping": False, "whitening": 0.5}
    model = MatchingAutoencoder(**how, metric="cosine").fit(X, sample_weight=weights)
    codes = model.transform(X)
    np.testing.assert_allclose(np.average(codes, axis=0, weights=weights), 0, atol=1e-4)
    covariance = np.cov(codes, rowvar=False, bias=True, fweights=weights)
    np.testing.assert_allclose(covariance, np.eye(4), atol=1e-3)


def test_colors_and_grey_do_what_they_say() -> None:
    """Grey is the luma of BT.601; a grey picture's channels are multiplied each by one factor."""
    x = torch.rand(200, 3, 4, 3, generator=torch.Generator().manual_seed(0))
    rows, drawn = make("grey", 0.3, UNIT, (3, 4, 3))(x, torch.Generator().manual_seed(0))
    luma = 0.299 * x[..., 0] + 0.587 * x[..., 1] + 0.114 * x[..., 2]
    is_grey = drawn.flatten(1).all(1)
    assert 0.2 < float(is_grey.double().mean()) < 0.4
    torch.testing.assert_close(rows[is_grey], luma[is_grey, ..., None].expand(-1, -1, -1, 3))
    assert torch.equal(rows[~is_grey], x[~is_grey])
    flat = torch.full((200, 2, 2, 3), 0.5)
    factors = (
        make("colors", 0.3, UNIT, (2, 2, 3))(flat, torch.Generator().manual_seed(0)).rows / 0.5
    )
    assert torch.equal(factors, factors[:, :1, :1].expand_as(factors))
    assert 0.7 <= float(factors.min()) < 0.72
    assert 1.28 < float(factors.max()) <= 1.3
    assert float(factors[:, 0, 0].std(1).min()) > 0
    # Saturation alone: differences from the luma are multiplied by one factor a picture.
    red = torch.tensor([0.6, 0.4, 0.4]).expand(200, 2, 2, 3)
    seen = make("colors", 0.2, UNIT, (2, 2, 3))(red, torch.Generator().manual_seed(1)).rows[:, 0, 0]
    assert 0.6 * 0.8 - 0.04 < float(seen[:, 0].min()) < float(seen[:, 0].max()) < 0.6 * 1.2 + 0.04


@pytest.mark.parametrize(
    "how",
    [{"code_activation": "relu"}, {"tied_weights": True}, {"architecture": "fully_convolutional"}],
)
def test_codes_that_cannot_be_whitened_are_said(how: dict, digits: datasets.Dataset) -> None:
    X, quick = digits.X_train[:200], {"n_components": 4, "max_epochs": 3, "random_state": 0}
    with pytest.warns(NarrowsWarning, match="codes are not whitened"):
        model = MatchingAutoencoder(**quick, **how).fit(X)
    assert model.whitening_ == 0
    plain = MatchingAutoencoder(**quick, **how, whitening=0).fit(X)
    np.testing.assert_array_equal(plain.transform(X), model.transform(X))
