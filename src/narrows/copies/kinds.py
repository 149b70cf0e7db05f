"""What kind of copy a picture is: what was done to one picture so that it became the other."""

from dataclasses import dataclass, field
from math import atan2, degrees, hypot

import numpy as np
from numpy.typing import NDArray

from narrows.copies.judging import correlations, in_parts
from narrows.copies.pictures import SIDE, Box, Seen
from narrows.copies.registering import PART, Maps, Pyramid, warp

KINDS = (
    "same file",
    "same bytes",
    "same pixels",
    "mirrored",
    "rotated",
    "turned",
    "cropped",
    "shows more",
    "bordered",
    "without border",
    "resized",
    "stretched",
    "brighter",
    "darker",
    "contrast",
    "grey",
    "overlaid",
    "recompressed",
)
"""The kinds of copies, in the order in which they are named."""

_TURNED = 0.8  # degrees
_MARGIN = 0.015  # share of a side that is missing or beyond
_SIZE, _STRETCH = 0.015, 0.03  # changes of the size, and of the proportions
_LEVELS, _CONTRAST = 6.0, 0.12  # changes of the mean, and of the contrast
_GREY, _COLOURS = 1.5, 3.0  # levels of colour of grey pictures, and of others
_DIFFERS, _OFF, _COVER = 0.5, 14.0, 0.03  # correlation, levels and share of what is covered


@dataclass(frozen=True)
class Change:
    """What was done to a picture.

    Attributes
    ----------
    kinds : tuple of str
        Of :data:`KINDS`.
    details : dict of str to float
        Where they apply: ``rotated`` and ``turned`` in degrees against the clock,
        after mirroring left to right, ``resized`` as
        a factor of the sides, ``brighter`` in levels of 255 (below zero if darker), ``contrast`` as
        a factor, ``cropped`` as the share of the other picture that is shown.
    """

    kinds: tuple[str, ...]
    details: dict[str, float] = field(default_factory=dict)


def whole_map(inner: Maps, own: Box, other: Box) -> NDArray[np.float64]:
    """Return the map between whole pictures, (2, 3), of one between the parts in their frames."""

    def frame(box: Box) -> NDArray[np.float64]:
        return np.array(
            [[box.right - box.left, 0, box.left], [0, box.bottom - box.top, box.top], [0, 0, 1]]
        )

    square = np.vstack([inner.astype(np.float64), [0, 0, 1]])
    return np.asarray((frame(other) @ square @ np.linalg.inv(frame(own)))[:2])


def describe(
    pyramid: Pyramid, seen: tuple[Seen, Seen], rows: tuple[int, int], inner: Maps
) -> Change:
    """Say what was done to the second picture, so that it became the first.

    Parameters
    ----------
    pyramid : Pyramid
        The pictures.
    seen : (Seen, Seen)
        What is known of the copy, and of the picture that it is a copy of.
    rows : (int, int)
        Their numbers in the pyramid.
    inner : ndarray of shape (2, 3)
        Where the copy lies in the other, both without frames.

    Returns
    -------
    Change
    """
    copy, other = seen
    kinds: set[str] = set()
    details: dict[str, float] = {}
    _place(kinds, details, seen, inner)
    _light(kinds, details, pyramid, rows, inner)
    if copy.colour < _GREY and other.colour > _COLOURS:
        kinds.add("grey")
    if not copy.box.is_whole and other.box.is_whole:
        kinds.add("bordered")
    if copy.box.is_whole and not other.box.is_whole:
        kinds.add("without border")
    if not kinds:
        kinds.add("recompressed")
    return Change(tuple(kind for kind in KINDS if kind in kinds), details)


def _place(
    kinds: set[str], details: dict[str, float], seen: tuple[Seen, Seen], inner: Maps
) -> None:
    """Name what was done to the place and the size of the pixels."""
    copy, other = seen
    whole = whole_map(inner, copy.box, other.box)
    sizes = np.array([other.width, other.height])[:, None] / [copy.width, copy.height]
    pixels = whole[:, :2] * sizes
    if np.linalg.det(pixels) < 0:
        kinds.add("mirrored")
        pixels = pixels * [[-1], [1]]
    angle = degrees(atan2(pixels[1, 0] - pixels[0, 1], pixels[0, 0] + pixels[1, 1]))
    quarters = round(angle / 90)
    if quarters % 4:
        kinds.add("rotated")
        details["rotated"] = float(quarters * 90 % 360)
    rest = angle - 90 * quarters
    if abs(rest) > _TURNED:
        kinds.add("turned")
        details["turned"] = round(rest, 2)
    across, down = (hypot(*pixels[:, k]) for k in (0, 1))
    factor = 1 / (across * down) ** 0.5
    if abs(factor - 1) > _SIZE:
        kinds.add("resized")
        details["resized"] = round(factor, 3)
    if abs(across / down - 1) > _STRETCH:
        kinds.add("stretched")
    ends = inner.astype(np.float64)
    centre = ends[:, :2].sum(axis=1) / 2 + ends[:, 2]
    reach = np.abs(ends[:, :2]).sum(axis=1) / 2
    if (rest and abs(rest) > _TURNED) or abs(factor - 1) > 0:
        # Of a turned picture, the corners reach farther than what is shown.
        reach = np.sqrt(np.square(ends[:, :2]).sum(axis=1)) / 2
    low, high = centre - reach, centre + reach
    if max(low.max(), 1 - high.min()) > _MARGIN:
        kinds.add("cropped")
        shown = np.minimum(high, 1) - np.maximum(low, 0)
        details["cropped"] = round(float(shown.clip(0).prod()), 3)
    if max(-low.min(), high.max() - 1) > _MARGIN:
        kinds.add("shows more")


def _light(
    kinds: set[str],
    details: dict[str, float],
    pyramid: Pyramid,
    rows: tuple[int, int],
    inner: Maps,
) -> None:
    """Name what was done to the values of the pixels."""
    target = pyramid.plain[SIDE][rows[0]].reshape(1, -1)
    values, inside = warp(pyramid.plain[SIDE], np.array(rows[1:]), inner[None], SIDE)
    correlation, shows, held = correlations(target, values, inside, PART)
    parts, others = in_parts(target, PART)[0], in_parts(values, PART)[0]
    good = held[0] & ((correlation[0] > _DIFFERS) | ~shows[0])
    if not good.any():
        return
    one, two = parts[good].ravel(), others[good].ravel()
    gain = float(one.std() / max(two.std(), 1.0))
    brighter = float(one.mean() - two.mean())
    if abs(brighter) > _LEVELS:
        kinds.add("brighter" if brighter > 0 else "darker")
        details["brighter"] = round(brighter, 1)
    if abs(np.log(gain)) > _CONTRAST:
        kinds.add("contrast")
        details["contrast"] = round(gain, 3)
    off = np.abs(parts - (one.mean() + gain * (others - two.mean()))).mean(axis=1)
    covered = held[0] & shows[0] & (correlation[0] < _DIFFERS) & (off > _OFF)
    if covered.sum() > _COVER * max(1, held[0].sum()):
        kinds.add("overlaid")
