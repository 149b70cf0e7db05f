"""Inverted lists on disk: which cell of space each code lies in; plain numbers, checked when read.

A file may come from anybody. What FAISS writes is not read, since nothing in FAISS checks it: the
numbers here cannot lead out of bounds, and at worst make a search miss something.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from narrows.atomic import atomic_file, exists_already
from narrows.errors import FormatError, MissingFileError
from narrows.library.vectors import Metric
from narrows.remote import Place, Remote, file_on_disk

MEASURED = (10, 100)  # for so many nearest the probes are chosen and the recall measured
FORMAT_VERSION = 2
_LEARNED = ("radii", "usual", "gaps", "margins", "disturbed")  # what format 1 did not have
_WIDEST = 8.0  # margin, in radii
_MOST_BYTES = 2**16  # of a file beside its numbers


class Recall(dict[int, float]):
    """By k: which share of the k nearest a search finds, in the mean over rows of the library.

    Parameters
    ----------
    rows : mapping of int to float
        That of rows of the library, each looked for among the others.
    disturbed : mapping of int to float
        That of rows with noise.

    Attributes
    ----------
    disturbed : dict of int to float
        By k: the same for rows of the library with Gaussian noise of a quarter of each feature's
        standard deviation. It is empty where an older version of Narrows made the index, until
        that is searched.
    """

    def __init__(self, rows: Mapping[int, float], disturbed: Mapping[int, float]) -> None:
        super().__init__(rows)
        self.disturbed = dict(disturbed)


@dataclass(frozen=True)
class InvertedLists:
    """Cells, and in which of them each code lies.

    The last five are empty in files of format 1, which older versions wrote.

    Attributes
    ----------
    owner : ndarray of uint8 and shape (32,)
        SHA-256 of the codes and the metric; see :func:`owner_of`.
    centroids : ndarray of float32 and shape (L, K)
        The middle of each cell, in the index's own units.
    lists : ndarray of int32 and shape (n,)
        The cell of each code.
    probes : ndarray of int32 and shape (2,)
        How many cells are looked into for the 10 nearest, and for the 100 nearest.
    recalls : ndarray of float64 and shape (2,)
        Which share of the 10 and of the 100 nearest is then found, as measured.
    radii : ndarray of float32 and shape (L,) or (0,)
        The root mean square distance of each cell's codes from its middle, in the index's units;
        at least a hundredth of that in the mean over all codes.
    usual : ndarray of float64 and shape (1,) or (0,)
        How many radii from the nearest centroid queries lie at most that are like the codes.
    gaps : ndarray of float64 and shape (2,) or (0,)
        How many radii at least, for the 10 and the 100 nearest, the centroids that were
        not looked into are farther away from such queries than the last of those.
    margins : ndarray of float64 and shape (2,) or (0,)
        How many radii closer than its centroid a cell is taken to reach where a query is unlike the
        codes, for the 10 and the 100 nearest.
    disturbed : ndarray of float64 and shape (2,) or (0,)
        As ``recalls``, for disturbed rows.
    """

    owner: NDArray[np.uint8]
    centroids: NDArray[np.float32]
    lists: NDArray[np.int32]
    probes: NDArray[np.int32]
    recalls: NDArray[np.float64]
    radii: NDArray[np.float32]
    usual: NDArray[np.float64]
    gaps: NDArray[np.float64]
    margins: NDArray[np.float64]
    disturbed: NDArray[np.float64]

    @classmethod
    def unmeasured(
        cls,
        owner: NDArray[np.uint8],
        centroids: NDArray[np.float32],
        lists: NDArray[np.int32],
    ) -> Self:
        """Make one that looks into one cell, and whose recall is not known."""
        count = len(MEASURED)
        return cls(
            owner,
            centroids,
            lists,
            probes=np.ones(count, np.int32),
            recalls=np.ones(count),
            radii=np.zeros(len(centroids), np.float32),
            usual=np.zeros(1),
            gaps=np.zeros(count),
            margins=np.zeros(count),
            disturbed=np.ones(count),
        )

    @classmethod
    def read(cls, path: Place, owner: NDArray[np.uint8], shape: tuple[int, int]) -> Self:
        """Read and check a file.

        Parameters
        ----------
        path : Path or Remote
            The file.
        owner : ndarray of uint8 and shape (32,)
            Whose it is expected to be.
        shape : tuple of int
            Of the codes.

        Raises
        ------
        MissingFileError
            If there is none.
        FormatError
            If it is of other codes, damaged, or something else.
        StoreError
            If it is in an object store that does not answer, or refuses.
        """
        with file_on_disk(path) as file:
            if not file.exists():
                raise MissingFileError(f"there is no index '{path}'; build one and save it")
            values = _load(file, path, most=_MOST_BYTES + 4 * shape[0] * (shape[1] + 1))
        version = values.pop("format", np.empty(0)).tolist()
        if version not in ([1], [FORMAT_VERSION]):
            raise _no_index(path, f"its format is {version}, not [{FORMAT_VERSION}]")
        if version == [1] and not values.keys() & set(_LEARNED):
            values |= {name: np.empty(0) for name in _LEARNED}
            values["radii"] = np.empty(0, np.float32)
        if set(values) != {"check", *(field.name for field in fields(cls))}:
            raise _no_index(path, "it holds other things")
        check = values.pop("check")
        if not np.array_equal(values["owner"], owner):
            raise _no_index(path, "it belongs to other codes, or another metric")
        read = cls(**values)
        # Of a file of format 1, what it lacks adds no bytes to the check sum.
        if not np.array_equal(check, read._check()) or not read._is_sound(shape, version[0]):
            raise _no_index(path, "it is damaged")
        return read

    @property
    def recall(self) -> Recall:
        """By k: which share of the k nearest a search finds."""
        rows, disturbed = (
            dict(zip(MEASURED, values.tolist(), strict=False))
            for values in (self.recalls, self.disturbed)
        )
        return Recall(rows, disturbed)

    @property
    def is_complete(self) -> bool:
        """Tell whether everything is there that searches need; in format 1 it is not."""
        return len(self.margins) > 0

    def write(self, path: Place, *, overwrite: bool) -> None:
        """Write a file in one step."""
        numbers = {
            "format": np.array([FORMAT_VERSION], np.int32),
            "check": self._check(),
            **vars(self),
        }
        if isinstance(path, Remote):
            if not overwrite and path.parent.has(path.name):
                raise exists_already(path)
            path.write_bytes(save(numbers))
            return
        with atomic_file(path, overwrite=overwrite) as file:
            file.write_bytes(save(numbers))

    def _check(self) -> NDArray[np.uint8]:
        digest = hashlib.sha256()
        for field in fields(self):
            digest.update(getattr(self, field.name).tobytes())
        return np.frombuffer(digest.digest(), np.uint8)

    def _is_sound(self, shape: tuple[int, int], version: int) -> bool:
        """Tell whether every number is one that building could have given."""
        count, width = shape
        n_lists = len(self.centroids) if self.centroids.ndim == 2 else 0
        n_measured = len(MEASURED) if version > 1 else 0
        kinds = {
            "centroids": (np.float32, (n_lists, width)),
            "lists": (np.int32, (count,)),
            "probes": (np.int32, (len(MEASURED),)),
            "recalls": (np.float64, (len(MEASURED),)),
            "radii": (np.float32, (n_lists if version > 1 else 0,)),
            "usual": (np.float64, (1 if version > 1 else 0,)),
            "gaps": (np.float64, (n_measured,)),
            "margins": (np.float64, (n_measured,)),
            "disturbed": (np.float64, (n_measured,)),
        }
        for name, (kind, expected) in kinds.items():
            value = getattr(self, name)
            if value.dtype != kind or value.shape != expected:
                return False
        return (
            0 < n_lists <= count
            and bool(np.isfinite(self.centroids).all())
            and _within(self.lists, 0, n_lists - 1)
            and _within(self.probes, 1, n_lists)
            and _within(self.recalls, 0, 1)
            and all(bool(np.isfinite(v).all()) for v in (self.radii, self.usual, self.gaps))
            and bool((self.radii > 0).all())
            and _within(self.margins, 0, _WIDEST)
            and _within(self.disturbed, 0, 1)
        )


def owner_of(codes: NDArray[np.float32], metric: Metric) -> NDArray[np.uint8]:
    """Name codes and a metric by their contents, (32,)."""
    digest = hashlib.sha256(f"{metric} {codes.shape}".encode())
    digest.update(codes.data if codes.size else b"")
    return np.frombuffer(digest.digest(), np.uint8)


def index_names(table: str) -> dict[Metric, str]:
    """Name the files of a table's approximate indexes, which are beside it.

    Their names go with the table's: one that takes its place never meets them.
    """
    suffix = table.removeprefix("table").removesuffix(".lance")
    metrics: tuple[Metric, ...] = get_args(Metric)
    return {metric: f"index-{metric}{suffix}.safetensors" for metric in metrics}


def _load(file: Path, path: Place, most: int) -> dict[str, NDArray[Any]]:
    try:
        # A pipe or a device may never end.
        fits = file.is_file() and file.stat().st_size <= most
        data = file.read_bytes() if fits else b""
    except OSError as error:
        raise _no_index(path, f"it cannot be read: {error.strerror}") from error
    if not fits:
        raise _no_index(path, "it is too large, or no file")
    try:
        return dict(load(data))
    except (SafetensorError, KeyError, ValueError) as error:
        raise _no_index(path, "it is no safetensors file, or damaged") from error


def _within(values: NDArray[Any], low: float, high: float) -> bool:
    return bool(((values >= low) & (values <= high)).all())


def _no_index(path: Place, reason: str) -> FormatError:
    return FormatError(
        f"'{path}' is no approximate index of these codes: {reason}; build the index again"
    )
