"""What the verbs say: answers on standard output, everything else on standard error."""

import json
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from datetime import date
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli import stopping
from narrows.texts import as_utf8, one_line, printable


class _Path(click.Path):
    """A path; no program but Python's own can give one that holds NUL."""

    def convert(self, value: Any, *given: Any) -> Any:
        if "\0" in os.fspath(value):
            self.fail(f"{printable(os.fspath(value))!r} is no path, as it holds NUL", *given)
        return super().convert(value, *given)


# Whether a file can be read is found out, and said, where it is read.
PATH = _Path(path_type=Path, readable=False)

if TYPE_CHECKING:
    from narrows.data.files import Rows
    from narrows.data.packing import Packed
    from narrows.library.adding import Added
    from narrows.library.ivf import Recall
    from narrows.signals import Signals

    Read = Rows | Added | Packed | Signals

Advance = Callable[[int, int], None]

LONGEST_LINE = 500
"""Characters of a line on standard error."""

_warned: ContextVar[list[dict[str, Any]]] = ContextVar("warned")
# Beside a terminal, progress is a line at most every so many seconds.
_SECONDS_BETWEEN_LINES = 2.0
_REMEDY = re.compile(r"; (repair it|save it again|copy it again,) or choose another$")
# Of a run of training ten, and more where an epoch in ten takes longer than this.
_LINES_A_RUN, _MOST_SECONDS = 10, 60.0


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb its ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")(
        function
    )


def metric_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb its ``--metric``."""
    return click.option(
        "--metric",
        type=click.Choice(["euclidean", "cosine"]),
        default="euclidean",
        show_default=True,
        help="The distance between codes.",
    )(function)


def random_state_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb its ``--random-state``."""
    return click.option(
        "--random-state",
        type=click.IntRange(0, 2**31 - 1),
        default=0,
        show_default=True,
        help="Seed of all random numbers.",
    )(function)


def to_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb its ``-o``; its long name leaves ``--output`` to the models' parameter."""
    return click.option("-o", "--to", required=True, type=PATH, help=text)


def ray_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb its ``--ray``."""
    return click.option(
        "--ray",
        metavar="ADDRESS",
        help=f"{text} by the workers of a Ray cluster (needs narrows[ray]): local starts one on "
        "this machine, auto finds one, host:port names one.",
    )


def overwrite_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb its ``--overwrite``."""
    return click.option("--overwrite", is_flag=True, help="Replace an output that exists.")(
        function
    )


def reading_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb that reads files and folders what says how: which, which pages, how large."""
    skip = click.option(
        "--skip-unreadable",
        is_flag=True,
        help="Leave out files of a folder that cannot be read, and list them.",
    )
    exclude = click.option(
        "--exclude",
        multiple=True,
        metavar="GLOB",
        help="Leave out files and folders of such names: '*_thumb.jpg', 'drafts/', 'raw/*.png'; "
        "give it again for more.",
    )
    return skip(exclude(_pages_option(max_pixels_option(function))))


def max_pixels_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb that reads pictures its ``--max-pixels``, which holds for all that it reads."""
    option = click.option(
        "--max-pixels",
        type=click.IntRange(1, 2**31 - 1),
        help="Refuse pictures of more pixels than this; a JPEG counts at the size at which it is "
        "decoded.  [default: 89478485]",
    )
    return option(_reading(function, "max_pixels"))


def _pages_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb that reads picture files its ``--pages``, which holds for all that it reads."""
    option = click.option(
        "--pages",
        type=click.Choice(["first", "all"]),
        help="Take the first page of a TIFF file, and the first frame of an animation, or each of "
        "them as a picture: scan.tif#1, scan.tif#2 ...  [default: first]",
    )
    return option(_reading(function, "pages"))


def _reading(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Have a verb read picture files as an option says, which it need not know of."""

    @wraps(function)
    def command(*args: Any, **options: Any) -> Any:
        from narrows.data.reading import reading

        with reading(**{name: options.pop(name)}):
            return function(*args, **options)

    return command


def note(message: str) -> None:
    """Say something that is not the answer, in one line of at most 500 characters."""
    click.echo(one_line(message, LONGEST_LINE), err=True)


@contextmanager
def one_answer() -> Iterator[None]:
    """Keep standard output for the answer: an engine may print what becomes of its workers."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def collected_warnings() -> Iterator[None]:
    """Print each warning in the block as a line, and keep all of them for the JSON answer."""
    token = _warned.set([])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            # Arrays have no column names, and whoever names such a file knows.
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            warnings.showwarning = _show_warning
            yield
    finally:
        _warned.reset(token)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    line = one_line(str(message))
    known = {"message": line, **getattr(message, "facts", {})}
    entry = {"kind": getattr(message, "kind", "other"), **known}
    if entry in _warned.get([]):
        return
    _warned.get([]).append(entry)
    note(f"narrows: warning: {line}")


def answer(record: dict[str, Any], as_json: bool, *lines: str) -> None:
    """Give the answer: one JSON object, with the warnings so far, or these lines."""
    if as_json:
        record = {**record, "warnings": _warned.get([])}
        click.echo(json.dumps(_plain(record), allow_nan=False))
    else:
        for line in lines:
            click.echo(line)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Print a table: framed on a terminal, in plain aligned columns elsewhere."""
    columns = [printable(name) for name in columns]
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    right = [
        bool(cells) and all(_is_number(row[column]) for row in cells)
        for column in range(len(columns))
    ]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        framed = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
        for name, to_right in zip(columns, right, strict=True):
            framed.add_column(name, justify="right" if to_right else "left", overflow="fold")
        for row in cells:
            framed.add_row(*map(Text, row))
        Console(highlight=False).print(framed)
        return
    if title:
        click.echo(title)
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in ([*columns], *cells):
        aligned = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        click.echo("  ".join(aligned).rstrip())


def report_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    """List the files that were left out, and why."""
    for name, reason in skipped:
        path = printable(name)
        # The reason may be an error's whole line, which names the file and what to do without it.
        why = reason.removeprefix(f"'{path}' ").removeprefix(f"'{path}': ")
        note(f"skipped {path}: {_REMEDY.sub('', why)}")


def reading_record(found: "Read") -> dict[str, Any]:
    """Say as JSON what was left out of what was read, and which pictures have another size now.

    "left_out" and "resized" are there where something was.
    """
    resized = getattr(found, "resized", None)
    record: dict[str, Any] = {
        "skipped": [{"path": path, "reason": reason} for path, reason in found.skipped]
    }
    if found.left_out is not None and any(found.left_out.as_json().values()):
        record["left_out"] = found.left_out.as_json()
    if resized is not None:
        record["resized"] = resized.as_json()
    return record


def recall_record(recalls: "Mapping[Any, Recall]") -> dict[str, dict[str, float]]:
    """Say as JSON which share of the k nearest approximate searches find, by metric and k.

    "approximate_recall" is that of rows of the library, "approximate_recall_disturbed" that of
    rows with noise.
    """
    record: dict[str, dict[str, float]] = {}
    for metric, recall in recalls.items():
        for name, shares in (("", recall), ("_disturbed", recall.disturbed)):
            for k, share in shares.items():
                found = record.setdefault(f"approximate_recall{name}", {})
                found[f"{metric}@{k}"] = round(share, 4)
    return record


def recall_lines(recall: "Recall") -> list[str]:
    """Say it in lines, one for each k."""
    return [
        f"approximate search finds {100 * share:.4g} % of the {k} nearest, for rows with noise "
        f"{100 * recall.disturbed[k]:.4g} %"
        for k, share in recall.items()
    ]


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """Show how far something is; the block calls what it gets with (done, total)."""
    with _bar(label) if sys.stderr.isatty() else _lines(label) as advance:
        yield advance


@contextmanager
def training(*, keeps: bool = False) -> Iterator[None]:
    """Show how far the fits in the block are: by a bar on a terminal, elsewhere by ten lines.

    Parameters
    ----------
    keeps : bool, default=False
        Whether what was learned before a signal is kept; otherwise the signal ends the block.
    """
    from narrows.training.progress import on_start, on_step

    with on_start(stopping.hold if keeps else stopping.refuse), _shown():
        if not keeps:
            yield
            stopping.refuse()
            return
        with on_step(stopping.check):
            yield


@contextmanager
def _shown() -> Iterator[None]:
    from narrows.training.progress import on_epoch

    if not sys.stderr.isatty():
        said = time.monotonic()

        def say(record: dict[str, float]) -> None:
            nonlocal said
            epoch, most = int(record["epoch"]), int(record["max_epochs"])
            tenth = epoch * _LINES_A_RUN // most > (epoch - 1) * _LINES_A_RUN // most
            if epoch == 1 or tenth or time.monotonic() - said > _MOST_SECONDS:
                said = time.monotonic()
                note(_epoch(record))

        with on_epoch(say):
            yield
        return
    with _bar("training") as advance:

        def show(record: dict[str, float]) -> None:
            words = _layer(record) + _losses(record)
            advance(int(record["epoch"]), int(record["max_epochs"]), words)

        with on_epoch(show):
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
    said = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            note(f"{label}: {done} of {total}")

    yield advance


def _epoch(record: dict[str, float]) -> str:
    done, most = record["epoch"], record["max_epochs"]
    left = record["seconds"] / done * (most - done)
    words = f"{_layer(record)}epoch {done:.0f}/{most:.0f}  {_losses(record)}"
    return f"{words}  {left:.0f} s left" if done < most else words


def _layer(record: dict[str, float]) -> str:
    return f"layer {record['layer']:.0f}/{record['n_layers']:.0f}  " if "layer" in record else ""


def _losses(record: dict[str, float]) -> str:
    words = f"loss {record['loss']:.5g}"
    if "validation_loss" in record:
        words += f"  validation {record['validation_loss']:.5g}"
    return words


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Turn what Python and numpy hold into what JSON can; figures that are not finite are null.

    Names of files that are not UTF-8 are written as :func:`narrows.texts.as_utf8` does.
    """
    if isinstance(value, date):  # a time is one too
        value = value.isoformat()
    if isinstance(value, str | Path):
        return as_utf8(str(value))
    if isinstance(value, dict):
        return {as_utf8(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
