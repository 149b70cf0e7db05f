"""What a decoder may end with: it starts at the mean row, and stays within its reach."""

import numpy as np
import pytest
import torch

from narrows import Autoencoder, VariationalAutoencoder, networks
from narrows.errors import ParameterError
from narrows.networks.activations import OUTPUT_MODULES, invert, reach, with_variance

SEED = 20250301
COUNTS = np.random.default_rng(SEED).poisson(6, (80, 7)).astype(np.float32)


def fitted(model=Autoencoder, X=COUNTS, **parameters):
    return model(3, max_epochs=3, random_state=SEED, **parameters).fit(X)


@pytest.mark.parametrize("name", sorted(OUTPUT_MODULES.keys() - {"continuous_bernoulli"}))
def test_inverting_an_output_gives_what_it_turns_into_the_values(name):
    low, high = (max(min(end, 3.0), -3.0) for end in reach(name))
    # Nearer to the ends an output may not start.
    values = torch.linspace(low + 2e-3, high - 2e-3, 50, dtype=torch.float64)
    restored = OUTPUT_MODULES[name]()(invert(name, values))
    torch.testing.assert_close(restored, values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["relu", "softplus", "tanh", "elu", "silu", "gelu"])
def test_the_decoder_starts_near_the_mean_row_and_not_where_the_output_is_flat(name):
    low, high = (max(min(end, 2.0), -2.0) for end in reach(name))
    mean = torch.linspace(low, high, 9)
    spec = networks.NetworkSpec(
        architecture="dense",
        sample_shape=(9,),
        n_components=2,
        hidden_layer_sizes=(8,),
        activation="relu",
        code_activation="identity",
        output=name,
        tied_weights=False,
    )
    decoder = networks.build(spec, networks.Start(mean), SEED).decoder
    start = decoder(torch.zeros(1, 2))[0]
    torch.testing.assert_close(start, mean, rtol=0, atol=2e-3)
    logits = decoder.logits(torch.zeros(1, 2)).detach().requires_grad_()
    decoder.output(logits).sum().backward()
    assert logits.grad.abs().min() > 1e-4


@pytest.mark.parametrize("output", ["relu", "softplus"])
@pytest.mark.parametrize("scaling", ["unit", "none"])
def test_data_without_negative_values_are_restored_without_them(output, scaling):
    model = fitted(output=output, scaling=scaling)
    assert model.spec_.output == output
    assert model.inverse_transform(np.random.default_rng(SEED).normal(0, 50, (99, 3))).min() >= 0


@pytest.mark.parametrize(
    ("output", "scaling"), [("relu", "global"), ("tanh", "none"), ("softplus", "standard")]
)
def test_an_output_that_cannot_reach_the_data_is_refused(output, scaling):
    with pytest.raises(ParameterError, match=f"output='{output}' stays between"):
        fitted(output=output, scaling=scaling)


def test_variational_models_end_in_them_too_with_a_variance_beside():
    model = fitted(VariationalAutoencoder, output="softplus", scaling="unit")
    assert model.spec_.output == with_variance("softplus")
    assert model.sample(20).shape == (20, 7)
    with pytest.raises(ParameterError, match="does not go with output='relu'"):
        fitted(VariationalAutoencoder, COUNTS > 6, output="relu", likelihood="bernoulli")
