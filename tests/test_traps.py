"""What Python lets one write, and what would be wrong in silence: pairs, containers, pictures."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import sparse
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from narrows import (
    MODELS,
    Autoencoder,
    DenoisingAutoencoder,
    EncoderClassifier,
    StackedAutoencoder,
)
from narrows.data import files
from narrows.data.lazy_rows import ComputedRows
from narrows.errors import DataError
from narrows.evaluation import compare_depths, compare_models

pytestmark = pytest.mark.cases

SEED = 20260602
RNG = np.random.default_rng(SEED)
CLEAN = RNG.random((60, 4, 3))
NOISY = CLEAN + 0.1 * RNG.normal(size=CLEAN.shape)
FLAT = NOISY.reshape(60, -1)
FEW: dict[str, Any] = {"max_epochs": 2, "random_state": SEED}


# Rows given as ``y``.

PAIRS: dict[str, tuple[Any, Any]] = {
    "pictures": (NOISY, CLEAN),
    "tables": (FLAT, CLEAN.reshape(60, -1)),
    "one of each": (NOISY, CLEAN.reshape(60, -1)),
    "the other way round": (FLAT, CLEAN),
    "other pictures": (NOISY, CLEAN[:, :2]),
    "of other rows": (NOISY, CLEAN[:30]),
    "tensors": (torch.from_numpy(NOISY), torch.from_numpy(CLEAN)),
    "frames": (pd.DataFrame(FLAT), pd.DataFrame(CLEAN.reshape(60, -1))),
    "lists": (FLAT.tolist(), CLEAN.reshape(60, -1).tolist()),
    "lazy rows": (FLAT, ComputedRows(FLAT, lambda rows: rows / 2, (12,), np.float64)),
    "a path": (FLAT, "clean.npy"),
    "a file": (FLAT, Path("clean.npy")),
    "a loader": (FLAT, DataLoader(TensorDataset(torch.from_numpy(FLAT)), 8)),
    "a data set": (FLAT, TensorDataset(torch.from_numpy(FLAT))),
    "an iterator": (FLAT, iter(FLAT)),
    "Pillow's": (NOISY, [Image.fromarray(np.uint8(255 * picture)) for picture in CLEAN]),
}
ALONE = [name for name in MODELS if name != "denoising"]


@pytest.mark.filterwarnings("ignore:none of the")
@pytest.mark.parametrize("name", ALONE)
def test_models_that_learn_from_rows_alone_refuse_pairs(name: str) -> None:
    fitted = MODELS[name](3, **FEW).fit(NOISY)
    before = fitted.fingerprint_
    for X, y in PAIRS.values():
        for learn in ("fit", "partial_fit", "fit_transform"):
            model = MODELS[name](3, **FEW)
            with pytest.raises(DataError, match=r"DenoisingAutoencoder\(\).fit\(noisy, clean\)"):
                getattr(model, learn)(X, y)
            assert not hasattr(model, "encoder_")
        with pytest.raises(DataError, match="DenoisingAutoencoder") as caught:
            fitted.score(X, y)
        assert len(str(caught.value)) <= 500
        with pytest.raises(DataError, match="DenoisingAutoencoder"):
            fitted.partial_fit(X, y)
    assert fitted.fingerprint_ == before


def test_a_single_layer_refuses_pairs_too() -> None:
    with pytest.raises(DataError, match="DenoisingAutoencoder"):
        StackedAutoencoder(3, **FEW).partial_fit(FLAT, FLAT + 1, layer=1)


LABELS: dict[str, Any] = {
    "numbers": np.arange(60) % 3,
    "a column": (np.arange(60) % 3)[:, None],
    "text": np.array(["a", "b"] * 30),
    "a list": [0, 1] * 30,
    "a series": pd.Series([0, 1] * 30),
    "a frame": pd.DataFrame({"label": [0, 1] * 30}),
    "several": RNG.integers(0, 2, (60, 5)),
    "none": None,
    "a tensor": torch.arange(60),
}


@pytest.mark.filterwarnings("ignore:none of the")
@pytest.mark.parametrize("name", MODELS)
def test_labels_change_nothing(name: str) -> None:
    truth = MODELS[name](3, **FEW).fit(FLAT)
    score = truth.score(FLAT)
    for kind, y in LABELS.items():
        if name == "denoising" and kind == "several":
            continue  # clean rows of another shape
        assert MODELS[name](3, **FEW).fit(FLAT, y).fingerprint_ == truth.fingerprint_
        assert truth.score(FLAT, y) == score
        MODELS[name](3, **FEW).partial_fit(FLAT, y)


def test_labels_go_through_pipelines() -> None:
    several = LABELS["several"]
    forest = RandomForestClassifier(3, random_state=SEED)
    piped = make_pipeline(Autoencoder(3, **FEW), forest).fit(FLAT, several)
    assert piped.predict(FLAT).shape == (60, 5)
    one = FLAT[:, :1]  # one column, and labels of one column
    Autoencoder(1, **FEW).fit(one, LABELS["a column"]).score(one, LABELS["a column"])


def test_denoising_is_scored_against_the_clean_rows() -> None:
    model = DenoisingAutoencoder(4, corruption=None, **FEW).fit(NOISY, CLEAN)
    truth = -((model.denoise(NOISY) - CLEAN) ** 2).mean()
    assert model.score(NOISY, CLEAN) == pytest.approx(truth, rel=1e-6)
    assert model.score(FLAT, CLEAN) == pytest.approx(truth, rel=1e-6)
    assert model.score(NOISY) != pytest.approx(truth, rel=1e-3)
    with pytest.raises(DataError, match="clean row for each"):
        model.score(NOISY, CLEAN[:7])
    search = GridSearchCV(model, {"n_components": [1, 4]}, cv=2).fit(NOISY, CLEAN)
    halves = np.arange(30), np.arange(30, 60)
    for number, (test, train) in enumerate((halves, halves[::-1])):
        again = DenoisingAutoencoder(4, corruption=None, **FEW).fit(NOISY[train], CLEAN[train])
        error = ((again.denoise(NOISY[test]) - CLEAN[test]) ** 2).mean()
        found = search.cv_results_[f"split{number}_test_score"][1]
        assert found == pytest.approx(-error, rel=1e-5)


# Containers.

X = torch.rand(20, 6, generator=torch.Generator().manual_seed(SEED))


class Numbered(Dataset[torch.Tensor]):
    """Rows by number."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> torch.Tensor:
        return X[index]


class Flowing(IterableDataset[torch.Tensor]):
    """Rows one after another."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(X)


class FlowingPairs(IterableDataset[Any]):
    """Rows and labels one after another."""

    def __iter__(self) -> Iterator[Any]:
        return zip(X, range(20), strict=True)


class Columns:
    """Has what a data set of Hugging Face's has."""

    column_names = ("image", "label")
    shape = (20, 2)

    def with_format(self, kind: str) -> "Columns":
        assert kind == "numpy"
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({"image": row.numpy(), "label": 0} for row in X)


class Tensors:
    """Has what a data set of TensorFlow's has."""

    def as_numpy_iterator(self) -> Iterator[Any]:
        return iter(X.numpy())


# What is given, and the expression that the message says: it is tried.
CONTAINERS: dict[str, tuple[Callable[[], Any], str]] = {
    "loader": (lambda: DataLoader(TensorDataset(X), 8), "loader.dataset.tensors[0]"),
    "loader of pairs": (
        lambda: DataLoader(TensorDataset(X, torch.arange(20)), 8),
        "loader.dataset.tensors[0]",
    ),
    "loader of rows": (
        lambda: DataLoader(Subset(TensorDataset(X), range(20)), 8),
        "np.stack([loader.dataset[i][0] for i in range(len(loader.dataset))])",
    ),
    "tensors": (lambda: TensorDataset(X), "dataset.tensors[0]"),
    "part": (
        lambda: Subset(TensorDataset(X), range(20)),
        "np.stack([dataset[i][0] for i in range(len(dataset))])",
    ),
    "flowing pairs": (
        FlowingPairs,
        "np.stack([item[0] for item in dataset])",
    ),
    "columns": (Columns, """np.stack([row['image'] for row in X.with_format("numpy")])"""),
    "tensorflow": (Tensors, "np.stack(list(dataset.as_numpy_iterator()))"),
    "generator": (lambda: (row for row in X), "np.stack(list(X))"),
    "iterator": (lambda: iter(X), "np.stack(list(X))"),
    "map": (lambda: map(np.asarray, X), "np.stack(list(X))"),
    "batch": (lambda: [X, torch.arange(20)], "X[0]"),
    "arrays": (lambda: (X.numpy(), np.arange(20)), "X[0]"),
    "records": (lambda: [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 5.0}] * 2, "pandas.DataFrame(X)"),
    "mapping": (lambda: {"train": X, "test": X[:3]}, "X['train']"),
    "csr": (lambda: sparse.csr_matrix(X.numpy()), ".toarray()"),
    "csr array": (lambda: sparse.csr_array(X.numpy()), ".toarray()"),
    "sparse tensor": (X.to_sparse, "X.to_dense()"),
}
FITTED = Autoencoder(3, **FEW).fit(X)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers_are_refused_by_what_to_give_instead(kind: str) -> None:
    make, instead = CONTAINERS[kind]
    ways: dict[str, Callable[[Any], Any]] = {
        "fit": lambda given: Autoencoder(3, **FEW).fit(given),
        "partial_fit": lambda given: Autoencoder(3, **FEW).partial_fit(given),
        "noisy": lambda given: DenoisingAutoencoder(3, **FEW).fit(given, X),
        "clean": lambda given: DenoisingAutoencoder(3, **FEW).fit(X, given),
        "classifier": lambda given: EncoderClassifier(**FEW).fit(given, np.arange(20) % 2),
        "transform": FITTED.transform,
        "half": FITTED.split()[0].transform,
    }
    for way, use in ways.items():
        given = make()
        if way == "clean" and kind in ("mapping", "csr", "csr array"):
            continue
        with pytest.raises(DataError) as caught:
            use(given)
        message = str(caught.value)
        assert instead in message, way
        assert "\n" not in message
        assert len(message) <= 500
    given = make()
    names = {"loader": given, "dataset": given, "X": given, "np": np, "pandas": pd}
    expression = f"X{instead}" if instead.startswith(".") else instead
    rows = eval(expression, names)  # noqa: S307  # what the message says
    Autoencoder(2, **FEW).fit(rows)
    if kind != "records":
        np.testing.assert_array_equal(np.asarray(rows), X)


@pytest.mark.parametrize("data", [Numbered, Flowing])
def test_items_that_are_rows_alone(data: type) -> None:
    with pytest.raises(DataError, match=r"without \[0\] where each item is a row alone"):
        Autoencoder(3, **FEW).fit(data())


def test_a_data_set_is_not_gone_through() -> None:
    class Costly(Numbered):
        def __getitem__(self, index: int) -> torch.Tensor:
            pytest.fail("it was looked at")

    for use in (Autoencoder(3, **FEW).fit, FITTED.transform):
        for given in (Costly(), DataLoader(Costly(), 8)):
            with pytest.raises(DataError, match="was given, and rows are taken as one array"):
                use(given)


@pytest.mark.parametrize("compare", [compare_depths, compare_models])
def test_comparisons_refuse_them_too(compare: Callable[[Any], Any]) -> None:
    for given in (DataLoader(TensorDataset(X), 8), TensorDataset(X)):
        with pytest.raises(DataError, match=r"give the tensor that it was made of: .*tensors\[0\]"):
            compare(given)


@pytest.mark.parametrize("given", [None, 3.0, object(), b"abc", np.mean])
def test_what_holds_no_rows_is_said(given: Any) -> None:
    with pytest.raises(DataError, match="which holds no rows; give an array"):
        Autoencoder(3, **FEW).fit(given)


def test_tensors_are_taken_wherever_they_are() -> None:
    truth = Autoencoder(3, **FEW).fit(X.numpy()).fingerprint_
    given = X.clone().requires_grad_()
    for rows in (given, given * 1, list(given), [row.detach() for row in given]):
        assert Autoencoder(3, **FEW).fit(rows).fingerprint_ == truth
    assert given.grad is None


# Pictures that Pillow holds.


def pictures(mode: str = "RGB", size: tuple[int, int] = (7, 5), count: int = 6) -> list[Any]:
    pixels = np.random.default_rng(SEED).integers(0, 256, (count, size[1], size[0], 3), np.uint8)
    return [Image.fromarray(picture).convert(mode) for picture in pixels]


def test_pictures_that_pillow_holds_are_those_in_files(tmp_path: Path) -> None:
    for mode, shape in (("RGB", (5, 7, 3)), ("L", (5, 7))):
        given = pictures(mode)
        folder = tmp_path / mode
        folder.mkdir()
        for number, picture in enumerate(given):
            picture.save(folder / f"{number}.png")
        model = Autoencoder(3, **FEW).fit(given)
        assert model.sample_shape_ == shape
        rows = files.read(folder, image_size=(5, 7)).for_model()
        assert model.fingerprint_ == Autoencoder(3, **FEW).fit(rows).fingerprint_
        np.testing.assert_array_equal(model.transform(given), model.transform(rows))


def test_pictures_stand_upright() -> None:
    turned = pictures()
    for picture in turned:
        picture.getexif()[0x0112] = 6
    model = Autoencoder(3, **FEW).fit(turned)
    assert model.sample_shape_ == (7, 5, 3)
    pixels = np.stack([np.rot90(np.asarray(picture), -1) for picture in turned])
    assert model.fingerprint_ == Autoencoder(3, **FEW).fit(pixels).fingerprint_


def test_sixteen_bits_stay_what_they_are() -> None:
    values = RNG.integers(0, 65536, (9, 5, 7), dtype=np.uint16)
    model = Autoencoder(3, **FEW).fit([Image.fromarray(picture) for picture in values])
    assert model.fingerprint_ == Autoencoder(3, **FEW).fit(values).fingerprint_


PICTURES: dict[str, tuple[Any, str]] = {
    "one": (pictures()[0], r"an Image was given, .* a list of pictures, \[X\]"),
    "palette": (pictures("P"), "of the mode P .*convert"),
    "transparent": (pictures("RGBA"), "of the mode RGBA .*convert"),
    "print": (pictures("CMYK"), "of the mode CMYK .*convert"),
    "colour and grey": (pictures() + pictures("L"), "of the modes RGB, L .*convert"),
    "two sizes": (pictures() + pictures(size=(8, 8)), r"2 sizes .* 7 x 5 and 8 x 8.*resize"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_that_cannot_be_rows_are_refused(kind: str) -> None:
    given, words = PICTURES[kind]
    with pytest.raises(DataError, match=words) as caught:
        Autoencoder(3, **FEW).fit(given)
    assert "\n" not in str(caught.value)
