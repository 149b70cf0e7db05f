"""``narrows duplicates``: the near-identical pictures of a library."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from narrows.cli import options
from narrows.cli.console import answered, note, progress, table
from narrows.texts import counted

if TYPE_CHECKING:
    from narrows import Library
    from narrows.library.duplicates import Duplicates

_SUFFIXES = (".csv", ".json", ".html")
_COLUMNS = ["group", "id", "distance", "path"]


@options.verb("duplicates")
@options.library
@click.option(
    "--threshold",
    type=float,
    help="The largest distance between duplicates' codes.  [default: suggested by the data]",
)
@options.metric
@click.option(
    "-o",
    "--to",
    type=options.PATH,
    help="Write the groups into a file: .csv, .json, or .html to look at.",
)
@options.overwrite
@options.max_pixels
def command(
    *,
    library: Path,
    threshold: float | None,
    metric: Literal["euclidean", "cosine"],
    to: Path | None,
    overwrite: bool,
) -> None:
    """Group the near-identical pictures of a library.

    Nothing is deleted or changed. Distances are to the first picture of the group. Without
    --threshold, pixels decide where codes do not: pictures of which one is a little brighter,
    darker or cropped are found too.
    """
    from narrows import Library
    from narrows.atomic import check_output
    from narrows.errors import ParameterError
    from narrows.library.duplicates import find

    if to is not None:
        check_output(to, overwrite=overwrite, kind="file")
        if to.suffix.lower() not in _SUFFIXES:
            raise ParameterError(f"'{to}' does not end in {', '.join(_SUFFIXES)}; name it so")
    opened = Library.open(library)
    with progress("comparing") as advance:
        found = find(
            opened, "auto" if threshold is None else threshold, metric=metric, progress=advance
        )
    groups = [
        [{"id": match.id, "distance": match.distance, "path": match.path} for match in group]
        for group in found.groups
    ]
    rows = [(number, *match.values()) for number, group in enumerate(groups) for match in group]
    record = {
        "threshold": found.threshold,
        "confirmed": found.confirmed,
        "pictures": len(opened),
        "groups": groups,
    }
    if to is not None:
        _write(to, found, opened, rows, record, overwrite=overwrite)
    line = (
        f"{counted(len(found.groups), 'group')} of {counted(len(rows), 'picture')} among "
        f"{len(opened)}, threshold {found.threshold:.6g}"
    )
    if found.confirmed:
        line += f" and {counted(found.confirmed, 'pair')} farther apart, by their pixels"
    if answered({**record, "output": to}):
        return
    if to is not None:
        click.echo(f"{line}, in {to}")
        return
    if rows:
        table(_COLUMNS, [(n, id_, f"{distance:.6g}", path) for n, id_, distance, path in rows])
    note(line)


def _write(
    to: Path,
    found: "Duplicates",
    library: "Library",
    rows: list[tuple[Any, ...]],
    record: dict[str, Any],
    *,
    overwrite: bool,
) -> None:
    import csv
    import json

    from narrows.atomic import atomic_file
    from narrows.library.duplicates import duplicates_page
    from narrows.texts import guarded

    with (
        atomic_file(to, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        match to.suffix.lower():
            case ".csv":
                safe = [(*known, guarded(path)) for *known, path in rows]
                csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *safe])
            case ".json":
                file.write(json.dumps(record, indent=2) + "\n")
            case _:
                file.writelines(duplicates_page(found, name=library.path.name, count=len(library)))
