"""Origins (scheme, host and port), and the public address given by ``--public-url``."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from narrows.errors import ParameterError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, name and port of an address, as browsers compare them.

    Attributes
    ----------
    scheme : {"http", "https"}
        In lower case.
    name : str
        A host name in ASCII and lower case, or an IP address without brackets.
    port : int
        The scheme's own where the address has none.
    """

    scheme: str
    name: str
    port: int

    @classmethod
    def of(cls, address: str) -> Self | None:
        """Read the origin of an address; None if it has none."""
        try:
            parts = urlsplit(address)
            scheme, name = parts.scheme.lower(), (parts.hostname or "")
            name = name if name.isascii() else name.encode("idna").decode()
            port = parts.port
        except ValueError:  # a UnicodeError is one
            return None
        if scheme not in _PORTS or not name or port == 0 or "@" in parts.netloc:
            return None
        return cls(scheme, name, _PORTS[scheme] if port is None else port)

    @property
    def netloc(self) -> str:
        """Its host and port as in a request's Host header."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def read_public_url(address: str) -> Origin:
    """Parse the address by which others reach the server through a reverse proxy.

    Parameters
    ----------
    address : str
        A scheme, a host name or IP address, and perhaps a port: ``https://narrows.example.com``.

    Returns
    -------
    Origin

    Raises
    ------
    ParameterError
        If it has another scheme, no valid host or port, or a user, path, query or fragment.

    Examples
    --------
    >>> str(read_public_url("https://Narrows.example.com:443/"))
    'https://narrows.example.com'
    """
    origin = Origin.of(address)
    if origin is None or not re.fullmatch(r"[\w.:-]{1,253}", origin.name, re.ASCII):
        raise _refusal(address, "it has no scheme http or https, host name and valid port")
    if any(one in address for one in "?#"):
        raise _refusal(address, "it has a query or a fragment")
    if address.partition("://")[2].partition("/")[2]:
        raise _refusal(address, "it has a path, and the page needs the root of a host name")
    return origin


def _refusal(address: str, why: str) -> ParameterError:
    return ParameterError(
        f"--public-url (public_url) {address[:200]!r} cannot be used: {why}; give an address like "
        "'https://narrows.example.com'"
    )
