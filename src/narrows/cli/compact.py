"""``narrows compact``: free the room that a library no longer needs."""

from pathlib import Path

import click

from narrows.cli import options
from narrows.cli.console import answer


@options.verb("compact")
@options.library
@click.option(
    "--keep",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Free earlier versions that are older than so many hours.",
)
def command(*, library: Path, keep: float) -> None:
    """Free the room that a library no longer needs.

    Its rows are put together, and versions that nobody reads any more are removed.

    The library as it was before repairing or moving to another model is freed whatever its age.
    """
    from datetime import timedelta

    from narrows import Library

    freed = Library.open(library).compact(keep=timedelta(hours=keep))
    record = {"output": library, "bytes_freed": freed}
    answer(record, f"{freed / 1e6:.1f} MB freed in {library}")
