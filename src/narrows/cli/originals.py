"""Restored pictures beside their clean originals: which belong together, and how alike they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.texts import counted

if TYPE_CHECKING:
    from narrows.evaluation import Restoration
    from narrows.models.restored_files import Seen


# The blocks along each side in which pictures are compared roughly, and the least correlation.
_BLOCKS, _ALIKE = 16, 0.5


class Scores:
    """Compares restored pages with clean originals as they come."""

    def __init__(self, originals: dict[Path, Path]) -> None:
        self._originals = originals
        self._open: tuple[Path, list[Any]] | None = None
        self.before: list[Restoration] = []
        self.after: list[Restoration] = []
        self.unlike: list[Path] = []

    @classmethod
    def of(cls, files: Sequence[Path], root: Path, clean: Path, exclude: Any) -> "Scores":
        """Find the clean original of each file within a folder, by their names.

        Raises
        ------
        DataError
            If one has none, or several.
        """
        from narrows.data.images import list_images
        from narrows.data.pairs import originals_of

        is_folder = clean.is_dir()
        originals = list_images(clean, exclude).files if is_folder else [clean]
        names = [file.relative_to(root).as_posix() for file in files]
        clean_root = clean if is_folder else clean.parent
        clean_names = [file.relative_to(clean_root).as_posix() for file in originals]
        order = originals_of(names, clean_names, clean)
        return cls({f: originals[place] for f, place in zip(files, order, strict=True)})

    def original(self, seen: "Seen") -> Any:
        """Return the clean original of a page, in the channels that were restored.

        Raises
        ------
        DataError
            If it has another size, type, or channels.
        """
        from narrows.data.image_codec import DefectError
        from narrows.data.photographs import open_photograph
        from narrows.data.reading import current
        from narrows.errors import DataError, UnreadableFileError

        path = self._originals[seen.path]
        if self._open is None or self._open[0] != path:
            try:
                with open_photograph(path, current()) as photograph:
                    pages = [frame.values for frame in photograph.frames()]
            except DefectError as error:
                raise UnreadableFileError(
                    f"'{path}' is not a readable picture: {error}; repair it or choose another",
                    path=path,
                    reason=str(error),
                ) from error
            self._open = path, pages
        pages = self._open[1]
        if len(pages) <= seen.page:
            raise DataError(
                f"'{path}' has {counted(len(pages), 'page')}, and the damaged picture more; give "
                "originals of the same pages"
            )
        page, wanted = pages[seen.page], seen.damaged
        if page.ndim == 3 and wanted.ndim == 3:
            page = page[:, :, : wanted.shape[2]]
        elif page.ndim == 3 and page.shape[2] == 2:
            page = page[:, :, 0]
        if page.shape[:2] != wanted.shape[:2]:
            raise DataError(
                f"'{seen.path}' has {_size(wanted)} pixels, its original '{path}' {_size(page)}; "
                "give originals of the same size"
            )
        if page.shape != wanted.shape or page.dtype != wanted.dtype:
            raise DataError(
                f"'{seen.path}' has {_kind(wanted)}, its original '{path}' {_kind(page)}; give "
                "originals of the same channels and depth"
            )
        return page

    def add(self, seen: "Seen") -> None:
        """Compare one page."""
        from narrows.evaluation import compare_with_clean

        clean = self.original(seen)
        if _are_unlike(seen.damaged, clean) and seen.path not in self.unlike:
            self.unlike.append(seen.path)
        for scores, values in ((self.before, seen.damaged), (self.after, seen.restored)):
            pair = (values[None], clean[None])
            scores.append(compare_with_clean(*pair, seen.tones.span, pictures=True))

    def report(self, record: dict[str, Any]) -> str:
        """Put the means into a record, and return them in words."""
        from narrows.errors import warn
        from narrows.evaluation import mean_restoration

        if self.unlike:
            first = self.unlike[0]
            warn(
                f"{counted(len(self.unlike), 'file')}, such as '{first}', hardly like the original "
                f"'{self._originals[first]}', also where noise is averaged out, so that the scores "
                "say little; see that files and originals belong together",
                kind="originals_unlike",
                files=len(self.unlike),
                first=str(first),
            )
        before, after = mean_restoration(self.before), mean_restoration(self.after)
        for name in ("psnr", "ssim"):
            record[name] = {"damaged": getattr(before, name), "restored": getattr(after, name)}
        words = score_words(before, after, len(self.after))
        record["ssim_window"] = after.ssim_window
        record["exact"] = {"damaged": before.n_exact, "restored": after.n_exact}
        return words


def _are_unlike(damaged: Any, clean: Any) -> bool:
    """Return whether two pictures show different things, whatever noise one of them has."""
    import numpy as np

    height, width = (min(_BLOCKS, n) for n in clean.shape[:2])
    coarse = []
    for values in (damaged, clean):
        grey = values.reshape(*values.shape[:2], -1).mean(axis=2, dtype=np.float64)
        rows = np.array_split(grey, height)
        means = [[block.mean() for block in np.array_split(row, width, axis=1)] for row in rows]
        coarse.append(np.ravel(means))
    varies = all(np.isfinite(one).all() and np.ptp(one) > 0 for one in coarse)
    return varies and bool(np.corrcoef(coarse)[0, 1] < _ALIKE)


def score_words(before: "Restoration", after: "Restoration", n: int) -> str:
    """Return the mean scores of n damaged and restored pictures or rows, each behind a "; ".

    Those that equal their original have no finite PSNR, which is said.
    """

    def psnr(scores: "Restoration") -> str:
        if scores.n_exact == n:
            return "infinite, as equal to the original"
        some = f", {scores.n_exact} of {n} equal to the original, counted as 100 dB"
        return f"{scores.psnr:.4g} dB{some if scores.n_exact else ''}"

    words = f"; PSNR {psnr(after)} (input: {psnr(before)})"
    if after.ssim is not None and before.ssim is not None:
        words += f"; SSIM {after.ssim:.4g} (input: {before.ssim:.4g})"
    return words


def _size(values: Any) -> str:
    return f"{values.shape[0]} x {values.shape[1]}"


def _kind(values: Any) -> str:
    count = values.shape[2] if values.ndim == 3 else 1
    return f"{counted(count, 'channel')} of {values.dtype}"
