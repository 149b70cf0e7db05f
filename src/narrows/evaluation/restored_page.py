"""A page of noisy and restored pictures side by side, enlarged where versions differ most."""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

from narrows.evaluation.beside import CLEAN, MODEL, NOISY, BesideClassics, Judged
from narrows.texts import as_utf8, counted, printable

_SHOWN = 12  # pictures
_REGION, _PLACES = 72, 2  # pixels of an enlarged region's side, and how many a picture has
_ENLARGED = 288  # pixels of its side at least, on the page
_QUALITY = 92
_DEEP = 1 / 4  # the share of the range below which contrast is stretched
_NAMES = {NOISY: "noisy", MODEL: "restored", CLEAN: "clean"}

_SCRIPT = (
    'document.querySelectorAll(".compare input").forEach(function (slider) {'
    'slider.addEventListener("input", function () {'
    'slider.parentNode.style.setProperty("--at", slider.value + "%");});});'
)


@dataclass(frozen=True)
class _Tile:
    name: str
    source: str
    width: int
    height: int
    score: str
    best: bool


@dataclass(frozen=True)
class _Place:
    """A region: where it is, in percent of the picture, and its versions."""

    title: str
    left: float
    top: float
    width: float
    height: float
    marked: bool
    tiles: list[_Tile]


@dataclass(frozen=True)
class _Line:
    name: str
    psnr: str
    ssim: str
    best: bool


@dataclass(frozen=True)
class _Shown:
    """A picture on the page."""

    name: str
    words: list[str]
    width: int
    height: int
    noisy: str
    restored: str
    places: list[_Place]
    table: list[_Line]


@dataclass(frozen=True)
class _Page:
    title: str
    words: list[str]
    table_title: str
    table: list[_Line]
    pictures: list[_Shown]
    script: str = _SCRIPT
    script_hash: str = b64encode(sha256(_SCRIPT.encode()).digest()).decode()


def restored_page(
    beside: BesideClassics, *, title: str = "Noisy and restored", n_given: int | None = None
) -> str:
    """Show pictures as they were and restored, by a model and by classics, as one HTML file.

    Each picture has a slider between its noisy and its restored version, and below it two regions
    in which the versions differ most, enlarged: noisy, restored, clean (where there is a clean
    original), and by each classic denoiser, with the picture's PSNR.

    Parameters
    ----------
    beside : BesideClassics
        The pictures.
    title : str
        The heading, of any text.
    n_given : int, optional
        How many pictures the shown ones were chosen from.

    Returns
    -------
    str
        The page, which needs no network.

    Examples
    --------
    >>> clean = np.full((32, 32), 100.0)
    >>> noisy = clean + np.random.default_rng(0).normal(0, 20, clean.shape)
    >>> beside = BesideClassics()
    >>> beside.add("<flat>.png", noisy, restored=clean + 1, clean=clean)
    >>> page = restored_page(beside)
    >>> "&lt;flat&gt;.png" in page, "<flat>" in page, "48.1" in page
    (True, False, True)
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("narrows", "evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: as_utf8(value) if type(value) is str else value,
    )
    n = len(beside.pictures)
    shown = sorted({round(place) for place in np.linspace(0, n - 1, min(n, _SHOWN))})
    page = _Page(
        printable(title),
        _words(beside, len(shown), n if n_given is None else n_given),
        f"Mean over {counted(len(beside.pictures), 'picture')}",
        _table(beside.psnr, dict(beside.ssim)),
        [_show(beside.pictures[place]) for place in shown],
    )
    return environment.get_template("restored_page.html").render(page=page)


def _words(beside: BesideClassics, n_shown: int, n_given: int) -> list[str]:
    """Say what is on the page, and what is not."""
    shown = counted(n_shown, "picture") + (f" of {n_given}" if n_given > n_shown else "")
    words = [
        f"{shown}. Move the line to see what the model changed; below each picture, the places "
        "where the versions differ most are enlarged."
        + (
            " The PSNR below them is that of the picture shown, not of the enlarged place."
            if beside.psnr
            else ""
        )
    ]
    if any(picture.weights for picture in beside.pictures):
        how = (
            "each at the weight that is best for the picture, by its clean original"
            if any(picture.scores for picture in beside.pictures)
            else "at the weights that are best for photographs with noise of the estimated level"
        )
        words.append(f"Classic denoisers are shown beside the model, {how}.")
    if beside.missing:
        words.append(f"Classics left out: {beside.missing_words}.")
    return words + [
        f"Left out: {printable(name)}, which {why}." for name, why in beside.left_out.items()
    ]


def _table(psnr: dict[str, float], ssim: dict[str, float | None]) -> list[_Line]:
    """Return scores by version, the best at restoring marked."""
    best = max(psnr.values(), default=None)
    return [
        _Line(
            _NAMES.get(name, name),
            f"{psnr[name]:.2f}",
            "" if (value := ssim[name]) is None else f"{value:.3f}",
            psnr[name] == best,
        )
        for name in psnr
    ]


def _show(picture: Judged) -> _Shown:
    """Draw a picture."""
    low, high, stretched = _contrast(picture)
    drawn = {name: _drawn(pixels, low, high) for name, pixels in picture.versions.items()}
    height, width = drawn[NOISY].shape[:2]
    factor = max(1, round(_ENLARGED / max(height, width)))
    places = [
        _place(picture, drawn, number, corner)
        for number, corner in enumerate(_corners(picture), start=1)
    ]
    return _Shown(
        printable(picture.name),
        _described(picture, stretched),
        width * factor,
        height * factor,
        _source(_enlarged(drawn[NOISY], factor), small=factor > 1),
        _source(_enlarged(drawn[MODEL], factor), small=factor > 1),
        places,
        _table(
            {name: score.psnr for name, score in picture.scores.items()},
            {name: score.ssim for name, score in picture.scores.items()},
        ),
    )


def _described(picture: Judged, stretched: bool) -> list[str]:
    """Say a picture's size, noise and change, and what of it is shown how."""
    low, high = picture.limits
    percent = 100 / (high - low)
    by = "by the clean original" if picture.scores else "estimated"
    words = [
        f"{picture.shape[1]} \N{MULTIPLICATION SIGN} {picture.shape[0]} pixels, values from "
        f"{low:g} to {high:g}. Noise level ({by}): {picture.noise:.3g}, that is "
        f"{percent * picture.noise:.2g} % of the range. The model changed the picture by "
        f"{picture.change:.3g} (root mean square)."
    ]
    if picture.is_cut:
        words.append(
            f"Shown and compared is the middle, {picture.part[3]} \N{MULTIPLICATION SIGN} "
            f"{picture.part[2]} pixels."
        )
    if stretched:
        words.append("Its contrast is stretched on this page, equally for all versions.")
    channels = picture.shape[2] if len(picture.shape) == 3 else 1
    if channels not in (1, 3):
        words.append(f"The first of its {channels} channels is shown.")
    return words


def _contrast(picture: Judged) -> tuple[float, float, bool]:
    """Return what is drawn black and white, and whether that is less than the whole range."""
    low, high = picture.limits
    both = [picture.versions[name].ravel() for name in (NOISY, MODEL)]
    darkest, lightest = np.percentile(np.concatenate(both), [0.1, 99.9])
    if 0 < lightest - darkest < _DEEP * (high - low):
        return float(darkest), float(lightest), True
    return low, high, False


def _drawn(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return a picture in 8 bits, (H, W) or (H, W, 3)."""
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        pixels = pixels[..., 0]
    shades = (np.asarray(pixels, np.float64) - low) * (255 / (high - low))
    drawn: NDArray[np.uint8] = np.rint(shades).clip(0, 255).astype(np.uint8)
    return drawn


def _corners(picture: Judged) -> list[tuple[int, int, int, int]]:
    """Return the top, left, height and width of the regions where versions differ most."""
    height, width = picture.part[2:]
    down, across = min(height, _REGION), min(width, _REGION)
    if height * width <= 2 * _REGION**2:
        return [(0, 0, height, width)]
    low, high = picture.limits
    scaled = {
        name: (np.asarray(pixels, np.float64) - low) / (high - low)
        for name, pixels in picture.versions.items()
    }
    restored = scaled.pop(MODEL)
    gaps = [restored - scaled[name] for name in scaled if name not in (NOISY, CLEAN)]
    if not gaps:  # The noise itself is blurred away.
        gaps = [uniform_filter(restored - scaled[NOISY], (5, 5, *[1] * (restored.ndim - 2)))]
    power = np.mean(
        [np.square(gap).reshape(height, width, -1).mean(axis=2) for gap in gaps], axis=0
    )
    total = np.pad(power.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = (
        total[down:, across:]
        - total[:-down, across:]
        - total[down:, :-across]
        + total[:-down, :-across]
    )
    corners = []
    for _ in range(_PLACES):
        top, left = map(int, np.unravel_index(sums.argmax(), sums.shape))
        if sums[top, left] == -np.inf:
            break
        corners.append((top, left, down, across))
        sums[
            max(0, top - down + 1) : top + down, max(0, left - across + 1) : left + across
        ] = -np.inf
    return corners


def _place(
    picture: Judged,
    drawn: dict[str, NDArray[np.uint8]],
    number: int,
    corner: tuple[int, int, int, int],
) -> _Place:
    """Enlarge a region in all versions."""
    top, left, down, across = corner
    height, width = picture.part[2:]
    marked = (down, across) != (height, width)
    factor = max(1, -(-_ENLARGED // max(down, across)))
    psnr = {name: score.psnr for name, score in picture.scores.items()}
    best = max(psnr.values(), default=None)
    tiles = []
    for name in sorted(drawn, key=lambda name: _ORDER.index(name) if name in _ORDER else 3):
        region = _enlarged(drawn[name][top : top + down, left : left + across], factor)
        score = f"{psnr[name]:.2f} dB" if name in psnr else ""
        tiles.append(
            _Tile(
                _NAMES.get(name, name),
                _source(region, small=True),
                region.shape[1],
                region.shape[0],
                score,
                name in psnr and psnr[name] == best,
            )
        )
    return _Place(
        f"Place {number}, enlarged" if marked else "All versions",
        100 * left / width,
        100 * top / height,
        100 * across / width,
        100 * down / height,
        marked,
        tiles,
    )


_ORDER = (NOISY, MODEL, CLEAN)


def _enlarged(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Make squares of pixels."""
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _source(pixels: NDArray[np.uint8], *, small: bool) -> str:
    """Encode a picture for the page: without loss where it is small."""
    file = BytesIO()
    if small:
        Image.fromarray(pixels).save(file, "png", optimize=True)
    else:
        Image.fromarray(pixels).save(file, "jpeg", quality=_QUALITY, subsampling=0)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}"
