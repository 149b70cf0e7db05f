"""The one list of models, and the words about what they share.

The command line's choices, loading from disk, the web page and the contract tests read it.
"""

import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from narrows.models.base import BaseAutoencoder

# From the name on the command line ("autoencoder", "denoising") to the class.
MODELS: dict[str, type["BaseAutoencoder"]] = {}


def register(model: type["BaseAutoencoder"]) -> None:
    """Add a class to the list, and what it inherits to its docstring.

    Parameters
    ----------
    model : type
        A concrete subclass of :class:`narrows.models.BaseAutoencoder`.
    """
    name = model.__name__.removesuffix("Autoencoder").lower() or "autoencoder"
    MODELS[name] = model
    if model.__doc__:
        text = inspect.cleandoc(model.__doc__)
        for section in ("Parameters", "Attributes"):
            text = text.replace("{" + section.lower() + "}", _section(model.__mro__, section))
        model.__doc__ = text


def _section(classes: tuple[type, ...], title: str) -> str:
    """Find a section in the docstring of the first class above that has it in words."""
    for base in classes[1:]:
        lines = inspect.cleandoc(base.__doc__ or "").splitlines()
        if title in lines:
            body = lines[lines.index(title) + 2 :]
            underlines = [i for i, line in enumerate(body) if line and set(line) == {"-"}]
            end = underlines[0] - 1 if underlines else len(body)
            return "\n".join(body[:end]).strip()
    return ""
