"""``narrows compact``."""

from pathlib import Path

import click

from narrows.cli.console import PATH, answer, json_option


@click.command("compact")
@click.argument("library", type=PATH, metavar="LIBRARY")
@click.option(
    "--keep",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Free earlier versions that are older than so many hours.",
)
@json_option
def command(*, library: Path, keep: float, as_json: bool) -> None:
    """Free the room that a library no longer needs.

    Its rows are put together, and what nobody reads any more is removed.

    What was there before repairing or moving to another model is freed whatever its age.
    """
    from datetime import timedelta

    from narrows import Library

    freed = Library.open(library).compact(keep=timedelta(hours=keep))
    record = {"output": library, "bytes_freed": freed}
    answer(record, as_json, f"{freed / 1e6:.1f} MB freed in {library}")
