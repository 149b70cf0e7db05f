"""How a variational model learns: its terms, emphasis, settled codes, warm-up, collapse."""

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, ContinuousBernoulli, Normal
from variational_kit import BINARY, PICTURES, SEED, TABLE, UNIT, posterior, quick

from narrows import MODELS, DenoisingAutoencoder, VariationalAutoencoder, load
from narrows.errors import NotFittedError, ParameterError
from narrows.models.base import Objective
from narrows.models.learned_rows import LEARNED
from narrows.models.resolve import choose_settings
from narrows.networks import Network
from narrows.networks.pca_residual import map_codes
from narrows.training.progress import on_epoch


@pytest.mark.parametrize(
    ("X", "parameters", "likelihood"),
    [
        (BINARY, {}, "bernoulli"),
        (UNIT, {}, "gaussian"),
        (PICTURES, {}, "gaussian"),
        (TABLE, {}, "gaussian"),
        (BINARY, {"activation": "identity"}, "gaussian"),
        (UNIT, {"likelihood": "bernoulli", "activation": "identity"}, "bernoulli"),
        (TABLE, {"likelihood": "continuous_bernoulli", "scaling": "unit"}, "continuous_bernoulli"),
        (UNIT, {"likelihood": "gaussian", "variance": 0.1}, "gaussian"),
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
@pytest.mark.filterwarnings("ignore:none of the 3 units")  # nothing is learned
def test_what_is_learned_from_is_minus_the_log_likelihood(X, parameters, likelihood):
    # One epoch so slow that the weights do not move: its loss is that of the weights at the end.
    model = quick(
        early_stopping=False, max_epochs=1, learning_rate=1e-12, batch_size=80, **parameters
    ).fit(np.concatenate([X] * 200) if len(X) < 50 else np.concatenate([X] * 100))
    assert model.loss_ == likelihood
    X = X[:80]
    bound = model.elbo(X, 500, random_state=0).mean()
    if likelihood != "bernoulli":  # what is learned from is of the scaled rows
        bound += float(model.scaling_.scale.log().expand(X[0].size).sum())
    means, variances = posterior(model, X)
    left = (means**2 + variances - 1 - np.log(variances)).sum(1).mean() / 2
    reconstruction, divergence = (model.history_[k][0] for k in ("reconstruction", "divergence"))
    assert divergence >= left - 1e-4, "settling the codes made the divergence larger"
    assert -reconstruction == pytest.approx(bound + left, abs=0.02 * abs(bound + left) + 0.1)


def test_importance_weighted_training_makes_the_tighter_bound_small():
    still = {"early_stopping": False, "max_epochs": 1, "learning_rate": 1e-12, "batch_size": 80}
    still["architecture"] = "dense"  # from PCA on, the two bounds are near each other
    model = quick(n_importance_samples=5, scaling="unit", **still).fit(np.concatenate([UNIT] * 100))
    (loss,) = model.history_["importance_weighted_bound"]
    estimate = np.mean([model.log_likelihood(UNIT, 5, seed).mean() for seed in range(50)])
    assert -loss == pytest.approx(estimate, abs=0.03)
    assert "divergence" not in model.history_.epochs[0]
    assert model.elbo(UNIT, 500, 0).mean() < estimate - 0.05


def test_settled_codes_decode_as_before():
    """The shift and scale of codes that ends the training leaves the reconstructions alone."""
    model = quick(hidden_layer_sizes=(7,)).fit(TABLE)
    before, (means, variances) = model.reconstruct(TABLE), posterior(model, TABLE)
    shift, scale = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 2.0, 3.0])
    map_codes(Network(model.encoder_, model.decoder_), shift, scale)
    np.testing.assert_allclose(model.reconstruct(TABLE), before, rtol=1e-4, atol=1e-5)
    now, now_variances = posterior(model, TABLE)
    np.testing.assert_allclose(now, (means - shift.numpy()) / scale.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(now_variances, variances / scale.numpy() ** 2, rtol=1e-4)


def with_and_without_settling(monkeypatch, **parameters):
    parameters = {"architecture": "dense", "hidden_layer_sizes": (7,), **parameters}
    settled = quick(max_epochs=10, **parameters).fit(TABLE)
    with monkeypatch.context() as patch:
        patch.setattr("narrows.models.variational.standardise_codes", lambda *_: None)
        return settled, quick(max_epochs=10, **parameters).fit(TABLE)


@pytest.mark.parametrize(
    "parameters", [{}, {"kl_weight": 4.0}, {"validation_fraction": 0.3}], ids=str
)
def test_settling_gains_what_its_formula_says_and_changes_nothing_else(
    parameters, monkeypatch, tmp_path
):
    settled, raw = with_and_without_settling(monkeypatch, **parameters)
    # Rows that were held out have no say in where codes settle.
    seen = TABLE[raw.learned_rows_.membership(TABLE) == LEARNED]
    assert (len(seen) < len(TABLE)) == ("validation_fraction" in parameters)
    decoded = settled.inverse_transform(settled.transform(seen))
    truth = raw.inverse_transform(raw.transform(seen))
    np.testing.assert_allclose(decoded, truth, rtol=1e-4, atol=1e-5)
    means, variances = posterior(raw, seen)
    spread = means.var(0) + variances.mean(0)
    gain = (means.mean(0) ** 2 + spread - 1 - np.log(spread)).sum() / 2
    assert gain > 0.01
    bounds = [model.elbo(seen, random_state=0).mean() for model in (raw, settled)]
    assert bounds[1] - bounds[0] == pytest.approx(gain, abs=1e-3)
    again = load(settled.save(tmp_path / "model"))
    assert again.fingerprint_ == settled.fingerprint_
    np.testing.assert_array_equal(again.transform(TABLE), settled.transform(TABLE))
    # Steps too small to move a weight: what is left is what partial_fit itself does to codes.
    codes = again.transform(TABLE[:40])
    again.set_params(learning_rate=1e-12).partial_fit(TABLE[40:])
    np.testing.assert_allclose(again.transform(TABLE[:40]), codes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "parameters", [{"code_activation": "tanh"}, {"n_importance_samples": 2}], ids=str
)
def test_codes_that_cannot_settle_are_left_alone(parameters, monkeypatch):
    settled, raw = with_and_without_settling(monkeypatch, **parameters)
    assert settled.fingerprint_ == raw.fingerprint_


@pytest.mark.parametrize("draws", [1, 4])
@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "gaussian"])
@pytest.mark.parametrize(
    "bases",
    [
        (VariationalAutoencoder, DenoisingAutoencoder),
        (DenoisingAutoencoder, VariationalAutoencoder),
    ],
    ids=["variational first", "denoising first"],
)
def test_emphasis_weighs_each_value_under_any_likelihood(bases, likelihood, draws, monkeypatch):
    monkeypatch.setitem(MODELS, "mixed", object)  # so that it is taken out again
    mixed = type("Mixed", bases, {})
    X = BINARY if likelihood == "bernoulli" else UNIT
    model = mixed(
        3, likelihood=likelihood, n_importance_samples=draws, corrupted_weight=2.0,
        intact_weight=0.5, scaling="unit", max_epochs=2, random_state=SEED,
    ).fit(X)  # fmt: skip
    assert model.corruption == "gaussian"
    network = Network(model.encoder_, model.decoder_).eval()
    x = model.scaling_(torch.as_tensor(X)).float()
    damaged = torch.rand(x.shape, generator=torch.Generator().manual_seed(SEED)) < 0.3
    seen = x + 0.25 * damaged
    settings = choose_settings(model, model.spec_, len(X), SEED)
    objective = Objective(model, network, settings, len(X))
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        loss = model.terms(objective, network.encoder.trace(seen), x, damaged, generator)

        noise = torch.randn(draws, 80, 3, generator=torch.Generator().manual_seed(SEED))
        mean, log_variance = network.encoder.trace(seen).logits.chunk(2, dim=1)
        own = Normal(mean, torch.exp(log_variance / 2))
        codes = mean + own.stddev * noise
        a = network.decoder.logits(codes.flatten(0, 1)).view(draws, 80, 6)
        if likelihood == "gaussian":
            variance = network.decoder.output.log_variance.exp() + 1e-6
            values = Normal(network.decoder.output(a), variance.sqrt()).log_prob(x)
        else:
            kind = Bernoulli if likelihood == "bernoulli" else ContinuousBernoulli
            values = kind(logits=a).log_prob(x)
    density = (torch.where(damaged, 2.0, 0.5) * values).sum(2)
    if draws == 1:
        assert float(loss["reconstruction"]) == pytest.approx(-float(density.mean()), rel=1e-3)
    else:
        prior = Normal(0.0, 1.0).log_prob(codes).sum(2)
        bounds = (density + prior - own.log_prob(codes).sum(2)).logsumexp(0) - np.log(draws)
        bound = float(loss["importance_weighted_bound"])
        assert bound == pytest.approx(-float(bounds.mean()), rel=1e-3)


def test_the_divergence_warms_up_step_by_step():
    # Free bits that no unit reaches make the divergence, but for its weight, 3 times 50.
    parameters = {"free_bits": 50, "kl_weight": 2, "batch_size": 20, "max_epochs": 4}
    rows = np.concatenate([TABLE] * 5)
    for warmup in (2, 0.5):
        model = quick(kl_warmup=warmup, early_stopping=False, **parameters).fit(rows)
        # 20 steps an epoch, 40 in the warm-up: the means of 0 .. 19 and of 20 .. 39.
        shares = np.array(model.history_["divergence"]) / 300
        np.testing.assert_allclose(shares, [9.5 / 40, 29.5 / 40, 1, 1], rtol=1e-5)
    model = quick(kl_warmup=2, validation_fraction=0.5, **parameters).fit(rows)
    assert model.history_["validation_divergence"] == pytest.approx([300] * 4)
    assert model.history_["divergence"][:2] == pytest.approx([300 * 4.5 / 20, 300 * 14.5 / 20])


@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "stored between"])
@pytest.mark.parametrize("first", [0, 2], ids=["from nothing", "after fit"])
def test_the_warm_up_goes_on_in_partial_fit(first, stored, tmp_path):
    # Four epochs of four steps; free bits that no unit reaches make the divergence 3 times 50.
    model = quick(kl_warmup=4, free_bits=50, batch_size=20, max_epochs=2)
    if first:
        model.fit(TABLE)
    for call in range(first, 6):
        model.partial_fit(TABLE)
        assert model.warmup_done_ == pytest.approx(min(1, (call + 1) / 4))
        if stored:
            model = load(model.save(tmp_path / str(call)))
    shares = np.array(model.history_["divergence"]) / 150
    np.testing.assert_allclose(shares, np.array([1.5, 5.5, 9.5, 13.5, 16, 16]) / 16, rtol=1e-5)


def test_rows_of_partial_fit_are_all_learned_from_and_the_warm_up_counts_them():
    model = quick(kl_warmup=2, batch_size=20, validation_fraction=0.5)
    assert model.partial_fit(TABLE).warmup_done_ == pytest.approx(1 / 2)
    assert quick().partial_fit(TABLE).warmup_done_ == 1


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path):
    def interrupt(record):
        if record["epoch"] == 3:
            raise SystemExit

    parameters = {"max_epochs": 6, "kl_warmup": 0.8, "n_importance_samples": 1}
    whole = quick(**parameters).fit(TABLE)
    parts = quick(checkpoint=tmp_path / "run", **parameters)
    with on_epoch(interrupt), pytest.raises(SystemExit):
        parts.fit(TABLE)
    assert (tmp_path / "run").exists()
    parts.fit(TABLE)
    assert parts.history_["divergence"] == whole.history_["divergence"]
    np.testing.assert_array_equal(parts.transform(TABLE), whole.transform(TABLE))


@pytest.mark.cases
def test_collapse_is_said_and_free_bits_prevent_it():
    rows = np.concatenate([TABLE] * 5)
    parameters = {"max_epochs": 20, "hidden_layer_sizes": (16,), "learning_rate": 0.02}
    with pytest.warns(UserWarning, match="none of the 3 units .*posterior collapse"):
        model = quick(kl_weight=1000.0, **parameters).fit(rows)
    assert not model.active_units_.any()
    assert quick(kl_weight=1000.0, free_bits=1.0, **parameters).fit(rows).active_units_.any()
    assert quick(**parameters).fit(rows).active_units_.any()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"likelihood": "poisson"}, "likelihood='poisson'.*'gaussian'"),
        (
            {"likelihood": "bernoulli"},
            "likelihood='bernoulli'.*between 0 and 1.*data from -.* to .*scaling='unit'",
        ),
        ({"likelihood": "continuous_bernoulli"}, "between 0 and 1.*scaling='unit'"),
        ({"likelihood": "bernoulli", "scaling": "unit", "output": "identity"}, "output='auto'"),
        ({"variance": 0.0}, "variance=0.0.*above 0"),
        ({"variance": "estimated"}, "variance='estimated'.*'learned'"),
        ({"variance": 0.1, "likelihood": "bernoulli"}, "variance=0.1.*'gaussian'"),
        ({"kl_weight": -1.0}, "kl_weight=-1.0.*at least 0"),
        ({"kl_warmup": -1}, "kl_warmup=-1.*at least 0"),
        ({"free_bits": -0.5}, "free_bits=-0.5.*at least 0"),
        ({"free_bits": 0.5, "n_importance_samples": 2}, "free_bits=0.5.*n_importance_samples=1"),
        ({"n_importance_samples": 0}, "n_importance_samples=0.*at least 1"),
        ({"n_importance_samples": 1.5}, "n_importance_samples=1.5.*whole number"),
        ({"loss": "squared_error"}, "loss='squared_error'.*likelihood"),
        ({"tied_weights": True}, "tied_weights=True.*tied_weights=False"),
    ],
    ids=str,
)
def test_parameters_that_cannot_be(parameters, message):
    with pytest.raises(ParameterError, match=message) as caught:
        quick(**parameters).fit(TABLE)
    assert "\n" not in str(caught.value)


def test_what_is_asked_for_must_be_a_number_and_after_fit():
    model = quick()
    for ask in (lambda: model.sample(1), lambda: model.elbo(TABLE)):
        with pytest.raises(NotFittedError):
            ask()
    model.fit(TABLE)
    with pytest.raises(ParameterError, match="n=0"):
        model.sample(0)
    with pytest.raises(ParameterError, match="n_samples=0"):
        model.log_likelihood(TABLE, 0)


@pytest.mark.cases
def test_loss_terms_are_those_of_all_rows_not_of_blocks():
    X = np.random.default_rng(SEED).normal(size=(1500, 6))
    X[1024:] *= 3  # the last rows, in a block of their own, are unlike the others
    model = quick(kl_weight=0.5).fit(X)
    for free_bits in (0.0, 0.4):
        model.set_params(free_bits=free_bits)
        means, variances = posterior(model, X)
        divergences = 0.5 * (means**2 + variances - 1 - np.log(variances)).mean(axis=0)
        truth = 0.5 * np.maximum(divergences, free_bits).sum()
        terms = model.loss_terms(X, random_state=0)
        assert terms["divergence"] == pytest.approx(truth, rel=1e-5)
        assert terms["loss"] == pytest.approx(terms["reconstruction"] + terms["divergence"])


@pytest.mark.cases
def test_the_history_has_the_figures_from_before_codes_were_settled(monkeypatch):
    settled, raw = with_and_without_settling(monkeypatch, validation_fraction=0.3)
    assert settled.history_["validation_loss"] == raw.history_["validation_loss"]
    held_out = TABLE[raw.learned_rows_.membership(TABLE) != LEARNED]
    means, variances = posterior(raw, held_out)
    before = 0.5 * (means**2 + variances - 1 - np.log(variances)).sum(axis=1).mean()
    assert raw.history_.best["validation_divergence"] == pytest.approx(before, rel=1e-4)
    means, variances = posterior(settled, held_out)
    after = 0.5 * (means**2 + variances - 1 - np.log(variances)).sum(axis=1).mean()
    measured = settled.loss_terms(held_out, random_state=0)["divergence"]
    assert measured == pytest.approx(after, rel=1e-4)
    assert measured != pytest.approx(before, rel=1e-3)
