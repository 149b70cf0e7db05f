"""The architecture "restoring": a map at each scale, and a way around the code."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from narrows import Autoencoder, DenoisingAutoencoder, VariationalAutoencoder, load
from narrows.errors import NarrowsError, ParameterError
from narrows.networks import NetworkSpec, Start, build, decoder_at
from narrows.networks.restoring import scales
from narrows.signals import Windows

SEED = 20261130


def spec_of(sample_shape, *, architecture="restoring", widths=(4, 6, 8), channels=5):
    return NetworkSpec(
        architecture=architecture,
        sample_shape=sample_shape,
        n_components=channels,
        hidden_layer_sizes=widths,
        activation="relu",
        code_activation="identity",
        output="clip",
        tied_weights=False,
    )


def pictures(*shape):
    """Draw smooth pictures of uint8, in which noise can be told from what is there."""
    generator = torch.Generator().manual_seed(SEED)
    n, height, width, *channels = shape
    coarse = torch.rand(n, *(channels or [1]), 4, 4, generator=generator)
    fine = functional.interpolate(coarse, (height, width), mode="bilinear").movedim(1, -1)
    return (255 * fine.reshape(shape)).round().to(torch.uint8).numpy()


def with_random_weights(spec):
    network = build(spec, Start(torch.full(spec.sample_shape, 0.3)), SEED).eval()
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0, 0.1, generator=generator)
    return network


@pytest.mark.parametrize("shape", [(16, 16), (33, 18), (7, 9, 3), (1, 1), (5, 1, 2), (64, 40, 6)])
def test_the_first_network_returns_each_picture_as_it_is(shape):
    network = build(spec_of(shape), Start(torch.full(shape, 0.3)), SEED).eval()
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(SEED))
    torch.testing.assert_close(network(x), x, atol=1e-6, rtol=0)


def test_the_first_network_returns_each_signal_as_it_is():
    for shape in ((50,), (33, 2)):
        network = build(spec_of(shape, architecture="restoring_1d"), Start(torch.zeros(shape)), 0)
        x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(SEED))
        torch.testing.assert_close(network.eval()(x), x, atol=1e-6, rtol=0)


def test_a_code_is_the_row_and_a_map_at_each_scale():
    spec = spec_of((21, 30, 3))
    network = with_random_weights(spec)
    x = torch.rand(2, 21, 30, 3, generator=torch.Generator().manual_seed(SEED))
    code = network.encoder(x)
    assert scales(spec) == [(12, 16), (6, 8), (3, 4)]
    assert code.shape == (2, spec.code_width) == (2, 21 * 30 * 3 + 5 * (192 + 48 + 12))
    centred = (x - network.encoder.body.centre.mean).flatten(1)
    torch.testing.assert_close(code[:, : 21 * 30 * 3], centred)
    # The maps are read: without one of them, something else is restored.
    restored, start = network.decoder(code), 21 * 30 * 3
    for places in (192, 48, 12):
        changed = code.clone()
        changed[:, start : start + 5 * places] = 0
        assert not torch.allclose(network.decoder(changed), restored)
        start += 5 * places
    assert start == spec.code_width


def test_the_finest_map_of_a_signal_is_what_plain_convolutions_compute():
    signal = spec_of((40, 2), architecture="restoring_1d")
    network = with_random_weights(signal)
    x = torch.rand(2, 40, 2, generator=torch.Generator().manual_seed(SEED))
    encoder = network.encoder.body[2]
    y = x.movedim(2, 1) - network.encoder.body.centre.mean[:, None]
    folded = torch.stack([y[:, :, 0::2], y[:, :, 1::2]], dim=2).flatten(1, 2)

    def same(y, layer):
        around = functional.pad(y, (1, 1), mode="replicate")
        return functional.conv1d(around, layer.weight, layer.bias)

    expected = same(folded, encoder.first)
    for block in encoder.blocks[0]:
        expected = expected + same(functional.relu(same(expected, block.first)), block.second)
    expected = functional.conv1d(expected, encoder.to_map[0].weight, encoder.to_map[0].bias)
    code = network.encoder(x)
    finest = code[:, 80 : 80 + 5 * 20].view(2, 20, 5).movedim(2, 1)
    torch.testing.assert_close(finest, expected)


@pytest.mark.parametrize(("kind", "shape"), [("restoring", (48, 40)), ("restoring_1d", (48, 2))])
def test_maps_of_constant_rows_are_constant(kind, shape):
    """Nothing tells the network where the borders are, on which the middle would come to rely."""
    spec = spec_of(shape, architecture=kind)
    code = with_random_weights(spec).encoder(torch.full((1, *shape), 0.7))
    maps = code[0, np.prod(shape) :].view(-1, spec.n_components)
    first = 0
    for extent in scales(spec):
        one = maps[first : first + np.prod(extent)]
        torch.testing.assert_close(one, one[:1].expand_as(one))
        first += len(one)
    assert first == len(maps)


def test_weights_restore_pictures_of_any_extent_alike_but_for_their_edges():
    spec = spec_of((32, 32))
    network = with_random_weights(spec)
    x = torch.rand(1, 128, 136, generator=torch.Generator().manual_seed(SEED))
    larger = spec.at((128, 136))
    whole = decoder_at(network.decoder, larger)(network.encoder(x))
    part = x[:, 16:128, 24:136]  # on the grid of the coarsest scale
    other = decoder_at(network.decoder, spec.at((112, 112)))(network.encoder(part))
    torch.testing.assert_close(other[0, 48:64, 48:64], whole[0, 64:80, 72:88])


def test_auto_takes_it_for_denoising_of_pictures_of_16_pixels_and_more():
    X = pictures(40, 20, 24, 3)
    model = DenoisingAutoencoder(max_epochs=1, random_state=SEED).fit(X)
    assert model.spec_.architecture == "restoring"
    assert model.choices_["n_components"].value == 32
    assert model.transform(X[:2]).shape == (2, model.spec_.code_width)
    for other in (
        DenoisingAutoencoder(8, max_epochs=1, random_state=SEED),
        DenoisingAutoencoder(corruption="rotation", max_epochs=1, random_state=SEED),
        DenoisingAutoencoder(hidden_layer_sizes=(9,), max_epochs=1, random_state=SEED),
    ):
        assert "restoring" not in other.fit(X).spec_.architecture
    small = DenoisingAutoencoder(max_epochs=1, random_state=SEED).fit(X[:, :8, :8])
    assert small.transform(X[:2, :8, :8]).shape == (2, 32)


@pytest.mark.parametrize(
    ("kind", "white"), [(np.uint16, 65535), (np.float32, 255), (np.float32, 1)]
)
def test_pictures_in_other_units_are_damaged_and_learned_from_alike(kind, white):
    X = pictures(40, 20, 24)
    model = DenoisingAutoencoder(
        architecture="restoring", hidden_layer_sizes=(8,), max_epochs=2, random_state=SEED
    )
    expected = model.fit(X).denoise(X[:3])
    of_other = model.fit((X * (white / 255)).astype(kind)).denoise(
        (X[:3] * (white / 255)).astype(kind)
    )
    np.testing.assert_allclose(of_other * (255 / white), expected, atol=0.05)


def test_noise_is_in_deviations_where_white_is_unknown():
    """A range up to 1 goes with pictures that are scaled by their standard deviation."""
    model = DenoisingAutoencoder(
        architecture="restoring", hidden_layer_sizes=(8,), max_epochs=1, random_state=SEED
    )
    X = 1000 + 300 * np.random.default_rng(SEED).normal(size=(40, 16, 16))
    for values in (X, X.clip(0, 4000).astype(np.uint16)):
        assert model.fit(values).choices_["corruption_level"].value == (0.0, 1.0)
    assert model.fit((X / 8).clip(0, 255)).choices_["corruption_level"].value == (0.0, 0.2)


def test_noise_is_undone_in_pictures_of_any_size_and_depth(tmp_path):
    X = pictures(150, 32, 32)
    model = DenoisingAutoencoder(
        hidden_layer_sizes=(8, 16),
        architecture="restoring",
        corruption_level=0.1,
        max_epochs=10,
        batch_size=8,
        learning_rate=0.005,
        random_state=SEED,
    ).fit(X)
    clean = pictures(3, 45, 70)
    noise = np.random.default_rng(SEED).normal(0, 25.5, clean.shape)
    restored = model.denoise(clean + noise)
    assert restored.shape == clean.shape
    error = float(((restored - clean) ** 2).mean())
    assert error < 0.15 * float((noise**2).mean())
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.denoise(clean + noise), restored)
    encoder, decoder = again.split()
    codes = encoder.transform(clean + noise)
    np.testing.assert_allclose(decoder.inverse_transform(codes, (45, 70)), restored, atol=1e-3)


def test_pictures_of_any_size_and_range_are_restored_by_default():
    """Values beyond 0 to 255 are scaled alike at all places, as those of noisy pictures are."""
    noisy = pictures(30, 32, 32) + np.random.default_rng(SEED).normal(0, 60, (30, 32, 32))
    model = DenoisingAutoencoder(max_epochs=1, random_state=SEED).fit(noisy)
    assert model.scaling_.shift.shape == model.scaling_.scale.shape == ()
    assert model.denoise(noisy[:1, :20, :27]).shape == (1, 20, 27)


def test_what_cannot_be_restored_is_refused_in_one_line():
    X = pictures(40, 16, 16)
    wrong = [
        (Autoencoder(architecture="restoring"), "without damage"),
        (VariationalAutoencoder(architecture="restoring"), "density"),
        (DenoisingAutoencoder(architecture="restoring", hidden_layer_sizes=()), "no scale"),
        (DenoisingAutoencoder(architecture="restoring", output="sigmoid"), "output='sigmoid'"),
    ]
    for model, words in wrong:
        with pytest.raises(NarrowsError, match=words) as caught:
            model.set_params(max_epochs=1, random_state=SEED).fit(X)
        assert len(str(caught.value)) <= 500
        assert "\n" not in str(caught.value)
    with pytest.raises(ParameterError, match="without damage"):
        DenoisingAutoencoder(architecture="restoring", corruption=None, max_epochs=1).fit(X)
    # Pairs of damaged and clean rows have damage of their own.
    noisy = X + np.random.default_rng(SEED).normal(0, 20, X.shape)
    DenoisingAutoencoder(
        architecture="restoring", corruption=None, max_epochs=1, random_state=SEED
    ).fit(noisy, X.astype(float))


@pytest.mark.parametrize("shape", [(64, 64, 3), (40, 33)])
def test_memory_is_counted_as_autograd_keeps_it(shape):
    spec = spec_of(shape, widths=(16, 24, 32))
    network, kept = with_random_weights(spec).train(), 0
    weights = {weight.data_ptr() for weight in network.parameters()}

    def keep(tensor):
        nonlocal kept
        kept += 0 if tensor.data_ptr() in weights else tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.rand(2, *shape, generator=torch.Generator().manual_seed(SEED)))
    assert spec.definition.numbers_a_row(spec) == pytest.approx(kept / 2, rel=0.1)


def test_a_spec_names_its_maps():
    spec = spec_of((64, 64))
    assert spec.is_map
    assert replace(spec, sample_shape=(9, 9)).code_width == 81 + 5 * (64 + 16 + 4)


def test_a_signal_half_as_loud_is_restored_half_as_loud():
    """Without biases the network is homogeneous about the mean, and pictures keep their biases."""
    spec = replace(spec_of((64, 2), architecture="restoring_1d"), output="identity")
    network = with_random_weights(spec)
    x = torch.randn(3, 64, 2, generator=torch.Generator().manual_seed(SEED))
    mean = network.encoder.body.centre.mean.expand(1, 64, 2)
    silence = network(mean)
    assert not torch.allclose(network(x), x, atol=0.1)
    for factor in (0.01, 0.5, 30):
        quiet = network(mean + factor * (x - mean)) - silence
        torch.testing.assert_close(quiet / factor, network(x) - silence, rtol=1e-3, atol=1e-3)
    names = [name for name, _ in with_random_weights(spec_of((16, 16))).named_parameters()]
    assert any(name.endswith("bias") for name in names)


def test_levels_of_damage_to_signals_reach_0_db_by_default():
    wave = np.sin(np.arange(9000) / 9) * np.sin(np.arange(9000) / 200)
    found = {}
    for name, signal in (("wave", wave), ("in g", 0.01 * wave), ("unit", (wave + 1) / 2)):
        model = DenoisingAutoencoder(
            corruption=["gaussian", "correlated", "masking"], max_epochs=1, random_state=SEED
        )
        model.fit(Windows(signal, 512))
        found[name] = model.choices_["corruption_level"].value
        assert model.choices_["batch_size"].value == 16  # 8 192 samples a step
    assert found["wave"] == found["in g"] == ((0.0, 1.0), (0.0, 1.0), (0.0, 0.6))
    assert found["unit"] == ((0.0, 0.2), (0.0, 0.2), (0.0, 0.6))


def test_levels_of_damage_are_ranges_by_default():
    X = pictures(40, 16, 16)
    model = DenoisingAutoencoder(max_epochs=1, random_state=SEED).fit(X)
    assert model.choices_["corruption_level"].value == (0.0, 0.2)
    both = DenoisingAutoencoder(corruption=["jpeg", "gaussian"], max_epochs=1, random_state=SEED)
    both.set_params(corruption_level=["auto", 0.3])
    assert both.fit(X).choices_["architecture"].value == "restoring"


def test_a_few_pictures_are_learned_from_for_a_bounded_time():
    """With 4 000 steps in view, twenty pictures would be seen 4 000 times each."""
    model = DenoisingAutoencoder(
        2, architecture="restoring", hidden_layer_sizes=(2,), random_state=SEED
    ).fit(pictures(20, 16, 16))
    assert model.choices_["max_epochs"].value == 300
    assert model.choices_["batch_size"].value == 20


def test_more_scales_than_tiles_can_hold_are_refused():
    X = pictures(8, 64, 64)
    model = DenoisingAutoencoder(
        architecture="restoring", hidden_layer_sizes=(4,) * 6, max_epochs=1, random_state=SEED
    )
    with pytest.raises(ParameterError, match="a place for 64 pixels"):
        model.fit(X)
    model.set_params(hidden_layer_sizes=(4,) * 5).fit(X)
