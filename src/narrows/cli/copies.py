"""``narrows duplicates`` of a folder of pictures, without a model or a library."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import answered, note, progress, table
from narrows.texts import counted

if TYPE_CHECKING:
    from narrows.copies import Copies, Rule


_KINDS = ("rotated", "mirrored", "crops")


def holds_pictures(path: Path) -> bool:
    """Tell whether a path is a folder that is no library, and neither named as one."""
    if path.suffix.lower() == ".lance" or not path.is_dir():
        return False
    return not ((path / "library.json").exists() or (path / "_versions").is_dir())


def given_of_folders(options: dict[str, Any]) -> str:
    """Return the first option of folders of pictures that was given; "" if there is none."""
    for name, value in options.items():
        if value or (value is False and name in _KINDS):
            return f"--{name.replace('_', '-')}"
    return ""


def show_copies(
    folder: Path,
    *,
    keep: "Rule | None",
    prefer: Sequence[str],
    exclude: Sequence[str],
    state: Path | None,
    no_state: bool,
    move_to: Path | None,
    to: Path | None,
    overwrite: bool,
    **kinds: bool | None,
) -> None:
    """Find the copies in a folder, and show, write or move them."""
    from narrows.copies import check_target, find_copies, move_copies
    from narrows.errors import ParameterError

    if no_state and state is not None:
        raise ParameterError("give --state or --no-state, one of them")
    if move_to is not None:
        check_target(folder, move_to)
    wanted: dict[str, Any] = {name: value for name, value in kinds.items() if value is not None}
    place = None if no_state else state or _default_state()
    with progress("looking") as advance:
        found = find_copies(
            folder,
            keep=keep or "largest",
            prefer=prefer,
            exclude=exclude,
            state=place,
            needs_state=state is not None,
            progress=advance,
            **wanted,
        )
    record = {**found.as_json(), "state": place, "output": to}
    page = to if to is not None and to.suffix.lower() == ".html" else None
    if page is not None:  # which shows the pictures where they are
        _write(page, found, record, overwrite=overwrite)
    if move_to is not None:
        with progress("moving") as advance:
            moved = move_copies(found, move_to, progress=advance)
        record["moved"] = moved.as_json()
    if to is not None and page is None:
        _write(to, found, record, overwrite=overwrite)
    if answered(record):
        return
    n_copies = sum(len(group.copies) for group in found.groups)
    line = (
        f"{counted(len(found.groups), 'group')} with {n_copies} "
        f"{'copy' if n_copies == 1 else 'copies'} among {counted(found.pictures, 'picture')}"
    )
    if found.looked_at < found.pictures:
        line += f", {found.pictures - found.looked_at} of them known from an earlier scan"
    if found.limit is not None and found.limit > _USUAL:
        line += "; different pictures are alike here, so only slightly changed copies are listed"
    if move_to is not None:
        line += f"; {_in(move_to, moved.moves)}"
        if moved.record is not None:
            undo = shlex.join(["narrows", "duplicates", str(folder), "--undo", str(moved.record)])
            line += f" (to undo: {undo})"
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


def undo_copies(folder: Path, record: Path, others: dict[str, Any]) -> None:
    """Put copies back into a folder by a list; ``others`` are the values of other options."""
    from narrows.copies import undo_moves
    from narrows.errors import ParameterError

    if given := given_of_folders(others):
        raise ParameterError(f"--undo puts files back and does not go with {given}; leave it out")
    with progress("moving") as advance:
        undone = undo_moves(record, folder, progress=advance)
    if not answered({"undone": undone.as_json()}):
        click.echo(_in(folder, undone.moves))


def _in(folder: Path, moves: Sequence[Any]) -> str:
    return f"{counted(len(moves), 'file')} moved to {folder}"


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
