"""Sparsity against closed forms, finite differences, the papers' formulas and its own targets."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, kl_divergence

from narrows import (
    MODELS,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    Encoder,
    SparseAutoencoder,
    VariationalAutoencoder,
    datasets,
    load,
    networks,
)
from narrows.cli.main import main
from narrows.errors import DivergedError, NotFittedError, ParameterError
from narrows.models.base import Objective
from narrows.models.contractive import squared_norm
from narrows.models.resolve import choose_settings
from narrows.models.sparse import Activity, kl_sparsity, log_mean_sigmoid, revival_loss
from narrows.networks.activations import BatchTopK, JumpReLU, TopK
from narrows.training.progress import on_epoch

SEED = 20241124
KINDS = ["kl", "l1", "topk", "batch_topk", "jumprelu"]
TABLE = np.random.default_rng(SEED).normal(size=(80, 6))


def normal(*shape, seed=SEED):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quick(sparsity="topk", **parameters):
    return SparseAutoencoder(
        8, sparsity=sparsity, **{"max_epochs": 2, "random_state": SEED, **parameters}
    )


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def test_the_divergence_is_torchs_and_least_at_the_target():
    means = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    for target in (0.05, 0.3, 0.9):
        ours = kl_sparsity(target, means.log(), (1 - means).log())
        truth = kl_divergence(Bernoulli(torch.full_like(means, target)), Bernoulli(means))
        torch.testing.assert_close(ours, truth)
        assert means[ours.argmin()].item() == pytest.approx(target)


def test_where_the_batch_is_the_data_the_gradient_is_that_of_finite_differences():
    logits = 3 * normal(6, 4)

    def value(a):
        return Activity(4).double().divergence(a, 0.1).sum()

    (ours,) = torch.autograd.grad(value(logits.requires_grad_()), logits)
    step = 1e-5
    for place in np.ndindex(6, 4):
        change = torch.zeros(6, 4, dtype=torch.float64)
        change[place] = step
        with torch.no_grad():
            finite = (value(logits + change) - value(logits - change)) / (2 * step)
        assert ours[place].item() == pytest.approx(finite.item(), rel=1e-5, abs=1e-9)


def test_small_batches_do_not_bias_the_divergence_nor_its_gradient():
    """4 000 rows, two at a time: alone they would say 20 times as much."""
    rows = 2 * normal(4_000, 3) - 3
    whole = rows.clone().requires_grad_()
    truth = Activity(3).double().divergence(whole, 0.1)
    (exact,) = torch.autograd.grad(truth.sum(), whole)
    activity = Activity(3).double()
    for batch in rows.split(2):
        activity.divergence(batch, 0.1)
    torch.testing.assert_close(activity.log_on, log_mean_sigmoid(rows))
    torch.testing.assert_close(activity.log_off, log_mean_sigmoid(-rows))
    # The gradients of the batches that follow average to that of the whole.
    kept = {name: value.clone() for name, value in activity.state_dict().items()}
    found = []
    for batch in rows.split(2):
        activity.load_state_dict(kept)
        inputs = batch.clone().requires_grad_()
        found.append(torch.autograd.grad(activity.divergence(inputs, 0.1).sum(), inputs)[0])
    ours = torch.cat(found) * 2 / 4_000
    torch.testing.assert_close(ours, exact, rtol=0.02, atol=1e-9)
    alone = torch.stack([Activity(3).double().divergence(b, 0.1) for b in rows.split(2)]).mean(0)
    assert (alone > 2 * truth).all()


@pytest.mark.parametrize("start", [-1e4, -120.0, -30.0, 30.0, 120.0, 1e4])
@pytest.mark.parametrize("history", [0, 50])
def test_the_pull_is_useful_at_any_pre_activation(start, history):
    logits = torch.full((16, 2), start, requires_grad=True)
    activity = Activity(2)
    for _ in range(history):
        activity.divergence(logits.detach(), 0.05)
    optimizer = torch.optim.SGD([logits], lr=1.0)
    for step in range(3):
        before = logits.detach().clone()
        value = activity.divergence(logits, 0.05).sum()
        assert value.isfinite()
        optimizer.zero_grad()
        value.backward()
        pull = logits.grad.sum(dim=0).abs()
        truth = 0.05 if start < 0 else 0.95  # rho from below, 1 - rho from above
        # Later, the mean remembered does not move as fast as rows that all move at once.
        assert (pull > 0.9 * truth).all()
        if step == 0:
            torch.testing.assert_close(pull, torch.full((2,), truth), rtol=1e-3, atol=0)
        optimizer.step()
        moved = (logits.detach() - before) * -np.sign(start)
        assert (moved > 0).all() or abs(start) > 1e3  # 1e4 has no room for steps this small
        assert (moved >= 0).all()


def test_digits_reach_the_target(digits):
    for target in (0.05, 0.2):
        model = SparseAutoencoder(
            128, sparsity_target=target, max_epochs=10, random_state=SEED
        ).fit(digits.X_train)
        means = model.mean_activation_
        np.testing.assert_allclose(means, model.transform(digits.X_train).mean(axis=0), rtol=1e-5)
        assert means.mean() == pytest.approx(target, rel=0.2)
        assert (abs(means / target - 1) < 0.2).mean() > 0.9
        new = model.code_sparsity(digits.X_test)
        assert new.mean_activation.mean() == pytest.approx(target, rel=0.2)


def test_topk_keeps_exactly_k(digits):
    z = normal(50, 20)
    code = TopK(4)(z)
    for row, kept in zip(z.numpy(), code.numpy(), strict=True):
        truth = np.where(row >= np.sort(row)[-4], row, 0)
        np.testing.assert_array_equal(kept, truth)
    assert (TopK(4)(torch.ones(3, 20)) != 0).sum(dim=1).tolist() == [4, 4, 4]
    torch.testing.assert_close(TopK(4).cutoff(z), z.sort(dim=1).values[:, -4:-3])
    model = SparseAutoencoder(
        100, sparsity="topk", n_active=7, max_epochs=3, random_state=SEED
    ).fit(digits.X_train)
    assert set((model.transform(digits.X_test) != 0).sum(axis=1)) == {7}
    assert model.active_share_ == pytest.approx(0.07)


def test_batch_topk_keeps_k_on_average_in_training_and_nearly_so_in_use(digits):
    z = normal(50, 20)
    layer = BatchTopK(4).double()
    code = layer(z)
    assert (code != 0).sum() == 200
    assert code[code != 0].min() >= z[code == 0].max()
    assert len(set((code != 0).sum(dim=1).tolist())) > 1
    layer.observe(code)
    layer.observe(code + (code != 0))
    smallest = code[code != 0].min()
    torch.testing.assert_close(layer.threshold, smallest + 0.5)
    layer.eval()
    torch.testing.assert_close(layer(z), torch.where(z > smallest + 0.5, z, 0))

    model = SparseAutoencoder(
        100, sparsity="batch_topk", n_active=7, max_epochs=10, random_state=SEED
    ).fit(digits.X_train)
    found = (model.transform(digits.X_test) != 0).sum(axis=1)
    assert found.mean() == pytest.approx(7, rel=0.15)
    alone = np.concatenate([model.transform(row[None]) for row in digits.X_test[:20]])
    np.testing.assert_allclose(alone, model.transform(digits.X_test)[:20], rtol=1e-3, atol=1e-4)


def test_jumprelus_gradients_are_its_papers():
    """Eqs. 11 and 12: -(t / eps) K((z - t) / eps), and -(1 / eps) K((z - t) / eps) for H."""
    layer = JumpReLU(5, bandwidth=0.4).double()
    with torch.no_grad():
        layer.log_threshold.copy_(torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]).log())
    threshold = layer.threshold.detach()
    z, upstream = normal(200, 5).requires_grad_(), normal(200, 5, seed=1)
    near = ((z - threshold) / 0.4).abs() < 0.5
    on = z > threshold
    assert near.any()
    for output, values, by_t, by_z in (
        (layer(z), z * on, -threshold / 0.4 * near, on.double()),
        (layer.count(z), on.double(), -1 / 0.4 * near, torch.zeros_like(z)),
    ):
        torch.testing.assert_close(output, values)
        # By the chain rule: the parameter is log t.
        truth = ((upstream * by_t).sum(dim=0) * threshold).detach()
        found = torch.autograd.grad(
            output, [layer.log_threshold, z], upstream, allow_unused=True, materialize_grads=True
        )
        torch.testing.assert_close(found[0], truth)
        torch.testing.assert_close(found[1], upstream * by_z)


def test_jumprelu_pays_for_the_number_of_units_on():
    still = {"max_epochs": 1, "learning_rate": 1e-12, "early_stopping": False, "batch_size": 80}
    model = quick("jumprelu", sparsity_weight=0.5, **still).fit(TABLE)
    on = (model.transform(TABLE) != 0).sum(axis=1).mean()
    assert model.history_["sparsity"][0] == pytest.approx(0.5 * on, rel=1e-5)
    model = quick("l1", sparsity_weight=0.5, **still).fit(TABLE)
    norm = np.abs(model.transform(TABLE)).sum(axis=1).mean()
    assert model.history_["sparsity"][0] == pytest.approx(0.5 * norm, rel=1e-5)


@pytest.mark.parametrize("sparsity", ["l1", "topk", "batch_topk", "jumprelu"])
@pytest.mark.parametrize("tied_weights", [False, True])
def test_what_multiplies_the_code_has_length_1(sparsity, tied_weights):
    common = {"tied_weights": tied_weights, "output": "identity", "scaling": "none"}
    model = quick(sparsity, **common).fit(TABLE)
    columns = model.inverse_transform(np.eye(8)) - model.inverse_transform(np.zeros((8, 8)))
    np.testing.assert_allclose(np.linalg.norm(columns, axis=1), 1, rtol=1e-5)
    deep = quick(sparsity, hidden_layer_sizes=(7,), activation="identity", **common).fit(TABLE)
    with torch.no_grad():
        first = deep.decoder_.body[0]
        columns = first(torch.eye(8)) - first(torch.zeros(8, 8))
    torch.testing.assert_close(columns.norm(dim=1), torch.ones(8))


def test_the_revival_loss_lifts_dead_units_alone():
    logits = normal(10, 4).requires_grad_()
    dead = torch.tensor([True, False, True, False])
    value = revival_loss(logits, 2.0, dead)
    truth = sum((2 - logits[:, j].max()).clamp(min=0) for j in (0, 2))
    torch.testing.assert_close(value, truth)
    (gradient,) = torch.autograd.grad(value, logits)
    # Each for the row that it answers to most, and not once it is on there.
    largest = logits == logits.max(dim=0).values
    assert (logits.amax(dim=0)[dead] < 2).tolist() == [False, True]
    torch.testing.assert_close(gradient, -(dead & largest & (logits < 2)).double())


@pytest.mark.parametrize("sparsity", ["l1", "topk", "batch_topk", "jumprelu"])
def test_dead_units_come_back_and_stay_dead_without_revival(sparsity, digits):
    X = digits.X_train

    def dead_after_more(**parameters):
        model = SparseAutoencoder(
            64, sparsity=sparsity, max_epochs=3, dead_after=500, random_state=SEED,
            learning_rate=0.02, **parameters,
        ).fit(X)  # fmt: skip
        with torch.no_grad():
            model.encoder_.body[-1].weight[:32] *= 0.05
            model.encoder_.body[-1].bias[:32] = -1  # below whatever these units answer to
        assert model.code_sparsity(X).dead_units[:32].all()
        alive = model.dead_units_[32:].sum()
        for _ in range(12):
            model.partial_fit(X)
        np.testing.assert_array_equal(model.dead_units_, model.code_sparsity(X).dead_units)
        assert alive < 16
        return model.dead_units_[:32].sum()

    assert dead_after_more(revival_weight=0) > 24
    assert dead_after_more() < 8


@pytest.mark.parametrize("sparsity", ["topk", "batch_topk"])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.cases
def test_few_units_stay_dead_by_default(sparsity, seed, digits):
    model = SparseAutoencoder(
        256, sparsity=sparsity, n_active=8, dead_after=1500, max_epochs=12, random_state=seed
    ).fit(digits.X_train)
    assert model.dead_units_.mean() <= 0.05


def test_code_sparsity_is_that_of_the_codes(monkeypatch):
    monkeypatch.setattr("narrows.models.sparse._BLOCK", 33)
    for sparsity in KINDS:
        model = quick(sparsity).fit(TABLE)
        codes = model.transform(TABLE[:70])
        on = codes > 0.5 if sparsity == "kl" else codes != 0
        found = model.code_sparsity(TABLE[:70])
        np.testing.assert_allclose(found.mean_activation, codes.mean(axis=0), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found.active_share, on.mean(axis=1))
        np.testing.assert_array_equal(found.dead_units, ~on.any(axis=0))


@pytest.mark.parametrize("sparsity", KINDS)
def test_models_and_halves_come_back_bit_for_bit(sparsity, tmp_path):
    model = quick(sparsity, max_epochs=5).fit(TABLE)
    codes = model.transform(TABLE)
    again = load(model.save(tmp_path / "model"))
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.transform(TABLE), codes)
    np.testing.assert_array_equal(again.mean_activation_, model.mean_activation_)
    np.testing.assert_array_equal(again.dead_units_, model.dead_units_)
    assert again.active_share_ == model.active_share_
    half = load(model.split()[0].save(tmp_path / "half"))
    assert isinstance(half, Encoder)
    np.testing.assert_array_equal(half.transform(TABLE), codes)
    assert again.partial_fit(TABLE).n_iter_ == 6


@pytest.mark.parametrize("sparsity", KINDS)
def test_an_interrupted_run_goes_on_bit_for_bit(sparsity, tmp_path):
    def interrupt(record):
        if record["epoch"] == 3:
            raise SystemExit

    parameters = {"max_epochs": 6, "dead_after": 100, "batch_size": 16}
    whole = quick(sparsity, **parameters).fit(TABLE)
    parts = quick(sparsity, checkpoint=tmp_path / "run", **parameters)
    with on_epoch(interrupt), pytest.raises(SystemExit):
        parts.fit(TABLE)
    parts.fit(TABLE)
    assert parts.fingerprint_ == whole.fingerprint_
    assert parts.history_["loss"] == whole.history_["loss"]


def test_a_pass_that_diverges_leaves_the_counts_as_they_were():
    model = quick("kl").partial_fit(TABLE)
    expected = quick("kl").partial_fit(TABLE).partial_fit(TABLE).transform(TABLE)
    rate, model.learning_rate = model.learning_rate, 1e30
    with pytest.raises(DivergedError):
        model.partial_fit(TABLE)
    model.learning_rate = rate
    found = model.partial_fit(TABLE).transform(TABLE)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, atol=0.02)  # the optimiser's moments are new


@pytest.mark.parametrize("sparsity", KINDS)
@pytest.mark.parametrize("hidden", [(), (7,)])
def test_it_combines_with_contraction_and_denoising(sparsity, hidden, monkeypatch):
    monkeypatch.setitem(MODELS, "mixed", object)  # so that it is taken out again

    class Mixed(ContractiveAutoencoder, SparseAutoencoder, DenoisingAutoencoder):
        """All three.

        Parameters
        ----------
        {parameters}
        """

    model = Mixed(
        8, sparsity=sparsity, hidden_layer_sizes=hidden, corrupted_weight=2, max_epochs=2,
        random_state=SEED,
    ).fit(TABLE)  # fmt: skip
    other = "revival" if sparsity != "kl" else "sparsity"
    assert {"reconstruction", "contraction", other} <= set(model.history_.columns)
    assert np.isfinite(model.jacobian_norm(TABLE)).all()
    assert model.denoise(TABLE).shape == TABLE.shape


@pytest.mark.parametrize("sparsity", ["topk", "batch_topk", "jumprelu"])
def test_norms_of_jacobians_know_selection(sparsity):
    model = quick(sparsity, hidden_layer_sizes=(7,)).fit(TABLE)
    encoder, x = model.encoder_, torch.from_numpy(TABLE).float()
    ours = squared_norm(encoder, encoder.trace(x))
    truth = [torch.autograd.functional.jacobian(encoder, row[None]).square().sum() for row in x]
    torch.testing.assert_close(ours, torch.stack(truth))


def test_bodies_need_not_be_dense():
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        body = nn.Sequential(
            nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(8, 8)
        )
    nn.init.constant_(body[-1].bias[:1], -100)  # one unit is never on
    network = networks.Network(networks.Encoder(body, TopK(3)), networks.Decoder(body, "identity"))
    model = quick(dead_after=80).fit(TABLE)
    model._activity = None
    settings = choose_settings(model, model.spec_, len(TABLE), seed=SEED)
    objective = Objective(model, network, settings, len(TABLE))
    trace = network.encoder.trace(torch.from_numpy(TABLE).float())
    terms = model.penalties(objective, trace, torch.Generator())
    terms["revival"].backward()
    lifted = body[-1].bias.grad
    assert lifted[0] == pytest.approx(-0.001)
    assert (lifted[1:] == 0).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sparsity": "l2"}, "sparsity='l2' is not known; use one of 'kl'"),
        ({"sparsity_target": 0.0}, r"sparsity_target=0.0 .* in \(0, 1\)"),
        ({"sparsity_target": 1}, r"sparsity_target=1 .* in \(0, 1\)"),
        ({"sparsity": "kl", "sparsity_weight": -1.0}, "sparsity_weight=-1.0 .* at least 0"),
        ({"sparsity_weight": 2.0}, "sparsity_weight=2.0 .* sparsity='topk'; .* n_active"),
        ({"n_active": 9}, r"n_active=9 .* whole number in \[1, 8\] or 'auto'"),
        ({"n_active": 0}, "n_active=0"),
        ({"sparsity": "l1", "n_active": 2}, "n_active=2 .* 'topk' or 'batch_topk'"),
        ({"dead_after": 0}, "dead_after=0 .* at least 1"),
        ({"revival_weight": -0.1}, "revival_weight=-0.1 .* at least 0"),
        ({"sparsity": "kl", "code_activation": "tanh"}, "'tanh' .* sparsity='kl'.* 'auto'"),
    ],
    ids=str,
)
def test_parameters_that_cannot_be_are_named_in_fit(parameters, message):
    with pytest.raises(ParameterError, match=message) as caught:
        quick(**parameters).fit(TABLE)
    assert "\n" not in str(caught.value)


def test_nothing_is_measured_before_fit():
    with pytest.raises(NotFittedError):
        quick().code_sparsity(TABLE)


def test_the_command_line_trains_it_and_tells_of_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("X.npy", TABLE)
    kind = "--model sparse --n-components 8 --max-epochs 2 --sparsity topk --n-active"
    assert main(f"train X.npy -o model {kind} 3".split()) == 0
    capsys.readouterr()
    assert main(["info", "model"]) == 0
    shown = capsys.readouterr().out
    assert "active share" in shown
    assert "0.375" in shown
    assert "dead units" in shown
    assert main(f"train X.npy -o other {kind} 30".split()) == 2
    assert "n_active=30" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:none of the")  # two epochs need not lift a unit
@pytest.mark.parametrize("sparsity", ["kl", "l1", "topk"])
@pytest.mark.parametrize("sparse_first", [True, False])
def test_sparse_codes_may_be_distributions_too(sparse_first, sparsity, tmp_path):
    bases = (SparseAutoencoder, VariationalAutoencoder)[:: 1 if sparse_first else -1]
    both = type("SparseVariational", bases, {})
    try:
        model = both(3, sparsity=sparsity, max_epochs=2, random_state=SEED).fit(TABLE)
        again = load(model.save(tmp_path / "model"))
    finally:
        MODELS.pop("SparseVariational".lower())
    assert {"reconstruction", "divergence"} <= set(model.history_.columns)
    np.testing.assert_array_equal(again.transform(TABLE), model.transform(TABLE))
    for name in ("active_units_", "mean_activation_", "dead_units_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))


@pytest.mark.cases
def test_the_divergence_in_loss_terms_is_that_of_the_means_over_all_rows():
    rows = np.random.default_rng(0).normal(size=(1500, 6)) * np.linspace(0.5, 2, 6)
    rows[1024:] += 2  # in a block of their own, and unlike the others
    model = SparseAutoencoder(5, sparsity_weight=0.5, max_epochs=2, random_state=0).fit(rows)
    means = model.transform(rows).astype(np.float64).mean(axis=0)
    truth = 0.05 * np.log(0.05 / means) + 0.95 * np.log(0.95 / (1 - means))
    terms = model.loss_terms(rows, random_state=0)
    assert terms["sparsity"] == pytest.approx(0.5 * truth.sum(), rel=1e-5)
    assert terms["loss"] == pytest.approx(terms["reconstruction"] + terms["sparsity"])
