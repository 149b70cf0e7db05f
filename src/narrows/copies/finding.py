"""Groups of copies among the pictures of a folder, and which of each group to keep."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from narrows.copies.judging import Pairs, judge
from narrows.copies.kinds import Change, describe
from narrows.copies.pictures import SIDE, Seen, look
from narrows.copies.proposing import Candidates, LowFrequencies, Proposer
from narrows.copies.registering import Maps, Pyramid, inverse, then
from narrows.copies.state import State, opened
from narrows.copies.wanted import Wanted
from narrows.data.decoding import Progress, n_processors
from narrows.data.folders import check_exclude, check_exists
from narrows.data.image_codec import DefectError, decode, quietly
from narrows.data.images import list_images
from narrows.data.reading import Reading, chosen
from narrows.errors import MissingFileError, ParameterError, UnreadableFileError, warn
from narrows.texts import counted, shortened

Rule = Literal["largest", "oldest", "newest", "shortest-path"]
"""Which picture of a group to keep."""

_LOSSLESS = ("PNG", "TIFF", "BMP", "PPM", "GIF")
_SAME = 1.0  # levels on average by which squares of the same pixels may differ, as JPEG is reduced


@dataclass(frozen=True)
class Picture:
    """A picture of the folder.

    Attributes
    ----------
    name : str
        Its path within the folder.
    path : Path
        Its path.
    seen : Seen
        What is known of it.
    """

    name: str
    path: Path
    seen: Seen = field(repr=False)


@dataclass(frozen=True)
class Copy:
    """A copy of another picture of its group.

    Attributes
    ----------
    picture : Picture
        The copy.
    of : Picture
        What it is compared with: the one to keep, or, where only another one shows enough of it,
        that.
    change : Change
        What was done to ``of``, so that it became the copy.
    """

    picture: Picture
    of: Picture
    change: Change


@dataclass(frozen=True)
class Group:
    """Pictures that are copies of one another.

    Attributes
    ----------
    keep : Picture
        The one that the rule keeps.
    copies : list of Copy
        The others, by their names.
    """

    keep: Picture
    copies: list[Copy]


@dataclass(frozen=True)
class Copies:
    """What was found in a folder.

    Attributes
    ----------
    folder : Path
        The folder.
    groups : list of Group
        The largest first.
    pictures : int
        How many pictures were compared.
    looked_at : int
        How many of them were not known from an earlier scan.
    skipped : list of (str, str)
        The names of files that cannot be read, and the reasons.
    flat : list of str
        Pictures of one shade or one pixel, which are copies only of the same pixels.
    limit : float or None
        The mean correlation of their parts that was asked of copies: more than 0.65 where different
        pictures are alike as well; None where nothing was compared.
    """

    folder: Path
    groups: list[Group]
    pictures: int
    looked_at: int
    skipped: list[tuple[str, str]]
    flat: list[str]
    limit: float | None

    def as_json(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "folder": str(self.folder),
            "pictures": self.pictures,
            "looked_at": self.looked_at,
            "skipped": [{"path": name, "reason": why} for name, why in self.skipped],
            "flat": self.flat,
            "limit": self.limit,
            "groups": [
                {
                    "keep": _facts(group.keep),
                    "copies": [
                        {
                            **_facts(copy.picture),
                            "of": copy.of.name,
                            "kinds": list(copy.change.kinds),
                            "details": copy.change.details,
                        }
                        for copy in group.copies
                    ],
                }
                for group in self.groups
            ],
        }


def _facts(picture: Picture) -> dict[str, Any]:
    seen = picture.seen
    return {
        "path": picture.name,
        "width": seen.width,
        "height": seen.height,
        "bytes": seen.n_bytes,
        "format": seen.format,
        "modified": seen.modified / 1e9,
    }


def find_copies(
    folder: str | Path,
    *,
    keep: Rule = "largest",
    prefer: Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    rotated: bool = True,
    mirrored: bool = True,
    crops: bool = True,
    max_pixels: int | None = None,
    state: str | Path | None = None,
    needs_state: bool = True,
    proposer: Proposer | None = None,
    progress: Progress | None = None,
) -> Copies:
    """Find the copies among the pictures of a folder, and change nothing.

    Copies are found if they were resized, recompressed, brightened, darkened, made grey, mirrored,
    rotated by quarters, turned by up to about 8 degrees, cropped to no less than about 0.6 of the
    sides, or put into a border, and if a caption or a logo covers a tenth of them.

    Parameters
    ----------
    folder : str or Path
        The folder; its subfolders are searched, linked ones are not.
    keep : {"largest", "oldest", "newest", "shortest-path"}, default="largest"
        Which picture of a group to keep. Of those with as many pixels within their
        frames, "largest" keeps the one that is least compressed: of a lossless format, then of most
        bytes, then the oldest. Dates are those of the files.
    prefer : sequence of str
        Patterns of names that are kept before others, the first pattern first: "originals/*".
    exclude : str or sequence of str
        Patterns of files and folders that are left out.
    rotated, mirrored, crops : bool, default=True
        Whether copies are looked for that are rotated by quarters, mirrored, or show a part of the
        other picture, beyond 3 % of a side. Two pictures that differ in such a way are still in one
        group if both are copies of a third.
    max_pixels : int, optional
        See :class:`narrows.data.reading.Reading`.
    state : str or Path, optional
        A file that keeps what is known of the pictures, so that a later scan looks only at what is
        new or changed, and a stopped one goes on. By default nothing is kept.
    needs_state : bool, default=True
        Whether a state that cannot be had is an error, rather than a warning.
    proposer : Proposer, optional
        Finds pairs that may be copies; by default :class:`narrows.copies.LowFrequencies`.
    progress : callable, optional
        Called with the number of files looked at and the number of all.

    Returns
    -------
    Copies

    Raises
    ------
    DataError
        If the folder has no pictures, or the state is another file.
    MissingFileError, UnreadableFileError
        If the folder does not exist, or must not be read.
    ParameterError
        If a parameter is not allowed.
    OutputError
        If the state cannot be written.

    See Also
    --------
    narrows.library.duplicates.find : Near-identical pictures of a library, by their codes.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from PIL import Image
    >>> from narrows.copies import find_copies
    >>> wave = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    >>> picture = Image.fromarray(wave).resize((160, 120), Image.Resampling.BICUBIC)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     picture.save(f"{folder}/a.png")
    ...     picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(f"{folder}/b.jpg")
    ...     [group] = find_copies(folder).groups
    >>> group.keep.name, [(copy.picture.name, copy.change.kinds) for copy in group.copies]
    ('a.png', [('b.jpg', ('mirrored',))])
    """
    folder = Path(folder)
    if keep not in get_args(Rule):
        raise ParameterError(
            f"keep={keep!r} is not allowed; give one of {', '.join(get_args(Rule))}",
            parameter="keep",
        )
    check_exclude(exclude)
    how = chosen(max_pixels)
    check_exists(folder, "a folder of pictures")
    if not folder.is_dir():
        raise UnreadableFileError(
            f"'{folder}' is a file; give the folder of pictures that it is in", path=folder
        )
    listing = list_images(folder, exclude)
    listing.left_out.warn(folder, stacklevel=2)
    pictures, skipped, looked_at = _look_at_all(
        folder, listing.files, how, opened(state, asked=needs_state), progress
    )
    if skipped:
        warn(
            f"'{folder}': {counted(len(skipped), 'file')} that cannot be read left out, such as "
            f"'{shortened(skipped[0][0])}': {skipped[0][1]}",
            kind="unreadable_left_out",
            stacklevel=2,
            files=len(skipped),
            first=skipped[0][0],
        )
    animated = [picture.name for picture in pictures if picture.seen.frames > 1]
    if animated:
        warn(
            f"of {counted(len(animated), 'file')} with several pages or frames, such as "
            f"'{shortened(animated[0])}', only the first is compared",
            kind="frames_left_out",
            stacklevel=2,
            files=len(animated),
            first=animated[0],
        )
    wanted = Wanted(rotated=rotated, mirrored=mirrored, crops=crops)
    found = _Found(pictures, how, proposer or LowFrequencies(), wanted)
    groups = found.groups(keep, list(prefer))
    flat = [picture.name for picture in pictures if picture.seen.is_flat]
    return Copies(folder, groups, len(pictures), looked_at, skipped, flat, found.limit)


def _look_at_all(
    folder: Path,
    files: list[Path],
    how: Reading,
    kept: State,
    progress: Progress | None,
) -> tuple[list[Picture], list[tuple[str, str]], int]:
    """Look at the files that are not known yet; return the pictures, and what cannot be read."""

    def one(file: Path) -> Seen | str:
        try:
            return look(file, how)
        except (DefectError, MissingFileError) as error:
            return str(error)

    found: dict[Path, Seen | str] = {}
    with kept as state:
        for file in files:
            known = state.get(file)
            if known is not None:
                found[file] = known
        new = [file for file in files if file not in found]
        done = len(found)
        with quietly(), ThreadPoolExecutor(n_processors()) as threads:
            try:
                for file, seen in zip(new, threads.map(one, new), strict=True):
                    found[file] = seen
                    if isinstance(seen, Seen):
                        state.put(file, seen)
                    done += 1
                    if progress is not None:
                        progress(done, len(files))
            finally:
                threads.shutdown(cancel_futures=True)
        state.forget_missing(folder, files)
    names = {file: file.relative_to(folder).as_posix() for file in files}
    pictures = [
        Picture(names[file], file, seen) for file in files if isinstance(seen := found[file], Seen)
    ]
    skipped = [(names[file], why) for file in files if isinstance(why := found[file], str)]
    return pictures, skipped, len(new)


class _Found:
    """The copies among pictures, as a graph of which the edges are maps."""

    def __init__(
        self, pictures: list[Picture], how: Reading, proposer: Proposer, wanted: Wanted
    ) -> None:
        self._pictures, self._how, self._wanted = pictures, how, wanted
        self._edges: dict[tuple[int, int], Maps] = {}
        self._pixels: dict[int, bytes | None] = {}
        by_bytes: dict[bytes, list[int]] = defaultdict(list)
        for number, picture in enumerate(pictures):
            by_bytes[picture.seen.digest].append(number)
        # The first picture of the same bytes, or of the same pixels if these show nothing.
        self._firsts = {other: numbers[0] for numbers in by_bytes.values() for other in numbers[1:]}
        firsts = [numbers[0] for numbers in by_bytes.values()]
        showing = [number for number in firsts if not pictures[number].seen.is_flat]
        self._row = {number: row for row, number in enumerate(showing)}
        squares = [pictures[number].seen.square for number in showing]
        empty = np.zeros((SIDE, SIDE), np.uint8)
        self._sizes = np.array([pictures[number].seen.inner_size for number in showing])
        self.limit: float | None = None
        self._pyramid = Pyramid(np.stack([*squares, empty])[:-1])
        if len(showing) > 1:
            candidates = wanted.filtered(proposer.propose(self._pyramid.plain[32]))
            pairs = judge(self._pyramid, candidates, self._sizes)
            self.limit = pairs.limit
            self._add(pairs, showing)
        self._add_flat([number for number in firsts if pictures[number].seen.is_flat])

    def _add(self, pairs: Pairs, numbers: list[int]) -> None:
        kept = np.flatnonzero(~self._wanted.are_ruled_out(pairs.maps)).tolist()
        for end, other, map_ in zip(
            pairs.ends[kept], pairs.others[kept], pairs.maps[kept], strict=True
        ):
            a, b = numbers[end], numbers[other]
            self._edges[a, b], self._edges[b, a] = map_, inverse(map_)

    def _add_flat(self, numbers: list[int]) -> None:
        """Pictures that show nothing are copies if all of their pixels are the same."""
        alike: dict[Any, list[int]] = defaultdict(list)
        for number in numbers:
            seen = self._pictures[number].seen
            alike[seen.width, seen.height, seen.square.tobytes()].append(number)
        for same in alike.values():
            by_pixels: dict[bytes | None, list[int]] = defaultdict(list)
            for number in same if len(same) > 1 else []:
                by_pixels[self._pixels_of(number)].append(number)
            by_pixels.pop(None, None)
            for equal in by_pixels.values():
                self._firsts |= dict.fromkeys(equal[1:], equal[0])

    def _pixels_of(self, number: int) -> bytes | None:
        """Hash all pixels of a picture; None if it cannot be read at its own size."""
        if number not in self._pixels:
            picture = self._pictures[number]
            shape = (picture.seen.height, picture.seen.width, 3)
            try:
                with quietly():
                    values = decode(picture.path, shape, self._how)
                digest = blake2b(repr((values.shape, values.dtype.str)).encode())
                digest.update(values.tobytes())
                self._pixels[number] = digest.digest()
            except (DefectError, MissingFileError):
                self._pixels[number] = None
        return self._pixels[number]

    def groups(self, keep: Rule, prefer: list[str]) -> list[Group]:
        """Return the groups, the largest first."""
        count = len(self._pictures)
        links = [*self._firsts.items(), *self._edges]
        ends, others = np.array(links, np.int64).reshape(-1, 2).T
        graph = coo_array((np.ones(len(ends), bool), (ends, others)), (count, count))
        labels = connected_components(graph, directed=False)[1]
        members: dict[int, list[int]] = defaultdict(list)
        for number, label in enumerate(labels.tolist()):
            members[label].append(number)
        several = [numbers for numbers in members.values() if len(numbers) > 1]
        found = [self._group(numbers, keep, prefer) for numbers in several]
        return sorted(found, key=lambda group: (-len(group.copies), group.keep.name))

    def _group(self, numbers: list[int], keep: Rule, prefer: list[str]) -> Group:
        kept = min(numbers, key=lambda number: _order(self._pictures[number], keep, prefer))
        source = self._sources(numbers, kept)
        copies = []
        for number in numbers:
            if number != kept:
                of, change = self._change(number, kept, source)
                copies.append(Copy(self._pictures[number], self._pictures[of], change))
        return Group(self._pictures[kept], copies)

    def _first(self, number: int) -> int:
        """Return the first picture that is equal."""
        while number in self._firsts:
            number = self._firsts[number]
        return number

    def _sources(self, numbers: list[int], kept: int) -> dict[int, int]:
        """Return from which other one each picture is reached from the one to keep."""
        firsts = sorted({self._first(number) for number in numbers})
        place = {number: row for row, number in enumerate(firsts)}
        pairs = [pair for pair in combinations(firsts, 2) if pair in self._edges]
        ends, others = np.array(
            [(place[a], place[b]) for a, b in pairs], np.int64
        ).reshape(-1, 2).T  # fmt: skip
        graph = coo_array((np.ones(len(pairs)), (ends, others)), (len(firsts),) * 2).tocsr()
        order, before = breadth_first_order(graph, place[self._first(kept)], directed=False)
        return {firsts[row]: firsts[before[row]] for row in order.tolist()[1:]}

    def _change(self, number: int, kept: int, source: dict[int, int]) -> tuple[int, Change]:
        """Say what a picture is a copy of, and how it was changed."""
        own, first = self._pictures[number], self._first(number)
        if first == self._first(kept):
            other = self._pictures[kept]
            return kept, Change((self._equal_kind(own, other),))
        root = self._first(kept)
        direct = self._edges.get((first, root))
        if direct is None:
            direct = self._judged(first, root, source)
        of = kept if direct is not None else source[first]
        map_ = self._edges[first, of] if direct is None else direct
        seen = own.seen, self._pictures[of].seen
        if self._same_pixels(first, self._first(of), map_):
            return of, Change(("same pixels",))
        rows = self._row[first], self._row[self._first(of)]
        return of, describe(self._pyramid, seen, rows, map_)

    def _judged(self, number: int, root: int, source: dict[int, int]) -> Maps | None:
        """Judge a picture and the one to keep by the maps on the way; None if they do not agree."""
        map_, at = self._edges[number, source[number]], source[number]
        while at != root:
            map_ = then(map_, self._edges[at, source[at]])
            at = source[at]
        ends, others = np.array([[self._row[number]], [self._row[root]]])
        candidate = Candidates(ends, others, map_[None])
        judged = judge(self._pyramid, candidate, self._sizes, self.limit)
        if not len(judged.ends) or self._wanted.are_ruled_out(judged.maps)[0]:
            return None
        found: Maps = judged.maps[0]
        return found

    def _equal_kind(self, one: Picture, other: Picture) -> str:
        if one.seen.digest != other.seen.digest:
            return "same pixels"
        try:
            return "same file" if one.path.samefile(other.path) else "same bytes"
        except OSError:
            return "same bytes"

    def _same_pixels(self, one: int, other: int, map_: Maps) -> bool:
        a, b = self._pictures[one].seen, self._pictures[other].seen
        if (a.width, a.height) != (b.width, b.height):
            return False
        if np.abs(map_ - np.eye(2, 3)).max() > 1 / SIDE or np.abs(a.colour - b.colour) > 1:
            return False
        off = np.abs(a.square.astype(np.float32) - b.square).mean()
        if float(off) > _SAME:
            return False
        mine = self._pixels_of(one)
        return mine is not None and mine == self._pixels_of(other)


def _order(picture: Picture, keep: Rule, prefer: list[str]) -> tuple[Any, ...]:
    """Return what pictures of a group are sorted by, the one to keep first."""
    seen, name = picture.seen, picture.name
    liked = [place for place, pattern in enumerate(prefer) if fnmatchcase(name, pattern)]
    rank = liked[0] if liked else len(prefer)
    depth = (name.count("/"), len(name), name)
    width, height = seen.inner_size
    size = -round(width * height)
    rules: dict[str, tuple[Any, ...]] = {
        "largest": (size, seen.format not in _LOSSLESS, -seen.n_bytes, seen.modified),
        "oldest": (seen.modified, size),
        "newest": (-seen.modified, size),
        "shortest-path": (),
    }
    return (rank, *rules[keep], *depth)
