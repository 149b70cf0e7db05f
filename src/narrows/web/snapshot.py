"""Snapshots of the library or model that is served, and the source that replaces them.

Several requests use a snapshot at the same time, and it never changes; when the library does, the
source opens the next snapshot.
"""

import base64
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from threading import Lock
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

from narrows import __version__
from narrows.corruption import gaussian, masking, salt_and_pepper
from narrows.data.decoding import Target, size_of
from narrows.data.depths import encode_png
from narrows.data.image_codec import DefectError, quietly
from narrows.data.reading import Notes, Reading, current, reading
from narrows.errors import DataError, FormatError, LibraryError, ParameterError, UnreadableFileError
from narrows.library import Item, Library, Match
from narrows.models import TableAutoencoder, load
from narrows.models.damage import limits_of
from narrows.models.units import known_units
from narrows.networks import METRICS
from narrows.remote import Place, Remote, on_disk, stamp
from narrows.texts import as_json, as_text

# Codes of which the distribution is measured.
_CODES = 10_000
_DAMAGE = {"gaussian": gaussian, "masking": masking, "salt_and_pepper": salt_and_pepper}
# A row of no more values than this is small.
_SMALL = 2**12
# The time for which an object store is not asked again.
_SECONDS = 1.0


@dataclass(frozen=True)
class _Spread:
    """The distribution of latent codes (embeddings): for sliders, and to draw new codes from.

    Attributes
    ----------
    mean : ndarray of shape (K,)
        The mean code.
    covariance : ndarray of shape (K, K)
        The covariance of the codes; of a single one, zeros.
    low, high : ndarray of shape (K,)
        The smallest and the largest value of each unit.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, codes: NDArray[np.float32]) -> Self:
        """Measure codes (n, K), or an evenly spaced sample of 10 000 to 20 000 of them."""
        some = codes[:: max(1, len(codes) // _CODES)].astype(np.float64)
        covariance = np.atleast_2d(np.cov(some, rowvar=False, ddof=0))
        return cls(some.mean(axis=0), covariance, some.min(axis=0), some.max(axis=0))

    def describe(self) -> dict[str, Any]:
        """Describe how the code's units vary, the most varied first."""
        variance = np.diag(self.covariance)
        total = float(variance.sum()) or 1.0
        units = [
            {
                "index": int(unit),
                "mean": float(self.mean[unit]),
                "std": math.sqrt(variance[unit]),
                "min": float(self.low[unit]),
                "max": float(self.high[unit]),
                "share": float(variance[unit]) / total,
            }
            for unit in np.argsort(-variance, kind="stable")
        ]
        return {"units": units, "mean_code": self.mean.tolist()}

    def draw(self, count: int, seed: int) -> NDArray[np.float64]:
        """Draw codes from the normal distribution of this mean and covariance."""
        generator = np.random.default_rng(seed)
        drawn: NDArray[np.float64] = generator.multivariate_normal(
            self.mean, self.covariance, count, method="eigh"
        )
        return drawn


class Sized(NamedTuple):
    """A picture as a row for the model, and its height and width."""

    row: NDArray[Any]
    size: tuple[int, int] | None


class Snapshot:
    """A snapshot of a library, or a model alone, and the answers about it.

    Parameters
    ----------
    name : str
        Its name.
    library : Library or None
        The library; it is never refreshed or changed, so that all that is known of it stays true.
    model : BaseAutoencoder or Encoder
        The library's model, or the one that is served alone.
    version : str
        An identifier of the snapshot, different after every change of the library.
    how : Reading, optional
        The bound on the pixels of a picture.
    """

    def __init__(
        self,
        name: str,
        library: Library | None,
        model: Any,
        version: str,
        how: Reading | None = None,
    ) -> None:
        self.name, self.library, self.model, self.version = name, library, model, version
        self.how = how or Reading()
        self._lock = Lock()
        self.spec = model.spec_
        self.shows_pictures = bool(self.spec.shows_pictures)

    @property
    def can_decode(self) -> bool:
        """Whether codes can be decoded."""
        return hasattr(self.model, "inverse_transform")

    @cached_property
    def has_small_rows(self) -> bool:
        """Whether a row becomes a picture file in a fraction of a millisecond."""
        return int(math.prod(self.model.sample_shape_)) <= _SMALL

    @cached_property
    def width(self) -> int:
        """The width of a code, K."""
        return int(self.spec.code_width)

    def info(self) -> dict[str, Any]:
        """Describe the library and the model."""
        library = None
        if self.library is not None:
            own = self.library.metric
            library = {
                "name": self.name,
                "count": len(self.library),
                "columns": self.library.columns,
                "metrics": sorted(METRICS, key=lambda metric: metric != own),
                "reranks": ["pixels", "ssim"],
            }
        model = self.model
        return {
            "version": __version__,
            "library": library,
            "model": {
                "model": type(model).__name__,
                "n_components": self.width,
                "sample_shape": list(model.sample_shape_),
                "fingerprint": model.fingerprint_,
                "shows_pictures": self.shows_pictures,
                "can_decode": self.can_decode,
                "can_sample": hasattr(model, "sample") or (self.can_decode and bool(library)),
                "can_denoise": hasattr(model, "reconstruct") and self.shows_pictures,
            },
        }

    def require_library(self) -> Library:
        """Return the library; raise a LibraryError if a model is served alone."""
        if self.library is None:
            raise LibraryError("a model is served alone; serve a library for this")
        return self.library

    def require_decoder(self) -> Any:
        """Return the model; raise a LibraryError if it is an encoder alone."""
        if not self.can_decode:
            raise LibraryError("an encoder alone is served; serve a whole model for this")
        return self.model

    def read(self, contents: bytes, notes: Notes | None = None) -> NDArray[Any]:
        """Decode a picture file to a row for the model, in the units of its training data.

        Parameters
        ----------
        contents : bytes
            The content of the file.
        notes : Notes, optional
            Takes the warnings about it.

        Raises
        ------
        UnreadableFileError, DataError
            If it is not a picture, or the model takes none.
        """
        if not self.shows_pictures:
            raise DataError(
                f"the model's rows are of shape {self.model.sample_shape_}, no pictures; use codes"
            )
        target = Target.of(self.model, self.how)
        try:
            with quietly():
                return target.decode(contents, notes)
        except DefectError as error:
            raise UnreadableFileError(f"the picture cannot be read: {error}") from error

    def read_sized(self, contents: bytes, notes: Notes | None = None) -> Sized:
        """Read a picture as :meth:`read` does, and its size."""
        row = self.read(contents, notes)
        with quietly():
            return Sized(row, size_of(contents))

    def stored(self, number: int) -> Sized:
        """Return a picture of the library as a row, and its stored size."""
        library = self.require_library()
        return Sized(library.read([number])[0], library.sizes([number])[0])

    def encode(self, rows: list[NDArray[Any]]) -> NDArray[np.float32]:
        """Encode a batch of rows."""
        codes: NDArray[np.float32] = self.model.transform(np.stack(rows))
        return codes

    def match(
        self, by: str, options: dict[str, Any], items: list[Any]
    ) -> list[tuple[dict[str, Any], Any, Any]]:
        """Find the matches of a batch of queries with the same options.

        Parameters
        ----------
        by : {"file", "id"}
            The kind of the queries.
        options : dict
            The other parameters of :meth:`narrows.Library.match`.
        items : list
            Rows, or ids.

        Returns
        -------
        list of tuple
            For each query: the answer, the query's row if it is not in the library, and the row
            that its code decodes to, if it can be decoded.
        """
        library, is_stored = self.require_library(), by == "id"
        rows: Any = None
        if is_stored:
            codes = np.stack([item.code for item in library.items(items)])
            results = library.match_ids(items, **options)
            rows = library.read(items) if self.can_decode else None
        else:
            rows = np.stack(items)
            codes = self.model.transform(rows)
            if options["rerank"] is None:
                results = library.match_codes(codes, **options)
            else:
                results = cast("list[list[Match]]", library.match(rows, **options))
        restored = self.model.inverse_transform(codes) if self.can_decode else None
        answers = []
        for place, matches in enumerate(results):
            error = None if restored is None else _error(restored[place], rows[place])
            query = {
                "id": items[place] if is_stored else None,
                "code": codes[place].tolist(),
                "error": error,
                "picture": self._address(items[place], "picture") if is_stored else None,
            }
            shown = [{**self.describe(match), "distance": match.distance} for match in matches]
            row = None if is_stored else rows[place]
            decoded = None if restored is None else restored[place]
            answers.append(({"query": query, "matches": shown}, row, decoded))
        return answers

    def finish_match(self, answer: dict[str, Any], row: Any, restored: Any) -> dict[str, Any]:
        """Add the query's own pictures to an answer."""
        query = answer["query"]
        query["reconstruction"] = None if restored is None else self.picture(restored)
        if row is not None:
            query["picture"] = self.picture(row)
        return answer

    def describe(self, item: Item) -> dict[str, Any]:
        """Describe a picture of the library, with the addresses of its views."""
        return {
            "id": item.id,
            "path": item.path,
            "metadata": as_json(item.metadata),
            "picture": self._address(item.id, "picture"),
            "thumbnail": self._address(item.id, "thumbnail"),
            "reconstruction": self._address(item.id, "reconstruction") if self.can_decode else None,
        }

    def _address(self, number: int, kind: str) -> str | None:
        return f"/api/items/{number}/{kind}" if self.shows_pictures else None

    def picture(self, values: NDArray[Any]) -> str | None:
        """Turn a row into a picture's data URI; None where rows are no pictures."""
        return data_uri(self.png(values)) if self.shows_pictures else None

    def png(self, values: NDArray[Any]) -> bytes:
        """Turn a row into a PNG file; raise a DataError if rows are no pictures."""
        return encode_png(self.model.scaling_.to_pixels(values))

    def decode(self, codes: Sequence[Sequence[float]]) -> list[bytes]:
        """Decode codes to PNG files."""
        restored = self.require_decoder().inverse_transform(np.asarray(codes, np.float32))
        return [self.png(row) for row in restored]

    def reconstruct(self, picture: Sized) -> dict[str, Any]:
        """Encode and decode one row."""
        row = picture.row
        restored = self.require_decoder().reconstruct(row[None])[0]
        return {
            "picture": self.picture(row),
            "reconstruction": self.picture(restored),
            "error": _error(restored, row),
            **self._sizes(picture),
        }

    def denoise(self, picture: Sized, corruption: str, amount: float, seed: int) -> Any:
        """Damage one row, and let the model restore it."""
        model, row = self.require_decoder(), picture.row
        damaged = row if corruption == "none" else self._damage(row, corruption, amount, seed)
        with known_units():
            restored = model.denoise(damaged[None])[0]
        return {
            "picture": self.picture(row),
            "damaged": self.picture(damaged),
            "restored": self.picture(restored),
            "error_damaged": _error(damaged, row),
            "error_restored": _error(restored, row),
            **self._sizes(picture),
        }

    def _sizes(self, picture: Sized) -> dict[str, Any]:
        """Return the size of a picture, and the size at which it is restored."""
        given = None if picture.size is None else list(picture.size)
        restored = list(self.model.sample_shape_[:2]) if self.shows_pictures else None
        return {"given_size": given, "size": restored}

    def _damage(self, row: NDArray[Any], name: str, amount: float, seed: int) -> NDArray[Any]:
        scaling = self.model.scaling_
        x = scaling(torch.from_numpy(np.array(row))[None])
        generator = torch.Generator().manual_seed(seed)
        damage = _DAMAGE[name](x, amount, limits_of(self.require_decoder()), generator)
        damaged = scaling.undo(damage.rows)[0].numpy()
        clipped: NDArray[Any] = np.clip(damaged, scaling.low, scaling.high)
        return clipped

    @property
    def codes(self) -> NDArray[np.float32]:
        """All codes of the library, (n, K), read on first use."""
        with self._lock:
            return self._codes

    @cached_property
    def _codes(self) -> NDArray[np.float32]:
        return self.require_library().codes

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The ids of all pictures, (n,), ascending."""
        return self.require_library().ids

    @property
    def spread(self) -> _Spread:
        """The distribution of the library's codes, or of a variational model's prior.

        Raises
        ------
        LibraryError
            If there are no codes.
        """
        with self._lock:
            return self._spread

    @cached_property
    def _spread(self) -> _Spread:
        if self.library is None and hasattr(self.model, "sample"):
            codes = np.random.default_rng(0).standard_normal((_CODES, self.width), np.float32)
            return _Spread.of(codes)
        if not len(self.require_library()):
            raise LibraryError("the library is empty, so its code has no units to show")
        return _Spread.of(self._codes)

    def draw(self, count: int, seed: int) -> NDArray[np.float64]:
        """Draw codes from the prior, or from a normal distribution like the library's codes."""
        if hasattr(self.require_decoder(), "sample"):
            return np.random.default_rng(seed).standard_normal((count, self.width))
        if len(self.require_library()) < 2:
            raise LibraryError("the library has too few pictures to draw others like them")
        return self.spread.draw(count, seed)

    def item(self, number: int) -> Item:
        """Return one picture; raise a ParameterError if there is none with this id."""
        return self.require_library().items([number])[0]

    def pictures(self, numbers: list[int]) -> list[bytes]:
        """Return stored pictures as PNG files."""
        self._check_shown()
        return [self.png(row) for row in self.require_library().read(numbers)]

    def thumbnails(self, numbers: list[int]) -> list[bytes]:
        """Return thumbnails of stored pictures as PNG or JPEG files."""
        self._check_shown()
        return self.require_library().thumbnails(numbers)

    def reconstructions(self, numbers: list[int]) -> list[bytes]:
        """Return the pictures that stored codes decode to, as PNG files."""
        model, codes = self.require_decoder(), self.codes
        self._check_shown()
        places = np.searchsorted(self.ids, numbers)
        if not len(self.ids) or not np.array_equal(self.ids.take(places, mode="clip"), numbers):
            self.require_library().items(numbers)  # raises an error that names the missing id
        return [self.png(row) for row in model.inverse_transform(codes[places])]

    def _check_shown(self) -> None:
        if not self.shows_pictures:
            raise DataError(
                f"rows of shape {self.model.sample_shape_} are no pictures; look at their columns"
            )

    def page(self, where: str | None, limit: int, offset: int) -> tuple[int, list[Item]]:
        """Return the number of pictures that pass a filter, and some of them."""
        library = self.require_library()
        ids = library.ids if where is None else library.find(where)
        return len(ids), library.items(ids[offset : offset + limit])


def _error(values: NDArray[Any], row: NDArray[Any]) -> float:
    """Return the mean squared error of one row, in the data's units squared."""
    return float(np.square(values - np.asarray(row, np.float64)).mean())


def data_uri(file: bytes) -> str:
    """Return a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(file).decode()


class SnapshotSource:
    """A library, or a model alone, which others may change while it is served.

    Parameters
    ----------
    path : Path or Remote
        The library's or model's folder or address.

    Attributes
    ----------
    latest : Snapshot
        The latest snapshot.

    Raises
    ------
    NarrowsError
        If there is neither.
    """

    def __init__(self, path: Place) -> None:
        self.path = path
        self._how = current()
        self._lock = Lock()
        version = _version(path)
        self.latest = self._open(version, alone=not version)
        self._looked = time.monotonic()

    def now(self) -> Snapshot:
        """Return a snapshot of the current version.

        Requests keep the snapshot that they began with.

        Raises
        ------
        NarrowsError
            If the library has disappeared or cannot be read.
        """
        if self.is_current():
            return self.latest
        with self._lock:
            self._looked = time.monotonic()
            version = _version(self.path)
            if self.latest.version != version:
                self.latest = self._open(version, alone=False)
            return self.latest

    def is_current(self) -> bool:
        """Return, within microseconds, whether :attr:`latest` is known to be current."""
        if self.latest.library is None:
            return True
        if isinstance(self.path, Remote):  # which is slow to answer
            return time.monotonic() - self._looked < _SECONDS
        return self.latest.version == _version(self.path)

    def add(self, contents: list[bytes], notes: Notes) -> dict[str, Any]:
        """Add picture files; ``notes`` takes the warnings about them."""
        snapshot = self.now()
        for content in contents:
            snapshot.read(content, notes)
        library = self._to_be_changed()
        with reading(self._how.max_pixels):
            added = library.add(iter(contents))
        return {"count": added.count, "total": len(self._changed().require_library())}

    def change(self, number: int, metadata: dict[str, Any]) -> Item:
        """Write columns of one picture."""
        self.now().item(number)
        if not metadata:
            raise ParameterError("there is nothing to change; give columns and their values")
        columns = {name: [value] for name, value in metadata.items()}
        self._to_be_changed().update([number], columns)
        return self._changed().item(number)

    def remove(self, number: int) -> None:
        """Remove one picture."""
        self.now().item(number)
        self._to_be_changed().remove([number])
        self._changed()

    def _to_be_changed(self) -> Library:
        """Open the library again, as current requests keep their snapshot."""
        self.now().require_library()
        with reading(self._how.max_pixels):
            return Library.open(self.path)

    def _changed(self) -> Snapshot:
        self._looked = -math.inf
        return self.now()

    def _open(self, version: str, *, alone: bool) -> Snapshot:
        # Changes after the version was read are seen the next time.
        path = self.path
        with reading(self._how.max_pixels):  # in whatever thread this is
            library = None if alone else Library.open(path)
        if library is not None:
            model: Any = library.model
        else:
            with on_disk(path) as folder:
                model = load(folder)
        if not hasattr(model, "transform"):
            raise FormatError(f"'{path}' makes no codes; serve a library, a model or an encoder")
        if isinstance(model, TableAutoencoder):
            raise FormatError(
                f"'{path}' is a model of a table with categories, dates or gaps, which the page "
                "does not show; serve another model, or write a page (narrows report)"
            )
        return Snapshot(as_text(path.name), library, model, version, self._how)


def _version(path: Place) -> str:
    """Return a hash that identifies the state of a library; "" without one."""
    facts = stamp(path / "library.json")
    return "" if facts is None else sha256(repr(facts).encode()).hexdigest()[:24]
