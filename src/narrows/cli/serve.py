"""``narrows serve``: the web page."""

from pathlib import Path
from typing import Any

import click

from narrows.cli import options
from narrows.cli.console import answer, note


@options.verb("serve")
@click.argument("path", type=options.PATH, metavar="LIBRARY")
@click.option(
    "--training",
    type=options.PATH,
    multiple=True,
    metavar="LOG",
    help="Also show how training goes: what `narrows train --log` writes, or a folder of logs and "
    "models. May be given several times.",
)
@click.option("--host", default="127.0.0.1", help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    help="0 for any that is free.",
)
@click.option(
    "--public-url",
    metavar="URL",
    help="The address by which others reach it through a reverse proxy, such as "
    "https://narrows.example.com; a token is then needed.",
)
@click.option(
    "--certfile", type=options.PATH, metavar="PEM", help="A certificate: speak TLS, with --keyfile."
)
@click.option(
    "--keyfile",
    type=options.PATH,
    metavar="PEM",
    help="The private key of --certfile, no passphrase.",
)
@click.option("--writable", is_flag=True, help="Let pictures be added, changed and removed.")
@click.option("--open/--no-open", "shows", default=False, help="Open the page in the browser.")
@options.max_pixels
def command(
    *,
    path: Path,
    training: tuple[Path, ...],
    host: str,
    public_url: str | None,
    shows: bool,
    **how: Any,
) -> None:
    """Show a library, a model and training in the browser.

    On the page one drops a picture and sees the nearest ones, looks at the map of all, moves the
    code's units, restores damaged pictures, and follows training. Only this machine can reach it,
    unless --host names another of its addresses or --public-url that of a proxy; then the address
    that is printed holds a token. Ctrl-C ends it.
    """
    from narrows.errors import MissingFileError
    from narrows.web import serve

    for log in training:
        if not log.exists():
            raise MissingFileError(f"'{log}' does not exist; give a log or a folder of logs")

    def ready(address: str) -> None:
        answer({"address": address}, address)
        if public_url is None and host in ("0.0.0.0", "::"):  # noqa: S104 (not bound to)
            note("Other machines reach it under this one's name or address instead.")
        note("Ctrl-C ends it.")
        if shows:
            click.launch(address)

    serve(path, training=training, host=host, public_url=public_url, ready=ready, **how)
