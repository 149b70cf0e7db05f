"""The peers' own training, and, where a peer is not installed, a plain loop that does the same.

pythae 0.1.2 (TrainingPipeline, AE, VAE) and autoencoders 0.6.8 (ContractiveAutoencoderModel).
"""

import importlib.util
import io
import logging
import tempfile
from contextlib import redirect_stderr

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SEED = 0
FEATURES, HIDDEN, CODE = 784, 512, 16
HAS_PYTHAE = importlib.util.find_spec("pythae") is not None
HAS_AUTOENCODERS = importlib.util.find_spec("autoencoders") is not None
PYTHAE = "pythae's" if HAS_PYTHAE else "a plain loop's, in place of pythae's,"
AUTOENCODERS = "`autoencoders`'" if HAS_AUTOENCODERS else "a plain Jacobian's"


class Plain(nn.Module):
    """What pythae builds by default: 784-512-16-512-784, for a VAE with two heads."""

    def __init__(self, *, variational=False):
        super().__init__()
        self.variational = variational
        self.body = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU())
        self.mean = nn.Linear(HIDDEN, CODE)
        self.log_variance = nn.Linear(HIDDEN, CODE) if variational else None
        self.decoder = nn.Sequential(
            nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, FEATURES), nn.Sigmoid()
        )

    def loss(self, x):
        hidden = self.body(x)
        mean = self.mean(hidden)
        if not self.variational:
            return functional.mse_loss(self.decoder(mean), x, reduction="none").sum(1).mean()
        log_variance = self.log_variance(hidden)
        code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        error = 0.5 * functional.mse_loss(self.decoder(code), x, reduction="none").sum(1)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1)
        return (error + divergence).mean()


def bare_loop(X, *, batch_size, epochs, variational=False):
    """Train by the least code that torch allows, with its fused Adam; return the network."""
    torch.manual_seed(SEED)
    network = Plain(variational=variational)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(batch_size):
            loss = network.loss(X[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


def pythae(X, *, epochs, variational=False, cross_entropy=False, callbacks=None, **settings):
    """Train by pythae on float rows from 0 to 1; return the model.

    Without pythae: by a loader that puts rows together one by one, and torch's usual Adam.
    """
    if not HAS_PYTHAE:
        return _instead_of_pythae(X, epochs=epochs, variational=variational, **settings)
    from pythae.models import AE, VAE, AEConfig, VAEConfig
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("pythae"):
            logging.getLogger(name).setLevel(logging.ERROR)
    config = (VAEConfig if variational else AEConfig)(input_dim=(FEATURES,), latent_dim=CODE)
    if variational:
        config.reconstruction_loss = "bce" if cross_entropy else "mse"
    model = (VAE if variational else AE)(config)
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
        training = BaseTrainerConfig(output_dir=folder, num_epochs=epochs, no_cuda=True, **settings)
        TrainingPipeline(model=model, training_config=training)(X, callbacks=callbacks)
    return model


def _instead_of_pythae(
    X, *, epochs, variational, per_device_train_batch_size=64, learning_rate=1e-4
):
    torch.manual_seed(SEED)
    network = Plain(variational=variational)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(X)),
        batch_size=per_device_train_batch_size,
        shuffle=True,
    )
    for _ in range(epochs):
        for (x,) in loader:
            loss = network.loss(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            float(loss)
    return network


def log_likelihood(model, X, n_samples):
    """Estimate log p(x) by pythae's get_nll, 100 draws at a time; return the mean over rows."""
    return float(-_nll(model, torch.from_numpy(X), n_samples))


def _nll(model, X, n_samples):
    with torch.no_grad():
        if HAS_PYTHAE:
            # It returns the mean log likelihood, whatever it is called.
            return -model.get_nll(X, n_samples=n_samples, batch_size=100)
        found = []
        for x in X:
            weights = []
            for _ in range(n_samples // 100):
                rows = x.expand(100, -1)
                hidden = model.body(rows)
                mean, log_variance = model.mean(hidden), model.log_variance(hidden)
                noise = torch.randn_like(mean)
                code = mean + torch.exp(0.5 * log_variance) * noise
                error = -functional.binary_cross_entropy(
                    model.decoder(code), rows, reduction="none"
                ).sum(1)
                weights.append(error + 0.5 * (noise**2 + log_variance - code**2).sum(1))
            found.append(torch.cat(weights).logsumexp(0) - np.log(n_samples))
        return -torch.stack(found).mean()


def contractive_step(X, width):
    """Return what does one training step of `autoencoders`' model of one sigmoid layer.

    The penalty is the sum over units of one backward pass each, differentiated again.
    """
    x = torch.from_numpy(X)
    if HAS_AUTOENCODERS:
        model, loss = _peers_contractive(x, width)
    else:
        encoder = nn.Sequential(nn.Linear(x.shape[1], width), nn.Sigmoid())
        decoder = nn.Sequential(nn.Linear(width, x.shape[1]), nn.Sigmoid())
        model = nn.Sequential(encoder, decoder)

        def loss():
            seen = x.clone().requires_grad_()
            code = encoder(seen)
            penalty = 0
            for unit in range(width):
                (gradient,) = torch.autograd.grad(code[:, unit].sum(), seen, create_graph=True)
                penalty = penalty + gradient.pow(2).sum(-1)
            return functional.mse_loss(decoder(code), x) + 1e-2 * penalty.mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def _peers_contractive(x, width):
    from autoencoders import ContractiveAutoencoderConfig, ContractiveAutoencoderModel
    from autoencoders.data.base import TensorSpec

    encoder = nn.Sequential(nn.Linear(x.shape[1], width), nn.Sigmoid())
    decoder = nn.Sequential(nn.Linear(width, x.shape[1]), nn.Sigmoid())
    model = ContractiveAutoencoderModel(
        ContractiveAutoencoderConfig(),
        sample_spec=TensorSpec(shape=(None, x.shape[1])),
        encoder=encoder,
        decoder=decoder,
    ).train()
    return model, lambda: model(x).loss
