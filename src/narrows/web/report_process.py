"""The report on the library's model, made by another process.

    python -m narrows.web.report_process LIBRARY FOLDER

The report takes half a minute; a process of the lowest priority does not delay requests.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from narrows.remote import place
from narrows.texts import as_text
from narrows.web.snapshot import Snapshot, SnapshotSource

_MOST_ROWS = 10_000


class ReportMaker:
    """Make the report when it is first requested, and again when the library has changed.

    Attributes
    ----------
    page : Path or None
        The latest report.
    version : str
        The version of the library that it describes.
    """

    def __init__(self, source: SnapshotSource) -> None:
        self._source = source
        self._folder = tempfile.TemporaryDirectory(prefix="narrows-report-")
        self._task: asyncio.Task[str] | None = None
        self._begun = ""
        self.version = ""
        self.page: Path | None = None

    def state(self, snapshot: Snapshot) -> tuple[str, str]:
        """Return the state of the report; start the process if there is none yet.

        Returns
        -------
        state : {"computing", "ready", "outdated", "failed"}
            "outdated" if there is one of an earlier version, and a new one is being made.
        why : str
            The error, if it failed.
        """
        snapshot.require_decoder()
        snapshot.require_library()
        if self._task is None or (self._task.done() and self._begun != snapshot.version):
            self._begun = snapshot.version
            self._task = asyncio.create_task(self._make(snapshot.version))
        if not self._task.done():
            return "computing" if self.page is None else "outdated", ""
        why = self._task.result()
        if why:
            self._task = None  # the next request tries again
        return ("failed", why) if why else ("ready", "")

    async def wait(self) -> None:
        """Wait for the process to end."""
        if self._task is not None:
            await self._task

    async def _make(self, version: str) -> str:
        to = Path(self._folder.name) / f"report-{version}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "narrows.web.report_process",
            str(self._source.path),
            str(to),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, output = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            raise
        if process.returncode != 0:
            lines = output.decode(errors="replace").strip().splitlines()
            return (lines or ["the report ended without a word"])[-1]
        if self.page is not None:
            shutil.rmtree(self.page.parent, ignore_errors=True)
        self.page, self.version = to / "index.html", version
        return ""

    async def close(self) -> None:
        """Stop the process, and remove the page."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        self._folder.cleanup()


def main() -> None:
    """Make a report on a library's pictures."""
    import numpy as np

    from narrows.errors import NarrowsError
    from narrows.evaluation import make_report

    path, to = place(sys.argv[1]), Path(sys.argv[2])
    os.nice(19)
    try:
        snapshot = SnapshotSource(path).now()
        library = snapshot.require_library()
        ids = library.ids
        if len(ids) > _MOST_ROWS:
            ids = np.sort(np.random.default_rng(0).choice(ids, _MOST_ROWS, replace=False))
        items = library.items(ids)
        labels = [item.metadata.get("label") for item in items]
        report = make_report(
            snapshot.require_decoder(),
            library.read(ids),
            None if None in labels else np.array(labels),
            names=[item.path for item in items],
            title=f"Is the model of {as_text(path.name)} any good?",
        )
        report.save(to)
    except NarrowsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
