"""``narrows pack``."""

from pathlib import Path
from typing import Literal

import click

from narrows.cli.console import (
    PATH,
    answer,
    json_option,
    note,
    overwrite_option,
    progress,
    reading_options,
    reading_record,
    report_skipped,
    to_option,
)
from narrows.cli.exchange import picture_options


@click.command("pack")
@click.argument("photos", type=PATH, metavar="PHOTOS")
@to_option("The dataset: data.lance.")
@picture_options
@reading_options
@overwrite_option
@json_option
def command(
    *,
    photos: Path,
    to: Path,
    image_size: int | tuple[int, int] | Literal["auto"],
    color: bool | None,
    skip_unreadable: bool,
    exclude: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Decode a folder of pictures once, into a Lance dataset to learn from.

    "narrows train" and the other verbs take the dataset as they take the folder, read it from the
    disk, and decode nothing again. Stopped in whatever way, the same command goes on where it was.
    """
    from narrows import pack
    from narrows.texts import counted

    with progress("packing") as advance:
        packed = pack(
            photos,
            to,
            image_size=image_size,
            color="auto" if color is None else color,
            skip_unreadable=skip_unreadable,
            exclude=exclude,
            overwrite=overwrite,
            progress=advance,
        )
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
    answer(record, as_json, f"{counted(packed.count, 'picture')} of {shape} in {to}")
