"""The server: its certificate, its socket and its token."""

import logging
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from narrows.errors import MissingDependencyError, MissingFileError, ParameterError

if TYPE_CHECKING:
    from narrows.web.security import ConnectionLimits


_LOCAL = ("127.0.0.1", "localhost", "::1")
# The address to open for a server that listens on all addresses.
_OPENED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (not bound to)


def serve(
    path: str | Path,
    *,
    training: tuple[Path, ...] = (),
    host: str = "127.0.0.1",
    port: int = 8765,
    writable: bool = False,
    public_url: str | None = None,
    certfile: Path | None = None,
    keyfile: Path | None = None,
    limits: "ConnectionLimits | None" = None,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve a library or a model until Ctrl-C.

    Parameters
    ----------
    path : str or Path
        The folder or address of either.
    training : tuple of Path
        Training logs to show, and folders of them.
    host : str, default="127.0.0.1"
        The address to listen on. With any but this machine's own, clients need a token, which is
        drawn at each start and is part of the printed address.
    port : int, default=8765
        The port; 0 for any free one.
    writable : bool, default=False
        Whether clients may add, change and remove pictures.
    public_url : str, optional
        The address by which others reach the server through a reverse proxy, such as
        ``"https://narrows.example.com"``. Requests by that name are accepted like the local ones,
        and as others can make them, they need a token as with another ``host``.
    certfile, keyfile : Path, optional
        A certificate and its private key in PEM: with both, the server speaks TLS itself.
    limits : narrows.web.security.ConnectionLimits, optional
        The idle timeouts and the most connections. By default, the connections of a proxy, with
        ``public_url``, are bounded altogether, others also for each client.
    ready : callable
        Called with the address when the server accepts connections.

    Raises
    ------
    ParameterError
        If the server cannot listen on the address, ``public_url`` is not an address, or
        ``certfile`` and ``keyfile`` cannot be used together.
    MissingFileError
        If one of the two does not exist.
    MissingDependencyError
        If ``narrows[web]`` is not installed.
    NarrowsError
        If there is no library, model or encoder at ``path``.
    """
    try:
        import uvicorn

        from narrows.web.app import create_app
        from narrows.web.security import ConnectionLimits, LimitedProtocol, read_public_url
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"serving needs {error.name}; pip install 'narrows[web]'"
        ) from error
    public = None if public_url is None else read_public_url(public_url)
    encrypted = _check_certificate(certfile, keyfile)
    if limits is None:
        is_proxied = public is not None and not encrypted
        limits = ConnectionLimits(per_client=None) if is_proxied else ConnectionLimits()
    alone = host.lower() in _LOCAL and public is None
    token = None if alone else token_urlsafe(24)
    listening = _listen(host, port)
    with listening:
        app = create_app(
            path,
            training=training,
            writable=writable,
            host=host,
            token=token,
            public_url=public_url,
        )
        bound = listening.getsockname()[1]
        shown = _OPENED.get(host, host)
        shown = f"[{shown}]" if ":" in shown else shown
        local = f"{'https' if encrypted else 'http'}://{shown}:{bound}"
        address = f"{public or local}/" + (f"?token={token}" if token else "")
        # The parser warns of every byte of a broken upload.
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=partial(LimitedProtocol, limits=limits),  # type: ignore[arg-type]
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="on",
                # The public address has all that a proxy's headers would tell.
                proxy_headers=False,
                ssl_certfile=certfile,
                ssl_keyfile=keyfile,
                timeout_graceful_shutdown=2,
                h11_max_incomplete_event_size=2**16,
            )
        )
        ready(address)
        sys.stdout.flush()
        server.run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Open the socket; raise a ParameterError if that is not possible."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
    except (OSError, OverflowError, UnicodeError) as error:
        raise ParameterError(f"--host {host!r} is no address of this machine ({error})") from error
    # asyncio disables Nagle's algorithm only if the protocol is named; it delays answers by 40 ms.
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise ParameterError(
            f"port {port} of {host} cannot be listened on ({error.strerror}); use another, or "
            "--port 0 for any that is free"
        ) from error
    return listening


def _check_certificate(certfile: Path | None, keyfile: Path | None) -> bool:
    """Return whether there are a certificate and its private key; refuse unusable ones.

    Parameters
    ----------
    certfile, keyfile : Path, optional
        PEM files: the certificate, with those between it and the authority's, and its private key
        without a passphrase.

    Raises
    ------
    ParameterError
        If one of the two is missing, cannot be read, or is no such file, or if they do not belong
        together.
    MissingFileError
        If a file does not exist.
    """
    if certfile is None and keyfile is None:
        return False
    if certfile is None or keyfile is None:
        names = ("--certfile", "--keyfile")
        given, missing = names if keyfile is None else reversed(names)
        raise ParameterError(f"{given} was given without {missing}; TLS needs both files")
    for option, path in (("--certfile", certfile), ("--keyfile", keyfile)):
        _check_readable(option, path)

    def refuse_passphrase() -> str:
        raise ParameterError(
            f"the private key in --keyfile '{keyfile}' has a passphrase; write it without, as "
            "`openssl pkey -in KEY -out PLAIN` does, readable by its owner alone"
        )

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certfile, keyfile, refuse_passphrase
        )
    except ssl.SSLError as error:
        why = (
            "the private key is not that of the certificate"
            if error.reason == "KEY_VALUES_MISMATCH"
            else f"they are not a certificate and a private key in PEM ({error.reason or error})"
        )
        raise ParameterError(
            f"--certfile '{certfile}' and --keyfile '{keyfile}' cannot be used: {why}"
        ) from error
    return True


def _check_readable(option: str, path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except FileNotFoundError as error:
        raise MissingFileError(f"{option} '{path}' does not exist; give a PEM file") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ParameterError(
            f"{option} '{path}' cannot be read ({why}); give a PEM file"
        ) from error
