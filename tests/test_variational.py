"""Divergences and densities against torch's, log likelihoods against one known exactly."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn
from torch.distributions import Bernoulli, ContinuousBernoulli, Normal, kl_divergence
from variational_kit import (
    BINARY,
    PICTURES,
    RNG,
    SEED,
    TABLE,
    UNIT,
    posterior,
    quadrature,
    quick,
)

from narrows import Decoder, VariationalAutoencoder, datasets, load, losses
from narrows.errors import DataError, NarrowsWarning
from narrows.models.base import Objective
from narrows.models.resolve import choose_settings
from narrows.networks import Network
from narrows.networks import activations as outputs


def normal(*shape, seed=SEED):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same_with_gradients(ours, theirs, inputs, **tolerance):
    for x in inputs:
        x.requires_grad_()
    torch.testing.assert_close(ours(*inputs), theirs(*inputs), **tolerance)
    gradients = [torch.autograd.grad(f(*inputs).sum(), inputs) for f in (ours, theirs)]
    torch.testing.assert_close(*gradients, **tolerance)


def test_the_divergence_is_torchs():
    def truth(mean, log_variance):
        ours = Normal(mean, torch.exp(log_variance / 2))
        return kl_divergence(ours, Normal(torch.zeros_like(mean), torch.ones_like(mean)))

    same_with_gradients(losses.gaussian_kl, truth, [normal(50, 4), normal(50, 4, seed=1) * 3])
    tiny = losses.gaussian_kl(torch.zeros(3), torch.tensor([1e-4, -1e-4, 0.0]))
    torch.testing.assert_close(tiny, torch.tensor([2.5e-9, 2.5e-9, 0.0]), rtol=1e-3, atol=1e-12)


def test_the_divergence_is_the_mean_of_its_own_draws():
    mean, log_variance, noise = normal(5, 3), normal(5, 3, seed=1), normal(100_000, 5, 3, seed=2)
    codes = losses.draw_codes(mean, log_variance, noise)
    torch.testing.assert_close(codes.mean(0), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(codes.var(0), log_variance.exp(), rtol=0.03, atol=0)
    ratios = losses.log_prior_ratio(codes, log_variance, noise)
    divergence = losses.gaussian_kl(mean, log_variance).sum(1)
    torch.testing.assert_close(-ratios.mean(0), divergence, rtol=0.01, atol=0.01)
    drawn = Normal(mean, torch.exp(log_variance / 2)).log_prob(codes).sum(-1)
    prior = Normal(0.0, 1.0).log_prob(codes).sum(-1)
    torch.testing.assert_close(ratios, prior - drawn)


def test_free_bits_cost_nothing_below_their_bound():
    divergences = torch.tensor([[0.1, 2.0], [0.3, 4.0]], requires_grad=True)
    total = losses.free_bits(divergences, 0.5)
    assert float(total.detach()) == pytest.approx(0.5 + 3)
    (gradient,) = torch.autograd.grad(total, divergences)
    assert gradient.tolist() == [[0, 0.5], [0, 0.5]]


def test_the_bernoulli_is_torchs():
    x = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(25)
    same_with_gradients(
        lambda a: losses.bernoulli(a, x),
        lambda a: Bernoulli(logits=a).log_prob(x),
        [normal(50) * 5],
    )


def test_the_continuous_bernoulli_is_torchs():
    x = torch.linspace(0, 1, 401, dtype=torch.float64)
    a = torch.linspace(-12, 12, 401, dtype=torch.float64).flip(0)
    # torch's own series near 1/2 is of low order: nothing is asked of it there.
    a = a[a.abs() > 0.05].clone()
    same_with_gradients(
        lambda a: losses.continuous_bernoulli(a, x[: len(a)]),
        lambda a: ContinuousBernoulli(logits=a).log_prob(x[: len(a)]),
        [a],
        rtol=1e-7,
        atol=1e-7,
    )
    mean = outputs.ContinuousBernoulliMean()(a)
    torch.testing.assert_close(mean, ContinuousBernoulli(logits=a).mean, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("a", [0.0, 1e-30, 1e-4, -1e-3, 0.3, 0.3999, 0.4001, -3.0, 60.0, -700.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_continuous_bernoulli_is_exact_around_one_half_and_far_from_it(a, kind):
    """Its normaliser is the integral of exp(a x), whose slope is the mean."""
    # Gauss-Legendre, of which exp(-|a| x) on pieces of [0, 1] asks little.
    nodes, weights = np.polynomial.legendre.leggauss(30)
    edges = np.concatenate([[0.0], np.geomspace(1e-5, 1, 60)])
    widths = np.diff(edges)[:, None]
    points = edges[:-1, None] + widths * (nodes + 1) / 2
    density = np.exp(-abs(a) * points) * widths * weights / 2
    log_integral = np.log(density.sum()) + max(a, 0)
    towards_zero = (points * density).sum() / density.sum()
    truth = 1 - towards_zero if a > 0 else towards_zero

    logit = torch.tensor(a, dtype=kind, requires_grad=True)
    x = torch.tensor(0.25, dtype=kind)
    value = losses.continuous_bernoulli(logit, x)
    (slope,) = torch.autograd.grad(value, logit)
    mean = outputs.ContinuousBernoulliMean()(logit)
    (curvature,) = torch.autograd.grad(mean, logit)
    precision = 1e-6 if kind == torch.float32 else 1e-11
    assert float(value.detach()) == pytest.approx(a * 0.25 - log_integral, abs=30 * precision)
    assert float(slope) == pytest.approx(0.25 - truth, abs=3 * precision)
    assert float(mean.detach()) == pytest.approx(truth, abs=3 * precision)
    assert np.isfinite(float(curvature))


def test_the_gaussian_is_torchs():
    x = normal(50, seed=2)
    same_with_gradients(
        lambda mean, log_variance: losses.gaussian(mean, x, log_variance),
        lambda mean, log_variance: Normal(mean, torch.exp(log_variance / 2)).log_prob(x),
        [normal(50), normal(50, seed=1)],
    )


def linear_gaussian(variance=0.3, slack=1.0, scaling="none"):
    """Make a model whose marginal is N(b, W W' + variance I) of scaled rows, and the exact one.

    Its encoder is the exact posterior of probabilistic PCA (Tipping & Bishop 1999, eq. 6), or, with
    slack, one of the same means and a larger variance.
    """
    model = quick(
        hidden_layer_sizes=(), activation="identity", likelihood="gaussian", variance=variance,
        scaling=scaling, output="identity",
    ).fit(TABLE * np.geomspace(0.1, 10, 6))  # fmt: skip
    rng = np.random.default_rng(SEED)
    # Orthogonal columns: the posterior's units are then independent, as the encoder has them.
    W = np.linalg.qr(rng.normal(size=(6, 3)))[0] * [2.0, 1.0, 0.5]
    b = rng.normal(size=6)
    inverse = 1 / ((W**2).sum(0) + variance)
    with torch.no_grad():
        decoding = next(m for m in model.decoder_.modules() if isinstance(m, torch.nn.Linear))
        decoding.weight.copy_(torch.from_numpy(W))
        decoding.bias.copy_(torch.from_numpy(b))
        encoding = next(m for m in model.encoder_.modules() if isinstance(m, torch.nn.Linear))
        centre = model.encoder_.body[0].mean.double().numpy()
        to_mean = inverse[:, None] * W.T
        encoding.weight.zero_()
        encoding.weight[:3] = torch.from_numpy(to_mean)
        encoding.bias[:3] = torch.from_numpy(to_mean @ (centre - b))
        encoding.bias[3:] = torch.from_numpy(np.log(slack * variance * inverse))
    learned = model.scaling_
    scale, shift = (np.broadcast_to(t.double().numpy(), 6) for t in (learned.scale, learned.shift))
    exact = shift + scale * b, scale[:, None] * (W @ W.T + variance * np.eye(6)) * scale
    X = rng.multivariate_normal(*exact, 300)
    return model, X, multivariate_normal(*exact).logpdf(X)


def test_with_the_exact_posterior_one_draw_is_enough():
    model, X, truth = linear_gaussian()
    np.testing.assert_allclose(model.log_likelihood(X, 1, random_state=0), truth, atol=1e-4)
    bound = model.elbo(X, 1000, random_state=0)
    np.testing.assert_allclose(bound, truth, atol=0.3)
    assert bound.mean() == pytest.approx(truth.mean(), abs=0.01)


def test_the_estimate_reaches_the_exact_log_likelihood_and_the_bounds_are_ordered():
    model, X, truth = linear_gaussian(slack=2.0)
    means = [
        model.elbo(X, 200, random_state=0).mean(),
        *(model.log_likelihood(X, n, random_state=0).mean() for n in (5, 50)),
        truth.mean(),
    ]
    assert means == sorted(means)
    # Doubling a variance costs (1 - log 2) / 2 nats for each of the three units.
    assert truth.mean() - means[0] == pytest.approx(1.5 * (1 - np.log(2)), abs=0.05)
    estimate = model.log_likelihood(X, random_state=0)
    assert np.abs(estimate - truth).max() < 0.1


@pytest.mark.parametrize("scaling", ["none", "global", "standard", "unit"])
def test_likelihoods_are_densities_in_the_units_of_the_data(scaling):
    model, X, truth = linear_gaussian(slack=1.5, scaling=scaling)
    assert np.abs(model.log_likelihood(X, random_state=0) - truth).max() < 0.1
    assert model.elbo(X, 100, random_state=0).mean() < truth.mean()


def test_pixels_differ_from_shares_of_white_by_their_units_alone():
    of_pixels, of_shares = (
        quick(likelihood="continuous_bernoulli").fit(X) for X in (PICTURES, PICTURES / 255)
    )
    units = 20 * np.log(255)
    for figure in ("elbo", "log_likelihood"):
        pixels = getattr(of_pixels, figure)(PICTURES, 20, random_state=0)
        shares = getattr(of_shares, figure)(PICTURES / 255, 20, random_state=0)
        np.testing.assert_allclose(pixels + units, shares, atol=1e-2)
    # A probability has no units.
    of_pixels, of_shares = (
        quick(likelihood="bernoulli").fit(X) for X in (PICTURES, PICTURES / 255)
    )
    np.testing.assert_allclose(
        of_pixels.elbo(PICTURES, random_state=0),
        of_shares.elbo(PICTURES / 255, random_state=0),
        atol=1e-2,
    )


@pytest.mark.parametrize("X", [TABLE, UNIT], ids=["table", "unit"])
def test_rows_beyond_single_precision_are_impossible_not_nan(X):
    model = quick(likelihood="gaussian").fit(X)
    far = X[:3] * np.array([[1e3], [1e6], [1e30]])
    for figures in (model.elbo(far, random_state=0), model.log_likelihood(far, 5, random_state=0)):
        assert (figures < model.elbo(X[:3], random_state=0)).all()
        assert figures[2] == -np.inf


def test_the_importance_weighted_gradient_is_that_of_its_definition():
    """Burda et al. 2016, eq. 13: the sum over draws of normalised weights times gradients."""
    model = quick(n_importance_samples=7, likelihood="gaussian", variance=0.5).fit(TABLE)
    network = Network(model.encoder_, model.decoder_).double()
    x = model.scaling_(torch.as_tensor(TABLE[:9])).double()
    noise = torch.randn(7, 9, 3, generator=torch.Generator().manual_seed(SEED))
    objective = Objective(model, network, choose_settings(model, model.spec_, 9, SEED), 9)
    generator = torch.Generator().manual_seed(SEED)
    loss = model.terms(objective, network.encoder.trace(x), x, None, generator)
    parameters = list(network.parameters())
    ours = torch.autograd.grad(loss["importance_weighted_bound"], parameters)

    truth = [torch.zeros_like(p) for p in parameters]
    for row in range(len(x)):
        mean, log_variance = network.encoder.trace(x[row : row + 1]).logits.chunk(2, dim=1)
        posterior = Normal(mean[0], torch.exp(log_variance[0] / 2))
        codes = mean[0] + posterior.stddev * noise[:, row]
        joint = Normal(network.decoder(codes), 0.5**0.5).log_prob(x[row]).sum(1)
        weights = joint + Normal(0, 1).log_prob(codes).sum(1) - posterior.log_prob(codes).sum(1)
        share = torch.softmax(weights, 0).detach()
        for draw in range(7):
            slopes = torch.autograd.grad(weights[draw], parameters, retain_graph=True)
            for total, part in zip(truth, slopes, strict=True):
                total.sub_(share[draw] * part / len(x))
    torch.testing.assert_close(list(ours), truth, rtol=1e-6, atol=1e-8)


def test_draws_come_in_chunks_that_change_nothing(monkeypatch):
    model, X, truth = linear_gaussian(slack=2.0)
    whole = model.log_likelihood(X[:40], 2000, random_state=0)
    monkeypatch.setattr("narrows.models.density._CODES", 7 * 50)
    in_chunks = model.log_likelihood(X[:40], 2000, random_state=0)
    assert not np.array_equal(in_chunks, whole), "the same draws: there were no chunks"
    np.testing.assert_allclose(in_chunks, truth[:40], atol=0.15)
    np.testing.assert_allclose(model.elbo(X[:40], 2000, 0), model.elbo(X[:40], 2000, 1), atol=0.2)


def test_draws_at_once_are_bounded_by_the_widest_layer_of_any_kind(monkeypatch):
    model = quick().fit(PICTURES)
    model.decoder_.body = nn.Sequential(
        nn.Linear(3, 20),
        nn.Unflatten(1, (1, 5, 4)),
        nn.Conv2d(1, 64, 3, padding=1),
        nn.Conv2d(64, 1, 3, padding=1),
        nn.Flatten(1, 2),
    )
    most = 64 * 5 * 4 * 10
    monkeypatch.setattr("narrows.models.density._NUMBERS", most)
    monkeypatch.setattr("narrows.models.density._CODES", 1 << 30)
    sizes = []
    for module in model.decoder_.modules():
        module.register_forward_hook(lambda _module, _codes, y: sizes.append(y.numel()))
    assert np.isfinite(model.elbo(PICTURES, 5, random_state=0)).all()
    assert max(sizes) == most


@pytest.mark.parametrize(
    ("X", "likelihood"),
    [(BINARY, "bernoulli"), (UNIT, "continuous_bernoulli"), (UNIT, "gaussian")],
    ids=lambda value: str(getattr(value, "shape", value)),
)
@pytest.mark.cases
def test_log_likelihoods_are_those_of_a_fine_grid_of_codes(X, likelihood):
    model = VariationalAutoencoder(
        1,
        likelihood=likelihood,
        scaling="unit",
        hidden_layer_sizes=(8,),
        max_epochs=20,
        random_state=SEED,
    ).fit(X)
    grid = torch.linspace(-8, 8, 4001)
    with torch.no_grad():
        a = model.decoder_.logits(grid[:, None])
        if likelihood == "gaussian":
            variance = model.decoder_.output.log_variance.exp() + 1e-6
            distribution = Normal(model.decoder_(grid[:, None]), variance.sqrt())
        elif likelihood == "bernoulli":
            distribution = Bernoulli(logits=a)
        else:
            distribution = ContinuousBernoulli(logits=a)
        seen = distribution.log_prob(torch.as_tensor(X).float()[:, None]).sum(2)
    joint = seen + Normal(0.0, 1.0).log_prob(grid)
    truth = (joint.logsumexp(1) + np.log(16 / 4000)).numpy()
    np.testing.assert_allclose(model.log_likelihood(X, 3000, random_state=0), truth, atol=0.1)


@pytest.fixture(scope="module")
def of_binary_digits():
    X = (datasets.load("digits").X_train[:600] > 127).astype(np.uint8)
    model = VariationalAutoencoder(2, hidden_layer_sizes=(64,), max_epochs=40, random_state=SEED)
    model.fit(X)
    return model, X[:20], quadrature(model, X[:20])


@pytest.mark.cases
def test_log_likelihoods_of_binary_digits_are_those_of_quadrature(of_binary_digits):
    model, X, truth = of_binary_digits
    figures, effective = model.log_likelihood(X, random_state=SEED, return_effective_size=True)
    assert np.abs(figures - truth).max() < 0.2
    assert effective.min() > 100


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.cases
def test_log_likelihoods_of_digits_are_those_of_quadrature(width):
    """Row by row, also where the encoder's distribution misses the posterior."""
    digits = datasets.load("digits")
    X = digits.X_test[:20]
    model = VariationalAutoencoder(
        width, hidden_layer_sizes=(64,), max_epochs=40, random_state=SEED
    ).fit(digits.X_train[:600])
    figures, effective = model.log_likelihood(X, random_state=SEED, return_effective_size=True)
    assert np.abs(figures - quadrature(model, X)).max() < 0.2
    assert effective.min() > 100


@pytest.mark.filterwarnings("ignore::narrows.errors.NarrowsWarning")
@pytest.mark.parametrize("n_samples", [5, 200, 1000])
@pytest.mark.cases
def test_the_likelihood_itself_is_estimated_without_bias(n_samples, of_binary_digits):
    """In the mean over seeds; learning where to draw from has no part in it."""
    model, X, truth = of_binary_digits
    shares = np.exp(
        [model.log_likelihood(X[:5], n_samples, seed) - truth[:5] for seed in range(60)]
    )
    error = shares.std(0) / np.sqrt(len(shares))
    assert (np.abs(shares.mean(0) - 1) < 4 * error + 1e-3).all()


@pytest.mark.cases
def test_figures_that_rest_on_few_draws_are_warned_about(of_binary_digits):
    model, X, truth = of_binary_digits
    # Rows unlike those learned from, whose posterior q misses.
    X = np.concatenate([X, 1 - X])
    with pytest.warns(NarrowsWarning, match="raise n_samples") as warned:
        figures, effective = model.log_likelihood(
            X, 50, random_state=SEED, return_effective_size=True
        )
    (warning,) = (w.message for w in warned)
    poor = effective < 5
    assert warning.kind == "unreliable_log_likelihood"
    assert warning.facts["rows"] == poor.sum() > 0
    assert warning.facts["lowest_effective_size"] == effective.min()
    away = np.abs(figures - np.concatenate([truth, quadrature(model, X[20:])]))
    assert away[poor].mean() > 0.2
    assert away[poor].mean() > 3 * away[~poor].mean()


@pytest.mark.cases
def test_with_the_exact_posterior_all_draws_are_effective():
    model, X, _ = linear_gaussian()
    _, effective = model.log_likelihood(X, 50, random_state=0, return_effective_size=True)
    np.testing.assert_allclose(effective, 50, rtol=1e-3)
    X = X.copy()
    X[0] = 1e30
    figures, effective = model.log_likelihood(X, 50, random_state=0, return_effective_size=True)
    assert figures[0] == -np.inf
    assert effective[0] == 0


def test_values_that_the_likelihood_excludes_are_impossible():
    model = quick(likelihood="continuous_bernoulli").fit(UNIT)
    X = UNIT.copy()
    X[3, 2] = 1.5
    for figures in (model.log_likelihood(X, 10, 0), model.elbo(X, 10, 0)):
        assert figures[3] == -np.inf
        assert np.isfinite(np.delete(figures, 3)).all()
    with pytest.raises(DataError, match="likelihood='gaussian'"):
        model.partial_fit(X)


def test_draws_follow_the_seed():
    model = quick(random_state=1).fit(PICTURES)
    for draw in (
        lambda seed: model.sample(4, random_state=seed),
        lambda seed: model.elbo(PICTURES, random_state=seed),
        lambda seed: model.log_likelihood(PICTURES, 20, random_state=seed),
    ):
        np.testing.assert_array_equal(draw(1), draw(1))
        assert not np.array_equal(draw(1), draw(2))
    np.testing.assert_array_equal(
        model.sample(2, random_state=5),
        model.inverse_transform(np.random.RandomState(5).standard_normal((2, 3))),
    )
    np.testing.assert_array_equal(
        quick(random_state=1).fit(PICTURES).transform(PICTURES), model.transform(PICTURES)
    )


@pytest.fixture(scope="module")
def digits():
    X = datasets.load("digits").X_train
    return VariationalAutoencoder(8, max_epochs=12, random_state=SEED).fit(X), X


def test_the_codes_of_all_rows_are_close_to_the_prior(digits):
    model, X = digits
    means, variances = posterior(model, X)
    np.testing.assert_allclose(model.transform(X), means, rtol=1e-4, atol=1e-5)
    assert model.active_units_.sum() >= 6
    active = model.active_units_
    assert np.abs(means.mean(0)[active]).max() < 0.1
    assert np.abs(means.var(0) + variances.mean(0) - 1)[active].max() < 0.1
    np.testing.assert_array_equal(active, means.var(0) > 0.01)


def test_what_is_drawn_looks_like_what_was_learned(digits):
    model, X = digits
    drawn = model.sample(2000, random_state=0)
    assert drawn.shape == (2000, 8, 8)
    assert drawn.min() >= 0
    assert drawn.max() <= 255
    correlation = np.corrcoef(drawn.mean(0).ravel(), X.mean(0).ravel())[0, 1]
    assert correlation > 0.98
    # Nearer to digits than digits with their pixels in another order are.
    rows = X[:500].reshape(500, -1).astype(float)
    shuffled = RNG.permuted(X[500:700].reshape(200, -1).astype(float), axis=1)

    def nearest(queries):
        return np.median([((rows - query) ** 2).mean(1).min() for query in queries])

    assert nearest(drawn[:200].reshape(200, -1)) < 0.5 * nearest(shuffled)


def test_a_row_unlike_the_others_is_less_likely(digits):
    model, X = digits
    usual = model.elbo(X[:100], random_state=0)
    unusual = model.elbo(255 - X[:100], random_state=0)
    assert unusual.max() < np.median(usual)


def test_the_learned_variance_is_what_is_left_and_is_kept(tmp_path):
    """A line in three dimensions and noise: the variance is known, in units of the scaling."""
    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(2000, 1)) * [2.0, -1.0, 1.0, 0.5] + rng.normal(0, 0.4, size=(2000, 4))
    model = VariationalAutoencoder(
        1,
        hidden_layer_sizes=(),
        activation="identity",
        weight_decay=0,
        learning_rate=0.03,
        max_epochs=25,
        architecture="dense",
        scaling="global",
        random_state=SEED,
    ).fit(X)
    learned = float(model.decoder_.output.log_variance.detach().exp() * model.scaling_.scale**2)
    assert learned == pytest.approx(0.16, rel=0.05)
    exact = multivariate_normal(X.mean(0), np.cov(X.T)).logpdf(X)
    estimate = model.log_likelihood(X, 200, random_state=0)
    assert estimate.mean() == pytest.approx(exact.mean(), abs=0.1)

    again = load(model.save(tmp_path / "model"))
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.elbo(X, random_state=0), model.elbo(X, random_state=0))
    np.testing.assert_array_equal(again.active_units_, model.active_units_)
    np.testing.assert_array_equal(again.sample(3, random_state=0), model.sample(3, random_state=0))
    half = load(model.split()[1].save(tmp_path / "decoder"))
    assert isinstance(half, Decoder)
    codes = model.transform(X)
    np.testing.assert_array_equal(half.inverse_transform(codes), model.inverse_transform(codes))
    assert again.partial_fit(X).n_iter_ == model.n_iter_ + 1


def test_the_continuous_bernoulli_decodes_to_its_mean():
    model = quick(likelihood="continuous_bernoulli").fit(UNIT)
    codes = torch.as_tensor(model.transform(UNIT))
    with torch.no_grad():
        truth = ContinuousBernoulli(logits=model.decoder_.logits(codes).double()).mean
    np.testing.assert_allclose(model.reconstruct(UNIT), truth.numpy(), atol=1e-4)
