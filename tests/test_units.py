"""Pictures in units that a denoising model did not learn from, which are warned of."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from cli_kit import Run
from PIL import Image

from narrows import DenoisingAutoencoder, builtin
from narrows.errors import NarrowsWarning

SEED = 11
Y, X = np.mgrid[:40, :48]
CLEAN = 128 + 90 * np.sin(X / 7) * np.cos(Y / 9)
NOISY = np.clip(CLEAN + np.random.default_rng(SEED).normal(0, 20, CLEAN.shape), 0, 255)


def restored(model, values, *kinds):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = model.denoise(values[None])[0]
    assert [one.message.kind for one in caught] == list(kinds)
    return made, [str(one.message) for one in caught]


@pytest.mark.parametrize(
    ("made", "remedy"),
    [
        (lambda x: np.rint(x * 257).astype(np.uint16), "X / 257"),
        (lambda x: x / 255, "X * 255"),
        (lambda x: (x / 255).astype(np.float32), "X * 255"),
        (lambda x: x * 257, "X / 257"),
        (lambda x: (x * 1000).astype(np.int32), "X / 257"),
    ],
)
def test_other_units_are_said_and_the_remedy_restores(made, remedy):
    model = builtin.denoiser(1)
    given = made(NOISY)
    _, (line,) = restored(model, given, "other_units")
    assert f"give {remedy}, if" in line
    if given.dtype == np.int32:  # no shades, so that nobody can tell its white
        return
    factor = 1 / 257 if remedy == "X / 257" else 255
    brought, _ = restored(model, given * factor)
    assert np.square(brought - CLEAN).mean() < np.square(NOISY - CLEAN).mean() / 4


@pytest.mark.parametrize(
    "given",
    [
        NOISY,
        NOISY.astype(np.float32),
        np.rint(NOISY).astype(np.uint8),
        np.rint(NOISY).astype(np.uint16),  # shades of 8 bits in a wider type
        CLEAN + np.random.default_rng(SEED).normal(0, 255, CLEAN.shape),
        np.zeros(CLEAN.shape),
        (NOISY / 200).astype(np.uint8),  # dark, in the model's own type
        np.where(NOISY > 235, NOISY, 1.0),  # a dark sky with stars
    ],
)
def test_the_models_own_units_are_not_warned_of(given):
    restored(builtin.denoiser(1), given)


def test_models_of_other_units_say_theirs():
    rows = np.stack([np.roll(CLEAN, n, axis=1) for n in range(12)])
    model = DenoisingAutoencoder(4, max_epochs=1, random_state=SEED, architecture="dense")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NarrowsWarning)
        model.fit(rows / 255)
        deep = DenoisingAutoencoder(4, max_epochs=1, random_state=SEED, architecture="dense").fit(
            np.rint(rows * 257).astype(np.uint16)
        )
        measured = DenoisingAutoencoder(4, max_epochs=1, random_state=SEED, architecture="dense")
        measured.fit(rows * 12 - 500)
    assert "X / 255" in restored(model, NOISY, "other_units")[1][0]
    assert "X / 65535" in restored(model, NOISY * 257, "other_units")[1][0]
    restored(model, NOISY / 255)
    assert "X * 65535" in restored(deep, NOISY / 255, "other_units")[1][0]
    assert "units that it learned from" in restored(measured, NOISY / 255, "other_units")[1][0]


def test_the_command_says_it_of_arrays_once_and_not_of_files(run: Run, tmp_path: Path):
    model = builtin.denoiser(1).save(tmp_path / "model")
    np.save(tmp_path / "rows.npy", np.stack([NOISY / 255] * 3))
    done = run("denoise", model, "rows.npy", "-o", "made.npy", "--json")
    assert done.code == 0, done.err
    kinds = [one["kind"] for one in json.loads(done.out)["warnings"]]
    assert kinds.count("other_units") == 1
    Image.fromarray((NOISY / 120).astype(np.uint8)).save(tmp_path / "dark.png")
    done = run("denoise", model, "dark.png", "-o", "made.png", "--json")
    assert done.code == 0, done.err
    assert "other_units" not in {one["kind"] for one in json.loads(done.out)["warnings"]}
