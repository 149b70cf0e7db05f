"""The certificate of a server that speaks TLS itself."""

import ssl
from pathlib import Path

from narrows.errors import MissingFileError, ParameterError


def check_certificate(certfile: Path | None, keyfile: Path | None) -> bool:
    """Tell whether a certificate and its private key were given, and refuse what cannot be used.

    Parameters
    ----------
    certfile, keyfile : Path, optional
        PEM files: the certificate, with those between it and the authority's, and its private key
        without a passphrase.

    Returns
    -------
    bool
        Whether the server speaks TLS.

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
        given, missing = (
            ("--keyfile", "--certfile") if certfile is None else ("--certfile", "--keyfile")
        )
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
