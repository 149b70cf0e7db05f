"""``narrows train --clean``: damaged pictures beside their clean originals, to learn from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from narrows.cli.console import progress
from narrows.cli.exchange import refuse_signal

if TYPE_CHECKING:
    from narrows.data.pairs import Pairs

# What does not go with pairs, and what to do instead.
_REFUSED = {
    "noisy": "leave out --noisy, which is for pictures without originals",
    "purpose": "leave out --for",
    "ray": "leave out --ray; torchrun shares out such training",
    "window": "leave out --window; in Python fit takes the windows of two signals",
    "drop": "leave out --drop",
    "categorical": "leave out --categorical",
}


def of_pairs(how: dict[str, Any]) -> dict[str, Any]:
    """Return the options that pairs change: no corruption, unless one was asked for.

    Raises
    ------
    ParameterError
        If other options contradict pairs, or the model does not learn from them.
    """
    from narrows import MODELS, DenoisingAutoencoder
    from narrows.errors import ParameterError

    for name, remedy in _REFUSED.items():
        if how[name]:
            option = "--for" if name == "purpose" else f"--{name}"
            raise ParameterError(f"{option} does not go with --clean; {remedy}")
    if how["signal"]["columns"] is not None:
        raise ParameterError("--columns does not go with --clean; leave it out")
    context = click.get_current_context()
    if how["resume"] is not None:
        return {}
    if not issubclass(MODELS[how["model_name"]], DenoisingAutoencoder):
        raise ParameterError(
            f"--clean is for models that learn to restore, and --model {how['model_name']} is "
            "none; give --model denoising"
        )
    if context.get_parameter_source("corruption") is ParameterSource.COMMANDLINE:
        return {}
    return {"corruption": None}


def read_all_pairs(
    data: Path, clean: Path, reading: dict[str, Any]
) -> "tuple[Pairs, dict[str, Any]]":
    """Read pairs, show the progress, and return them and what is answered of them."""
    from narrows.data.pairs import read_pairs
    from narrows.data.reading import current

    for path in (data, clean):
        refuse_signal(path, {"rate": None, "columns": None, "hop": None})
    reading = {**reading, "pages": current().pages, "max_pixels": current().max_pixels}
    with progress("reading") as advance:
        pairs = read_pairs(data, clean, **reading, progress=advance)
    return pairs, {"clean": clean, "unpaired": pairs.unpaired}
