"""Picture files restored page by page, with everything else that they hold."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from narrows.data.noise_kinds import noise_kinds
from narrows.data.photographs import Frame, Photograph, open_photograph
from narrows.data.reading import Reading
from narrows.data.tones import Tones, are_known, known_tones, own_tones
from narrows.models.picture_restorer import Change, PictureRestorer, mean_change
from narrows.models.units import known_units

_UINT8 = np.dtype(np.uint8)


class Seen(NamedTuple):
    """A page before and after it was restored, for whoever compares them.

    Attributes
    ----------
    path : Path
        The file.
    page : int
        The number of the page, from 0 on.
    damaged, restored : ndarray of shape (H, W) or (H, W, C)
        The channels that were restored, in the type and units of the file.
    tones : Tones
        Black and white in these units.
    """

    path: Path
    page: int
    damaged: NDArray[Any]
    restored: NDArray[Any]
    tones: Tones


Observer: TypeAlias = Callable[[Seen], None]
"""Called with each page that was restored, in their order."""


class FileChange(NamedTuple):
    """By how much a picture file was changed, and what did not stay as it was.

    Attributes
    ----------
    path : Path
        The file.
    change : Change
        The mean over its pages.
    pages : int
        How many it has.
    notes : set of str
        What was not kept; see :data:`narrows.data.photographs.NOTES`.
    way : str or None
        How its channels were restored; see :meth:`PictureRestorer.takes`.
    tones : Tones or None
        Black and white, if they were found in the values, and the model has units of its own.
    noise_kinds : set of str
        The kinds of noise other than independent noise that its pages have; see
        :func:`narrows.data.noise_kinds.noise_kinds`.
    """

    path: Path
    change: Change
    pages: int
    notes: set[str]
    way: str | None
    tones: Tones | None
    noise_kinds: frozenset[str] = frozenset()

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON can hold them; levels are those of 8 bits."""
        record: dict[str, Any] = {**self.change.as_json(), "pages": self.pages}
        if self.notes:
            record["not_kept"] = sorted(self.notes)
        if self.noise_kinds:
            record["noise_kinds"] = sorted(self.noise_kinds)
        if self.tones is not None:
            record["black"], record["white"] = self.tones.black, self.tones.white
        return record


def restore_file(
    path: Path,
    restorer: PictureRestorer,
    new: Path,
    to: Path,
    *,
    how: Reading | None = None,
    observers: Sequence[Observer] = (),
) -> FileChange:
    """Restore all pages of a picture file and write them with everything else that it holds.

    Parameters
    ----------
    path : Path
        The file.
    restorer : PictureRestorer
        What restores.
    new : Path
        The file to write, which is not there yet or may be replaced.
    to : Path
        The name that it gets in the end, whose ending tells its kind.
    how : Reading, optional
        The limit of pixels.
    observers : sequence of callable
        Called with each page.

    Raises
    ------
    DefectError
        If the file cannot be read.
    DataError
        If the model does not take its channels, or the new file cannot hold them.
    """
    with open_photograph(path, how) as photograph:
        # A single page is read once, and several by turns, however many there are.
        frames = list(photograph.frames()) if photograph.count == 1 else None
        own = _own_tones(photograph, frames)
        changes: list[tuple[int, Change]] = []
        ways: set[str] = set()
        guessed: set[Tones] = set()
        kinds: set[str] = set()

        def restored() -> Iterator[Frame]:
            waiting = photograph.frames() if frames is None else iter([frames.pop()])
            for page, frame in enumerate(waiting):
                tones = own or _tones_of(frame)
                if frame.values.dtype in (np.dtype(bool), _UINT8):
                    tones = known_tones(frame.values.dtype)
                channels = frame.channels
                if (way := restorer.takes(len(channels), frame.shows_colours)) is not None:
                    ways.add(way)
                dtype = frame.values.dtype
                if tones.are_own and not restorer.knows(len(channels), frame.shows_colours, dtype):
                    guessed.add(tones)
                found_kinds = set(noise_kinds(_chosen(frame), tones.span))
                damaged = _chosen(frame).copy() if observers else None
                with known_units():
                    change = restorer.restore(frame.values, channels, frame.shows_colours, tones)
                if change.chroma_apart or change.shared:
                    found_kinds.discard("correlated")
                kinds.update(found_kinds)
                changes.append((math.prod(frame.values.shape[:2]), change))
                if damaged is not None:
                    seen = Seen(path, page, damaged, _chosen(frame), tones)
                    for observer in observers:
                        observer(seen)
                yield frame

        photograph.write(new, restored(), to)
    found = next(iter(guessed), None)
    way = next(iter(ways), None)
    change = mean_change(changes)
    notes = photograph.notes
    return FileChange(path, change, len(changes), notes, way, found, frozenset(kinds))


def _chosen(frame: Frame) -> NDArray[Any]:
    """Return a view of the channels that are restored; opacity comes last."""
    values = frame.values
    if frame.alpha is None:
        return values
    return values[:, :, 0] if len(frame.channels) == 1 else values[:, :, : len(frame.channels)]


def _tones_of(frame: Frame) -> Tones:
    """Return black and white of a page that is of another type than those before it."""
    values = _chosen(frame)
    if are_known(values.dtype, float(values.max()) if values.dtype.kind == "u" else 0):
        return known_tones(values.dtype)
    return own_tones([values])


def _own_tones(photograph: Photograph, frames: list[Frame] | None) -> Tones | None:
    """Find black and white of files that may not say them; None for 8 bits."""
    if photograph.dtype == _UINT8:
        return None
    largest = 0.0
    for frame in photograph.frames() if frames is None else frames:
        if frame.values.dtype.kind == "u":
            largest = max(largest, float(_chosen(frame).max()))
    if are_known(photograph.dtype, largest):
        return known_tones(photograph.dtype)
    return own_tones(
        _chosen(frame) for frame in (photograph.frames() if frames is None else frames)
    )
