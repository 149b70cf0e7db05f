"""What takes long and is made while requests are answered: the map, and the report on the model.

    python -m narrows.web.background LIBRARY FOLDER

The report takes half a minute; it is made by a process of the lowest priority, which does not delay
requests.
"""

import asyncio
import logging
import os
import shutil
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
import pooch
from numpy.typing import NDArray

from narrows.atomic import atomic_file
from narrows.data.lazy_rows import strided
from narrows.errors import LibraryError, NarrowsError, ParameterError
from narrows.remote import place
from narrows.texts import as_text
from narrows.web.snapshot import Snapshot, SnapshotSource

# PCA is fitted on at most so many rows, or on so many values; and rows whose pictures are read
# together.
_ROWS_OF_PCA, _VALUES_OF_PCA, _BLOCK = 20_000, 2**24, 1024
# The number of colours, and the byte for missing values.
_COLOURS, _MISSING = 255, 255
# A whole number with more different values than this is a quantity, not a name.
_MOST_NAMES = 20
_NEIGHBOURS = 5
# The fewest rows for a projection; of fewer, the preview is final.
_LEAST = 3
# The rows that the report is made from at most.
_MOST_ROWS = 10_000

_log = logging.getLogger("narrows.web")


class Maps:
    """The map of the current library, made again when it has changed.

    Parameters
    ----------
    source : SnapshotSource
        The source of snapshots.
    cache : Path, optional
        The folder for final maps, by default the user's cache.
    """

    def __init__(self, source: SnapshotSource, cache: Path | None = None) -> None:
        self._source = source
        self._cache = cache or Path(pooch.os_cache("narrows")) / "maps"
        self._threads = ThreadPoolExecutor(2, "map")
        self._map: LibraryMap | None = None
        self._lock = Lock()

    def current(self) -> "LibraryMap":
        """Return the map.

        Raises
        ------
        LibraryError
            If there is no library, or it is empty.
        """
        with self._lock:
            snapshot = self._source.now()
            if not len(snapshot.require_library()):
                raise LibraryError(
                    "the library is empty, so there is no map; add pictures to it first"
                )
            if self._map is None or self._map.snapshot is not snapshot:
                if self._map is not None:
                    self._map.cancel()
                self._map = LibraryMap(snapshot, self._threads, self._cache)
            return self._map

    def close(self) -> None:
        """End the threads."""
        if self._map is not None:
            self._map.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)


class LibraryMap:
    """The places of a library's pictures, from -1 to 1, and their colours.

    The final map is computed in the background, and cached under the SHA-256 of the codes that it
    shows. Where there can be no better one, the preview is final.
    """

    def __init__(self, snapshot: Snapshot, threads: ThreadPoolExecutor, cache: Path) -> None:
        self.snapshot, self.ids, self._threads = snapshot, snapshot.ids, threads
        self._colours: dict[str, tuple[NDArray[np.uint8], dict[str, Any]]] = {}
        self._errors: Future[NDArray[np.float64]] | None = None
        self._lock, self._outdated = Lock(), Event()
        self._preview = _preview(snapshot.codes)
        self._final = threads.submit(_final, snapshot.codes, self._preview, cache)

    def cancel(self) -> None:
        """Stop the computations as far as possible, as the map is outdated."""
        self._outdated.set()
        self._final.cancel()

    @property
    def state(self) -> str:
        """Whether the places are a preview, or final."""
        return "final" if self._final.done() else "preview"

    @property
    def points(self) -> NDArray[np.float32]:
        """The current places, (n, 2)."""
        done = self._final.done() and not self._final.cancelled()
        if done and self._final.exception() is None:
            return self._final.result()
        return self._preview

    def bytes(self, color: str) -> bytes | None:
        """Return all x, all y, and all colours; None while colours are being computed."""
        colours = self.colours(color)
        if colours is None:
            return None
        return self.points.T.astype("<f4").tobytes() + colours[0].tobytes()

    def colours(self, color: str) -> tuple[NDArray[np.uint8], dict[str, Any]] | None:
        """Return a byte for each picture, and the legend; None while these are being computed.

        Raises
        ------
        ParameterError
            If there is no such column.
        NarrowsError
            If pictures cannot be read; the next call tries again.
        """
        if color in self._colours:
            return self._colours[color]
        library = self.snapshot.require_library()
        values: Any = None
        if color == "error" and color not in library.columns:
            errors = self._measured()
            if errors is None:
                return None
            values = errors.tolist()
        elif color != "none":
            values = library.column(color)
        self._colours[color] = _colours(values, len(self.ids))
        return self._colours[color]

    def _measured(self) -> NDArray[np.float64] | None:
        """Return the errors of all pictures; None while they are being measured."""
        with self._lock:
            if self._errors is None:
                self.snapshot.require_decoder()
                self._errors = self._threads.submit(_errors, self.snapshot, self._outdated)
            measuring = self._errors
            if not measuring.done():
                return None
            if measuring.cancelled() or measuring.exception() is not None:
                self._errors = None
        return measuring.result()

    def place(self, codes: list[NDArray[np.float32]]) -> list[tuple[float, float]]:
        """Place codes at their neighbours' mean place, weighted by inverse squared distances."""
        points, places = self.points, []
        for matches in self.snapshot.require_library().match_codes(np.stack(codes), _NEIGHBOURS):
            rows = np.searchsorted(self.ids, [match.id for match in matches])
            weights = 1 / (np.square([match.distance for match in matches]) + 1e-12)
            x, y = weights @ points[rows] / weights.sum()
            places.append((float(x), float(y)))
        return places


def _preview(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(codes) < 2 or codes.shape[1] < 2:
        first = codes[:, :1] if codes.size else np.zeros((len(codes), 1), np.float32)
        return _centred(np.hstack([first, np.zeros_like(first)]))
    from narrows.evaluation import fit_pca

    most = max(2, min(_ROWS_OF_PCA, _VALUES_OF_PCA // codes.shape[1]))
    some = strided(codes, most)
    if len(some) < 2:
        some = codes
    return _centred(fit_pca(some, 2).transform(codes))


def _final(
    codes: NDArray[np.float32], preview: NDArray[np.float32], cache: Path
) -> NDArray[np.float32]:
    """Project the codes; a failure is logged before others can see that it is over."""
    if len(codes) < _LEAST or (codes == codes[0]).all():
        return preview
    try:
        return _projected(codes, cache)
    except Exception as failure:
        _log.error("the map stays a preview, the better one failed: %s", failure)
        raise


def _projected(codes: NDArray[np.float32], cache: Path) -> NDArray[np.float32]:
    from narrows.evaluation import project

    file = cache / f"{sha256(repr(codes.shape).encode() + codes.tobytes()).hexdigest()}.npy"
    cached = _read(file, len(codes))
    if cached is not None:
        return cached
    places = _centred(project(codes, random_state=0).points)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_file(file, overwrite=True) as temporary, temporary.open("wb") as out:
            np.save(out, places, allow_pickle=False)
    except (OSError, NarrowsError) as error:
        _log.warning("the map is not kept for the next time: %s", error)
    return places


def _read(file: Path, count: int) -> NDArray[np.float32] | None:
    """Read a map from the cache; None if it is missing or damaged."""
    try:
        places: NDArray[np.float32] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = isinstance(places, np.ndarray) and places.shape == (count, 2)
    return places if fits and places.dtype == np.float32 and np.isfinite(places).all() else None


def _centred(points: NDArray[Any]) -> NDArray[np.float32]:
    if not len(points):
        return np.empty((0, 2), np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2 or 1.0
    centred: NDArray[np.float32] = ((points - (low + high) / 2) / half).astype(np.float32)
    return centred


def _errors(snapshot: Snapshot, outdated: Event) -> NDArray[np.float64]:
    library, model, ids = snapshot.require_library(), snapshot.require_decoder(), snapshot.ids
    errors = np.empty(len(ids))
    for start in range(0, len(ids), _BLOCK):
        if outdated.is_set():
            raise LibraryError("the library has changed meanwhile; ask again")
        rows = library.read(ids[start : start + _BLOCK])
        errors[start : start + len(rows)] = model.reconstruction_error(rows)
    return errors


def _colours(values: list[Any] | None, count: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    legend: dict[str, Any] = {"kind": "none", "labels": None, "min": None, "max": None}
    if values is None:
        return np.zeros(count, np.uint8), legend
    known = {value for value in values if value is not None}
    numeric = all(isinstance(value, int | float) for value in known)
    names = known and not (
        any(isinstance(value, float) for value in known) or (numeric and len(known) > _MOST_NAMES)
    )
    if names and len(known) <= _COLOURS:
        order = sorted(known, key=lambda value: (str(type(value)), value))
        number = {value: place for place, value in enumerate(order)}
        bytes_ = np.array([number.get(value, _MISSING) for value in values], np.uint8)
        return bytes_, {**legend, "kind": "categories", "labels": list(map(str, order))}
    if not numeric:
        raise ParameterError(
            f"the column has {len(known)} different values, more than {_COLOURS} colours; "
            "colour by a column of numbers or of fewer names"
        )
    numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    finite = np.isfinite(numbers)
    if not finite.any():
        raise LibraryError("the column says nothing to colour by; choose another")
    # Outliers are clipped, so that all others do not have one colour.
    low, high = np.percentile(numbers[finite], [1, 99])
    share = np.clip((numbers - low) / ((high - low) or 1), 0, 1)
    bytes_ = np.where(finite, np.rint(np.nan_to_num(share) * (_COLOURS - 1)), _MISSING)
    legend = {**legend, "kind": "range", "min": float(low), "max": float(high)}
    return bytes_.astype(np.uint8), legend


class ReportMaker:
    """Make the report when it is first requested, and again when the library has changed.

    Attributes
    ----------
    page : Path or None
        The latest report.
    version : str
        The version of the library that it describes.
    """

    def __init__(self, source: SnapshotSource) -> None:
        self._source = source
        self._folder = tempfile.TemporaryDirectory(prefix="narrows-report-")
        self._task: asyncio.Task[str] | None = None
        self._begun = ""
        self.version = ""
        self.page: Path | None = None

    def state(self, snapshot: Snapshot) -> tuple[str, str]:
        """Return the state of the report; start the process if there is none yet.

        Returns
        -------
        state : {"computing", "ready", "outdated", "failed"}
            "outdated" if there is one of an earlier version, and a new one is being made.
        why : str
            The error, if it failed.
        """
        snapshot.require_decoder()
        snapshot.require_library()
        if self._task is None or (self._task.done() and self._begun != snapshot.version):
            self._begun = snapshot.version
            self._task = asyncio.create_task(self._make(snapshot.version))
        if not self._task.done():
            return "computing" if self.page is None else "outdated", ""
        why = self._task.result()
        if why:
            self._task = None  # the next request tries again
        return ("failed", why) if why else ("ready", "")

    async def wait(self) -> None:
        """Wait for the process to end."""
        if self._task is not None:
            await self._task

    async def _make(self, version: str) -> str:
        to = Path(self._folder.name) / f"report-{version}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "narrows.web.background",
            str(self._source.path),
            str(to),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, output = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            raise
        if process.returncode != 0:
            lines = output.decode(errors="replace").strip().splitlines()
            return (lines or ["the report ended without a word"])[-1]
        if self.page is not None:
            shutil.rmtree(self.page.parent, ignore_errors=True)
        self.page, self.version = to / "index.html", version
        return ""

    async def close(self) -> None:
        """Stop the process, and remove the page."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        self._folder.cleanup()


def main() -> None:
    """Make a report on a library's pictures."""
    import numpy as np

    from narrows.errors import NarrowsError
    from narrows.evaluation import make_report

    path, to = place(sys.argv[1]), Path(sys.argv[2])
    os.nice(19)
    try:
        snapshot = SnapshotSource(path).now()
        library = snapshot.require_library()
        ids = library.ids
        if len(ids) > _MOST_ROWS:
            ids = np.sort(np.random.default_rng(0).choice(ids, _MOST_ROWS, replace=False))
        items = library.items(ids)
        labels = [item.metadata.get("label") for item in items]
        report = make_report(
            snapshot.require_decoder(),
            library.read(ids),
            None if None in labels else np.array(labels),
            names=[item.path for item in items],
            title=f"Is the model of {as_text(path.name)} any good?",
        )
        report.save(to)
    except NarrowsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
