"""``narrows reencode``: move a library to another model."""

from pathlib import Path

from narrows.cli import options
from narrows.cli.console import answer, progress
from narrows.cli.exchange import load_for


@options.verb("reencode")
@options.library
@options.model
@options.max_pixels
def command(*, library: Path, model: Path) -> None:
    """Move a library to another model.

    All its codes are computed anew, and replace the old ones at once.

    If this is interrupted, the library is as it was. "narrows compact" frees the room that the
    old codes take.
    """
    from narrows import Library
    from narrows.texts import counted

    opened = Library.open(library)
    encoder = load_for(model, "transform")
    with progress("encoding") as advance:
        count = opened.reencode(encoder, progress=advance)
    record = {"output": library, "rows": count, "fingerprint": encoder.fingerprint_}
    answer(record, f"{counted(count, 'picture')} of {library} encoded by {model}")
