"""Norms of Jacobians beside torch's own Jacobian, and what it does to learn with them."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn
from torch.autograd.functional import jacobian as naive_jacobian

from narrows import (
    MODELS,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    datasets,
    load,
    losses,
    networks,
)
from narrows.errors import NotFittedError, ParameterError
from narrows.models.sensitivity import squared_norm
from narrows.networks import ACTIVATIONS, Encoder

SEED = 20240603
TABLE = np.random.default_rng(SEED).random((80, 6))
# Layers between input and code, some wider than the input.
DEPTHS = [(), (5,), (9, 4), (4, 7, 5)]


def generator():
    return torch.Generator().manual_seed(SEED)


def dense(hidden, activation="silu", code_activation="identity", n_heads=1):
    """An encoder of 6 numbers to 3, in float64, with weights large enough to bend it."""
    spec = networks.NetworkSpec(
        architecture="dense", sample_shape=(6,), n_components=3, hidden_layer_sizes=hidden,
        activation=activation, code_activation=code_activation, output="identity",
        tied_weights=False, n_heads=n_heads,
    )  # fmt: skip
    encoder = networks.build_encoder(spec).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(0, 0.8, generator=generator())
    return encoder


def convolutional():
    """A small body that is no chain of linear layers."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        body = nn.Sequential(
            nn.Unflatten(1, (1, 5)), nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(18, 3)
        )
        return Encoder(body, nn.Tanh()).double()


def rows(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=generator())


def naive(encoder, x):
    """The truth, row by row, as a function of the weights."""
    return torch.stack(
        [naive_jacobian(encoder, row[None], create_graph=True).square().sum() for row in x]
    )


def gradients(encoder, value):
    # The code's own biases have no say where it is linear, nor have second heads.
    found = torch.autograd.grad(value, list(encoder.parameters()), allow_unused=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(encoder.parameters(), found, strict=True)
    ]


def probes(encoder, x):
    return losses.draw_probes(len(x), encoder(x[:1]).shape[1], generator(), x.dtype)


def assert_exact(encoder, x):
    ours, truth = squared_norm(encoder, encoder.trace(x)), naive(encoder, x)
    torch.testing.assert_close(ours.expand(len(x)), truth)
    torch.testing.assert_close(gradients(encoder, ours.mean()), gradients(encoder, truth.mean()))
    with torch.no_grad():
        torch.testing.assert_close(
            squared_norm(encoder, encoder.trace(x)).expand(len(x)), truth.detach()
        )


@pytest.mark.parametrize("hidden", DEPTHS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_exact_norms_and_gradients_are_those_of_torchs_jacobian(activation, hidden):
    x = rows(4, 6)
    assert_exact(dense(hidden, activation, "identity"), x)
    assert_exact(dense(hidden, "silu", activation), x)


@pytest.mark.parametrize("hidden", DEPTHS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_single_direction_gives_the_length_of_its_pull_back(activation, hidden):
    encoder, x = dense(hidden, activation, activation), rows(4, 6)
    u = probes(encoder, x)
    ours = squared_norm(encoder, encoder.trace(x), u)
    truth = torch.stack(
        [
            (direction @ naive_jacobian(encoder, row[None], create_graph=True)[0, :, 0]).square()
            for direction, row in zip(u, x, strict=True)
        ]
    ).sum(dim=1)
    torch.testing.assert_close(ours.expand(len(x)), truth)
    torch.testing.assert_close(gradients(encoder, ours.mean()), gradients(encoder, truth.mean()))


@pytest.mark.parametrize(
    "activation",
    [nn.LeakyReLU(0.3), nn.ELU(0.7), nn.Softplus(beta=2.0), nn.GELU("tanh"), nn.GELU("none")],
    ids=repr,
)
def test_slopes_heed_what_an_activation_was_built_with(activation):
    values = rows(50).requires_grad_()
    ours = losses.slope(activation, values)
    step = 1e-6
    finite = (activation(values + step) - activation(values - step)) / (2 * step)
    torch.testing.assert_close(ours, finite, rtol=1e-5, atol=1e-8)
    plain = losses.slope(activation, values.detach())
    assert not plain.requires_grad
    torch.testing.assert_close(plain, ours)


@pytest.mark.parametrize("hidden", DEPTHS)
def test_of_several_heads_the_first_is_the_code(hidden):
    assert_exact(dense(hidden, "tanh", "sigmoid", n_heads=2), rows(4, 6))


def test_encoders_that_are_not_dense_go_through_autograd():
    encoder, x = convolutional(), rows(4, 5, 5)
    assert encoder.trace(x).layers == []
    torch.testing.assert_close(encoder.trace(x).code, encoder(x))
    assert_exact(encoder, x)
    # Nor do linear layers help where something unknown stands between or after them.
    squash = type("Squash", (nn.Module,), {"forward": lambda _, a: torch.sin(a)})
    bend = nn.Tanh()  # one module in three places
    for body, activation in [
        (nn.Sequential(nn.Linear(6, 4), squash(), nn.Linear(4, 3)), nn.Sigmoid()),
        (nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), nn.Sigmoid()),
        (nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)), squash()),
        (nn.Linear(6, 3), nn.Sigmoid()),
        (nn.Sequential(nn.Linear(6, 4), bend, nn.Linear(4, 4), bend, nn.Linear(4, 3)), bend),
    ]:
        other = Encoder(body, activation).double()
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.normal_(generator=generator())
        assert_exact(other, rows(4, 6))


class KeepTwo(nn.Module):
    """Keep the two largest numbers of each row."""

    def forward(self, z):
        values, units = z.topk(2, dim=1)
        return torch.zeros_like(z).scatter(1, units, values)


@pytest.mark.parametrize("hidden", DEPTHS)
def test_activations_that_select_may_say_so_and_get_the_same_norm_faster(hidden):
    encoder, x = dense(hidden, "tanh"), rows(4, 6)
    encoder.activation = KeepTwo()
    assert_exact(encoder, x)
    encoder.activation.pointwise = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "function_norm", None)  # the way through autograd is not taken
        assert_exact(encoder, x)


@pytest.mark.parametrize(
    ("encoder", "shape"),
    [(dense((9, 4), "gelu", "sigmoid"), (6,)), (convolutional(), (5, 5))],
    ids=["dense", "convolutional"],
)
def test_estimates_and_their_gradients_average_to_the_exact(encoder, shape):
    """10 000 draws of one row, and of each of 20 rows."""
    for kinds in (rows(1, *shape), rows(20, *shape)):
        x = kinds.repeat(10_000, *[1] * len(shape))
        truth = naive(encoder, kinds).mean()
        exact = torch.cat([g.flatten() for g in gradients(encoder, truth)])
        estimates = squared_norm(encoder, encoder.trace(x), probes(encoder, x))
        assert estimates.std() > 0.1 * truth, "these are no estimates"
        assert estimates.mean().item() == pytest.approx(truth.item(), rel=0.01)
        ours = torch.cat([g.flatten() for g in gradients(encoder, estimates.mean())])
        assert (ours - exact).norm().item() < 0.01 * exact.norm().item()


@pytest.mark.parametrize("width", [1, 2, 3, 32, 33])
def test_directions_of_a_group_of_rows_cover_all_alike(width):
    group = 1 << (width - 1).bit_length()
    u = losses.draw_probes(3 * group, width, generator(), torch.float64)
    assert set(u.unique().tolist()) <= {-1.0, 1.0}
    for rows_of_group in u.split(group):
        torch.testing.assert_close(
            rows_of_group.t() @ rows_of_group, group * torch.eye(width).double()
        )
    if width > 8:
        assert not torch.equal(u[:group], u[group : 2 * group])


def test_directions_of_each_row_are_any_signs_with_equal_chance():
    """Pearson's test for each of four rows and all eight signs of three units, seed 1."""
    noise = torch.Generator().manual_seed(1)
    draws = torch.stack([losses.draw_probes(4, 3, noise) for _ in range(4_000)])
    kinds = ((draws > 0) * torch.tensor([1, 2, 4])).sum(dim=2)
    for row in kinds.t():
        assert chisquare(row.bincount(minlength=8)).pvalue > 0.01


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_stay_finite_where_activations_are_flat(activation):
    encoder = dense((5, 4), activation, activation).float()
    for x in (rows(4, 6).float() * 1e4, torch.zeros(4, 6)):
        for probe in (None, probes(encoder, x)):
            norm = squared_norm(encoder, encoder.trace(x), probe)
            assert norm.isfinite().all()
            assert all(g.isfinite().all() for g in gradients(encoder, norm.mean()))


def quick(**parameters):
    return ContractiveAutoencoder(3, **{"max_epochs": 2, "random_state": SEED, **parameters})


def first_contraction(**parameters):
    """The penalty of untouched weights over the whole table, with the model."""
    still = {"max_epochs": 1, "learning_rate": 1e-12, "early_stopping": False}
    model = quick(**still, **parameters, architecture="dense").fit(TABLE)
    return model, model.history_["contraction"][0]


@pytest.mark.parametrize(
    ("parameters", "is_exact"),
    [
        ({"hidden_layer_sizes": (), "code_activation": "sigmoid"}, True),
        ({"hidden_layer_sizes": (5,)}, True),
        ({"hidden_layer_sizes": (5,), "code_activation": "sigmoid"}, False),
        ({"hidden_layer_sizes": (5, 4)}, False),
        ({"hidden_layer_sizes": (5, 4), "contraction": "exact"}, True),
        ({"hidden_layer_sizes": (), "contraction": "stochastic"}, False),
    ],
)
def test_the_penalty_is_the_mean_square_of_the_norm_times_its_weight(parameters, is_exact):
    model, penalty = first_contraction(**parameters, contraction_weight=2.5)
    truth = 2.5 * (model.jacobian_norm(TABLE).astype(float) ** 2).mean()
    assert (penalty == pytest.approx(truth, rel=1e-4)) == is_exact
    assert penalty == pytest.approx(truth, rel=0.5)
    assert first_contraction(**parameters, contraction_weight=2.5)[1] == penalty


@pytest.mark.parametrize("hidden", DEPTHS)
def test_jacobian_norm_is_with_respect_to_the_scaled_row(hidden, monkeypatch, tmp_path):
    X = 40 * TABLE - 7
    model = quick(hidden_layer_sizes=hidden, scaling="standard", activation="tanh").fit(X)
    norms = model.jacobian_norm(X)
    assert norms.shape == (80,)
    assert norms.dtype == np.float32
    scaled = model.scaling_(torch.from_numpy(X))
    truth = naive(model.encoder_, scaled).sqrt().detach()
    np.testing.assert_allclose(norms, truth, rtol=1e-4)
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.jacobian_norm(X), norms)
    monkeypatch.setattr("narrows.models.sensitivity._BLOCK", 300)
    monkeypatch.setattr("narrows.models.sensitivity._ROWS", 33)
    np.testing.assert_allclose(model.jacobian_norm(X), norms, rtol=1e-5)


def test_every_row_of_every_step_has_a_direction_of_its_own(monkeypatch):
    seen = []
    estimate = losses.layered_estimate

    def spy(weights, slopes, probes):
        seen.append(probes.clone())
        return estimate(weights, slopes, probes)

    monkeypatch.setattr(losses, "layered_estimate", spy)

    def draw(seed):
        seen.clear()
        ContractiveAutoencoder(
            24, architecture="dense", hidden_layer_sizes=(8, 8), max_epochs=2, early_stopping=False,
            random_state=seed,
        ).fit(TABLE)  # fmt: skip
        return torch.cat(seen)

    drawn = draw(SEED)
    assert drawn.shape == (160, 24)
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert abs(drawn.mean().item()) < 0.05
    assert len(drawn.unique(dim=0)) == 160
    assert torch.equal(draw(SEED), drawn)
    assert not torch.equal(draw(1), drawn)


@pytest.mark.parametrize(
    "parameters",
    [
        {"hidden_layer_sizes": (), "code_activation": "sigmoid", "tied_weights": True},
        {"hidden_layer_sizes": (32,), "tied_weights": True},
        {"hidden_layer_sizes": (48, 32)},
    ],
    ids=["as in the paper", "one hidden layer", "two, estimated"],
)
def test_contraction_makes_codes_of_digits_hardly_move(parameters):
    digits = datasets.load("digits")
    norms = {
        weight: ContractiveAutoencoder(
            64 if not parameters["hidden_layer_sizes"] else 16,
            contraction_weight=weight, max_epochs=8, random_state=SEED, **parameters,
        ).fit(digits.X_train).jacobian_norm(digits.X_test).mean()
        for weight in (0, 30)
    }  # fmt: skip
    assert norms[30] < norms[0] / 10


def test_it_combines_with_denoising(monkeypatch):
    monkeypatch.setitem(MODELS, "mixed", object)  # so that it is taken out again

    class Mixed(ContractiveAutoencoder, DenoisingAutoencoder):
        """Both.

        Parameters
        ----------
        {parameters}
        """

    assert Mixed().corruption == "gaussian", "what one base has changed is not hidden by another"
    for name in ("contraction_weight", "corrupted_weight", "n_components"):
        assert Mixed.__doc__.count(f"{name} : ") == 1
    common = {"hidden_layer_sizes": (), "max_epochs": 1, "learning_rate": 1e-12}
    model = Mixed(3, corruption="masking", corruption_level=1.0, random_state=SEED, **common)
    history = model.fit(TABLE).history_
    assert {"reconstruction", "contraction"} <= set(history.columns)
    assert history["loss"][0] == pytest.approx(
        history["reconstruction"][0] + history["contraction"][0]
    )
    # The Jacobian is taken where the encoder looks: here at rows of nothing but zeros.
    blank = model.jacobian_norm(np.zeros((1, 6))).item()
    assert history["contraction"][0] == pytest.approx(0.1 * blank**2, rel=1e-4)
    assert model.denoise(TABLE).shape == TABLE.shape


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"contraction_weight": -0.5}, "contraction_weight=-0.5 .* at least 0"),
        ({"contraction_weight": "much"}, "contraction_weight='much'"),
        ({"contraction": "some"}, "'some' is not known; use one of 'auto'"),
    ],
)
def test_bad_parameters_are_named_in_fit(parameters, message):
    with pytest.raises(ParameterError, match=message):
        quick(**parameters).fit(TABLE)


def test_nothing_is_measured_before_fit():
    with pytest.raises(NotFittedError):
        quick().jacobian_norm(TABLE)


def test_the_exact_norm_is_reported_whatever_was_learned_from(tmp_path):
    model = quick(hidden_layer_sizes=(7, 5), contraction="stochastic").fit(TABLE)
    assert model.mean_jacobian_norm_ == pytest.approx(model.jacobian_norm(TABLE).mean())
    again = load(model.save(tmp_path / "model"))
    assert again.mean_jacobian_norm_ == model.mean_jacobian_norm_
    assert not hasattr(again.partial_fit(TABLE), "mean_jacobian_norm_")
    assert not hasattr(load(again.save(tmp_path / "later")), "mean_jacobian_norm_")
