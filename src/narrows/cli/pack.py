"""``narrows pack``: decode pictures once, to learn from them often."""

from pathlib import Path
from typing import Any

import click

from narrows.cli import options
from narrows.cli.console import answer, note, progress
from narrows.cli.exchange import reading_record, report_skipped


@options.verb("pack")
@click.argument("photos", type=options.PATH, metavar="PHOTOS")
@options.to("The dataset: data.lance.")
@options.pictures
@options.folder
def command(
    *,
    photos: Path,
    to: Path,
    pictures: dict[str, Any],
    reading: dict[str, Any],
    overwrite: bool,
) -> None:
    """Decode a folder of pictures once, into a Lance dataset to learn from.

    "narrows train" and the other verbs take the dataset as they take the folder, read it from the
    disk, and decode nothing again. If this is stopped in whatever way, the same command goes on.
    """
    from narrows import pack
    from narrows.texts import counted

    with progress("packing") as advance:
        packed = pack(photos, to, **pictures, **reading, overwrite=overwrite, progress=advance)
    if packed.resumed:
        note(f"{counted(packed.resumed, 'picture')} had been packed before")
    report_skipped(packed.skipped)
    record = {
        "output": to,
        "rows": packed.count,
        "sample_shape": packed.sample_shape,
        "resumed": packed.resumed,
        **reading_record(packed),
    }
    shape = " x ".join(map(str, packed.sample_shape))
    answer(record, f"{counted(packed.count, 'picture')} of {shape} in {to}")
