"""Convolutional networks: exact sizes, transposes, codes that are maps, and what they refuse."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter1d
from torch import nn
from torch.autograd.functional import jacobian as naive_jacobian

from narrows import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
    load,
    networks,
    signals,
)
from narrows.data.files import read, write
from narrows.errors import DataError, ParameterError

SEED = 20251125
KINDS = [
    ("convolutional", (33,)),
    ("convolutional", (9, 7)),
    ("convolutional", (8, 11, 3)),
    ("convolutional_1d", (33,)),
    ("convolutional_1d", (30, 2)),
    ("fully_convolutional", (33,)),
    ("fully_convolutional", (9, 7)),
    ("fully_convolutional", (8, 11, 3)),
]


def blobs(n, *shape):
    """Bright spots at random places: pictures or signals of uint8."""
    generator = np.random.default_rng(SEED)
    n_axes = min(2, len(shape)) if shape[-1] > 3 or len(shape) == 1 else len(shape) - 1
    axes = np.meshgrid(*(np.linspace(0, 1, size) for size in shape[:n_axes]), indexing="ij")
    places = generator.random((n, n_axes))
    distance = sum((axis - places[:, i, *[None] * n_axes]) ** 2 for i, axis in enumerate(axes))
    spots = np.exp(-20 * distance)
    if len(shape) > n_axes:
        spots = spots[..., None] * generator.random((n, *[1] * n_axes, shape[-1]))
    return (255 * spots).astype(np.uint8)


def small(architecture, **parameters):
    given = {"hidden_layer_sizes": (4, 6), "max_epochs": 2, "random_state": SEED, **parameters}
    return Autoencoder(3, architecture=architecture, **given)


def spec(architecture, shape, **fields):
    given = {
        "n_components": 3, "hidden_layer_sizes": (4, 6), "activation": "identity",
        "code_activation": "identity", "output": "identity", "tied_weights": False,
        "kernel_size": 3, **fields,
    }  # fmt: skip
    return networks.NetworkSpec(architecture=architecture, sample_shape=shape, **given)


@pytest.mark.parametrize(("architecture", "shape"), KINDS)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_rows_come_back_at_exactly_their_size(architecture, shape, kernel_size):
    X = blobs(20, *shape)
    model = small(architecture, kernel_size=kernel_size).fit(X)
    assert model.reconstruct(X).shape == X.shape
    codes = model.transform(X)
    assert codes.shape == (20, model.spec_.code_width)
    assert np.array_equal(model.inverse_transform(codes), model.reconstruct(X))
    assert len(model.get_feature_names_out()) == codes.shape[1]


@pytest.mark.parametrize("size", range(3, 18))
def test_every_size_comes_back(size):
    X = blobs(8, size, size + 1)
    assert small("convolutional", max_epochs=1).fit(X).reconstruct(X).shape == X.shape


@pytest.mark.parametrize(("architecture", "shape"), KINDS)
def test_tied_decoders_are_the_encoders_transpose(architecture, shape):
    """<W x, h> = <x, W' h> for all x and h, where nothing but kernels is in the way."""
    built = spec(architecture, shape, tied_weights=True)
    network = networks.build(built, networks.Start(torch.zeros(shape)), seed=SEED).double()
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(1, *shape, dtype=torch.float64, generator=generator)
    h = torch.randn(1, built.code_width, dtype=torch.float64, generator=generator)
    forth, back = (network.encoder(x) * h).sum(), (x * network.decoder(h)).sum()
    assert forth.item() == pytest.approx(back.item(), rel=1e-12)


def test_the_first_stage_is_a_convolution_of_stride_2():
    """Brute force, place by place, from the weights as they are stored."""
    built = spec("convolutional", (5, 6, 2), hidden_layer_sizes=(4,))
    network = networks.build(built, networks.Start(torch.rand(5, 6, 2)), seed=SEED).double()
    x = torch.rand(1, 5, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(SEED))
    centre, _, convolution, *_ = network.encoder.body
    padded = nn.functional.pad(x - centre.mean, (0, 0, 1, 1, 1, 1))[0]
    seen = network.encoder.body[:3](x)[0]
    assert seen.shape == (4, 3, 3)
    for i in range(3):
        for j in range(3):
            window = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].movedim(-1, 0)
            wanted = (convolution.weight * window).sum((1, 2, 3)) + convolution.bias
            assert torch.allclose(seen[:, i, j], wanted, rtol=1e-12)


@pytest.mark.parametrize(("architecture", "shape"), KINDS)
def test_an_untrained_network_decodes_the_mean_row(architecture, shape):
    mean = torch.rand(shape, generator=torch.Generator().manual_seed(SEED))
    for output in ("identity", "sigmoid"):
        network = networks.build(
            spec(architecture, shape, output=output), networks.Start(mean), seed=SEED
        )
        code = torch.zeros(1, network.encoder(mean[None]).shape[1])
        row = network.decoder(code)[0]
        if architecture == "fully_convolutional":
            # Over places, of what the output makes of each.
            whole = torch.logit(mean, eps=1e-3) if output == "sigmoid" else mean
            wanted = whole.reshape(-1, shape[-1] if len(shape) == 3 else 1).mean(0)
            wanted = torch.sigmoid(wanted) if output == "sigmoid" else wanted
            row = row.reshape(-1, len(wanted)).mean(0)
        else:
            wanted = mean
        assert torch.allclose(row, wanted, atol=1e-5)


@pytest.mark.parametrize("shape", [(13, 9), (13, 9, 3), (40,)])
def test_maps_take_rows_of_any_size(shape):
    X = blobs(30, *shape)
    model = small("fully_convolutional").fit(X)
    larger = blobs(5, *(n if n == 3 else 2 * n + 1 for n in shape))
    assert model.reconstruct(larger).shape == larger.shape
    codes = model.transform(larger)
    encoder, decoder = model.split()
    assert np.array_equal(encoder.transform(larger), codes)
    decoded = decoder.inverse_transform(codes, sample_shape=larger.shape[1:])
    assert np.array_equal(decoded, model.reconstruct(larger))
    assert model.reconstruction_error(larger).shape == (5,)


def test_codes_that_are_maps_move_with_the_picture():
    """A picture moved by the network's reduction has the same map, moved by one place."""
    X = blobs(30, 24, 24)
    model = small("fully_convolutional", activation="tanh").fit(X)
    picture = np.zeros((1, 64, 64), np.uint8)
    picture[0, 20:44, 20:44] = X[0]
    moved = np.roll(picture, (4, 8), (1, 2))
    maps = [model.transform(given).reshape(3, 16, 16) for given in (picture, moved)]
    inner = (slice(None), slice(4, 12), slice(4, 12))
    assert np.allclose(np.roll(maps[0], (1, 2), (1, 2))[inner], maps[1][inner], atol=1e-5)
    assert maps[0][inner].std() > 0.01


@pytest.mark.parametrize(("architecture", "shape"), KINDS)
@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
def test_models_and_halves_come_back_from_disk(tmp_path, architecture, shape, normalization):
    X = blobs(40, *shape)
    model = small(architecture, normalization=normalization, residual_blocks=3).fit(X)
    codes = model.transform(X)
    again = load(model.save(tmp_path / "model"))
    assert again.fingerprint_ == model.fingerprint_
    assert np.array_equal(again.transform(X), codes)
    assert np.array_equal(again.reconstruct(X), model.reconstruct(X))
    encoder, decoder = model.split()
    encoder = load(encoder.save(tmp_path / "encoder"))
    decoder = load(decoder.save(tmp_path / "decoder"))
    assert np.array_equal(encoder.transform(X), codes)
    assert np.array_equal(decoder.inverse_transform(codes), model.reconstruct(X))


def test_pictures_of_32_pixels_are_convolved_unless_widths_are_given():
    X = blobs(2000, 32, 36, 1)
    model = Autoencoder(3, max_epochs=1, random_state=SEED)
    assert model.fit(X).spec_.architecture == "convolutional"
    assert model.spec_.hidden_layer_sizes == (32, 64, 128)
    assert model.fit(X[:1999]).spec_.architecture == "pca_residual"
    denoising = DenoisingAutoencoder(3, max_epochs=1, random_state=SEED)
    assert denoising.fit(X[:12]).spec_.architecture == "convolutional"
    X = X[:40]
    assert model.fit(X[:, :31]).spec_.architecture == "pca_residual"
    model.set_params(hidden_layer_sizes=(8,))
    assert model.fit(X).spec_.architecture == "pca_residual"
    assert SparseAutoencoder(4, max_epochs=1).fit(X).spec_.architecture == "dense"


@pytest.mark.parametrize(
    "model",
    [
        DenoisingAutoencoder(4),
        ContractiveAutoencoder(4),
        VariationalAutoencoder(4),
        SparseAutoencoder(8, sparsity="l1", sparsity_weight=0.01),
        *(SparseAutoencoder(8, sparsity=kind) for kind in ("kl", "topk", "jumprelu")),
    ],
    ids=repr,
)
def test_every_model_learns_with_convolutions(model):
    X = blobs(400, 12, 13)
    model.set_params(
        architecture="convolutional", hidden_layer_sizes=(8, 8), max_epochs=30, random_state=SEED
    )
    mean_error = np.square(X / 255.0 - X.mean(axis=0) / 255.0).mean()
    assert model.fit(X).reconstruction_error(X).mean() / 255**2 < 0.5 * mean_error


def test_variational_maps_part_their_means_from_their_variances():
    X = blobs(60, 9, 10)
    model = VariationalAutoencoder(
        2, architecture="fully_convolutional", hidden_layer_sizes=(4, 4), max_epochs=2,
        random_state=SEED,
    ).fit(X)  # fmt: skip
    assert model.transform(X).shape == (60, 2 * 3 * 3)
    assert model.sample(4, random_state=SEED).shape == (4, 9, 10)
    assert np.isfinite(model.elbo(X[:3], random_state=SEED)).all()


@pytest.mark.parametrize("architecture", ["convolutional", "fully_convolutional"])
def test_jacobian_norms_of_convolutions_are_autograds(architecture):
    X = blobs(30, 8, 9)
    model = small(architecture, normalization="layer").fit(X)
    encoder = model.encoder_.double()
    x = torch.from_numpy(X[:3] / 255.0)
    truth = [naive_jacobian(encoder, row[None]).norm().item() for row in x]
    encoder.float()
    assert np.allclose(model.jacobian_norm(X[:3]), truth, rtol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "shape", "words"),
    [
        ({"hidden_layer_sizes": (4,) * 5}, (9, 16), r"5 times; they can be halved 4 times"),
        ({"hidden_layer_sizes": (4,) * 6}, (33, 1, 3), r"6 times; they can be halved 0 times"),
        ({"kernel_size": 4}, (9, 9), "kernel_size=4 is not allowed; give an odd number"),
        ({"kernel_size": 35}, (9, 16), "kernel_size=35 is not allowed.* of at most 31, beyond"),
        ({"kernel_size": 10**6 + 1}, (9, 9), "of at most 17, beyond"),
        ({"kernel_size": 0}, (9, 9), "kernel_size=0 is not allowed"),
        ({"architecture": "dense", "kernel_size": 3}, (9, 9), "does not go with"),
        ({"architecture": "convolutional_1d"}, (9, 9, 3), "takes signals"),
        ({"hidden_layer_sizes": (10**7, 10**7)}, (9, 9), "GB of memory"),
        ({"hidden_layer_sizes": (10**8,)}, (9, 9), "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (10**6,)}, (128, 128), r"on 10 rows at a time.*smaller batch_size"),
        ({"residual_blocks": -1}, (9, 9), "residual_blocks=-1"),
        ({"residual_blocks": 2, "hidden_layer_sizes": ()}, (9, 9), "needs a hidden layer"),
        ({"residual_blocks": 2, "tied_weights": True}, (9, 9), "tied_weights=True does not go"),
        ({"normalization": "group"}, (9, 9), "normalization='group' is not known"),
    ],
)
def test_what_cannot_be_built_is_said(parameters, shape, words):
    model = Autoencoder(3, **{"architecture": "convolutional", **parameters})
    with pytest.raises(ParameterError, match=words):
        model.fit(blobs(10, *shape))


def test_codes_of_maps_can_be_held_near_a_target():
    X = blobs(20, 9, 11)
    model = SparseAutoencoder(
        3, architecture="fully_convolutional", hidden_layer_sizes=(4,), max_epochs=1,
        sparsity_target=0.1, random_state=0,
    ).fit(X)  # fmt: skip
    assert model.transform(X).shape == (20, 3 * 5 * 6)
    # Sigmoids start at the target, not at 1/2.
    assert abs(model.mean_activation_.mean() - 0.1) < 0.05


def test_sparse_maps_are_refused():
    model = SparseAutoencoder(
        3, sparsity="topk", architecture="fully_convolutional", hidden_layer_sizes=(4,)
    )
    with pytest.raises(ParameterError, match="does not go with sparse codes"):
        model.fit(blobs(10, 9, 9))


def test_sizes_that_cannot_be_used_are_said():
    X = blobs(10, 12, 12, 3)
    model = small("fully_convolutional").fit(X)
    with pytest.raises(DataError, match=r"\(2, 12, 3\) were given, and \(at least 3, at least 3"):
        model.transform(blobs(4, 2, 12, 3))
    for shape in ((12, 12, 1), (20, 12)):
        with pytest.raises(DataError, match=r"least 3, 3\) is allowed; give them the channels"):
            model.transform(blobs(4, *shape))
    with pytest.raises(DataError, match=r"least 3\) is allowed; give them the channels"):
        small("fully_convolutional").fit(X[..., 0]).transform(X)
    with pytest.raises(DataError, match=r"decoder of 27 numbers.*or the size of the pictures"):
        model.inverse_transform(np.zeros((4, 75)))
    with pytest.raises(
        DataError, match="only models with architecture='restoring' or 'fully_convolutional'"
    ):
        small("convolutional").fit(X).inverse_transform(np.zeros((1, 3)), sample_shape=(9, 9, 3))


@pytest.mark.parametrize("channels", [(), (2,)])
def test_signals_are_denoised_by_convolutions_over_time(channels):
    """Better than the best that a fixed filter, the mean over 3 to 31 samples, can do."""
    generator = np.random.default_rng(SEED)
    time = np.arange(6000)
    waves = [np.sin(time / 9 + 3 * np.sin(time / 200)), np.sign(np.sin(time / 25))]
    clean = np.stack(waves, axis=1) if channels else waves[1]
    noisy = clean + generator.normal(0, 0.5, clean.shape)
    model = DenoisingAutoencoder(
        32, architecture="convolutional_1d", corruption="gaussian", corruption_level=0.5,
        scaling="none", hidden_layer_sizes=(32, 32), max_epochs=12, random_state=SEED,
    ).fit(signals.Windows(clean, length=128, hop=4))  # fmt: skip
    restored = signals.denoise(model, noisy, hop=32)
    filtered = max(
        signals.snr(uniform_filter1d(noisy, size, axis=0), clean) for size in range(3, 32, 2)
    )
    assert signals.snr(restored, clean) > filtered > signals.snr(noisy, clean)


def test_the_command_line_restores_pictures_of_another_size(run, tmp_path):
    write(tmp_path / "learn", blobs(20, 12, 12), names=[f"{i}.png" for i in range(20)])
    write(tmp_path / "large", blobs(2, 25, 18), names=["a.png", "b.png"])
    train = ("train", tmp_path / "learn", "-o", tmp_path / "model", "--architecture")
    options = ("--hidden-layer-sizes", "4", "--n-components", "2", "--max-epochs", "1")
    assert "maps of 2 x 6 x 6 numbers" in run(*train, "fully_convolutional", *options).out
    for verb in ("denoise", "reconstruct"):
        result = run(verb, tmp_path / "model", tmp_path / "large", "-o", tmp_path / verb)
        assert result.code == 0, result.err
        assert read(tmp_path / verb).values.shape == (2, 25, 18)
    codes = tmp_path / "codes.npz"
    result = run("encode", tmp_path / "model", tmp_path / "large", "-o", codes)
    assert "2 maps of 2 x 13 x 9 numbers" in result.out
    assert "--image-size 25x18" in result.out
    decode = ("decode", tmp_path / "model", codes, "-o", tmp_path / "decoded")
    refused = run(*decode)
    assert refused.code != 0
    assert "decoder of 72 numbers" in refused.err
    assert run(*decode, "--image-size", "25x18").code == 0
    for name in ("a.png", "b.png"):
        decoded, restored = ((tmp_path / f / name).read_bytes() for f in ("decoded", "denoise"))
        assert decoded == restored
    write(tmp_path / "large", blobs(1, 9, 9), names=["c.png"], overwrite=True)
    result = run("encode", tmp_path / "model", tmp_path / "large", "-o", tmp_path / "codes.npy")
    assert result.code != 0
    assert "a.png' has 25 x 18 pixels" in result.err
    assert "one at a time" in result.err
