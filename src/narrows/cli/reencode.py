"""``narrows reencode``."""

from pathlib import Path

import click

from narrows.cli.console import PATH, answer, json_option, max_pixels_option, progress
from narrows.cli.exchange import load_for, model_argument


@click.command("reencode")
@click.argument("library", type=PATH, metavar="LIBRARY")
@model_argument
@max_pixels_option
@json_option
def command(*, library: Path, model: Path, as_json: bool) -> None:
    """Move a library to another model.

    All its codes are made anew, and shown at once.

    If it is interrupted, the library is what it was. "narrows compact" frees the room that the
    old codes take.
    """
    from narrows import Library
    from narrows.texts import counted

    opened = Library.open(library)
    encoder = load_for(model, "transform")
    with progress("encoding") as advance:
        count = opened.reencode(encoder, progress=advance)
    record = {"output": library, "rows": count, "fingerprint": encoder.fingerprint_}
    answer(record, as_json, f"{counted(count, 'picture')} of {library} encoded by {model}")
