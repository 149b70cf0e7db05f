"""Plug-ins: objects that other installed packages bring, by their entry points."""

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple


class PlugIn(NamedTuple):
    """An object that another package brings.

    Attributes
    ----------
    name : str
        The name of the entry point.
    package : str
        The name of the distribution.
    value : object
        The imported object.
    """

    name: str
    package: str
    value: Any


def plug_ins(group: str) -> Iterator[PlugIn]:
    """Import the objects that installed packages bring for a group of entry points.

    Parameters
    ----------
    group : str
        Such as "narrows.models".

    Warns
    -----
    NarrowsWarning
        "broken_plug_in", once for each entry point that cannot be imported; it is left out.
    """
    for point in entry_points(group=group):
        plug_in = _imported(point)
        if plug_in is not None:
            yield plug_in


@cache
def _imported(point: EntryPoint) -> PlugIn | None:
    package = "an unknown package" if point.dist is None else point.dist.name
    try:
        with redirect_stdout(sys.stderr):  # the answers of commands are on the standard output
            return PlugIn(point.name, package, point.load())
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever another package's code raises
        refuse(point.group, point.name, package, f"{type(error).__name__}: {error}")
        return None


def refuse(group: str, name: str, package: str, reason: str) -> None:
    """Warn that a plug-in is left out, and why."""
    from narrows.errors import warn  # with which scikit-learn is imported

    warn(
        f"the plug-in '{name}' ({group}) of the package '{package}' is left out ({reason}); update "
        "or uninstall that package",
        kind="broken_plug_in",
        plug_in=name,
        package=package,
    )
