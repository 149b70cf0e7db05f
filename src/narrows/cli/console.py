"""The output of verbs: answers on standard output, and everything else on standard error."""

import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.process import stopping
from narrows.texts import as_json, one_line, printable

if TYPE_CHECKING:
    from narrows.library.ivf_build import Recall

Advance = Callable[[int, int], None]

JSON = "narrows.json"
"""The key of a click context's ``meta`` that holds whether ``--json`` was given."""

LONGEST_LINE = 500
"""Characters of a line on standard error."""

_warned: ContextVar[list[dict[str, Any]]] = ContextVar("warned")
# Where standard error is no terminal, progress is a line at most every so many seconds.
_SECONDS_BETWEEN_LINES = 2.0
# The lines of a run of training; there are more where a tenth of it takes longer than a minute.
_LINES_A_RUN, _MOST_SECONDS = 10, 60.0


def note(message: str) -> None:
    """Print a line of at most 500 characters on standard error."""
    click.echo(one_line(message, LONGEST_LINE), err=True)


@contextmanager
def one_answer() -> Iterator[None]:
    """Keep standard output for the answer: Ray may print the output of its workers."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def collected_warnings() -> Iterator[None]:
    """Print each warning in the block as a line, and keep all of them for the JSON answer."""
    token = _warned.set([])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            # scikit-learn warns when a model of a table with column names is given an array.
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            warnings.showwarning = _show_warning
            yield
    finally:
        _warned.reset(token)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    line, warned = one_line(str(message)), _warned.get([])
    kind = getattr(message, "kind", "other")
    entry = {"kind": kind, "message": line, **getattr(message, "facts", {})}
    if entry not in warned:
        warned.append(entry)
        note(f"narrows: warning: {line}")


def answer(record: dict[str, Any], *lines: str) -> None:
    """Print the answer: with ``--json`` the record, as :func:`answered` does, otherwise lines."""
    if not answered(record):
        for line in lines:
            click.echo(line)


def answered(record: dict[str, Any]) -> bool:
    """Print the answer if ``--json`` was given: one JSON object, with the warnings so far.

    Returns
    -------
    bool
        Whether it was given.
    """
    is_json = bool(click.get_current_context().meta.get(JSON))
    if is_json:
        record = {**record, "warnings": _warned.get([])}
        click.echo(json.dumps(as_json(record), allow_nan=False))
    return is_json


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Print a table: by rich on a terminal, in plain aligned columns elsewhere."""
    columns = [printable(name) for name in columns]
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    to_right = [
        bool(cells) and all(_is_number(row[column]) for row in cells)
        for column in range(len(columns))
    ]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        framed = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
        for name, is_right in zip(columns, to_right, strict=True):
            framed.add_column(name, justify="right" if is_right else "left", overflow="fold")
        for row in cells:
            framed.add_row(*map(Text, row))
        Console(highlight=False).print(framed)
        return
    if title:
        click.echo(title)
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in ([*columns], *cells):
        aligned = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, to_right, strict=True)
        )
        click.echo("  ".join(aligned).rstrip())


def recall_record(recalls: "Mapping[Any, Recall]") -> dict[str, dict[str, float]]:
    """Return as JSON the share of the k nearest that approximate searches find, by metric and k.

    "approximate_recall" is measured for rows of the library, "approximate_recall_disturbed" for
    rows with noise.
    """
    record: dict[str, dict[str, float]] = {}
    for metric, recall in recalls.items():
        for name, shares in (("", recall), ("_disturbed", recall.disturbed)):
            for k, share in shares.items():
                found = record.setdefault(f"approximate_recall{name}", {})
                found[f"{metric}@{k}"] = round(share, 4)
    return record


def progress(label: str) -> AbstractContextManager[Advance]:
    """Show the progress of a block, which calls what the context returns with (done, total)."""
    return _bar(label) if sys.stderr.isatty() else _lines(label)


@contextmanager
def training(*, keeps: bool = False) -> Iterator[None]:
    """Show the progress of training in the block: by a bar on a terminal, otherwise in ten lines.

    Parameters
    ----------
    keeps : bool, default=False
        Whether what was learned before a signal is kept; otherwise the signal ends the block.
    """
    from narrows.training.progress import on_start, on_step

    with _shown_epochs(), on_start(stopping.hold if keeps else stopping.refuse):
        if keeps:
            with on_step(stopping.check):
                yield
        else:
            yield
            stopping.refuse()


@contextmanager
def _shown_epochs() -> Iterator[None]:
    from narrows.training.progress import epoch_words, on_epoch

    if sys.stderr.isatty():
        with _bar("training") as advance:

            def show(record: dict[str, float]) -> None:
                words = epoch_words(record, counted=False)
                advance(int(record["epoch"]), int(record["max_epochs"]), words)

            with on_epoch(show):
                yield
        return
    shown = time.monotonic()

    def print_line(record: dict[str, float]) -> None:
        nonlocal shown
        epoch, most = int(record["epoch"]), int(record["max_epochs"])
        tenth = epoch * _LINES_A_RUN // most > (epoch - 1) * _LINES_A_RUN // most
        if epoch == 1 or tenth or time.monotonic() - shown > _MOST_SECONDS:
            shown = time.monotonic()
            left = f"  {record['seconds'] / epoch * (most - epoch):.0f} s left"
            note(epoch_words(record) + (left if epoch < most else ""))

    with on_epoch(print_line):
        yield


@contextmanager
def _bar(label: str) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        task = bar.add_task(label, total=None, words="")

        def advance(done: int, total: int, words: str = "") -> None:
            bar.update(task, completed=done, total=total, words=words)

        yield advance


@contextmanager
def _lines(label: str) -> Iterator[Advance]:
    shown = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _SECONDS_BETWEEN_LINES:
            shown = time.monotonic()
            note(f"{label}: {done} of {total}")

    yield advance


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def with_endings(text: str) -> str:
    """Fill in the endings of files that a help text names in braces, from the list of formats.

    Examples
    --------
    >>> with_endings("Sound: {sounds}.")
    'Sound: .wav, .flac, .ogg, .mp3, .aif, .aiff.'
    """
    if "{" not in text:
        return text
    from narrows.data import formats

    def of(kinds: Sequence[formats.Kind], *, written: bool = False) -> Sequence[str]:
        return formats.suffixes_of(kinds, written=written)

    tables, signals = of(["tables"]), of(["signals"])
    endings: dict[str, Sequence[str]] = {
        "arrays": of(["rows"]),
        "tables": tables,
        "text_tables": [suffix for suffix in tables if suffix in formats.TEXT_SUFFIXES],
        "compressed": sorted(formats.COMPRESSED_SUFFIXES),
        "sounds": [suffix for suffix in signals if suffix in formats.SOUND_SUFFIXES],
        "written_rows": of(["rows", "tables"], written=True),
        "written_pictures": of(["pictures"], written=True),
    }
    return re.sub(r"\{(\w+)\}", lambda name: ", ".join(endings[name[1]]), text)
