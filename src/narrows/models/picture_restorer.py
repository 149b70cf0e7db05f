"""Pictures in the values of their files, restored by a model of other depths and channels.

Each picture is changed as far as its noise allows. With the variance of the noise, which is
estimated on the picture and may grow with the light, Stein's unbiased estimate of the risk tells
which share of a denoiser's change brings the picture nearest to the clean one, without knowing
that: around each pixel, the mean of the variance times one minus the derivative of a restored pixel
by the given one, over the mean square of the change. So a page is cleaned between its letters. A
clean picture is left as it is, and so is one from which the change would take hardly any noise.

Stein (1981), "Estimation of the mean of a multivariate normal distribution", lemma 2, for the
expected product of noise and change; Ramani, Blu & Unser (2008), "Monte-Carlo SURE", eq. 12, for
the mean derivative by one more pass.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, uniform_filter

from narrows.corruption import is_independent_noise
from narrows.data.noise_level import NoiseVariance, clipped_variance, noise_by_brightness
from narrows.data.scaling import Scaling
from narrows.data.tones import ModelTones, Tones, ends_of, model_tones
from narrows.errors import DataError
from narrows.models.chroma import TO_COLOURS, Planes, colours_of, planes_of, shares_chroma_noise
from narrows.models.orientations import mean_over_orientations
from narrows.models.shared_noise import SharedNoise
from narrows.models.tiles import GRID, Tiling, restore_in_bands, restore_part
from narrows.models.validation import check_number, least_side

# The side of the squares for which the best share of a change is measured, and the step of the
# derivative, of white.
_LOCAL, _STEP = 25, 1 / 255
_MOST_SHARE = 1.3  # before shares are smoothed
# Parts of a picture on which the mean share is measured: how many along each side, and their sides.
_PARTS, _SIDE = 2, 128
# The least part of the noise's power that a change has to take away: about what noise is known to.
_LEAST_GAIN = 0.05
_AROUND = 9  # the side of the squares in which clipped pixels are counted
# The most pixels on which noise is estimated; of more, parts.
_ENOUGH = 1 << 21
_EIGHT_BITS = 255
_STRONGEST = 10
_ROWS = 64  # of a band that are converted at a time


class Change(NamedTuple):
    """By how much a picture was changed.

    Attributes
    ----------
    noise : float or None
        The estimated standard deviation of its noise, of white; None where it was not estimated.
    share : float
        The share of the model's change that was applied, before the strength that was asked for:
        the mean over the picture, in which larger changes count more.
    rms : float
        Root mean square of the change, of white.
    not_finite : int
        Values that are not finite, which stay as they are.
    chroma_apart : bool
        Whether brightness and colours were restored apart.
    shared : bool
        Whether fine noise was added for the model, as neighbouring pixels share theirs.
    """

    noise: float | None
    share: float
    rms: float
    not_finite: int = 0
    chroma_apart: bool = False
    shared: bool = False

    @property
    def psnr(self) -> float | None:
        """Peak signal-to-noise ratio between the picture and the restored one; None if equal."""
        return None if self.rms == 0 else -20 * math.log10(self.rms)

    def as_json(self) -> dict[str, float | int | bool | None]:
        """Return the figures, noise and change in 8-bit units."""
        noise = None if self.noise is None else round(self.noise * _EIGHT_BITS, 4)
        return {
            "noise": noise,
            "share": round(self.share, 4),
            "rms_change": round(self.rms * _EIGHT_BITS, 4),
            "psnr_to_input": None if self.psnr is None else round(self.psnr, 4),
            "not_finite": self.not_finite,
            "chroma_apart": self.chroma_apart,
            "noise_shared": self.shared,
        }


@dataclass(frozen=True)
class _Network:
    """A model of so many channels."""

    model: Any
    channels: int
    thorough: bool

    @classmethod
    def of(cls, model: Any, *, thorough: bool) -> "_Network":
        shape = model.sample_shape_
        return cls(model, shape[2] if len(shape) == 3 else 1, thorough)

    def tiling(self, size: tuple[int, int]) -> Tiling:
        """Return the tiles of a picture of a size; those of large ones are chosen once."""
        if self._large and max(size) > self._large[0].side:
            return self._large[0]
        tiling = Tiling.of(self.model, size)
        if max(size) > tiling.side:
            self._large.append(tiling)
        return tiling

    @cached_property
    def _large(self) -> list[Tiling]:
        return []

    def change(self, part: NDArray[Any], tones: ModelTones) -> NDArray[np.float32]:
        """Return what the model adds to a part (h, w) or (h, w, C) of a picture, of white.

        A picture of one channel stands for all of the model's, whose changes are averaged.
        """
        seen = tones.to_model(_without_gaps(part))
        given = seen
        axis = len(self.model.sample_shape_) == 3
        if axis and seen.ndim == 2:
            given = np.repeat(seen[:, :, None], self.channels, axis=2)
        if self.thorough:
            restored = mean_over_orientations(self._restored, given, GRID)
        else:
            restored = self._restored(given)
        if axis and seen.ndim == 2:
            restored = restored.mean(axis=2)
        added: NDArray[np.float32] = (restored - seen) / np.float32(tones.high - tones.low)
        return added

    def _restored(self, given: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(self.model.denoise(given[None])[0], np.float32)


class PictureRestorer:
    """Restores pictures in place, by the model that fits their channels.

    Parameters
    ----------
    model_for : callable
        Takes a number of channels, and returns the fitted model of pictures of any size that
        restores them together, or None if there is none; of 1 or 3 channels there is one.
    strength : float, default=1
        The multiple of the change that is applied, from 0, which leaves pictures as they are, to
        10.
    even_if_clean : bool, default=False
        Whether the change is applied in full, whatever level of noise is estimated; so it is for
        models of other damage than independent noise.
    thorough : bool, default=False
        Whether each picture is restored in all of its eight orientations, and the results are
        averaged, which restores better and takes eight times as long.

    Raises
    ------
    ParameterError
        If ``strength`` is no number from 0 to 10.

    Examples
    --------
    >>> from narrows import DenoisingAutoencoder
    >>> y, x = np.mgrid[:48, :48]
    >>> clean = np.stack([100 + 60 * np.sin(x / p) * np.cos(y / p) for p in range(5, 30)])
    >>> model = DenoisingAutoencoder(
    ...     8, architecture="fully_convolutional", hidden_layer_sizes=(16,), corruption_level=0.1,
    ...     max_epochs=30, random_state=0).fit(clean.astype(np.uint8))
    >>> restorer = PictureRestorer(lambda channels: model if channels == 1 else None)
    >>> noise = np.random.default_rng(0).normal(0, 20, (48, 48))
    >>> picture = (clean[8] + noise).clip(0, 255).astype(np.uint8)
    >>> before = ((picture - clean[8]) ** 2).mean()
    >>> change = restorer.restore(picture, [0], False, Tones(0, 255))
    >>> bool(((picture - clean[8]) ** 2).mean() < 0.6 * before), change.not_finite
    (True, 0)
    """

    def __init__(
        self,
        model_for: Callable[[int], Any],
        strength: float = 1.0,
        *,
        even_if_clean: bool = False,
        thorough: bool = False,
    ) -> None:
        check_strength(strength)
        self.strength, self.even_if_clean, self.thorough = strength, even_if_clean, thorough
        self._model_for = model_for
        self._networks: dict[int, _Network | None] = {}

    def restore(
        self, values: NDArray[Any], channels: list[int], shows_colours: bool, tones: Tones
    ) -> Change:
        """Restore a picture in place.

        Parameters
        ----------
        values : ndarray of shape (H, W) or (H, W, C)
            The picture, in any type.
        channels : list of int
            The channels that are restored; the others, such as opacity, stay as they are.
        shows_colours : bool
            Whether the first three of them are red, green and blue.
        tones : Tones
            Its black and white.

        Raises
        ------
        DataError
            If no model takes such channels, or units.
        """
        if (apart := self._restore_apart(values, channels, shows_colours, tones)) is not None:
            return apart
        changes = []
        for picture, network in self._passes(values, channels, shows_colours):
            of_model = self.tones_for(network.model.scaling_, values.dtype, tones)
            changes.append((picture.size, self._restore_one(network, picture, of_model)))
        return mean_change(changes)

    @staticmethod
    def tones_for(scaling: Scaling, dtype: np.dtype[Any], tones: Tones) -> ModelTones:
        """Return black and white of a file beside those of a model.

        Raises
        ------
        DataError
            See :func:`narrows.data.tones.model_tones`.
        """
        own = model_tones(scaling, dtype)
        if own is not None and own[1] > own[0]:  # the file is in the model's units
            return ModelTones(Tones(*own), *own)
        low, high = ends_of(scaling)
        return ModelTones(tones, low, high if high > low else low + 1)

    def takes(self, count: int, shows_colours: bool) -> str | None:
        """Say how pictures of some channels are restored.

        Returns
        -------
        str or None
            None where the model takes them together; "channels" where it takes each by itself,
            "grey" where a model of colours takes each as a picture of that grey.

        Raises
        ------
        DataError
            If there is no model for them.
        """
        return self._chosen(count, shows_colours)[0]

    def knows(self, count: int, shows_colours: bool, dtype: np.dtype[Any]) -> bool:
        """Return whether pictures of a type and some channels are in the units of their model."""
        _, network = self._chosen(count, shows_colours)
        return model_tones(network.model.scaling_, dtype) is not None

    def _chosen(self, count: int, shows_colours: bool) -> tuple[str | None, _Network]:
        """Return how pictures of some channels are restored, and by which network."""
        if (count != 3 or shows_colours) and (network := self._network(count)) is not None:
            return None, network
        if (network := self._network(1)) is not None:
            return "channels", network
        if (network := self._network(3)) is not None:
            return "grey", network
        raise DataError(
            f"it has {count} channels, and the model takes pictures of others; give it pictures as "
            "it learned from, or train on such"
        )

    def _network(self, count: int) -> _Network | None:
        if count not in self._networks:
            model = self._model_for(count)
            network = None if model is None else _Network.of(model, thorough=self.thorough)
            self._networks[count] = network
        return self._networks[count]

    def _passes(
        self, values: NDArray[Any], channels: list[int], shows_colours: bool
    ) -> Iterator[tuple[NDArray[Any], _Network]]:
        """Yield views of the picture, and the network that restores each."""
        way, network = self._chosen(len(channels), shows_colours)
        if way is not None or len(channels) == 1:
            for channel in channels:
                yield (values[:, :, channel] if values.ndim == 3 else values), network
        else:  # opacity comes last
            yield values[:, :, : len(channels)], network

    def _restore_apart(
        self, values: NDArray[Any], channels: list[int], shows_colours: bool, tones: Tones
    ) -> Change | None:
        """Restore luma and chroma by the model of grey pictures, where colours share their noise.

        None where they do not, or there are no models of both colours and grey pictures.
        """
        network = self._network(1)
        if len(channels) != 3 or not shows_colours or network is None or self.even_if_clean:
            return None
        picture = values[:, :, :3]
        if self._network(3) is None or picture.dtype.kind == "b":
            return None
        if not is_of_noise(network.model):
            return None
        shared = None
        if not shares_chroma_noise(picture):
            light = [planes_of(part)[0] for part in _parts_to_estimate(picture)]
            shared = SharedNoise.of(light, tones.black, tones.span)
            if shared is None:
                return None
        half = tones.span / 2
        of_chroma = Tones(-half, half)
        before = planes_of(picture)
        changes: list[Change] = []
        after = Planes(*(plane.copy() for plane in before))
        for plane, own in zip(after, (tones, of_chroma, of_chroma), strict=True):
            low, high = ends_of(network.model.scaling_)
            of_light = shared if not changes else None
            changes.append(self._restore_one(network, plane, ModelTones(own, low, high), of_light))
        squares = 0.0
        added = colours_of(*(new - old for new, old in zip(after, before, strict=True)))
        for start in range(0, len(picture), _ROWS):
            rows = picture[start : start + _ROWS]
            made = _as_type(rows, added[start : start + _ROWS])
            squares += float(np.square(np.subtract(made, rows, dtype=np.float64)).sum())
            rows[...] = made
        luma, blue, red = ((change.noise or 0.0) ** 2 for change in changes)
        weights = np.square(TO_COLOURS).mean(axis=0)
        noise = math.sqrt(luma + weights[0] * blue + weights[1] * red)
        rms = math.sqrt(squares / picture.size) / tones.span
        share = float(np.mean([change.share for change in changes]))
        of_any = any(change.shared for change in changes)
        return Change(noise, share, rms, chroma_apart=True, shared=of_any)

    def _restore_one(
        self,
        network: _Network,
        picture: NDArray[Any],
        tones: ModelTones,
        shared: SharedNoise | None = None,
    ) -> Change:
        held = self._held(network, picture, tones)
        span = tones.file.span
        parts = list(_parts_to_estimate(picture))
        if shared is None and held is not None:
            shared = SharedNoise.of(parts, tones.file.black, span)
        if shared is not None:
            squared = float(np.mean([_mean_variance(part, shared.coarse) for part in parts]))
            noise: float | None = math.sqrt(squared) / span
            share = 1.0
        else:
            noise, share = self._share(network, picture, tones, held)
        if share == 0 or self.strength == 0:
            gaps = int((~np.isfinite(picture)).sum()) if picture.dtype.kind == "f" else 0
            return Change(noise, share, 0.0, gaps, shared=shared is not None)
        squares, not_finite = 0.0, 0
        tiling = network.tiling((picture.shape[0], picture.shape[1]))

        def change(part: NDArray[Any]) -> NDArray[np.float32]:
            if shared is not None:
                return shared.change(_without_gaps(part), span, lambda p: network.change(p, tones))
            added = network.change(part, tones)
            return added if held is None else added * held.shares(part, added)

        for top, added in restore_in_bands(change, picture, tiling):
            for start in range(0, len(added), _ROWS):
                rows = picture[top + start : top + start + len(added[start : start + _ROWS])]
                applied = self.strength * tones.file.span * added[start : start + _ROWS]
                made = _as_type(rows, applied)
                with np.errstate(invalid="ignore"):  # infinity less infinity
                    away = np.subtract(made, rows, dtype=np.float64)
                if rows.dtype.kind == "f":
                    gaps = ~np.isfinite(rows)
                    away[gaps], not_finite = 0, not_finite + int(gaps.sum())
                squares += float(np.square(away / tones.file.span).sum())
                rows[...] = made
        rms = math.sqrt(squares / picture.size)
        return Change(noise, share, rms, not_finite, shared=shared is not None)

    def _held(
        self, network: _Network, picture: NDArray[Any], tones: ModelTones
    ) -> "_HeldByNoise | None":
        """Return what holds a change back to what the noise allows; None where nothing does."""
        if self.even_if_clean or not is_of_noise(network.model) or picture.dtype.kind == "b":
            return None
        variance = noise_by_brightness(list(_parts_to_estimate(picture)), tones.file.black)
        return _HeldByNoise(network, tones, variance, _ends_of(picture))

    def _share(
        self,
        network: _Network,
        picture: NDArray[Any],
        tones: ModelTones,
        held: "_HeldByNoise | None",
    ) -> tuple[float | None, float]:
        """Estimate the noise, of white, and the share of the change that it allows in the mean."""
        if picture.dtype.kind == "b":  # of which no noise can be measured
            return None, float(self.even_if_clean or not is_of_noise(network.model))
        seen = list(_parts_to_estimate(picture))
        variance = held.variance if held else noise_by_brightness(seen, tones.file.black)
        squared = float(np.mean([_mean_variance(part, variance) for part in seen]))
        noise = math.sqrt(squared) / tones.file.span
        if held is None:
            return noise, 1.0
        if noise == 0:
            return noise, 0.0
        least = least_side(network.model.spec_)
        squares, applied, gain = 0.0, 0.0, 0.0
        parts = list(_parts(picture, _PARTS, _SIDE))
        for part in parts:
            added = restore_part(lambda p: network.change(p, tones), part, least)
            shares = restore_part(lambda p: held.shares(p, network.change(p, tones)), part, least)
            squares += float(np.square(added).mean()) / len(parts)
            applied += float((shares * np.square(added)).mean()) / len(parts)
            # By the best share, a change takes as much off the mean of squares as it has itself.
            gain += float(np.square(shares * added).mean()) / len(parts)
        if squares == 0 or gain < _LEAST_GAIN * noise**2:
            return noise, 0.0
        return noise, applied / squares


@dataclass(frozen=True)
class _HeldByNoise:
    """Holds a model's change of a picture back to what the noise allows, place by place.

    Attributes
    ----------
    network : _Network
        The model.
    tones : ModelTones
        Of the picture.
    variance : NoiseVariance
        Of the picture's noise, in its units.
    ends : tuple of float
        The least and the largest value of the picture.
    """

    network: _Network
    tones: ModelTones
    variance: NoiseVariance
    ends: tuple[float, float]

    def shares(self, part: NDArray[Any], added: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the share of a change ``added`` to a part that is best around each pixel.

        The share of a pixel is that of the square around it, in all channels together: (h, w), or
        (h, w, 1).
        """
        span, signs = self.tones.file.span, _signs(part.shape)
        known = _without_gaps(part)
        near = known + signs * np.float32(span * _STEP)
        # The derivative of the change is that of the restored picture less 1.
        products = signs * (added - self.network.change(near, self.tones)) / np.float32(_STEP)
        products *= self.variance.at(known + span * added) / span**2
        products *= clipped_variance(_around(self._clipped(part), _AROUND))
        expected, squares = (
            _around(of if of.ndim == 2 else of.mean(axis=2, keepdims=True), _LOCAL)
            for of in (products, np.square(added))
        )
        shares = np.divide(expected, squares, out=np.zeros_like(squares), where=squares > 0)
        # Where 1 is best, estimates are above it as often as below.
        return _around(shares.clip(0, _MOST_SHARE), _LOCAL).clip(0, 1).astype(np.float32)

    def _clipped(self, part: NDArray[Any]) -> NDArray[np.bool_]:
        clipped: NDArray[np.bool_] = (part == self.ends[0]) | (part == self.ends[1])
        return clipped


def _signs(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return 1 or -1 at random for each value, the same at each multiple of the tiles' grid."""
    of_grid = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (GRID, GRID, 4))
    repeats = [-(-n // GRID) for n in shape[:2]]
    if len(shape) == 2:
        return np.tile(of_grid[..., 0], repeats)[: shape[0], : shape[1]]
    channels = np.arange(shape[2]) % of_grid.shape[2]
    return np.tile(of_grid[..., channels], [*repeats, 1])[: shape[0], : shape[1]]


def _around(values: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Return the means of the squares around each pixel, at least 0."""
    window = (side, side, 1)[: values.ndim]
    return np.asarray(uniform_filter(values, window, np.float64)).clip(0)


def _ends_of(picture: NDArray[Any]) -> tuple[float, float]:
    """Return the least and the largest finite value of a picture."""
    values = picture[np.isfinite(picture)] if picture.dtype.kind == "f" else picture
    return (float(values.min()), float(values.max())) if values.size else (math.nan, math.nan)


def _mean_variance(part: NDArray[Any], variance: NoiseVariance) -> float:
    finite = part[np.isfinite(part)]
    return float(variance.at(finite).mean()) if finite.size else 0.0


def mean_change(changes: Sequence[tuple[int, Change]]) -> Change:
    """Return the mean of the changes of several pictures, each with how much it counts."""
    weights, each = zip(*changes, strict=True)
    measured = [change.noise is not None for change in each]
    squares = [(change.noise or 0.0) ** 2 for change in each]
    return Change(
        math.sqrt(np.average(squares, weights=weights)) if all(measured) else None,
        float(np.average([change.share for change in each], weights=weights)),
        math.sqrt(np.average([change.rms**2 for change in each], weights=weights)),
        sum(change.not_finite for change in each),
        any(change.chroma_apart for change in each),
        any(change.shared for change in each),
    )


def check_strength(strength: float) -> None:
    """Refuse multiples of a change that are below 0, or that no picture or signal bears.

    Raises
    ------
    ParameterError
        If it is no number from 0 to 10.
    """
    check_number("strength", strength, low=0, high=_STRONGEST)


def is_of_noise(model: Any) -> bool:
    """Return whether a model learned to take away independent noise, and nothing else."""
    if getattr(model, "from_pairs_", False):
        return False
    return is_independent_noise(getattr(model, "corruption", None))


def _as_type(rows: NDArray[Any], added: NDArray[Any]) -> NDArray[Any]:
    """Add a change to rows, in their type: integers are rounded, and clipped to their range."""
    made: NDArray[Any]
    if rows.dtype.kind == "b":
        made = rows + added >= 0.5
    elif rows.dtype.kind == "f":
        made = (rows + added).astype(rows.dtype)
    else:
        limits = np.iinfo(rows.dtype)
        # The largest 64-bit integers have no float of their own; the one below fits.
        high = limits.max if rows.dtype.itemsize < 8 else np.nextafter(float(limits.max), 0)
        made = np.clip(rows + np.rint(added, dtype=np.float64), limits.min, high)
        made = made.astype(rows.dtype)
    return made


def _without_gaps(part: NDArray[Any]) -> NDArray[Any]:
    """Give values that are not finite that of the nearest pixel whose channels all are."""
    if part.dtype.kind != "f":
        return part
    gaps = ~np.isfinite(part)
    if not gaps.any():
        return part
    missing = gaps if gaps.ndim == 2 else gaps.any(axis=2)
    if missing.all():
        return np.zeros_like(part)
    nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
    filled: NDArray[Any] = part[tuple(nearest)]
    return filled


def _parts_to_estimate(picture: NDArray[Any]) -> Iterator[NDArray[Any]]:
    height, width = picture.shape[:2]
    if height * width <= _ENOUGH:
        return iter([picture])
    return _parts(picture, _PARTS, math.isqrt(_ENOUGH) // 2)


def _parts(picture: NDArray[Any], count: int, side: int) -> Iterator[NDArray[Any]]:
    """Cut parts of a side out of a picture, evenly spread; smaller pictures have fewer."""
    places = []
    for extent in picture.shape[:2]:
        several = min(count, max(1, extent // side))
        if several == 1:
            places.append([max(0, (extent - side) // 2)])
        else:
            gap = extent / several
            places.append([int(gap * n + (gap - side) / 2) for n in range(several)])
    for top in places[0]:
        for left in places[1]:
            yield picture[top : top + side, left : left + side]
