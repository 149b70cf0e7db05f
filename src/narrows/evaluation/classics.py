"""Classic denoisers of pictures beside which a model is judged, each at its best weight.

Total variation (Chambolle 2004, "An algorithm for total variation minimization and applications"),
wavelets with BayesShrink thresholds (Chang, Yu & Vetterli 2000) averaged over shifts (Coifman &
Donoho 1995) and non-local means (Buades, Coll & Morel 2005) are scikit-image's; block matching in
three dimensions (BM3D; Dabov et al. 2007) is that of the package ``bm3d``, whose licence allows
non-commercial use only and which is therefore no extra of Narrows.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.errors import DataError, MissingDependencyError, ParameterError

_Floats = NDArray[np.float64]

FEWEST_PIXELS = 16
"""The shortest side of pictures that classics restore."""

_SHIFTS = 4  # along each axis, over which wavelets are averaged
_NO_NOISE = 1e-6  # of the distance from black to white; below, nothing is to be restored


def _total_variation(noisy: _Floats, noise: float, weight: float) -> _Floats:
    from skimage.restoration import denoise_tv_chambolle

    channels = 2 if noisy.ndim == 3 else None
    how: dict[str, Any] = {"weight": weight * noise, "channel_axis": channels}
    restored: _Floats = denoise_tv_chambolle(noisy, **how)  # type: ignore[no-untyped-call]
    return restored


def _wavelets(noisy: _Floats, noise: float, weight: float) -> _Floats:
    from skimage.restoration import denoise_wavelet

    how: dict[str, Any] = {"method": "BayesShrink", "mode": "soft", "wavelet": "db2"}
    how |= {"convert2ycbcr": noisy.shape[2:] == (3,), "rescale_sigma": True}
    how["channel_axis"] = 2 if noisy.ndim == 3 else None
    total = np.zeros_like(noisy)
    for shift in product(range(_SHIFTS), repeat=2):
        shifted = np.roll(noisy, shift, axis=(0, 1))
        restored = denoise_wavelet(shifted, sigma=weight * noise, **how)
        total += np.roll(restored, np.negative(shift), axis=(0, 1))
    return total / _SHIFTS**2


def _non_local_means(noisy: _Floats, noise: float, weight: float) -> _Floats:
    from skimage.restoration import denoise_nl_means

    channels = 2 if noisy.ndim == 3 else None
    how = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": channels}
    restored: _Floats = denoise_nl_means(noisy, h=weight * noise, sigma=noise, **how)
    return restored


def _bm3d(noisy: _Floats, noise: float, weight: float) -> _Floats:
    import bm3d

    restore = bm3d.bm3d_rgb if noisy.shape[2:] == (3,) else bm3d.bm3d
    restored: _Floats = np.asarray(restore(noisy, weight * noise)).reshape(noisy.shape)
    return restored


@dataclass(frozen=True)
class Classic:
    """A classic denoiser.

    Attributes
    ----------
    name : str
        As people read it.
    restore : callable
        From a noisy picture in 0..1, (H, W) or (H, W, C), the noise's standard deviation and a
        weight, by which that is multiplied, makes the restored picture.
    weights : tuple of float
        Those of which the best is taken where the clean picture is known.
    usual : callable
        The weight for a standard deviation in 0..1 where there is no clean picture.
    packages : tuple of str
        The modules that it needs.
    remedy : str
        How to get them.
    """

    name: str
    restore: Callable[[_Floats, float, float], _Floats]
    weights: tuple[float, ...]
    usual: Callable[[float], float]
    packages: tuple[str, ...]
    remedy: str

    @property
    def is_installed(self) -> bool:
        """Whether all that it needs can be imported."""
        return all(find_spec(package) is not None for package in self.packages)


_EXTRA = "pip install 'narrows[classics]'"
CLASSICS = (
    Classic(
        "total variation",
        _total_variation,
        (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5),
        lambda noise: float(np.interp(noise * 255, (15, 25, 50), (0.6, 0.8, 0.9))),
        ("skimage",),
        _EXTRA,
    ),
    Classic("wavelets", _wavelets, (0.9, 1.0, 1.1), lambda _: 1.0, ("skimage", "pywt"), _EXTRA),
    Classic(
        "non-local means",
        _non_local_means,
        (0.4, 0.5, 0.6, 0.7, 0.8, 1.0),
        lambda _: 0.7,
        ("skimage",),
        _EXTRA,
    ),
    Classic(
        "BM3D",
        _bm3d,
        (1.0,),
        lambda _: 1.0,
        ("bm3d",),
        "pip install bm3d (for non-commercial use)",
    ),
)
"""The classics, from the fastest to the slowest."""


@dataclass(frozen=True)
class ByClassic:
    """A picture restored by a classic denoiser.

    Attributes
    ----------
    pixels : ndarray of float64 and shape (H, W) or (H, W, C)
        In the units of the noisy picture, within its range.
    weight : float
        The weight that was taken; the denoiser assumes noise of so many times the level given.
    seconds : float
        CPU time of the run with this weight.
    """

    pixels: _Floats
    weight: float
    seconds: float


def installed_classics() -> tuple[list[Classic], dict[str, str]]:
    """Return the classic denoisers that can run here, and how to get each of the others.

    Examples
    --------
    >>> there, missing = installed_classics()
    >>> sorted([classic.name for classic in there] + list(missing))
    ['BM3D', 'non-local means', 'total variation', 'wavelets']
    """
    there = [classic for classic in CLASSICS if classic.is_installed]
    return there, {classic.name: classic.remedy for classic in CLASSICS if classic not in there}


def restore_by_classic(
    name: str,
    noisy: NDArray[Any],
    noise: float,
    *,
    limits: tuple[float, float] = (0, 255),
    clean: NDArray[Any] | None = None,
) -> ByClassic:
    """Restore a picture by a classic denoiser at its best weight.

    Parameters
    ----------
    name : {"total variation", "wavelets", "non-local means", "BM3D"}
        The denoiser.
    noisy : ndarray of shape (H, W) or (H, W, C)
        At least 16 pixels a side, without gaps.
    noise : float
        Standard deviation of the noise, in the picture's units
        (:func:`narrows.data.noise_level.estimate_noise` estimates it).
    limits : tuple of float
        The values of black and white.
    clean : ndarray of the same shape, optional
        The clean original. The weight is then the one of several with the least squared error;
        otherwise it is one that suits photographs with noise of this level.

    Returns
    -------
    ByClassic

    Raises
    ------
    ParameterError
        If the name or the noise is not allowed.
    MissingDependencyError
        If the denoiser is not installed.
    DataError
        If the picture is too small, has gaps, or another shape than its original.

    Examples
    --------
    >>> clean = np.full((32, 32), 100.0)
    >>> clean[8:24, 8:24] = 180
    >>> noisy = clean + np.random.default_rng(0).normal(0, 20, clean.shape)
    >>> restored = restore_by_classic("total variation", noisy, 20, clean=clean)
    >>> bool(np.square(restored.pixels - clean).mean() < 0.2 * 20**2)
    True
    """
    classic = next((classic for classic in CLASSICS if classic.name == name), None)
    if classic is None:
        named = ", ".join(repr(classic.name) for classic in CLASSICS)
        raise ParameterError(f"{name!r} is no classic denoiser; use one of {named}")
    if not classic.is_installed:
        raise MissingDependencyError(f"{name} is not installed; run {classic.remedy}")
    if not 0 <= noise < np.inf:
        raise ParameterError(f"noise={noise!r} is not allowed; give a number from 0 on")
    _check(noisy, clean)
    low, high = limits
    span = high - low
    pixels, level = (np.asarray(noisy, np.float64) - low) / span, noise / span
    single = pixels.shape[2:] == (1,)
    if single:
        pixels = pixels[..., 0]
    if level < _NO_NOISE:
        return ByClassic(np.asarray(noisy, np.float64), 1.0, 0.0)
    truth = None if clean is None else ((clean - low) / span).reshape(pixels.shape)
    weights = (classic.usual(level),) if truth is None else classic.weights
    ends = min(0.0, pixels.min()), max(1.0, pixels.max())  # stars may be beyond white

    def restored_with(weight: float) -> tuple[float, ByClassic]:
        start = time.process_time()
        restored = np.clip(classic.restore(pixels, level, weight), *ends)
        seconds = time.process_time() - start
        error = 0.0 if truth is None else float(np.square(restored - truth).mean())
        return error, ByClassic(restored, weight, seconds)

    _, best = min(map(restored_with, weights), key=lambda found: found[0])
    return ByClassic(best.pixels.reshape(noisy.shape) * span + low, best.weight, best.seconds)


def _check(noisy: NDArray[Any], clean: NDArray[Any] | None) -> None:
    """Raise a DataError if a picture cannot be restored by classics."""
    if noisy.ndim not in (2, 3) or min(noisy.shape[:2]) < FEWEST_PIXELS:
        raise DataError(
            f"a picture of shape {noisy.shape} is too small for classic denoisers, or none; give "
            f"one of at least {FEWEST_PIXELS} pixels a side (height x width[ x channels])"
        )
    if not np.isfinite(noisy).all():
        raise DataError(
            "the picture has pixels without values (NaN or infinite), which classic denoisers "
            "spread; fill them first"
        )
    if clean is not None and clean.shape != noisy.shape:
        raise DataError(
            f"the noisy picture has shape {noisy.shape}, its original {clean.shape}; give the "
            "clean original of this picture"
        )
