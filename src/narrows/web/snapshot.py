"""What is served: a library at one version, or a model, and how its codes are distributed.

Several requests use a snapshot at the same time.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from narrows import __version__
from narrows.corruption import gaussian, masking, salt_and_pepper
from narrows.data.decoding import Target, size_of
from narrows.data.depths import encode_png
from narrows.data.image_codec import DefectError, quietly
from narrows.data.reading import Notes, Reading
from narrows.errors import DataError, LibraryError, UnreadableFileError
from narrows.library import Item, Library
from narrows.models.damage import limits_of

_CODES = 10_000  # of which the distribution is measured
_DAMAGE = {"gaussian": gaussian, "masking": masking, "salt_and_pepper": salt_and_pepper}
_SMALL = 2**12  # numbers in a row


@dataclass(frozen=True)
class _Spread:
    """The distribution of codes: the ranges of sliders, and what new codes are drawn from.

    Attributes
    ----------
    mean : ndarray of shape (K,)
        Of the codes.
    covariance : ndarray of shape (K, K)
        Of the codes; of a single one, zeros.
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

    @classmethod
    def normal(cls, width: int) -> Self:
        """Measure what is drawn from the prior of a variational model."""
        codes = np.random.default_rng(0).standard_normal((_CODES, width), np.float32)
        return cls.of(codes)

    def describe(self) -> dict[str, Any]:
        """Tell how the code's units vary, the one that varies most first."""
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
    """A picture as a row for the model, and the height and width that it has."""

    row: NDArray[Any]
    size: tuple[int, int] | None


class Served:
    """A library, or a model alone, and what can be asked of it.

    Parameters
    ----------
    name : str
        What it is called.
    library : Library or None
        Which nobody refreshes or changes, so that all that is known of it stays true.
    model : BaseAutoencoder or Encoder
        The library's, or the one that is served alone.
    version : str
        Another one after every change of the library.
    how : Reading, optional
        How many pixels of a picture are unpacked.
    """

    def __init__(
        self,
        name: str,
        library: Library | None,
        model: Any,
        version: str,
        how: Reading | None = None,
    ) -> None:
        self.name = name
        self.library = library
        self.model = model
        self.version = version
        self.how = how or Reading()
        self._lock = Lock()
        self.spec = model.spec if hasattr(model, "spec") else model.spec_
        self.shows_pictures = bool(self.spec.shows_pictures)

    @property
    def can_decode(self) -> bool:
        """Whether codes can be turned back."""
        return hasattr(self.model, "inverse_transform")

    @cached_property
    def has_small_rows(self) -> bool:
        """Whether a picture file is made of a row in a fraction of a millisecond."""
        return int(math.prod(self.model.sample_shape_)) <= _SMALL

    @cached_property
    def width(self) -> int:
        """The width of a code, K."""
        return int(self.spec.code_width)

    def info(self) -> dict[str, Any]:
        """Tell what is served."""
        library = None
        if self.library is not None:
            library = {
                "name": self.name,
                "count": len(self.library),
                "columns": self.library.columns,
                "metrics": ["euclidean", "cosine"],
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

    def opened(self) -> Library:
        """Return the library.

        Raises
        ------
        LibraryError
            If a model is served alone.
        """
        if self.library is None:
            raise LibraryError("a model is served alone; serve a library for this")
        return self.library

    def whole(self) -> Any:
        """Return the model, if both its halves are there.

        Raises
        ------
        LibraryError
            If it is an encoder.
        """
        if not self.can_decode:
            raise LibraryError("an encoder alone is served; serve a whole model for this")
        return self.model

    def read(self, contents: bytes, notes: Notes | None = None) -> NDArray[Any]:
        """Turn what is in a picture file into a row for the model, in its data's units.

        Parameters
        ----------
        contents : bytes
            The file.
        notes : Notes, optional
            Takes what has to be said of it.

        Raises
        ------
        UnreadableFileError, DataError
            If it is no picture, or the model takes none.
        """
        if not self.shows_pictures:
            raise DataError(
                f"the model's rows are of shape {self.model.sample_shape_}, no pictures; use codes"
            )
        scaling = self.model.scaling_
        target = Target(self.model.sample_shape_, scaling.file_type, scaling, self.how)
        try:
            with quietly():
                return target.decode(contents, notes)
        except DefectError as error:
            raise UnreadableFileError(f"the picture cannot be read: {error}") from error

    def read_sized(self, contents: bytes, notes: Notes | None = None) -> Sized:
        """Read a picture as :meth:`read` does, and the size that it has."""
        row = self.read(contents, notes)
        with quietly():
            return Sized(row, size_of(contents))

    def stored(self, number: int) -> Sized:
        """Return a picture of the library as a row, and the size that it is stored at."""
        library = self.opened()
        return Sized(library.read([number])[0], library.sizes([number])[0])

    def encode(self, rows: list[NDArray[Any]]) -> NDArray[np.float32]:
        """Encode rows that came at the same time."""
        codes: NDArray[np.float32] = self.model.transform(np.stack(rows))
        return codes

    def match(
        self, by: str, options: dict[str, Any], items: list[Any]
    ) -> list[tuple[dict[str, Any], Any, Any]]:
        """Look for pictures that came at the same time, all in the same way.

        Parameters
        ----------
        by : {"file", "id"}
            What they are.
        options : dict
            The rest of what :meth:`narrows.Library.match` is told.
        items : list
            Rows, or ids.

        Returns
        -------
        list of tuple
            Of each picture: what was found, the picture itself if it is none of the library, and
            what its code gives, if that can be decoded.
        """
        library = self.opened()
        truths: Any
        if by == "id":
            items = [int(number) for number in items]
            stored = library.items(items)
            codes = np.stack([item.code for item in stored])
            found = library.match(ids=items, **options)
            truths = library.read(items) if self.can_decode else None
        else:
            truths = np.stack(items)
            codes = self.model.transform(truths)
            again = options["rerank"] is not None
            found = library.match(
                truths if again else None, codes=None if again else codes, **options
            )
        restored = self.model.inverse_transform(codes) if self.can_decode else None
        answers = []
        for place, matches in enumerate(found):
            error = None
            if restored is not None:
                difference = restored[place] - np.asarray(truths[place], np.float64)
                error = float(np.square(difference).mean())
            query = {
                "id": items[place] if by == "id" else None,
                "code": codes[place].tolist(),
                "error": error,
                "picture": self._address(items[place], "picture") if by == "id" else None,
            }
            shown = [{**self.describe(match), "distance": match.distance} for match in matches]
            answers.append(
                (
                    {"query": query, "matches": shown},
                    None if by == "id" else truths[place],
                    None if restored is None else restored[place],
                )
            )
        return answers

    def finish_match(self, answer: dict[str, Any], row: Any, restored: Any) -> dict[str, Any]:
        """Add to what was found the pictures that exist for one answer only."""
        query = answer["query"]
        query["reconstruction"] = None if restored is None else self.picture(restored)
        if row is not None:
            query["picture"] = self.picture(row)
        return answer

    def describe(self, item: Item) -> dict[str, Any]:
        """Tell what is known of a picture of the library, and where it is shown."""
        return {
            "id": item.id,
            "path": item.path,
            "metadata": _plain(item.metadata),
            "picture": self._address(item.id, "picture"),
            "thumbnail": self._address(item.id, "thumbnail"),
            "reconstruction": self._address(item.id, "reconstruction") if self.can_decode else None,
        }

    def _address(self, number: int, kind: str) -> str | None:
        return f"/api/items/{number}/{kind}" if self.shows_pictures else None

    def picture(self, values: NDArray[Any]) -> str | None:
        """Turn a row into a picture's data URI; None where rows are no pictures."""
        if not self.shows_pictures:
            return None
        return data_uri(self.png(values))

    def png(self, values: NDArray[Any]) -> bytes:
        """Turn a row into a PNG file.

        Raises
        ------
        DataError
            If rows are no pictures.
        """
        return encode_png(self.model.scaling_.to_pixels(values))

    def decode(self, codes: Sequence[Sequence[float]]) -> list[bytes]:
        """Decode codes to PNG files."""
        restored = self.whole().inverse_transform(np.asarray(codes, np.float32))
        return [self.png(row) for row in restored]

    def reconstruct(self, given: Sized) -> dict[str, Any]:
        """Encode and decode one row."""
        row = given.row
        restored = self.whole().reconstruct(row[None])[0]
        error = float(np.square(restored - np.asarray(row, np.float64)).mean())
        return {
            "picture": self.picture(row),
            "reconstruction": self.picture(restored),
            "error": error,
            **self._sizes(given),
        }

    def denoise(self, given: Sized, corruption: str, amount: float, seed: int) -> Any:
        """Damage one row, as wished, and let the model restore it."""
        model, row = self.whole(), given.row
        damaged = row if corruption == "none" else self._damage(row, corruption, amount, seed)
        restored = model.reconstruct(damaged[None])[0]
        clean = np.asarray(row, np.float64)
        return {
            "picture": self.picture(row),
            "damaged": self.picture(damaged),
            "restored": self.picture(restored),
            "error_damaged": float(np.square(damaged - clean).mean()),
            "error_restored": float(np.square(restored - clean).mean()),
            **self._sizes(given),
        }

    def _sizes(self, given: Sized) -> dict[str, Any]:
        """Tell the size that a picture has, and the one that it is restored at."""
        at = list(self.model.sample_shape_[:2]) if self.shows_pictures else None
        return {"given_size": None if given.size is None else list(given.size), "size": at}

    def _damage(self, row: NDArray[Any], name: str, amount: float, seed: int) -> NDArray[Any]:
        scaling = self.model.scaling_
        x = scaling(torch.from_numpy(np.array(row))[None])
        generator = torch.Generator().manual_seed(seed)
        damage = _DAMAGE[name](x, amount, limits_of(self.whole()), generator)
        damaged = scaling.undo(damage.rows)[0].numpy()
        kept: NDArray[Any] = np.clip(damaged, scaling.low, scaling.high)
        return kept

    @property
    def codes(self) -> NDArray[np.float32]:
        """All codes of the library, (n, K), read when they are first needed."""
        with self._lock:
            return self._codes

    @cached_property
    def _codes(self) -> NDArray[np.float32]:
        return self.opened().codes

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The ids of all pictures, (n,), ascending."""
        return self.opened().ids

    @property
    def spread(self) -> _Spread:
        """The distribution of the library's codes, or a variational model's prior.

        Raises
        ------
        LibraryError
            If there are no codes to tell it from.
        """
        with self._lock:
            return self._spread

    @cached_property
    def _spread(self) -> _Spread:
        if self.library is None and hasattr(self.model, "sample"):
            return _Spread.normal(self.width)
        if not len(self.opened()):
            raise LibraryError("the library is empty, so its code has no units to show")
        return _Spread.of(self._codes)

    def draw(self, count: int, seed: int) -> NDArray[np.float64]:
        """Draw codes, from the prior or like the library's."""
        if hasattr(self.whole(), "sample"):
            return np.random.default_rng(seed).standard_normal((count, self.width))
        if len(self.opened()) < 2:
            raise LibraryError("the library has too few pictures to draw others like them")
        return self.spread.draw(count, seed)

    def item(self, number: int) -> Item:
        """Look one picture up.

        Raises
        ------
        ParameterError
            If there is none of this id.
        """
        return self.opened().items([number])[0]

    def pictures(self, numbers: list[int]) -> list[bytes]:
        """Show pictures of the library as stored, as PNG files."""
        self._check_shown()
        return [self.png(row) for row in self.opened().read(numbers)]

    def thumbnails(self, numbers: list[int]) -> list[bytes]:
        """Show pictures of the library small, as PNG or JPEG files."""
        self._check_shown()
        return self.opened().thumbnails(numbers)

    def reconstructions(self, numbers: list[int]) -> list[bytes]:
        """Show what pictures' codes give, as PNG files."""
        model, codes = self.whole(), self.codes
        self._check_shown()
        places = np.searchsorted(self.ids, numbers)
        if not len(self.ids) or not np.array_equal(self.ids.take(places, mode="clip"), numbers):
            self.opened().items(numbers)  # which says what is not there
        return [self.png(row) for row in model.inverse_transform(codes[places])]

    def _check_shown(self) -> None:
        if not self.shows_pictures:
            raise DataError(
                f"rows of shape {self.model.sample_shape_} are no pictures; look at their columns"
            )

    def page(self, where: str | None, limit: int, offset: int) -> tuple[int, list[Item]]:
        """Return how many pictures a filter lets through, and some of them."""
        library = self.opened()
        ids = library.ids if where is None else library.find(where)
        return len(ids), library.items(ids[offset : offset + limit])


def data_uri(file: bytes) -> str:
    """Turn a PNG file into what a page shows without asking for it."""
    return "data:image/png;base64," + base64.b64encode(file).decode()


def _plain(value: Any) -> Any:
    """Turn users' values into what JSON can hold."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)
