"""``narrows index``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from narrows.cli.console import (
    answer,
    json_option,
    overwrite_option,
    progress,
    report_skipped,
    skip_option,
    to_option,
)
from narrows.cli.exchange import data_argument, load_for, model_argument


@click.command("index")
@model_argument
@data_argument
@to_option("The folder of the library.")
@click.option("--add", is_flag=True, help="Add to the library where there is one already.")
@skip_option
@overwrite_option
@json_option
def command(
    *,
    model: Path,
    data: Path,
    to: Path,
    add: bool,
    skip_unreadable: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Build a library of pictures that can be matched.

    The library holds the pictures, their codes and a copy of the model: nothing else is needed
    to match. With --add, the model has to be the one that made the codes that are there.
    """
    from narrows import Library
    from narrows.errors import ParameterError

    if add and overwrite:
        raise ParameterError("--add keeps what is there and --overwrite replaces it; give one")
    encoder = load_for(model, "transform")
    with progress("indexing") as advance:
        if add and to.exists():
            library = Library.open(to, model=encoder)
            added = library.add(data, skip_unreadable=skip_unreadable, progress=advance)
        else:
            with _new_library(to, overwrite=overwrite) as place:
                library = Library.create(place, model=encoder)
                added = library.add(data, skip_unreadable=skip_unreadable, progress=advance)
    report_skipped(added.skipped)
    record = {
        "output": to,
        "added": added.count,
        "rows": len(library),
        "skipped": [{"path": path, "reason": reason} for path, reason in added.skipped],
    }
    answer(record, as_json, f"{added.count} pictures added, {len(library)} in {to}")


@contextmanager
def _new_library(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a place to build in; what is built takes its final place only if the block succeeds."""
    from narrows.atomic import check_output, explain_os_errors
    from narrows.errors import OutputExistsError
    from narrows.library.folder import MANIFEST

    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"'{path}' exists already; add to it (--add), replace it (--overwrite) or choose "
            "another name"
        )
    check_output(path, overwrite=overwrite)
    if path.exists() and not (path / MANIFEST).is_file():
        raise OutputExistsError(
            f"'{path}' is not a library of Narrows and is not replaced; choose another name"
        )
    with explain_os_errors(path):
        scratch = TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
    with scratch as folder:
        yield Path(folder, "new")
        with explain_os_errors(path):
            if path.exists():
                path.rename(Path(folder, "old"))
            Path(folder, "new").rename(path)
