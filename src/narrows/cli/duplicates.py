"""``narrows duplicates``."""

from pathlib import Path
from typing import Literal

import click

from narrows.cli.console import (
    PATH,
    answer,
    json_option,
    metric_option,
    note,
    overwrite_option,
    progress,
    table,
)


@click.command("duplicates")
@click.argument("library", type=PATH, metavar="LIBRARY")
@click.option(
    "--threshold",
    type=float,
    help="The largest distance between duplicates' codes.  [default: suggested by the data]",
)
@metric_option
@click.option("-o", "--to", type=PATH, help="Write the groups into a file: .csv.")
@overwrite_option
@json_option
def command(
    *,
    library: Path,
    threshold: float | None,
    metric: Literal["euclidean", "cosine"],
    to: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Group the near-identical pictures of a library.

    Nothing is deleted or changed. Distances are to the first picture of the group.
    """
    from narrows import Library
    from narrows.atomic import atomic_file, check_output
    from narrows.errors import ParameterError
    from narrows.library.duplicates import find

    if to is not None:
        check_output(to, overwrite=overwrite, kind="file")
        if to.suffix.lower() != ".csv":
            raise ParameterError(f"'{to}' does not end in .csv; name it so")
    opened = Library.open(library)
    with progress("comparing") as advance:
        found = find(
            opened, "auto" if threshold is None else threshold, metric=metric, progress=advance
        )
    columns = ["group", "id", "distance", "path"]
    rows = [
        (number, match.id, match.distance, match.path)
        for number, group in enumerate(found.groups)
        for match in group
    ]
    if to is not None:
        import csv

        with (
            atomic_file(to, overwrite=overwrite) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    said = (
        f"{len(found.groups)} groups of {len(rows)} pictures among {len(opened)}, "
        f"threshold {found.threshold:.6g}"
    )
    if as_json:
        groups = [
            [{"id": match.id, "distance": match.distance, "path": match.path} for match in group]
            for group in found.groups
        ]
        record = {"threshold": found.threshold, "pictures": len(opened), "groups": groups}
        answer({**record, "output": to}, as_json=True)
    elif to is not None:
        answer({}, False, f"{said}, in {to}")
    else:
        if rows:
            table(columns, [(n, id_, f"{far:.6g}", path) for n, id_, far, path in rows])
        note(said)
