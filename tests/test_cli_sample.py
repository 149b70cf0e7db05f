"""``narrows sample`` beside the Python method of the same name; all of seed 0."""

import numpy as np
import pandas as pd
import pytest
from cli_kit import Run
from PIL import Image

from narrows import Autoencoder, VariationalAutoencoder, load

SEED = 0


@pytest.fixture
def pictures():
    return np.random.default_rng(SEED).integers(0, 256, (60, 8, 8), np.uint8)


def test_pictures_are_those_of_the_python_method(run: Run, pictures) -> None:
    model = VariationalAutoencoder(3, max_epochs=2, random_state=SEED).fit(pictures)
    model.save("density")
    done = run("sample", "density", "-n", "5", "-o", "new/", "--random-state", "7", "--json")
    assert done.code == 0, done.err
    assert done.json["rows"] == 5
    assert done.json["sample_shape"] == [8, 8]
    truth = load("density").sample(5, 7)
    for number in range(5):
        with Image.open(f"new/{number}.png") as image:
            shown = np.asarray(image)
        np.testing.assert_array_equal(shown, np.rint(truth[number].clip(0, 255)))
    assert run("sample", "density", "-n", "5", "-o", "new.npy", "--random-state", "7").code == 0
    np.testing.assert_array_equal(np.load("new.npy"), np.rint(truth.clip(0, 255)))
    assert run("sample", "density", "-o", "many.npy").code == 0
    np.testing.assert_array_equal(
        np.load("many.npy"), np.rint(load("density").sample(16, 0).clip(0, 255))
    )


def test_tables_keep_their_columns(run: Run) -> None:
    rows = np.random.default_rng(SEED).normal(size=(100, 3))
    table = pd.DataFrame(rows, columns=["height", "weight", "age"])
    model = VariationalAutoencoder(2, max_epochs=2, random_state=SEED).fit(table)
    model.save("density")
    assert run("sample", "density", "-n", "4", "-o", "new.csv").code == 0
    found = pd.read_csv("new.csv")
    assert list(found) == ["height", "weight", "age"]
    np.testing.assert_allclose(found, model.sample(4, 0), rtol=1e-6)


def test_what_has_no_density_is_refused_and_nothing_is_written(
    run: Run, pictures, tmp_path
) -> None:
    Autoencoder(3, max_epochs=1, random_state=SEED).fit(pictures).save("plain")
    VariationalAutoencoder(3, max_epochs=1, random_state=SEED).fit(pictures).save("density")
    assert run("split", "density", "-o", "encoder", "decoder").code == 0
    for model, words in (
        ("plain", "is of the class Autoencoder, which learns no density"),
        ("decoder", "is only the decoder of a model; give the whole model"),
        ("encoder", "is only the encoder of a model; give the whole model"),
    ):
        refused = run("sample", model, "-o", "new.npy")
        assert refused.code == 4
        assert words in refused.err
    assert run("sample", "density", "-n", "0", "-o", "new.npy").code == 2
    assert run("sample", "density", "-o", "new.txt.gz").code in (2, 5)
    assert run("sample", "density", "-o", "plain").code == 5
    assert sorted(path.name for path in tmp_path.glob("new*")) == []
