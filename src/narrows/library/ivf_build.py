"""The inverted file (IVF) of an approximate index: the steps of building it, and its file.

Codes lie in cells around centroids, the coarse quantiser, which k-means learns. Each step of
building needs some of the codes and gives the same result in this process and in workers, which
read the codes from the library's table themselves.

The recall depends on the query, so it is measured by queries of several kinds: rows of the index,
which lie close to other rows, disturbed rows a little farther away, and foreign queries, which lie
where no cell is near or where many are equally near.

A file may come from anybody. What FAISS writes is not read, since nothing in FAISS checks it: the
numbers here cannot lead out of bounds, and at worst make a search miss something.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from narrows.errors import FormatError, MissingDependencyError, MissingFileError
from narrows.library.exact import Codes, ExactIndex, Rows, unit_vectors
from narrows.library.table import Table, write_file
from narrows.library.workers import Workers
from narrows.networks import Metric
from narrows.remote import Place, file_on_disk

PACKAGES = ("faiss-cpu",)
_SEED, _SEED_OF_QUERIES = 0, 1
_PER_LIST = 64  # codes of each cell that k-means learns from
_FEWEST = 32  # least codes of each cell, in the mean
_BLOCK = 2**14  # codes prepared at a time
_PART = 2**20  # most codes in a part that a worker searches
OWN, DISTURBED = "own", "disturbed"
_NOISE = 0.25  # noise of disturbed rows, in standard deviations of each feature
_QUERIES = {OWN: 512, DISTURBED: 256}
_FOREIGN = 64  # queries of each foreign kind
MEASURED = (10, 100)  # numbers k for which the probes are chosen and the recall is measured
FORMAT_VERSION = 2
_LEARNED = ("radii", "usual", "gaps", "margins", "disturbed")  # arrays that format 1 lacks
_WIDEST = 8.0  # margin, in radii
_MOST_BYTES = 2**16  # bytes of a file beside its numbers


@dataclass(frozen=True)
class Units:
    """The conversion of codes to the units of the index.

    Attributes
    ----------
    metric : {"euclidean", "cosine"}
        By "cosine", codes are scaled to length 1. Otherwise they become (code - shift) * scale.
    shift : ndarray of float64 and shape (K,)
        The centre of the codes' range.
    scale : float
        The inverse of half the widest range.
    """

    metric: Metric
    shift: NDArray[np.float64]
    scale: float

    @classmethod
    def of(cls, codes: Codes, metric: Metric) -> Self:
        """Choose the units for codes."""
        if metric == "cosine" or not len(codes):
            return cls(metric, np.zeros(codes.shape[1]), 1.0)
        # Around zero and at most 1, so that half precision holds them and squares stay finite.
        low, high = (end.double().numpy() for end in torch.aminmax(torch.from_numpy(codes), dim=0))
        shift = low / 2 + high / 2
        return cls(metric, shift, 1 / max(float((high - shift).max()), 1e-300))

    def prepare(self, vectors: Codes) -> Codes:
        """Convert vectors (m, K) to the units."""
        if self.metric == "cosine":
            return unit_vectors(torch.from_numpy(vectors).double()).float().numpy()
        prepared: Codes = ((vectors - self.shift) * self.scale).astype(np.float32)
        return prepared

    def blocks(self, codes: Codes) -> Iterator[Codes]:
        """Yield codes in the units of the index, block by block."""
        for start in range(0, len(codes), _BLOCK):
            yield self.prepare(codes[start : start + _BLOCK])


@dataclass(frozen=True)
class StoredPart:
    """Some consecutive rows of a library's table, as they are stored.

    Attributes
    ----------
    table : Path or Remote
        The path of the table.
    fingerprint, version
        As of :class:`narrows.library.table.Table`.
    start, count : int
        The first row and the number of rows.
    """

    table: Place
    fingerprint: str
    version: int
    start: int
    count: int

    def codes(self) -> Codes:
        """Read the codes of these rows."""
        table = Table(self.table, self.fingerprint, self.version)
        return table.codes_as_stored(self.start, self.count)


class PartResult(NamedTuple):
    """The cells of some codes, and which of the codes are nearest to queries.

    Attributes
    ----------
    lists : ndarray of int32 and shape (n,)
        The cell of each code.
    distances : ndarray of float32 and shape (Q, m)
        The distances of the nearest codes to each query, ascending.
    rows : ndarray of int64 and shape (Q, m)
        The rows of these codes.
    """

    lists: NDArray[np.int32]
    distances: NDArray[np.float32]
    rows: Rows


def parts_of(table: Table, workers: int) -> list[StoredPart]:
    """Divide the rows of a table into some parts for each worker."""
    path = table.path.absolute()  # workers may be in another folder
    size = max(1, min(_PART, -(-len(table) // (2 * workers))))
    return [
        StoredPart(path, table.fingerprint, table.version, start, min(size, len(table) - start))
        for start in range(0, len(table), size)
    ]


def build_lists(
    codes: Codes,
    units: Units,
    parts: Sequence[Codes | StoredPart],
    workers: Workers,
    *,
    places: Sequence[Place],
    order: Rows | None,
) -> tuple["InvertedLists", "Samples", NDArray[np.float32], NDArray[np.int64]]:
    """Build the cells of codes, and search sample queries exactly.

    Parameters
    ----------
    codes : ndarray of float32 and shape (n, K)
        All codes; at least one.
    units : Units
        The units of the index.
    parts : sequence of ndarray or StoredPart
        The codes in parts, which may be in another order.
    workers : Workers
        The workers that learn the centroids and search the parts.
    places : sequence of Path or Remote
        Folders that every worker must see.
    order : ndarray of int64 and shape (n,), or None
        Where the parts have the codes, if they are in another order.

    Returns
    -------
    lists : InvertedLists
        The cells, whose recall is not measured yet.
    samples : Samples
        The sample queries.
    distances, rows : ndarray of shape (Q, m)
        The codes that are truly nearest to them, in the order of the parts.
    """
    sample, count = training_sample(codes, units)
    common: tuple[Any, ...] = (count, units.metric)
    [(_, centroids)] = workers.map(learn_centroids, iter([sample]), common, places, PACKAGES)
    samples = Samples.draw(codes)
    common = (units, centroids, samples.queries)
    searched = dict(workers.map(search_part, iter(parts), common, places, PACKAGES))
    lists, distances, rows = join_parts([searched[number] for number in sorted(searched)])
    lists = lists if order is None else lists[order]
    made = InvertedLists.unmeasured(codes, units.metric, centroids, lists)
    return made, samples, distances, rows


def training_sample(codes: Codes, units: Units) -> tuple[Codes, int]:
    """Draw the codes that k-means learns from, and choose the number of centroids."""
    n = len(codes)
    count = max(1, min(round(2.5 * n**0.5), n // _FEWEST))
    rng = np.random.default_rng(_SEED)
    rows = np.sort(rng.choice(n, min(n, _PER_LIST * count), replace=False))
    return units.prepare(codes[rows]), count


def learn_centroids(sample: Codes, count: int, metric: Metric) -> Codes:
    """Learn centroids, (count, K), by k-means."""
    means = faiss_module().Kmeans(
        sample.shape[1],
        count,
        niter=10,
        seed=_SEED,
        spherical=metric == "cosine",
        min_points_per_centroid=1,
        max_points_per_centroid=_PER_LIST,
    )
    means.train(sample)
    centroids: Codes = means.centroids
    return centroids


def centroid_index(centroids: Codes, metric: Metric) -> Any:
    """Make the coarse quantiser: FAISS's index that finds the centroids nearest to a vector."""
    faiss = faiss_module()
    kind = faiss.IndexFlatIP if metric == "cosine" else faiss.IndexFlatL2
    coarse = kind(centroids.shape[1])
    coarse.add(centroids)
    return coarse


def search_part(
    part: Codes | StoredPart, units: Units, centroids: Codes, queries: Codes
) -> PartResult:
    """Find the cell of each code of a part, and the codes that are nearest to queries.

    Their number is one more than the largest k of the recall, as a query may be a code itself.
    """
    codes = part.codes() if isinstance(part, StoredPart) else part
    coarse = centroid_index(centroids, units.metric)
    lists = [coarse.search(block, 1)[1][:, 0] for block in units.blocks(codes)]
    nearest = ExactIndex(codes, units.metric).search(queries, MEASURED[-1] + 1)
    return PartResult(np.concatenate(lists).astype(np.int32), *nearest)


def join_parts(parts: Sequence[PartResult]) -> PartResult:
    """Join the results of parts, in their order, into that of all codes."""
    starts = np.cumsum([0, *(len(part.lists) for part in parts)])
    distances = np.concatenate([part.distances for part in parts], axis=1)
    rows = np.concatenate(
        [part.rows + start for part, start in zip(parts, starts, strict=False)], axis=1
    )
    order = np.argsort(distances, axis=1, kind="stable")[:, : MEASURED[-1] + 1]
    return PartResult(
        np.concatenate([part.lists for part in parts]),
        np.take_along_axis(distances, order, 1),
        np.take_along_axis(rows, order, 1),
    )


def is_installed() -> bool:
    """Return whether FAISS is installed."""
    try:
        faiss_module()
    except MissingDependencyError:
        return False
    return True


def faiss_module() -> ModuleType:
    """Import FAISS.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import faiss
    except (ImportError, OSError) as error:  # OSError: its C++ library is missing
        raise MissingDependencyError(
            f"approximate search needs the package faiss-cpu ({error}); install it by "
            "pip install 'narrows[faiss]', or search exactly"
        ) from error
    module: ModuleType = faiss
    return module


@dataclass(frozen=True)
class Samples:
    """Sample queries of several kinds, one kind after another.

    Attributes
    ----------
    rows : ndarray of int64 and shape (m,)
        The rows of the codes that the queries of the kind ``OWN`` are, ascending.
    queries : ndarray of float32 and shape (Q, K)
        All queries.
    kinds : dict of str to slice
        The positions of the queries of each kind.
    """

    rows: Rows
    queries: Codes
    kinds: dict[str, slice]

    @classmethod
    def draw(cls, codes: Codes) -> Self:
        """Draw queries for codes (n, K), n at least 1, by a fixed random seed.

        Disturbed rows have Gaussian noise of a quarter of each feature's standard deviation. The
        foreign kinds are rows with as much noise as they vary, rows three times as far from the
        mean, rows scaled by three and by minus one, Gaussian noise around the mean, and independent
        features that vary one and a half times as much as those of the codes.
        """
        rng = np.random.default_rng(_SEED_OF_QUERIES)
        n, width = codes.shape
        rows = np.sort(rng.choice(n, min(n, _QUERIES[OWN]), replace=False))
        own = codes[rows].astype(np.float64)
        mean, deviation = own.mean(axis=0), own.std(axis=0)

        def noise(count: int) -> NDArray[np.float64]:
            values: NDArray[np.float64] = deviation * rng.standard_normal((count, width))
            return values

        def some(count: int) -> NDArray[np.float64]:
            picked: NDArray[np.float64] = own[rng.integers(len(own), size=count)]
            return picked

        made = {
            OWN: own,
            DISTURBED: some(_QUERIES[DISTURBED]) + _NOISE * noise(_QUERIES[DISTURBED]),
            "noisy": some(_FOREIGN) + noise(_FOREIGN),
            "outward": mean + 3 * (some(_FOREIGN) - mean),
            "scaled": 3 * some(_FOREIGN),
            "negative": -some(_FOREIGN),
            "middle": mean + 0.3 * noise(_FOREIGN),
            "independent": mean + 1.5 * noise(_FOREIGN),
        }
        ends = np.cumsum([0, *map(len, made.values())])
        most = float(np.finfo(np.float32).max)
        return cls(
            rows,
            np.clip(np.concatenate(list(made.values())), -most, most).astype(np.float32),
            {
                kind: slice(int(start), int(end))
                for kind, start, end in zip(made, ends[:-1], ends[1:], strict=True)
            },
        )


class Recall(dict[int, float]):
    """By k: the share of the k nearest codes that a search finds, in the mean over rows.

    Parameters
    ----------
    rows : mapping of int to float
        The recall for rows of the library, each looked for among the others.
    disturbed : mapping of int to float
        The recall for rows with noise.

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
    """The cells of an index, and in which of them each code lies.

    The last five arrays are empty in files of format 1, which older versions wrote.

    Attributes
    ----------
    owner : ndarray of uint8 and shape (32,)
        SHA-256 of the codes and the metric.
    centroids : ndarray of float32 and shape (L, K)
        The centroid of each cell, in the index's own units.
    lists : ndarray of int32 and shape (n,)
        The cell of each code.
    probes : ndarray of int32 and shape (2,)
        How many cells are searched for the 10 nearest, and for the 100 nearest.
    recalls : ndarray of float64 and shape (2,)
        The measured share of the 10 and of the 100 nearest that is then found.
    radii : ndarray of float32 and shape (L,) or (0,)
        The root mean square distance of each cell's codes from its centroid, in the index's units;
        at least a hundredth of that in the mean over all codes.
    usual : ndarray of float64 and shape (1,) or (0,)
        How many radii from the nearest centroid queries lie at most that are like the codes.
    gaps : ndarray of float64 and shape (2,) or (0,)
        How many radii at least, for the 10 and the 100 nearest, the centroids that were
        not searched are farther away from such queries than the last of those.
    margins : ndarray of float64 and shape (2,) or (0,)
        How many radii closer than its centroid a cell is taken to reach where a query is unlike the
        codes, for the 10 and the 100 nearest.
    disturbed : ndarray of float64 and shape (2,) or (0,)
        As ``recalls``, for disturbed rows.
    """

    owner: NDArray[np.uint8]
    centroids: Codes
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
        cls, codes: Codes, metric: Metric, centroids: Codes, lists: NDArray[np.int32]
    ) -> Self:
        """Make lists of which one cell is searched, and whose recall is not known."""
        count = len(MEASURED)
        return cls(
            owner_of(codes, metric),
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
    def read(cls, path: Place, codes: Codes, metric: Metric) -> Self:
        """Read and check a file.

        Parameters
        ----------
        path : Path or Remote
            The file.
        codes : ndarray of float32 and shape (n, K)
            The codes that it is expected to belong to.
        metric : {"euclidean", "cosine"}
            The metric of the index.

        Raises
        ------
        MissingFileError
            If there is no file.
        FormatError
            If it belongs to other codes or another metric, is damaged, or something else.
        StoreError
            If it is in an object store that does not answer, or refuses.
        """
        with file_on_disk(path) as file:
            if not file.exists():
                raise MissingFileError(f"there is no index '{path}'; build one and save it")
            values = _load(file, path, most=_MOST_BYTES + 4 * (codes.size + len(codes)))
        version = values.pop("format", np.empty(0)).tolist()
        if version not in ([1], [FORMAT_VERSION]):
            raise _no_index(path, f"its format is {version}, not [{FORMAT_VERSION}]")
        if version == [1] and not values.keys() & set(_LEARNED):
            values |= {name: np.empty(0) for name in _LEARNED}
            values["radii"] = np.empty(0, np.float32)
        if set(values) != {"check", *(field.name for field in fields(cls))}:
            raise _no_index(path, "it holds other things")
        check = values.pop("check")
        if not np.array_equal(values["owner"], owner_of(codes, metric)):
            raise _no_index(path, "it belongs to other codes, or another metric")
        read = cls(**values)
        # The arrays that format 1 lacks add no bytes to the checksum.
        if not np.array_equal(check, read._check()) or not read._is_sound(codes, version[0]):
            raise _no_index(path, "it is damaged")
        return read

    @property
    def recall(self) -> Recall:
        """By k: the share of the k nearest codes that a search finds."""
        rows, disturbed = (
            dict(zip(MEASURED, values.tolist(), strict=False))
            for values in (self.recalls, self.disturbed)
        )
        return Recall(rows, disturbed)

    @property
    def is_complete(self) -> bool:
        """Whether searches have all that they need; in format 1 they do not."""
        return len(self.margins) > 0

    def write(self, path: Place, *, overwrite: bool) -> None:
        """Write a file in one step."""
        numbers = {
            "format": np.array([FORMAT_VERSION], np.int32),
            "check": self._check(),
            **vars(self),
        }
        write_file(path, save(numbers), overwrite=overwrite)

    def _check(self) -> NDArray[np.uint8]:
        digest = hashlib.sha256()
        for field in fields(self):
            digest.update(getattr(self, field.name).tobytes())
        return np.frombuffer(digest.digest(), np.uint8)

    def _is_sound(self, codes: Codes, version: int) -> bool:
        """Return whether every number is one that building could have given for these codes."""
        count, width = codes.shape
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


def owner_of(codes: Codes, metric: Metric) -> NDArray[np.uint8]:
    """Return the SHA-256 of codes and a metric, (32,)."""
    digest = hashlib.sha256(f"{metric} {codes.shape}".encode())
    digest.update(codes.data if codes.size else b"")
    return np.frombuffer(digest.digest(), np.uint8)


def index_names(table: str) -> dict[Metric, str]:
    """Return the names of the files of a table's approximate indexes, which lie beside it.

    They are made from the table's name, so that a table in its place never meets them.
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
