"""What options of ``narrows train`` that name a purpose are short for."""

from typing import Any

import click
from click.core import ParameterSource


def of_noisy(how: dict[str, Any], model_name: str) -> dict[str, Any]:
    """Return the options that ``--noisy`` is short for.

    Raises
    ------
    ParameterError
        If others contradict it.
    """
    from narrows.errors import ParameterError

    for name in ("purpose", "resume"):
        if how[name] is not None:
            option = {"purpose": "--for"}.get(name, f"--{name}")
            raise ParameterError(f"--noisy does not go with {option}; leave one of them out")
    source = click.get_current_context().get_parameter_source("corruption")
    if source is ParameterSource.COMMANDLINE and how["corruption"] != "blind_spot":
        raise ParameterError(
            f"--noisy hides pixels of DATA in place of other damage; leave out --corruption "
            f"{how['corruption']}, or --noisy where DATA are clean"
        )
    return {"model_name": model_name, "corruption": "blind_spot"}


def check_matching(model_name: str) -> None:
    """Check that the model is the one that ``--for matching`` is short for.

    Raises
    ------
    ParameterError
        If another model is named.
    """
    from narrows.errors import ParameterError

    if model_name != "matching":
        raise ParameterError(
            f"--for matching is short for --model matching, and the model is {model_name!r}; leave "
            "one of them out"
        )
