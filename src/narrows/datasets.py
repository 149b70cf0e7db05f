"""Example data sets: digits, MNIST, Fashion-MNIST and CIFAR-10.

The digits come with scikit-learn. The others are searched in the given folder, in
``$NARROWS_DATA``, in the folder of Debian's package dataset-fashion-mnist, and in the cache;
otherwise they are downloaded into the cache and verified by their SHA-256.
"""

import os
import tarfile
import textwrap
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
from numpy.typing import NDArray

from narrows.data.array_files import read_idx
from narrows.errors import DownloadError, MissingFileError, ParameterError, UnreadableFileError

_DEBIAN = Path("/usr/share/datasets")
_MNIST_STEMS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_CIFAR_ROW = 1 + 3 * 32 * 32
_CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
_CIFAR_FOLDER = "cifar-10-batches-bin"
_CIFAR_TEST = "test_batch.bin"


class Dataset(NamedTuple):
    """Pictures and their classes, for training and for testing.

    Attributes
    ----------
    X_train, X_test : ndarray of uint8, of shape (n, height, width) or (n, height, width, 3)
        Values from 0 to 255.
    y_train, y_test : ndarray of int64, of shape (n,)
        The classes, from 0 to 9.
    """

    X_train: NDArray[np.uint8]
    y_train: NDArray[np.int64]
    X_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]


@dataclass(frozen=True)
class _Remote:
    """A data set to download: SHA-256 of its files, mirrors, and reader of a folder."""

    files: dict[str, str]
    mirrors: tuple[str, ...]
    read: Callable[[Path], Dataset | None]


def load(name: str, folder: str | Path | None = None) -> Dataset:
    """Load a data set, and download it if it is not on this machine.

    Parameters
    ----------
    name : {"digits", "mnist", "fashion-mnist", "cifar-10"}
        "digits" has 1437 pictures of 8 x 8 to train and 360 to test; "mnist" and "fashion-mnist"
        60 000 and 10 000 of 28 x 28; "cifar-10" 50 000 and 10 000 of 32 x 32 in colours.
    folder : str or Path, optional
        Where to look first: a folder with the files, or with a subfolder of the data set's name
        that has them. Of CIFAR-10, at least one training batch is needed.

    Returns
    -------
    Dataset
        (X_train, y_train, X_test, y_test): pictures as uint8 from 0 to 255, classes as int64.

    Raises
    ------
    ParameterError
        If there is no data set of this name.
    MissingFileError
        If ``folder`` does not exist.
    UnreadableFileError
        If a file is truncated, damaged or foreign.
    DownloadError
        If the data set is not here and cannot be downloaded; the message tells where to put which
        files.

    Notes
    -----
    The values of "digits", 0 to 16, are stretched to 0 to 255; each class has the same share in
    both parts, which are the same every time.

    Examples
    --------
    >>> from narrows import datasets
    >>> X_train, y_train, X_test, y_test = datasets.load("digits")
    >>> X_train.shape, X_test.shape, X_train.dtype, X_train.max().item()
    ((1437, 8, 8), (360, 8, 8), dtype('uint8'), 255)
    """
    if name not in NAMES:
        raise ParameterError(
            f"name={name!r} is not a data set; give one of {', '.join(NAMES)}", parameter="name"
        )
    if folder is not None and not Path(folder).is_dir():
        raise MissingFileError(f"there is no folder '{folder}'; give one that exists, or none")
    if name == "digits":
        return _digits()
    for place in _places(name, folder):
        found = _REMOTE[name].read(place)
        if found is not None:
            return found
    return _download(name)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, classes = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    X_train, X_test, y_train, y_test = train_test_split(
        pixels, classes.astype(np.int64), test_size=360, stratify=classes, random_state=0
    )
    return Dataset(X_train, y_train, X_test, y_test)


def _places(name: str, folder: str | Path | None) -> Iterator[Path]:
    """Yield the folders in which a data set's files may be."""
    for root in (folder, os.environ.get("NARROWS_DATA")):
        if root:
            yield Path(root, name)
            # The files of MNIST and Fashion-MNIST have the same names.
            if Path(root).resolve().name not in set(NAMES) - {name}:
                yield Path(root)
    yield _DEBIAN / name
    yield _cache() / name


def _cache() -> Path:
    return Path(pooch.os_cache("narrows"))


def _download(name: str) -> Dataset:
    remote = _REMOTE[name]
    place = _cache() / name
    for file, sha256 in remote.files.items():
        _retrieve(name, file, sha256)
    dataset = remote.read(place)
    if dataset is None:
        raise DownloadError(f"'{place}' has lost files of {name}; load it again")
    return dataset


def _retrieve(name: str, file: str, sha256: str) -> None:
    """Download one file into the cache from the first mirror that has it."""
    remote = _REMOTE[name]
    place = _cache() / name
    reason: Exception | None = None
    for mirror in remote.mirrors:
        try:
            pooch.retrieve(mirror + file, known_hash=sha256, fname=file, path=place)
        except (OSError, ValueError) as error:  # no network, no room; another content
            reason = error
        else:
            return
    words = textwrap.shorten(f"{type(reason).__name__}: {reason}", 120, placeholder=" ...")
    raise DownloadError(
        f"{name} is not on this machine, and {file} could not be downloaded ({words}); put "
        f"{', '.join(remote.files)} into '{place}', or into a folder '{name}' of a folder that "
        "you name (folder=..., or the variable NARROWS_DATA)"
    ) from reason


def _read_mnist(place: Path) -> Dataset | None:
    """Read the four IDX files, compressed or not, if all of them are there."""
    parts = []
    for stem in _MNIST_STEMS:
        names = (f"{stem}-ubyte.gz", f"{stem}-ubyte", f"{stem.replace('-idx', '.idx')}-ubyte")
        file = next((place / name for name in names if (place / name).is_file()), None)
        if file is None:
            return None
        parts.append((file, read_idx(file)))
    for (images, X), (labels, y) in (parts[:2], parts[2:]):
        if X.dtype != np.uint8 or X.ndim != 3 or y.shape != X.shape[:1]:
            raise UnreadableFileError(
                f"'{images}' of shape {X.shape} and '{labels}' of shape {y.shape} are not "
                "pictures and their classes; get these files again"
            )
    (_, X_train), (_, y_train), (_, X_test), (_, y_test) = parts
    return Dataset(X_train, y_train.astype(np.int64), X_test, y_test.astype(np.int64))


def _read_cifar(place: Path) -> Dataset | None:
    """Read the binary batches: those of a folder, or those within the archive."""
    for folder in (place, place / _CIFAR_FOLDER):
        files = sorted(folder.glob("data_batch_[1-5].bin"))
        test = folder / _CIFAR_TEST
        if files and test.is_file():
            batches = [_cifar_batch(file, file.read_bytes()) for file in (*files, test)]
            return _cifar(batches)
    archive = place / _CIFAR_ARCHIVE
    if not archive.is_file():
        return None
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), _CIFAR_TEST]
    try:
        with tarfile.open(archive) as tar:
            contents = [_extract(tar, f"{_CIFAR_FOLDER}/{name}") for name in names]
    except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error) as error:
        raise UnreadableFileError(
            f"'{archive}' is not the archive of CIFAR-10: {error}; get it again"
        ) from error
    return _cifar([_cifar_batch(archive, content) for content in contents])


def _extract(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is not a file")
    return file.read()


def _cifar_batch(file: Path, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Part a batch into pictures and classes: rows of a class and three planes of 32 x 32."""
    rows = np.frombuffer(content, np.uint8)
    if not len(rows) or len(rows) % _CIFAR_ROW or (classes := rows[::_CIFAR_ROW]).max() > 9:
        raise UnreadableFileError(
            f"'{file}' has no rows of {_CIFAR_ROW} bytes that begin with a class from 0 to 9, as "
            "CIFAR-10 has; get it again"
        )
    planes = rows.reshape(-1, _CIFAR_ROW)[:, 1:].reshape(-1, 3, 32, 32)
    return planes.transpose(0, 2, 3, 1), classes.astype(np.int64)


def _cifar(batches: list[tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> Dataset:
    *train, (X_test, y_test) = batches
    X_train = np.concatenate([X for X, _ in train])
    y_train = np.concatenate([y for _, y in train])
    return Dataset(np.ascontiguousarray(X_train), y_train, np.ascontiguousarray(X_test), y_test)


_MNIST_FILES = [f"{stem}-ubyte.gz" for stem in _MNIST_STEMS]
_REMOTE = {
    "mnist": _Remote(
        dict(zip(_MNIST_FILES, (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ), strict=True)),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        _read_mnist,
    ),
    "fashion-mnist": _Remote(
        dict(zip(_MNIST_FILES, (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ), strict=True)),
        (
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        _read_mnist,
    ),
    "cifar-10": _Remote(
        {_CIFAR_ARCHIVE: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
        (
            "https://www.cs.toronto.edu/~kriz/",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
        ),
        _read_cifar,
    ),
}  # fmt: skip
NAMES = ("digits", *_REMOTE)
"""The names that :func:`load` knows."""
