"""``narrows verify``, ``reencode`` and ``compact``: the upkeep of a library."""

from pathlib import Path
from typing import Any

import click

from narrows.cli import options
from narrows.cli.console import answer, answered, progress, table
from narrows.cli.exchange import load_for
from narrows.texts import counted

# Rows that are shown; --json shows all.
_SHOWN = 20


@options.verb("verify")
@options.library
@click.option("--repair", is_flag=True, help="Repair what is wrong, and remove unreadable rows.")
@options.max_pixels
def verify(*, library: Path, repair: bool) -> int:
    """Look at every file and every row of a library, and repair it.

    By checksums, every value is compared with what was written. Each code is compared with what the
    model gives, and each picture is decoded.

    Repairing puts back what checksums tell, computes codes and thumbnails again, and removes rows
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
    names = ("id", "path", "what", "repair")
    problems = [{name: getattr(row, name) for name in names} for row in found.problems]
    facts = {name: getattr(found, name) for name in ("ok", "rows", "repaired", "checked")}
    if answered({**facts, "problems": problems}):
        return code
    if found.problems:
        shown = [
            ("-" if row.id is None else row.id, row.path or "-", row.what, row.repair)
            for row in found.problems[:_SHOWN]
        ]
        table(["id", "path", "what is wrong", "repair"], shown)
    where = place(library)
    is_local = isinstance(where, Path)
    removed, kept = (
        sum(problem.repair == kind for problem in found.problems) for kind in ("remove", "keep")
    )
    line = f"{counted(found.rows, 'row')}, {counted(len(found.problems), 'problem')}"
    if len(found.problems) > _SHOWN:
        line += f" of which the first {_SHOWN} are shown (--json shows all)"
    if found.repaired:
        mended = len(found.problems) - removed - kept
        line += f"; repaired: {counted(removed, 'row')} removed, {mended} mended"
    elif len(found.problems) > kept:
        line += (
            f"; repair them with: narrows verify {where} --repair"
            if is_local
            else "; build the library there again, or repair a copy of it on a disk"
        )
    if kept:
        line += (
            f"; kept as they are until their files are back, or an installation can decode them: "
            f"{counted(kept, 'picture')}"
        )
    if not found.checked:
        remedy = (
            "they are recorded now"
            if repair
            else f"record them with: narrows verify {where} --repair (any change does so too)"
            if is_local
            else "libraries that are made in an object store have none"
        )
        line += (
            "; there were no checksums, so that a changed path, id or value of your own goes "
            f"unnoticed: {remedy}"
        )
    click.echo(line)
    return code


@options.verb("reencode")
@options.library
@click.argument("model", type=options.PATH, metavar="[MODEL]", required=False)
@options.encoder
@options.max_pixels
def reencode(*, library: Path, model: Path | None, encoder: dict[str, Any]) -> None:
    """Move a library to another model.

    All its codes are computed anew, and replace the old ones at once. With --encoder, the network
    of an ONNX file that was trained elsewhere takes the model's place.

    If this is interrupted, the library is as it was. "narrows compact" frees the room that the
    old codes take.
    """
    from narrows import Library, PictureEncoder
    from narrows.errors import ParameterError

    if (model is None) == (not encoder):
        raise ParameterError("give a model or an encoder (--encoder), one of them")
    opened = Library.open(library)
    made: Any = None
    if model is None:
        made, model = PictureEncoder.from_onnx(**encoder), encoder["path"]
    else:
        made = load_for(model, "transform")
    with progress("encoding") as advance:
        count = opened.reencode(made, progress=advance)
    record = {"output": library, "rows": count, "fingerprint": made.fingerprint_}
    answer(record, f"{counted(count, 'picture')} of {library} encoded by {model}")


@options.verb("compact")
@options.library
@click.option(
    "--keep",
    type=click.FloatRange(min=0),
    default=1.0,
    help="Free earlier versions that are older than so many hours.",
)
def compact(*, library: Path, keep: float) -> None:
    """Free the room that a library no longer needs.

    Its rows are put together, and versions that nobody reads any more are removed.

    The library as it was before repairing or moving to another model is freed whatever its age.
    """
    from datetime import timedelta

    from narrows import Library

    freed = Library.open(library).compact(keep=timedelta(hours=keep))
    record = {"output": library, "bytes_freed": freed}
    answer(record, f"{freed / 1e6:.1f} MB freed in {library}")
