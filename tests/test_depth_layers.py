"""Normalisation beside torch's, residual blocks that start as the identity, and great depth."""

import numpy as np
import pytest
import torch
from torch import nn

from narrows import Autoencoder, ContractiveAutoencoder, datasets, networks
from narrows.errors import NarrowsWarning, ParameterError
from narrows.networks.dense import BatchNorm, LayerNorm, ResidualBlock

SEED = 20251126


def generator():
    return torch.Generator().manual_seed(SEED)


@pytest.mark.parametrize("shape", [(20, 6), (20, 6, 5), (20, 6, 5, 4)])
def test_batch_normalisation_is_torchs(shape):
    theirs = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](6)
    ours = BatchNorm(6)
    ours.reset()
    weight, bias = torch.rand(2, 6, generator=generator())
    for norm in (ours, theirs):
        norm.weight.data.copy_(weight)
        norm.bias.data.copy_(bias)
    for _ in range(3):
        x = 3 + 2 * torch.randn(shape, generator=generator())
        assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_mean, theirs.running_mean)
    assert torch.equal(ours.running_var, theirs.running_var)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_a_batch_of_one_row_uses_what_was_seen_before():
    norm = BatchNorm(3)
    norm.reset()
    x = torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.allclose(norm(x), x, rtol=1e-4)
    X = np.random.default_rng(SEED).random((33, 4))
    model = Autoencoder(2, normalization="batch", batch_size=32, early_stopping=False)
    assert np.isfinite(model.set_params(max_epochs=2).fit(X).transform(X)).all()


@pytest.mark.parametrize("shape", [(20, 6), (20, 6, 5, 4)])
def test_layer_normalisation_is_of_each_row(shape):
    ours = LayerNorm(6)
    ours.reset()
    x = 3 + 2 * torch.randn(shape, dtype=torch.float64, generator=generator())
    y = ours.double()(x).detach().flatten(1)
    flat = x.flatten(1)
    wanted = (flat - flat.mean(1, keepdim=True)) / flat.std(1, unbiased=False, keepdim=True)
    assert torch.allclose(y, wanted, atol=1e-5)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
@pytest.mark.parametrize("architecture", ["dense", "convolutional"])
def test_codes_do_not_depend_on_the_rows_beside(normalization, architecture):
    X = datasets.load("digits").X_train[:200]
    model = Autoencoder(
        4, architecture=architecture, hidden_layer_sizes=(16, 8), normalization=normalization,
        residual_blocks=2, max_epochs=2, random_state=SEED,
    ).fit(X)  # fmt: skip
    alone = np.concatenate([model.transform(X[i : i + 1]) for i in range(5)])
    assert np.allclose(alone, model.transform(X)[:5], atol=1e-6)


@pytest.mark.parametrize("architecture", ["dense", "convolutional"])
@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
def test_blocks_start_as_the_identity(architecture, normalization):
    spec = networks.NetworkSpec(
        architecture=architecture, sample_shape=(9, 9), n_components=3, hidden_layer_sizes=(8, 6),
        activation="silu", code_activation="identity", output="identity", tied_weights=False,
        normalization=normalization, residual_blocks=101, kernel_size=3,
    )  # fmt: skip
    network = networks.build(spec, networks.Start(torch.zeros(9, 9)), seed=SEED)
    for half in (network.encoder, network.decoder):
        blocks = [module for module in half.modules() if isinstance(module, ResidualBlock)]
        assert len(blocks) == 101
        for block in blocks:
            channels = block.first.weight.shape[0]
            shape = (5, channels) if architecture == "dense" else (5, channels, 4, 4)
            x = torch.randn(shape, generator=generator())
            assert torch.equal(block(x), x)
            # It is not one that can only stay so.
            block.zero_grad()
            block(x).square().sum().backward()
            assert block.second.weight.grad.abs().max() > 0


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
def test_a_hundred_residual_blocks_train(normalization):
    """50 blocks of two layers each way; as many plain layers stay at the mean picture."""
    digits = datasets.load("digits")
    X, X_test = digits.X_train, digits.X_test
    variance = np.square(X_test - X.mean(axis=0)).mean()
    given = {"batch_size": 64, "random_state": SEED}
    model = Autoencoder(
        8, hidden_layer_sizes=(16,), residual_blocks=50, normalization=normalization,
        max_epochs=5, **given,
    ).fit(X)  # fmt: skip
    assert model.reconstruction_error(X_test).mean() < 0.65 * variance
    if normalization == "none":
        plain = Autoencoder(
            8, architecture="dense", hidden_layer_sizes=(16,) * 100, max_epochs=2, **given
        )
        with pytest.warns(NarrowsWarning, match="all rows have the same code"):
            plain.fit(X)
        assert plain.reconstruction_error(X_test).mean() > 0.99 * variance


def test_batch_normalised_codes_cannot_be_contracted():
    model = ContractiveAutoencoder(2, normalization="batch")
    with pytest.raises(ParameterError, match="has no Jacobian of its own"):
        model.fit(np.random.default_rng(SEED).random((50, 4)))
