"""Pairs of damaged pictures and their clean originals: which belong together, and their rows."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np

from narrows.data.decoding import (
    Progress,
    Scan,
    Target,
    find_unreadable,
    scan,
    side_by_side,
    sizes_of,
)
from narrows.data.depths import bring, common_type
from narrows.data.files import Rows, picture_files, read
from narrows.data.folders import Listing
from narrows.data.images import ImageSize, choose_sample_shape, gather, none_readable
from narrows.data.names import NameIndex
from narrows.data.reading import (
    Pages,
    Picture,
    Reading,
    chosen,
    file_of,
    name_within,
    shown_name,
    split_name,
)
from narrows.errors import DataError, warn
from narrows.texts import as_text, counted

# What is said of the crops of damaged pictures holds for their originals.
_CROPPED = r".*crops of \d+ x \d+ at full resolution were cut out"


@dataclass(frozen=True)
class Pairs:
    """Damaged rows and their clean originals.

    Attributes
    ----------
    damaged, clean : Rows
        As many rows of one shape, each beside its original; crops lie at the same places of both.
    unpaired : list of str
        Clean pictures that are no damaged one's original, which were left out.
    """

    damaged: Rows
    clean: Rows
    unpaired: list[str] = field(default_factory=list)


def read_pairs(
    damaged: str | Path,
    clean: str | Path,
    *,
    sample_shape: tuple[int, ...] | None = None,
    image_size: ImageSize = "auto",
    color: Literal["auto"] | bool = "auto",
    pages: Pages | None = None,
    max_pixels: int | None = None,
    skip_unreadable: bool = False,
    exclude: str | Sequence[str] = (),
    crops: int | None = None,
    progress: Progress | None = None,
    **reading: Any,
) -> Pairs:
    """Read damaged pictures and their clean originals, which have the same names.

    Parameters
    ----------
    damaged, clean : str or Path
        Two folders of picture files, with the same names within the folder but for their endings,
        or two picture files. Others are read as rows that are paired in their order.
    sample_shape, image_size, color, pages, max_pixels, exclude, crops, progress, **reading
        As for :func:`narrows.data.files.read`, for both.
    skip_unreadable : bool, default=False
        Whether pairs of which a file cannot be read are left out and listed instead of raising.

    Returns
    -------
    Pairs
        Pictures of the same channels and type: where one of both has colours, or 16 bits, both do.

    Raises
    ------
    DataError
        If a damaged picture has no original, or several; if an original has another size, unless
        ``image_size`` brings both to one; if pictures are paired with rows of another kind, or
        with themselves.
    MissingFileError, UnreadableFileError, MissingDependencyError, ParameterError
        As :func:`narrows.data.files.read`.

    Warns
    -----
    NarrowsWarning
        "originals_left_out" if clean pictures are no damaged one's original; and those of
        :func:`narrows.data.files.read`.

    See Also
    --------
    narrows.data.files.read : Reads rows from one folder or file.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for kind, shade in (("dirty", 90), ("clean", 255)):
    ...         Path(folder, kind).mkdir()
    ...         Image.new("L", (30, 20), shade).save(f"{folder}/{kind}/page.png")
    ...     pairs = read_pairs(f"{folder}/dirty", f"{folder}/clean")
    >>> pairs.damaged.values.shape, int(pairs.clean.values.max()), pairs.clean.names
    ((1, 20, 30), 255, ['page.png'])
    """
    damaged, clean = Path(damaged), Path(clean)
    if damaged.exists() and clean.exists() and damaged.samefile(clean):
        raise DataError(
            f"'{clean}' was given as damaged and as clean; give the clean originals of the damaged "
            "pictures",
            path=clean,
        )
    found = [picture_files(path, exclude) for path in (damaged, clean)]
    if found[0] is None or found[1] is None:
        if found[0] is not found[1]:
            named = (clean, damaged) if found[0] is None else (damaged, clean)
            raise DataError(
                "'{}' holds picture files, '{}' rows of another kind; give both as picture files, "
                "or both as arrays".format(*named),
                path=clean,
            )
        more = {"sample_shape": sample_shape, "exclude": exclude, **reading}
        return Pairs(read(damaged, **more), read(clean, **more))
    if "options" in reading:
        reading["options"].check_use(damaged)
    how = chosen(max_pixels, pages)
    listings, roots = zip(*found, strict=True)
    _warn_of_left_out(damaged, clean, listings)
    matched = _match(listings, roots, damaged, clean, how)
    scans = [_scanned(pictures, how) for pictures in (matched.damaged, matched.clean)]
    if sample_shape is None:
        color = _common_color(scans, image_size, color, damaged, clean)
    skipped: list[tuple[Picture, str]] = []
    if skip_unreadable:
        scans, skipped = _readable(scans, how)
    if image_size == "auto":
        _check_sizes(scans)
    make = partial(
        gather,
        sample_shape=sample_shape,
        image_size=image_size,
        color=color,
        own_size=False,
        scaling=None,
        how=how,
        skip_unreadable=False,
        resizing=None,
        crops=crops,
        progress=progress,
    )
    of_damaged = make(damaged, (), found=scans[0])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_CROPPED)
        of_clean = make(clean, (), found=scans[1])
    kind = common_type({of_damaged.kind: str(damaged), of_clean.kind: str(clean)})
    rows = [
        Rows(
            gathered.values if gathered.kind == kind else bring(np.asarray(gathered.values), kind),
            [name_within(picture, root) for picture in gathered.pictures],
            skipped=[(shown_name(picture), reason) for picture, reason in skipped],
            pictures=True,
            left_out=listing.left_out,
            resized=gathered.resized,
            cropped=gathered.cropped,
            file_type=kind.name,
        )
        for gathered, listing, root in zip((of_damaged, of_clean), listings, roots, strict=True)
    ]
    return Pairs(rows[0], rows[1], matched.unpaired)


def originals_of(names: Sequence[str], clean_names: Sequence[str], path: Path) -> list[int]:
    """Return the place of each damaged picture's original among the clean ones, by their names.

    Parameters
    ----------
    names, clean_names : sequence of str
        The names of damaged and clean pictures.
    path : Path
        Where the clean ones are, for messages.

    Raises
    ------
    DataError
        If a picture has no original, or several.

    Examples
    --------
    >>> originals_of(["a.jpg", "b.jpg"], ["b.png", "c.png", "a.png"], Path("clean"))
    [2, 0]
    """
    if len(names) == len(clean_names) == 1 or list(clean_names) == list(names):
        return list(range(len(clean_names)))
    by_name = NameIndex([[name] for name in clean_names])
    by_stem = NameIndex([[_stem(name)] for name in clean_names])
    order: list[int] = []
    missing: list[str] = []
    for name in names:
        place = by_name.find(name)
        if place is None:
            place = by_stem.find(_stem(name))
        if place is not None:
            order.append(place)
            continue
        if len(same := by_stem.alike(_stem(name))) > 1:
            one, other = (clean_names[at] for at in same[:2])
            raise DataError(f"'{path}' has '{one}' and '{other}' for {name!r}; keep one")
        missing.append(name)
    if missing:
        more = f" (and of {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"'{path}' has no clean original of {missing[0]!r}{more}; give the originals the names "
            "of the damaged pictures, or leave out those that have none"
        )
    return order


def _stem(name: str) -> str:
    """Leave out the ending of a picture's name, which may differ from its original's."""
    file, page = split_name(name)
    return str(PurePosixPath(file).with_suffix("")) + page


def _warn_of_left_out(damaged: Path, clean: Path, listings: Sequence[Listing]) -> None:
    """Warn of what is not read; a pattern that matches in one folder has done its work."""
    one, other = (listing.left_out.excluded for listing in listings)
    used = one + other
    for path, listing in zip((damaged, clean), listings, strict=True):
        left_out = listing.left_out
        told = {pattern: n for pattern, n in left_out.excluded.items() if n or not used[pattern]}
        replace(left_out, excluded=Counter(told)).warn(path, stacklevel=4)


class _Matched(NamedTuple):
    damaged: list[Picture]
    clean: list[Picture]
    unpaired: list[str]


def _match(
    listings: Sequence[Listing], roots: Sequence[Path], damaged: Path, clean: Path, how: Reading
) -> _Matched:
    """Bring clean pictures into the order of the damaged ones, and warn of others."""
    pictures = [scan(listing.files, how).pictures for listing in listings]
    names = [
        [name_within(picture, root) for picture in some]
        for some, root in zip(pictures, roots, strict=True)
    ]
    order = originals_of(names[0], names[1], clean)
    unpaired = [as_text(names[1][at]) for at in sorted({*range(len(names[1]))} - {*order})]
    if unpaired:
        warn(
            f"'{clean}': {counted(len(unpaired), 'picture')} left out, such as '{unpaired[0]}', of "
            f"which '{damaged}' holds no damaged ones",
            kind="originals_left_out",
            stacklevel=4,
            unpaired=unpaired,
        )
    return _Matched(pictures[0], [pictures[1][at] for at in order], unpaired)


def _scanned(pictures: Sequence[Picture], how: Reading) -> Scan:
    """Return the facts of files of which some pages, or some several times, are read."""
    return replace(scan(list(dict.fromkeys(map(file_of, pictures))), how), pictures=[*pictures])


def _common_color(
    scans: Sequence[Scan],
    image_size: ImageSize,
    color: Literal["auto"] | bool,
    damaged: Path,
    clean: Path,
) -> Literal["auto"] | bool:
    """Return whether both are read in colours: where one has some, both are.

    Raises
    ------
    DataError
        If they have other, different channels.
    """
    shapes = [
        choose_sample_shape(one.pictures, image_size=image_size, color=color, found=one)
        for one in scans
    ]
    channels = [shape[2] if len(shape) == 3 else 1 for shape in shapes]
    if channels[0] == channels[1]:
        return color
    if {*channels} == {1, 3}:
        return True
    raise DataError(
        f"'{damaged}' holds pictures of {counted(channels[0], 'channel')}, '{clean}' of "
        f"{channels[1]}; give originals of the same channels",
        path=clean,
    )


def _readable(scans: Sequence[Scan], how: Reading) -> tuple[list[Scan], list[tuple[Picture, str]]]:
    """Leave out pairs of which a picture cannot be read; return the others, and these.

    Raises
    ------
    DataError
        If there are no others.
    """
    reasons: dict[int, tuple[Picture, str]] = {}
    for one in scans:
        kind = common_type(one.types)
        shape = choose_sample_shape(one.pictures, found=one)
        for place, reason in find_unreadable(one.pictures, Target(shape, kind, None, how)).items():
            reasons.setdefault(place, (one.pictures[place], reason))
    skipped = [reasons[place] for place in sorted(reasons)]
    count = len(scans[0].pictures)
    if len(skipped) == count:
        raise none_readable(count, *skipped[0])
    kept = [place for place in range(count) if place not in reasons]
    return [_scanned([one.pictures[place] for place in kept], how) for one in scans], skipped


def _check_sizes(scans: Sequence[Scan]) -> None:
    """Refuse pairs of different sizes; unreadable pictures are reported later.

    Raises
    ------
    DataError
        If there are some.
    """
    pairs = list(zip(*(one.pictures for one in scans), strict=True))
    sizes = zip(*(sizes_of(one.pictures) for one in scans), strict=True)
    unlike = [
        (pair, size)
        for pair, size in zip(pairs, sizes, strict=True)
        if None not in size and size[0] != size[1]
    ]
    if unlike:
        (one, other), size = unlike[0]
        own, of_clean = (side_by_side(each) for each in size)
        more = f" ({len(unlike)} of {len(pairs)} pairs differ)" if len(pairs) > 1 else ""
        raise DataError(
            f"'{shown_name(one)}' has {own} pixels (height x width), its clean original "
            f"'{shown_name(other)}' {of_clean}{more}; bring both to one size, so that they lie "
            "over each other"
        )
