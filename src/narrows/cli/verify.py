"""``narrows verify``."""

from pathlib import Path

import click

from narrows.cli.console import (
    PATH,
    answer,
    json_option,
    max_pixels_option,
    progress,
    table,
)
from narrows.texts import counted

# Rows that are shown; --json gives all.
_SHOWN = 20


@click.command("verify")
@click.argument("library", type=PATH, metavar="LIBRARY")
@click.option(
    "--repair", is_flag=True, help="Put right what is wrong, and remove what cannot be read."
)
@max_pixels_option
@json_option
def command(*, library: Path, repair: bool, as_json: bool) -> int:
    """Look at every file and every row of a library, and repair it.

    Is every value what was written, by its checksum? Is each code what the model gives, and can
    each picture be decoded?

    Repairing puts back what checksums tell, makes codes and thumbnails again, and removes rows
    that cannot be read. A path that is lost becomes the id, a value of your own is left empty. All
    of this is listed; run without --repair first to see it before it is done.

    The exit code is 4 if something is wrong and was not repaired. Repairing writes the library
    anew beside the old one; "narrows compact" frees the old one's room.
    """
    from narrows import Library
    from narrows.remote import place

    with progress("verifying") as advance:
        found = Library.open(library).verify(repair=repair, progress=advance)
    code = 0 if found.ok else 4
    removed, kept = (
        sum(problem.repair == kind for problem in found.problems) for kind in ("remove", "keep")
    )
    if as_json:
        problems = [
            {"id": one.id, "path": one.path, "what": one.what, "repair": one.repair}
            for one in found.problems
        ]
        record = {
            "ok": found.ok,
            "rows": found.rows,
            "repaired": found.repaired,
            "checked": found.checked,
        }
        answer({**record, "problems": problems}, as_json=True)
        return code
    where = place(library)
    if found.problems:
        shown = [
            ("-" if one.id is None else one.id, one.path or "-", one.what, one.repair)
            for one in found.problems[:_SHOWN]
        ]
        table(["id", "path", "what is wrong", "repair"], shown)
    said = f"{counted(found.rows, 'row')}, {counted(len(found.problems), 'problem')}"
    if len(found.problems) > _SHOWN:
        said += f" of which the first {_SHOWN} are shown (--json shows all)"
    if found.repaired:
        mended = len(found.problems) - removed - kept
        said += f"; repaired: {counted(removed, 'row')} removed, {mended} mended"
    elif len(found.problems) > kept:
        said += (
            f"; repair them with: narrows verify {where} --repair"
            if isinstance(where, Path)
            else "; build the library there again, or repair a copy of it on a disk"
        )
    if kept:
        said += (
            f"; kept as they are until their files are back, or an installation can decode them: "
            f"{counted(kept, 'picture')}"
        )
    if not found.checked:
        said += (
            "; there were no checksums, so that a changed path, id or value of your own goes "
            "unnoticed: "
        )
        said += (
            "they are recorded now"
            if repair
            else f"record them with: narrows verify {where} --repair (any change does so too)"
            if isinstance(where, Path)
            else "libraries that are made in an object store have none"
        )
    answer({}, False, said)
    return code
