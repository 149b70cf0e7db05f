"""Restored pictures beside classic denoisers, in the answer and on a page (``--page``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.cli.originals import Scores
from narrows.texts import printable

if TYPE_CHECKING:
    from narrows.errors import ParameterError
    from narrows.models.restored_files import Seen


def check_page(page: Path | None, *, overwrite: bool) -> None:
    """Raise an error if a page cannot be written there.

    Raises
    ------
    ParameterError, OutputExistsError, OutputError
        If it is no HTML file, exists already, or has no folder to be in.
    """
    from narrows.atomic import check_output
    from narrows.errors import ParameterError

    if page is None:
        return
    if page.suffix.lower() not in (".html", ".htm"):
        raise ParameterError(f"--page '{page}' is no HTML page; let it end in .html")
    check_output(page, overwrite=overwrite, kind="file")


def no_pictures(data: Path) -> "ParameterError":
    """Return an error that tells what has no page."""
    from narrows.errors import ParameterError

    return ParameterError(
        f"--page shows pictures at their own size, and '{data}' is not restored as such; leave it "
        "out",
        parameter="page",
    )


class Beside:
    """Compares some of the restored pictures with classics, and writes the page."""

    def __init__(self, names: Sequence[str], pixels: int | None = None) -> None:
        from narrows.evaluation import BesideClassics
        from narrows.evaluation.beside import chosen_pictures

        self.names = names
        self.chosen = chosen_pictures(len(names), pixels)
        self.by_classics = BesideClassics()

    @classmethod
    def of_rows(
        cls,
        names: Sequence[str],
        noisy: Any,
        restored: Any,
        clean: Any,
        limits: tuple[float, float],
    ) -> "Beside":
        """Compare rows that are pictures; ``clean`` may be None."""
        import numpy as np

        beside = cls(names, noisy.shape[1] * noisy.shape[2])
        for row in beside.chosen:
            pair = (np.asarray(noisy[row]), np.asarray(restored[row]))
            truth = None if clean is None else np.asarray(clean[row])
            beside.by_classics.add(names[row], *pair, truth, limits=limits)
        return beside

    def observer(self, files: Sequence[Path], scores: Scores | None) -> Any:
        """Return what compares the first page of each chosen file once it is restored."""
        chosen = {files[place]: self.names[place] for place in self.chosen}

        def see(seen: "Seen") -> None:
            if seen.page or seen.path not in chosen:
                return
            clean = None if scores is None else scores.original(seen)
            limits = (seen.tones.black, seen.tones.white)
            pair = (seen.damaged, seen.restored)
            self.by_classics.add(chosen[seen.path], *pair, clean, limits=limits)

        return see

    def report(self, record: dict[str, Any]) -> list[str]:
        """Put what was compared into the record, and return it in lines."""
        record["classics"] = self.by_classics.as_json()
        return self.by_classics.lines(len(self.names))

    def write(self, page: Path, data: Path, model: Path, *, overwrite: bool) -> str:
        """Write the page, and return a line that says so."""
        from narrows.atomic import atomic_file
        from narrows.evaluation import restored_page

        title = printable(f"{data.name} restored by {model.name}")
        text = restored_page(self.by_classics, title=title, n_given=len(self.names))
        with atomic_file(page, overwrite=overwrite) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return f"Noisy and restored side by side: {page}"
