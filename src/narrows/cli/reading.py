"""Options of all verbs that read tables and archives: what such files do not say themselves."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from narrows.data.formats import FileOptions

_OPTIONS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "delimiter": (
        ["--delimiter"],
        {
            "metavar": "CHAR",
            "help": "What separates the values of a text table: a character, tab or whitespace.  "
            "[default: detected]",
        },
    ),
    "decimal": (
        ["--decimal"],
        {"metavar": "MARK", "help": "The decimal mark of a text table, . or ,"},
    ),
    "thousands": (
        ["--thousands"],
        {"metavar": "MARK", "help": "The thousands separator of a text table."},
    ),
    "encoding": (
        ["--encoding"],
        {"metavar": "NAME", "help": "The encoding of a text table, such as cp1252 or utf-16."},
    ),
    "header": (
        ["--header/--no-header"],
        {
            "default": None,
            "help": "Whether the first line of a text table holds the column names.  "
            "[default: detected]",
        },
    ),
    "comment": (
        ["--comment"],
        {"metavar": "TEXT", "help": "Leave out lines of a text table that begin with this."},
    ),
    "skip_lines": (
        ["--skip-lines"],
        {
            "type": int,
            "default": 0,
            "metavar": "N",
            "help": "Leave out the first lines of a text table, such as a title.",
        },
    ),
    "array": (["--array"], {"metavar": "NAME", "help": "Which array of an .npz file."}),
}


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options of :class:`narrows.data.formats.FileOptions`, as ``files``."""

    @wraps(function)
    def collected(*given: Any, **options: Any) -> Any:
        from narrows.data.formats import FileOptions

        found = {name: options.pop(name) for name in _OPTIONS}
        return function(*given, files=FileOptions(**found), **options)

    decorated: Callable[..., Any] = collected
    for name, (words, details) in reversed(_OPTIONS.items()):
        decorated = click.option(*words, name, **details)(decorated)
    return decorated


def shared(files: "FileOptions", paths: Sequence[Path | None]) -> "list[FileOptions]":
    """Return for each of several files those of the options that say something of it.

    Raises
    ------
    ParameterError
        If an option says nothing of any of them.
    """
    from narrows.data.formats import DEFAULTS

    own = [DEFAULTS if path is None else files.only_for(path) for path in paths]
    used = {name for one in own for name in one.given()}
    if not used.issuperset(files.given()):
        files.check_use(next(path for path in paths if path is not None))
    return own
