"""Which noise a picture has that is not independent from pixel to pixel, or not normal.

Each test looks for what photographs hardly show, so that clean ones and those with Gaussian noise
are not taken for damaged: single pixels of the extreme values, offsets of whole lines that change
their signs from line to line, and even noise that neighbours share.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import median_filter

NOISE_KINDS = ("salt_and_pepper", "stripes", "correlated")
"""What :func:`noise_kinds` finds, by the names of the corruptions that models learn to undo."""

_SIDE = 512  # of the middle of pictures that is looked at
_LEAST = 32  # pixels a side; smaller pictures tell nothing
_MEDIAN = 1.4826  # a normal variable's deviation over the median of its absolute values
_LINE = 1.2533  # the deviation of a median of n normal variables is this over the root of n
_ROUNDING = 1e-6  # of white
# Specks: the share of pixels that none around is like; how far they are from the median around
# them, of white and in deviations; and the share of other pixels in what is no drawing.
_SPECKS, _FAR, _DEVIATIONS, _OTHERS = 0.002, 0.3, 4.5, 0.2
# Stripes: the deviation of the steps between lines, of white and in those of independent noise;
# and the correlation of one step with the next, which is -1/2 for independent offsets.
_STEPS, _TIMES, _ALTERNATING = 3.5 / 255, 3.0, -0.3
# Shared noise: the side and the distance of blocks, the fewest of them, the deviation in the flat
# ones, of white; the ratio of deviations that even noise does not exceed; the least correlation
# along either axis, the most that they differ by, and the share of pixels at an end of the range.
_BLOCK, _APART, _FEWEST, _LEVEL, _EVEN = 12, 3, 100, 3 / 255, 1.4
_SHARED, _ALONG, _CLIPPED = 0.3, 0.2, 0.1


def noise_kinds(picture: NDArray[Any], span: float) -> list[str]:
    """Return the kinds of noise that a picture has beside independent noise.

    Parameters
    ----------
    picture : ndarray of shape (H, W) or (H, W, C)
        Of any real type. Values that are not finite are not looked at.
    span : float
        The distance from black to white, in the units of the picture.

    Returns
    -------
    list of str
        Of :data:`NOISE_KINDS`; pictures of black and white, and those of less than 32 pixels a
        side, have none. Stripes are not looked at for noise that neighbours share.

    See Also
    --------
    narrows.data.noise_level.estimate_noise : The level of independent noise.

    Examples
    --------
    >>> y, x = np.mgrid[:96, :96]
    >>> clean = 128 + 60 * np.sin(x / 9) * np.cos(y / 7)
    >>> rng = np.random.default_rng(0)
    >>> speckled = np.where(rng.random(clean.shape) < 0.02, 255, clean).astype(np.uint8)
    >>> noise_kinds(speckled, 255), noise_kinds(clean + rng.normal(0, 20, clean.shape), 255)
    (['salt_and_pepper'], [])
    >>> noise_kinds(clean + rng.normal(0, 10, (96, 1)), 255)
    ['stripes']
    """
    height, width = picture.shape[:2]
    if picture.dtype.kind == "b" or min(height, width) < _LEAST:
        return []
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    part = picture[top : top + _SIDE, left : left + _SIDE].astype(np.float64) / span
    part[~np.isfinite(part)] = np.median(part[np.isfinite(part)]) if np.isfinite(part).any() else 0
    channels = [part] if part.ndim == 2 else list(np.moveaxis(part, 2, 0))
    middle = channels[len(channels) // 2]
    found = []
    if any(map(_has_specks, channels)):
        found.append("salt_and_pepper")
    if _has_stripes(middle):
        found.append("stripes")
    elif not found and _is_shared(middle):
        found.append("correlated")
    return found


def _has_specks(channel: NDArray[np.float64]) -> bool:
    """Return whether single pixels have the least or the largest value."""
    low, high = channel.min(), channel.max()
    is_extreme = (channel == low) | (channel == high)
    if high - low <= _ROUNDING or 1 - is_extreme.mean() < _OTHERS:
        return False
    away = np.abs(channel - median_filter(channel, 3, mode="reflect"))
    deviation = _MEDIAN * float(np.median(away[~is_extreme]))
    far = is_extreme & (away > max(_FAR, _DEVIATIONS * deviation))
    if far.mean() < _SPECKS:
        return False
    specks = np.pad(channel, 1, mode="reflect")
    alike = sum(
        np.abs(specks[1 + y : y + 1 + len(channel), 1 + x : x + 1 + channel.shape[1]] - channel)
        < _FAR / 2
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
        if (y, x) != (0, 0)
    )
    # Of many specks, some are neighbours; of glitter and the strokes of text, most are.
    alone, near = far & (alike == 0), far & (alike <= 1)
    return bool(alone.mean() >= _SPECKS and near.mean() >= far.mean() / 2)


def _has_stripes(channel: NDArray[np.float64]) -> bool:
    """Return whether rows or columns have offsets of their own."""
    for lines in (channel, channel.T):
        steps = np.diff(lines, axis=0)
        offsets = np.median(steps, axis=1)
        independent = _MEDIAN * float(np.median(np.abs(steps - offsets[:, None])))
        least = max(_STEPS, _TIMES * _LINE * independent / np.sqrt(lines.shape[1]))
        power = float(np.square(offsets).mean())
        together = float((offsets[1:] * offsets[:-1]).mean())
        if _MEDIAN * np.median(np.abs(offsets)) > least and together < _ALTERNATING * power:
            return True
    return False


def _is_shared(channel: NDArray[np.float64]) -> bool:
    """Return whether the flat parts have even noise that neighbours share along both axes."""
    blocks = sliding_window_view(channel, (_BLOCK, _BLOCK))[::_APART, ::_APART]
    blocks = blocks.reshape(-1, _BLOCK**2)
    at_end = (blocks == channel.min()) | (blocks == channel.max())
    blocks = blocks[at_end.mean(axis=1) < _CLIPPED]
    if len(blocks) < _FEWEST:
        return False
    y, x = np.indices((_BLOCK, _BLOCK)).reshape(2, -1) / _BLOCK
    surface, _ = np.linalg.qr(np.stack([np.ones_like(y), y, x, y * y, y * x, x * x], axis=1))
    rest = blocks - (blocks @ surface) @ surface.T
    deviations = np.sqrt(np.square(rest).sum(axis=1) / (_BLOCK**2 - 6))
    least, flat, usual = np.quantile(deviations, (0.01, 0.05, 0.2))
    if flat < _LEVEL or usual > _EVEN * least:
        return False
    pixels = rest[deviations <= flat].reshape(-1, _BLOCK, _BLOCK)
    power = float(np.square(pixels).mean())
    right = float((pixels[:, :, 1:] * pixels[:, :, :-1]).mean()) / power
    down = float((pixels[:, 1:] * pixels[:, :-1]).mean()) / power
    return min(right, down) > _SHARED and abs(right - down) < _ALONG
