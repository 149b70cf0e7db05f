"""``narrows duplicates`` of a folder of pictures, without a model or a library."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import answered, note, progress, table
from narrows.texts import counted

if TYPE_CHECKING:
    from narrows.copies import Copies, Rule


def holds_pictures(path: Path) -> bool:
    """Tell whether a path is a folder that is no library, and neither named as one."""
    if path.suffix.lower() == ".lance" or not path.is_dir():
        return False
    return not ((path / "library.json").exists() or (path / "_versions").is_dir())


def show_copies(
    folder: Path,
    *,
    keep: "Rule",
    prefer: Sequence[str],
    exclude: Sequence[str],
    state: Path | None,
    no_state: bool,
    to: Path | None,
    overwrite: bool,
) -> None:
    """Find the copies in a folder, and show or write them."""
    from narrows.copies import find_copies
    from narrows.errors import ParameterError

    if no_state and state is not None:
        raise ParameterError("give --state or --no-state, one of them")
    place = None if no_state else state or _default_state()
    with progress("looking") as advance:
        found = find_copies(
            folder,
            keep=keep,
            prefer=prefer,
            exclude=exclude,
            state=place,
            needs_state=state is not None,
            progress=advance,
        )
    record = found.as_json()
    if to is not None:
        _write(to, found, record, overwrite=overwrite)
    if answered({**record, "state": place, "output": to}):
        return
    n_copies = sum(len(group.copies) for group in found.groups)
    line = (
        f"{counted(len(found.groups), 'group')} with {n_copies} "
        f"{'copy' if n_copies == 1 else 'copies'} among {counted(found.pictures, 'picture')}"
    )
    if found.looked_at < found.pictures:
        line += f", {found.pictures - found.looked_at} of them known from an earlier scan"
    if found.limit is not None and found.limit > _USUAL:
        line += "; different pictures are alike here, so only copies of little change are named"
    if to is not None:
        click.echo(f"{line}, in {to}")
        return
    if found.groups:
        rows = [
            (number, name, what, size)
            for number, group in enumerate(found.groups)
            for name, what, size in [
                (group.keep.name, "keep", _size(group.keep.seen)),
                *(
                    (copy.picture.name, ", ".join(copy.change.kinds), _size(copy.picture.seen))
                    for copy in group.copies
                ),
            ]
        ]
        table(["group", "path", "what", "size"], rows)
    note(line)


_USUAL = 0.65  # the agreement that is asked of copies where different pictures are not alike


def _size(seen: Any) -> str:
    return f"{seen.width} x {seen.height}, {seen.n_bytes:,} bytes"


def _default_state() -> Path:
    import pooch

    return Path(pooch.os_cache("narrows")) / "copies.sqlite"


def _write(to: Path, found: "Copies", record: dict[str, Any], *, overwrite: bool) -> None:
    import csv
    import json

    from narrows.atomic import atomic_file
    from narrows.copies import COLUMNS, copies_page, copies_table
    from narrows.texts import as_json

    with (
        atomic_file(to, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        match to.suffix.lower():
            case ".csv":
                rows = [COLUMNS, *copies_table(found)]
                csv.writer(file, lineterminator="\n").writerows(rows)
            case ".json":
                file.write(json.dumps(as_json(record), indent=2) + "\n")
            case _:
                file.writelines(copies_page(found))
