"""What is served: a library or a model, asked by several at once."""

import base64
import math
from datetime import date
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from narrows import __version__
from narrows.corruption import Limits, gaussian, masking, salt_and_pepper
from narrows.data.codec import DefectError, decode, encode_png, quietly
from narrows.errors import (
    DataError,
    FormatError,
    LibraryError,
    ParameterError,
    UnreadableFileError,
)
from narrows.library import Item, Library
from narrows.models import load
from narrows.remote import Place, on_disk, stamp

if TYPE_CHECKING:
    from collections.abc import Sequence

_DAMAGE = {"gaussian": gaussian, "masking": masking, "salt_and_pepper": salt_and_pepper}
_MANIFEST = "library.json"
# Codes that the sliders' ranges are measured on.
_CODES = 10_000


class Served:
    """A library, or a model alone, and what can be asked of it.

    Parameters
    ----------
    path : Path or Remote
        Of either.

    Raises
    ------
    NarrowsError
        If it is neither.
    """

    def __init__(self, path: Place) -> None:
        self.path = path
        self.library: Library | None = None
        self._stamp = stamp(path / _MANIFEST)
        self._lock = Lock()
        if self._stamp is not None:
            self.library = Library.open(path)
            self.model: Any = self.library.model
        else:
            with on_disk(path) as folder:
                self.model = load(folder)
        if not hasattr(self.model, "transform"):
            raise FormatError(f"'{path}' makes no codes; serve a library, a model or an encoder")
        shape = self.model.sample_shape_
        self.shows_pictures = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))

    @property
    def can_decode(self) -> bool:
        """Whether codes can be turned back."""
        return hasattr(self.model, "inverse_transform")

    def info(self) -> dict[str, Any]:
        """Tell what is served."""
        library = None
        if self.library is not None:
            opened = self.opened()
            library = {
                "name": self.path.name,
                "count": len(opened),
                "columns": opened.columns,
                "metrics": ["euclidean", "cosine"],
                "reranks": ["pixels", "ssim"],
            }
        model = self.model
        return {
            "version": __version__,
            "library": library,
            "model": {
                "model": type(model).__name__,
                "n_components": model.spec.code_width
                if hasattr(model, "spec")
                else model.spec_.code_width,
                "sample_shape": list(model.sample_shape_),
                "fingerprint": model.fingerprint_,
                "can_decode": self.can_decode,
                "can_sample": hasattr(model, "sample") or (self.can_decode and bool(library)),
                "can_denoise": hasattr(model, "reconstruct") and self.shows_pictures,
            },
        }

    def opened(self) -> Library:
        """Return the library as it is now, opened anew if somebody has changed it.

        Requests that are being answered keep the one that they began with.

        Raises
        ------
        LibraryError
            If a model is served alone.
        """
        if self.library is None:
            raise LibraryError("a model is served alone; serve a library for this")
        now = stamp(self.path / _MANIFEST)
        if now != self._stamp:
            with self._lock:
                library = Library.open(self.path)
                if library.model.fingerprint_ != self.model.fingerprint_:
                    self.model = library.model
                self.library, self._stamp = library, now
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

    def read(self, contents: bytes) -> NDArray[Any]:
        """Turn what is in a picture file into a row for the model, in its data's units.

        Raises
        ------
        UnreadableFileError, DataError
            If it is no picture, or the model takes none.
        """
        if not self.shows_pictures:
            raise DataError(
                f"the model's rows are of shape {self.model.sample_shape_}, no pictures; use codes"
            )
        try:
            with quietly():
                pixels = decode(contents, self.model.sample_shape_)
        except DefectError as error:
            raise UnreadableFileError(f"the picture cannot be read: {error}") from error
        row: NDArray[Any] = self.model.scaling_.from_pixels(pixels)
        return row

    def encode(self, rows: list[NDArray[Any]]) -> NDArray[np.float32]:
        """Encode rows that came at the same time."""
        codes: NDArray[np.float32] = self.model.transform(np.stack(rows))
        return codes

    def match(self, key: tuple[Any, ...], items: list[Any]) -> list[dict[str, Any]]:
        """Look for pictures that came at the same time, all in the same way.

        Parameters
        ----------
        key : tuple
            "file" or "id", and the rest of what :meth:`narrows.Library.match` is told.
        items : list
            Rows, or ids.
        """
        library = self.opened()
        by, options = key[0], dict(key[1:])
        if by == "id":
            items = [int(number) for number in items]
            stored = library.items(items)
            codes = np.stack([item.code for item in stored])
            found = library.match(ids=items, **options)
            restored = self._restored(codes)
            pictures: Sequence[Any] = [_address(item, "picture") for item in stored]
            truths: Any = library.read(items) if self.can_decode else None
        else:
            X = np.stack(items)
            codes = self.model.transform(X)
            again = options["rerank"] is not None
            found = library.match(X if again else None, codes=None if again else codes, **options)
            restored = self._restored(codes)
            pictures = [self.picture(row) for row in X]
            truths = X
        answers = []
        for place, matches in enumerate(found):
            error = reconstruction = None
            if restored is not None:
                difference = restored[place] - np.asarray(truths[place], np.float64)
                error = float(np.square(difference).mean())
                reconstruction = self.picture(restored[place])
            answers.append(
                {
                    "query": {
                        "id": items[place] if by == "id" else None,
                        "code": codes[place].tolist(),
                        "error": error,
                        "picture": pictures[place],
                        "reconstruction": reconstruction,
                    },
                    "matches": [
                        {**self.describe(match), "distance": match.distance} for match in matches
                    ],
                }
            )
        return answers

    def _restored(self, codes: NDArray[Any]) -> NDArray[Any] | None:
        if not self.can_decode:
            return None
        restored: NDArray[Any] = self.model.inverse_transform(codes)
        return restored

    def describe(self, item: Item) -> dict[str, Any]:
        """Tell what is known of a picture of the library, and where it is shown."""
        return {
            "id": item.id,
            "path": item.path,
            "metadata": plain(item.metadata),
            "picture": _address(item, "picture"),
            "thumbnail": _address(item, "thumbnail"),
            "reconstruction": _address(item, "reconstruction") if self.can_decode else None,
        }

    def picture(self, values: NDArray[Any]) -> str | None:
        """Turn a row into a picture's data URI; None where rows are no pictures."""
        if not self.shows_pictures:
            return None
        return "data:image/png;base64," + base64.b64encode(self.png(values)).decode()

    def png(self, values: NDArray[Any]) -> bytes:
        """Turn a row into a PNG file.

        Raises
        ------
        DataError
            If rows are no pictures.
        """
        return encode_png(self.model.scaling_.to_pixels(values))

    def decode(self, codes: list[list[float]]) -> NDArray[Any]:
        """Decode codes."""
        restored: NDArray[Any] = self.whole().inverse_transform(np.asarray(codes, np.float32))
        return restored

    def reconstruct(self, row: NDArray[Any]) -> dict[str, Any]:
        """Encode and decode one row."""
        restored = self.whole().reconstruct(row[None])[0]
        error = float(np.square(restored - np.asarray(row, np.float64)).mean())
        return {
            "picture": self.picture(row),
            "reconstruction": self.picture(restored),
            "error": error,
        }

    def denoise(self, row: NDArray[Any], corruption: str, amount: float, seed: int) -> Any:
        """Damage one row, as wished, and let the model restore it."""
        model = self.whole()
        damaged = row if corruption == "none" else self._damage(row, corruption, amount, seed)
        restored = model.reconstruct(damaged[None])[0]
        clean = np.asarray(row, np.float64)
        return {
            "picture": self.picture(row),
            "damaged": self.picture(damaged),
            "restored": self.picture(restored),
            "error_damaged": float(np.square(damaged - clean).mean()),
            "error_restored": float(np.square(restored - clean).mean()),
        }

    def _damage(self, row: NDArray[Any], name: str, amount: float, seed: int) -> NDArray[Any]:
        scaling = self.model.scaling_
        ends = (scaling.low, scaling.high)
        limits = Limits(*(scaling(torch.full((1, *row.shape), end).double())[0] for end in ends))
        x = scaling(torch.from_numpy(np.array(row))[None])
        generator = torch.Generator().manual_seed(seed)
        damaged = scaling.undo(_DAMAGE[name](x, amount, limits, generator))[0].numpy()
        kept: NDArray[Any] = np.clip(damaged, scaling.low, scaling.high)
        return kept

    def latent(self) -> dict[str, Any]:
        """Tell how the code's units vary, the one that varies most first.

        Raises
        ------
        LibraryError
            If there are no codes to tell it from.
        """
        codes: NDArray[Any]
        if self.library is None and hasattr(self.model, "sample"):
            width = self.model.spec_.code_width
            codes = np.random.default_rng(0).standard_normal((_CODES, width))
        else:
            every = self.opened().codes
            if not len(every):
                raise LibraryError("the library is empty, so its code has no units to show")
            codes = every[:: max(1, len(every) // _CODES)]
        variance = codes.var(axis=0, dtype=np.float64)
        total = float(variance.sum()) or 1.0
        units = [
            {
                "index": int(unit),
                "mean": float(codes[:, unit].mean()),
                "std": math.sqrt(variance[unit]),
                "min": float(codes[:, unit].min()),
                "max": float(codes[:, unit].max()),
                "share": float(variance[unit]) / total,
            }
            for unit in np.argsort(-variance, kind="stable")
        ]
        return {"units": units, "mean_code": codes.mean(axis=0).tolist()}

    def sample(self, count: int, seed: int) -> dict[str, Any]:
        """Draw codes, from the prior or like the library's, and decode them."""
        model = self.whole()
        generator = np.random.default_rng(seed)
        if hasattr(model, "sample"):
            codes = generator.standard_normal((count, model.spec_.code_width))
        else:
            known: NDArray[Any] = self.opened().codes.astype(np.float64)
            if len(known) < 2:
                raise LibraryError("the library has too few pictures to draw others like them")
            codes = generator.multivariate_normal(
                known.mean(axis=0), np.cov(known, rowvar=False), count, method="eigh"
            )
        pictures = [self.picture(row) for row in self.decode(codes.tolist())]
        return {"codes": codes.tolist(), "pictures": pictures}

    def item(self, number: int) -> Item:
        """Look one picture up.

        Raises
        ------
        ParameterError
            If there is none of this id.
        """
        return self.opened().items([number])[0]

    def view(self, number: int, kind: str) -> bytes:
        """Return a picture of the library as a PNG file: as stored, small, or restored."""
        item = self.item(number)
        if kind == "thumbnail":
            return encode_png(item.thumbnail)
        if kind == "reconstruction":
            self.whole()
            return self.png(item.decoded)
        return self.png(item.picture)

    def page(self, where: str | None, limit: int, offset: int) -> tuple[int, list[Item]]:
        """Return how many pictures a filter lets through, and some of them."""
        library = self.opened()
        ids = library.ids if where is None else library.find(where)
        return len(ids), library.items(ids[offset : offset + limit])

    def change(self, number: int, metadata: dict[str, Any]) -> Item:
        """Write columns of one picture."""
        self.item(number)
        if not metadata:
            raise ParameterError("there is nothing to change; give columns and their values")
        self.opened().update([number], {name: [value] for name, value in metadata.items()})
        return self.item(number)

    def remove(self, number: int) -> None:
        """Remove one picture."""
        self.item(number)
        self.opened().remove([number])

    def add(self, contents: list[bytes]) -> dict[str, Any]:
        """Add picture files."""
        for one in contents:
            self.read(one)
        added = self.opened().add(iter(contents))
        return {"count": added.count, "total": len(self.opened())}


def _address(item: Item, kind: str) -> str:
    return f"/api/items/{item.id}/{kind}"


def plain(value: Any) -> Any:
    """Turn users' values into what JSON can hold."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)
