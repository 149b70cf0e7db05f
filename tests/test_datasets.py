"""Data sets are found where they lie, and what is nowhere says which file to put where."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from narrows import datasets
from narrows.errors import DownloadError, MissingFileError, ParameterError, UnreadableFileError

STEMS = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]


def idx(values: NDArray[np.uint8]) -> bytes:
    lengths = b"".join(length.to_bytes(4, "big") for length in values.shape)
    return bytes([0, 0, 8, values.ndim]) + lengths + values.tobytes()


def mnist(folder: Path, first: int = 0, ending: str = "-ubyte.gz") -> Path:
    """Write five pictures to train and two to test; the first pixel tells folders apart."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, n in zip(STEMS, (5, 5, 2, 2), strict=True):
        if "images" in stem:
            values = np.full((n, 4, 3), first, np.uint8)
        else:
            values = np.arange(n, dtype=np.uint8)
        content = idx(values)
        if ending.endswith(".gz"):
            content = gzip.compress(content)
        (folder / (stem + ending)).write_bytes(content)
    return folder


def cifar_batch(classes: list[int], red: int = 0) -> bytes:
    rows = np.zeros((len(classes), 3073), np.uint8)
    rows[:, 0] = classes
    rows[:, 1 : 1 + 1024] = red
    rows[:, 1 + 1024] = 7  # the first green pixel
    rows[:, 1 + 2048 + 33] = 9  # blue, in the second row and column
    return rows.tobytes()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep Debian's folder and the user's cache out of the tests; gives the cache."""
    monkeypatch.setattr(datasets, "_DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "narrows"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every download fail as without a network; gives what was asked for."""
    asked = []

    def fail(url: str, **_: Any) -> str:
        asked.append(url)
        raise ConnectionError("no network\nhere")

    monkeypatch.setattr(pooch, "retrieve", fail)
    return asked


def test_digits_are_scikit_learns_stretched_and_split() -> None:
    data = datasets.load("digits")
    assert data.X_train.dtype == data.X_test.dtype == np.uint8
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    assert [len(part) for part in data] == [1437, 1437, 360, 360]
    assert np.bincount(data.y_test).min() >= 34  # each class has its share
    images, classes = load_digits(return_X_y=True)
    whole = np.rint(images * 255 / 16).astype(np.uint8)
    ours = np.concatenate([data.X_train, data.X_test]).reshape(1797, 64)
    both = [
        sorted(map(tuple, np.column_stack([X, y]).tolist()))
        for X, y in ((ours, np.concatenate([data.y_train, data.y_test])), (whole, classes))
    ]
    assert both[0] == both[1]
    again = datasets.load("digits", folder=None)
    np.testing.assert_array_equal(again.X_test, data.X_test)


@pytest.mark.parametrize("ending", ["-ubyte.gz", "-ubyte"])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_are_read(tmp_path: Path, name: str, ending: str) -> None:
    data = datasets.load(name, mnist(tmp_path / "anywhere", 3, ending))
    assert [part.shape for part in data] == [(5, 4, 3), (5,), (2, 4, 3), (2,)]
    assert [part.dtype for part in data] == [np.uint8, np.int64, np.uint8, np.int64]
    assert data.y_train.tolist() == [0, 1, 2, 3, 4]
    assert data.X_test[0, 0, 0] == 3


def test_names_with_a_dot_are_known_too(tmp_path: Path) -> None:
    for path in mnist(tmp_path / "dots", 3, "-ubyte").iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert datasets.load("mnist", tmp_path / "dots").X_train[0, 0, 0] == 3


def test_places_are_searched_in_order(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, offline: list[str]
) -> None:
    given, variable = tmp_path / "given", tmp_path / "variable"
    given.mkdir()
    monkeypatch.setenv("NARROWS_DATA", str(variable))
    places = [elsewhere, tmp_path / "debian", variable, given]
    for number, place in enumerate(places, start=1):
        mnist(place / "fashion-mnist", number)
        assert datasets.load("fashion-mnist", given).X_train[0, 0, 0] == number
    assert datasets.load("fashion-mnist").X_train[0, 0, 0] == 3
    for number, place in ((5, variable), (6, given)):  # beside the folder of the name
        mnist(place, number)
    assert datasets.load("fashion-mnist", given).X_train[0, 0, 0] == 4
    assert datasets.load("mnist", given).X_train[0, 0, 0] == 6
    assert datasets.load("mnist").X_train[0, 0, 0] == 5
    assert offline == []


def test_mnist_is_not_taken_for_fashion_mnist(tmp_path: Path, offline: list[str]) -> None:
    folder = mnist(tmp_path / "mnist")
    assert datasets.load("mnist", folder)
    with pytest.raises(DownloadError):
        datasets.load("fashion-mnist", folder)


def test_cifar_takes_the_batches_that_are_there(tmp_path: Path, offline: list[str]) -> None:
    folder = tmp_path / "cifar-10"
    folder.mkdir()
    (folder / "data_batch_4.bin").write_bytes(cifar_batch([9], red=40))
    (folder / "data_batch_1.bin").write_bytes(cifar_batch([3, 5], red=10))
    with pytest.raises(DownloadError):  # without the test batch
        datasets.load("cifar-10", tmp_path)
    (folder / "test_batch.bin").write_bytes(cifar_batch([1]))
    data = datasets.load("cifar-10", tmp_path)
    assert data.X_train.shape == (3, 32, 32, 3)
    assert data.y_train.tolist() == [3, 5, 9]
    assert data.X_train[:, 5, 5, 0].tolist() == [10, 10, 40]
    assert data.X_test[0, 0, 0].tolist() == [0, 7, 0]
    assert data.X_test[0, 1, 1].tolist() == [0, 0, 9]
    for batch in folder.iterdir():
        batch.unlink()
    with pytest.raises(DownloadError):
        datasets.load("cifar-10", tmp_path)


def archive(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            content = cifar_batch([int(name[11]) if name[11].isdigit() else 0])
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_cifar_is_read_out_of_its_archive(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    batches = [f"data_batch_{number}.bin" for number in range(1, 6)]
    archive(path, ["test_batch.bin", *reversed(batches)])
    data = datasets.load("cifar-10", tmp_path)
    assert data.y_train.tolist() == [1, 2, 3, 4, 5]
    assert data.y_test.tolist() == [0]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nothing was unpacked
    archive(path, batches)
    with pytest.raises(UnreadableFileError, match=r"is not the archive of CIFAR-10: .*test_batch"):
        datasets.load("cifar-10", tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UnreadableFileError, match="is not the archive of CIFAR-10"):
        datasets.load("cifar-10", tmp_path)


def test_folders_in_the_place_of_batches_are_no_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    with pytest.raises(UnreadableFileError, match=r"data_batch_1\.bin is not a file"):
        datasets.load("cifar-10", tmp_path)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def fewer_labels(path: Path) -> None:
    path.write_bytes(idx(np.zeros(4, np.uint8)))


@pytest.mark.parametrize(
    ("name", "file", "damage"),
    [
        ("mnist", "t10k-images-idx3-ubyte.gz", shorten),
        ("mnist", "train-labels-idx1-ubyte.gz", fewer_labels),
        ("cifar-10", "test_batch.bin", shorten),
        ("cifar-10", "test_batch.bin", lambda path: path.write_bytes(cifar_batch([10]))),
        ("cifar-10", "data_batch_2.bin", lambda path: path.write_bytes(b"")),
    ],
)
def test_damaged_files_are_named(
    tmp_path: Path, name: str, file: str, damage: Callable[[Path], None]
) -> None:
    mnist(tmp_path)
    for batch in ("test_batch.bin", "data_batch_2.bin"):
        (tmp_path / batch).write_bytes(cifar_batch([0, 1]))
    damage(tmp_path / file)
    with pytest.raises(UnreadableFileError, match=file):
        datasets.load(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "train-images-idx3-ubyte.gz"),
        ("fashion-mnist", "train-images-idx3-ubyte.gz"),
        ("cifar-10", "cifar-10-binary.tar.gz"),
    ],
)
def test_without_network_the_error_says_which_file_to_put_where(
    elsewhere: Path, offline: list[str], name: str, file: str
) -> None:
    with pytest.raises(DownloadError) as caught:
        datasets.load(name)
    message = str(caught.value)
    assert f"put {file}" in message
    assert f"into '{elsewhere / name}'" in message
    assert "NARROWS_DATA" in message
    assert "ConnectionError: no network here" in message
    assert "\n" not in message
    assert len(offline) == len(set(offline)) > 1  # every mirror was tried
    assert all(url.startswith("https://") and url.endswith(file) for url in offline)


def test_downloads_are_compared_with_what_is_known(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pooch fetches is forged here; pooch itself compares and refuses."""

    def forge(url: str, output_file: str, _: Any) -> None:
        Path(output_file).write_bytes(b"forged " + url.encode())

    monkeypatch.setattr("pooch.core.choose_downloader", lambda *_, **__: forge)
    with pytest.raises(DownloadError, match="ValueError: SHA256 hash of downloaded file"):
        datasets.load("mnist")
    assert not list(elsewhere.rglob("*-ubyte*"))


def test_downloads_go_into_the_cache_and_stay(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = mnist(tmp_path / "server", 8)
    fetched = []

    def serve(url: str, known_hash: str, fname: str, path: Path) -> str:
        if len(fetched) == 0:
            fetched.append("")
            raise OSError("the first mirror is down")
        assert len(known_hash) == 64
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes((genuine / fname).read_bytes())
        fetched.append(url.removesuffix(fname))
        return fname

    monkeypatch.setattr(pooch, "retrieve", serve)
    assert datasets.load("mnist").X_train[0, 0, 0] == 8
    assert len(fetched) == 5
    assert sorted(path.name for path in (elsewhere / "mnist").iterdir()) == sorted(
        f"{stem}-ubyte.gz" for stem in STEMS
    )
    assert datasets.load("mnist").X_train[0, 0, 0] == 8
    assert len(fetched) == 5  # not again


def test_a_cache_that_loses_files_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooch, "retrieve", lambda url, **_: url)
    with pytest.raises(DownloadError, match="has lost files of mnist; load it again"):
        datasets.load("mnist")


def test_unknown_names_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ParameterError,
        match=r"name='minst' is not a data set; give one of digits, mnist, fashion-mnist, cifar-10",
    ):
        datasets.load("minst")
    with pytest.raises(MissingFileError, match=r"there is no folder '.*absent'"):
        datasets.load("mnist", tmp_path / "absent")
