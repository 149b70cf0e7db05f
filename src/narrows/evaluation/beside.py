"""Pictures restored by a model beside the same pictures restored by classic denoisers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.noise_level import estimate_noise
from narrows.errors import DataError
from narrows.evaluation.classics import (
    FEWEST_PIXELS,
    installed_classics,
    restore_by_classic,
)
from narrows.evaluation.row_errors import Restoration, compare_with_clean
from narrows.texts import counted, listed

NOISY, MODEL, CLEAN = "noisy", "model", "clean"
_SIDE = 512  # pixels of the middle part of a larger picture
# Pictures that are compared: as many as have so many pixels together, from the fewest to the most.
_PIXELS, _FEWEST, _MOST = 2**21, 8, 100


@dataclass(frozen=True)
class Judged:
    """One picture, as it was, restored by a model, and restored by classics.

    Attributes
    ----------
    name : str
        Of the picture.
    shape : tuple of int
        Of the picture.
    part : tuple of int
        Top, left, height and width of the part that is compared: all of it, or of a side longer
        than 512 pixels the middle 512.
    limits : tuple of float
        The values of black and white.
    noise : float
        Standard deviation of the noise, in the picture's units: by the clean original where there
        is one, otherwise estimated.
    change : float
        Root mean square of what the model changed on the whole picture, in the picture's units.
    versions : dict of str to ndarray
        The part of the noisy picture ("noisy"), restored by the model ("model"), of the clean one
        ("clean", where there is one), and restored by each classic, by name.
    scores : dict of str to Restoration
        Each version's similarity to the clean one; empty without.
    weights, seconds : dict of str to float
        The weight taken, and the CPU-seconds, of each classic.
    """

    name: str
    shape: tuple[int, ...]
    part: tuple[int, int, int, int]
    limits: tuple[float, float]
    noise: float
    change: float
    versions: dict[str, NDArray[Any]]
    scores: dict[str, Restoration]
    weights: dict[str, float]
    seconds: dict[str, float]

    @property
    def is_cut(self) -> bool:
        """Whether only a part of the picture is compared."""
        return self.part[2:] != self.shape[:2]

    def as_json(self) -> dict[str, Any]:
        """Return all but the pictures, as values for JSON."""
        record: dict[str, Any] = {
            "name": self.name,
            "part": list(self.part),
            "noise": self.noise,
            "change": self.change,
        }
        if self.scores:
            record["psnr"] = {name: score.psnr for name, score in self.scores.items()}
            record["ssim"] = {name: score.ssim for name, score in self.scores.items()}
        return {**record, "weights": self.weights, "cpu_seconds": self.seconds}


@dataclass
class BesideClassics:
    """Restore pictures by all installed classics, as they come, beside a model.

    Attributes
    ----------
    pictures : list of Judged
        Those compared so far.
    missing : dict of str to str
        How to get each classic that is not installed, by its name.
    left_out : dict of str to str
        Why a picture was not compared, by its name.

    Examples
    --------
    >>> clean = np.full((32, 32), 100.0)
    >>> noisy = clean + np.random.default_rng(0).normal(0, 20, clean.shape)
    >>> beside = BesideClassics()
    >>> beside.add("flat.png", noisy, restored=clean + 1, clean=clean)
    >>> round(beside.psnr["noisy"], 1), round(beside.psnr["model"], 1)
    (22.3, 48.1)
    """

    pictures: list[Judged] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=lambda: installed_classics()[1])
    left_out: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        name: str,
        noisy: NDArray[Any],
        restored: NDArray[Any],
        clean: NDArray[Any] | None = None,
        *,
        limits: tuple[float, float] = (0, 255),
    ) -> None:
        """Restore a picture by each classic, at its best weight, and compare.

        Parameters
        ----------
        name : str
            Of the picture.
        noisy, restored : ndarray of shape (H, W) or (H, W, C)
            The picture, and what the model makes of it, without opacity.
        clean : ndarray of the same shape, optional
            The clean original, by which weights are chosen and all versions are measured.
        limits : tuple of float
            The values of black and white.

        Raises
        ------
        DataError
            If the shapes differ.
        """
        for other in (restored, clean):
            if other is not None and other.shape != noisy.shape:
                raise DataError(
                    f"'{name}' has shape {noisy.shape}, its restored or clean version "
                    f"{other.shape}; give versions of one picture"
                )
        top, left, height, width = part = middle_part(noisy.shape)
        given = {NOISY: noisy, MODEL: restored} | ({} if clean is None else {CLEAN: clean})
        versions = {
            which: pixels[top : top + height, left : left + width].copy()  # the whole is let go
            for which, pixels in given.items()
        }
        if min(height, width) < FEWEST_PIXELS:
            self.left_out[name] = f"has fewer than {FEWEST_PIXELS} pixels a side"
            return
        if not all(np.isfinite(pixels).all() for pixels in versions.values()):
            self.left_out[name] = "has pixels without values"
            return
        cut, truth = versions[NOISY], versions.get(CLEAN)
        noise = estimate_noise(cut) if truth is None else _difference(cut, truth)
        weights, seconds = {}, {}
        for classic in installed_classics()[0]:
            by = restore_by_classic(classic.name, cut, noise, limits=limits, clean=truth)
            versions[classic.name] = by.pixels
            weights[classic.name], seconds[classic.name] = by.weight, by.seconds
        scores = {}
        if truth is not None:
            span = limits[1] - limits[0]
            scores = {
                which: compare_with_clean(pixels[None], truth[None], span, pictures=True)
                for which, pixels in versions.items()
                if which != CLEAN
            }
        change = _difference(noisy, restored)
        self.pictures.append(
            Judged(
                name, noisy.shape, part, limits, noise, change, versions, scores, weights, seconds
            )
        )

    @property
    def psnr(self) -> dict[str, float]:
        """The mean PSNR over the compared pictures, in dB, by version; empty without clean ones."""
        return self._means("psnr")

    @property
    def ssim(self) -> dict[str, float]:
        """The mean SSIM over the compared pictures, by version; empty without clean ones."""
        return self._means("ssim")

    def _means(self, score: str) -> dict[str, float]:
        scored = [picture.scores for picture in self.pictures if picture.scores]
        if not scored:
            return {}
        return {
            name: float(np.mean([getattr(of[name], score) for of in scored])) for name in scored[0]
        }

    def as_json(self) -> dict[str, Any]:
        """Return scores, means, and what was left out, as values for JSON."""
        return {
            "pictures": [picture.as_json() for picture in self.pictures],
            "psnr": self.psnr,
            "ssim": self.ssim,
            "missing": self.missing,
            "left_out": self.left_out,
        }

    def lines(self, n_given: int) -> list[str]:
        """Return lines for people: the mean scores, and what was left out and why."""
        found = []
        psnr, ssim = self.psnr, self.ssim
        if psnr:
            cut = sum(picture.is_cut for picture in self.pictures)
            of = f" of {n_given}" if len(self.pictures) < n_given else ""
            on = counted(len(self.pictures), "picture") + of
            if cut:
                on += f" (of {cut} of them the middle, at most {_SIDE} x {_SIDE} pixels)"
            each = (f"{name} {psnr[name]:.2f} dB, SSIM {ssim[name]:.3f}" for name in psnr)
            found.append(
                f"beside classics at their best weights, mean over {on}: {'; '.join(each)}"
            )
        elif 0 < len(self.pictures) < n_given:
            some = f"{len(self.pictures)} of {counted(n_given, 'picture')}"
            found.append(f"beside classics are {some}, evenly spaced in the order of their names")
        if self.left_out:
            named = (f"'{name}' {why}" for name, why in self.left_out.items())
            found.append(f"not compared with classics: {listed(named, 3, '; ')}")
        if self.missing:
            found.append(f"classics left out: {self.missing_words}")
        return found

    @property
    def missing_words(self) -> str:
        """Which classics are not installed, and how to get them."""
        remedies: dict[str, list[str]] = {}
        for name, remedy in self.missing.items():
            remedies.setdefault(remedy, []).append(name)
        return "; ".join(f"{', '.join(names)}: {remedy}" for remedy, names in remedies.items())


def chosen_pictures(n: int, pixels: int | None = None) -> list[int]:
    """Return which of n pictures are compared with classics, evenly spaced.

    Parameters
    ----------
    n : int
        How many there are.
    pixels : int, optional
        How many pixels each has, if all have the same size.

    Returns
    -------
    list of int
        Of large pictures, and of sizes that differ, 8; of smaller ones up to 100, with two million
        pixels together.

    Examples
    --------
    >>> chosen_pictures(3), len(chosen_pictures(1000)), len(chosen_pictures(1000, 28 * 28))
    ([0, 1, 2], 8, 100)
    """
    most = _FEWEST if pixels is None else min(_MOST, max(_FEWEST, _PIXELS // pixels))
    if n <= most:
        return list(range(n))
    chosen: list[int] = np.linspace(0, n - 1, most).round().astype(int).tolist()
    return chosen


def middle_part(shape: Iterable[int]) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the part of a picture that is compared.

    Examples
    --------
    >>> middle_part((321, 481, 3)), middle_part((3000, 400))
    ((0, 0, 321, 481), (1244, 0, 512, 400))
    """
    height, width, *_ = shape
    down, across = min(height, _SIDE), min(width, _SIDE)
    return (height - down) // 2, (width - across) // 2, down, across


def _difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the root mean square of a difference, without a copy of large pictures."""
    rows = max(1, 2**20 // max(1, one[:1].size))
    squares = sum(
        float(
            np.square(np.subtract(one[i : i + rows], other[i : i + rows], dtype=np.float64)).sum()
        )
        for i in range(0, len(one), rows)
    )
    return float(np.sqrt(squares / one.size))
