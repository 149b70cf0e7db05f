"""The one list of models, and the words about what they share.

The command line's choices, loading from disk, the web page and the contract tests read it.
"""

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from narrows.models.base import BaseAutoencoder

# From the name on the command line ("autoencoder", "denoising") to the class.
MODELS: dict[str, type["BaseAutoencoder"]] = {}


def inherit_defaults(model: type["BaseAutoencoder"]) -> None:
    """Give a new class, of which a dataclass is about to be made, the defaults Python would find.

    A dataclass takes over all fields of its first base, those that this base has merely inherited
    included: they would hide what its other bases have changed.

    Parameters
    ----------
    model : type
        A subclass of :class:`narrows.models.BaseAutoencoder`.
    """
    own = inspect.get_annotations(model)
    taken: dict[str, dataclasses.Field[Any]] = {}
    right: dict[str, dataclasses.Field[Any]] = {}
    for base in filter(dataclasses.is_dataclass, model.__mro__[:0:-1]):
        known = {field.name: field for field in dataclasses.fields(base)}
        taken |= known
        right |= {name: known[name] for name in inspect.get_annotations(base) if name in known}
    hidden = {n: f for n, f in right.items() if taken[n] is not f and n not in own}
    model.__annotations__ = {**own, **{name: field.type for name, field in hidden.items()}}
    for name, field in hidden.items():
        setattr(model, name, field.default)


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
    """Gather a section's entries from the docstrings of the classes above, each name once."""
    entries: dict[str, list[str]] = {}
    for base in classes[1:]:
        lines = inspect.cleandoc(base.__doc__ or "").splitlines()
        if title not in lines:
            continue
        body = lines[lines.index(title) + 2 :]
        underlines = [i for i, line in enumerate(body) if line and set(line) == {"-"}]
        section = body[: underlines[0] - 1] if underlines else body
        entry: list[str] = []
        for line in filter(None, section):
            if not line.startswith(" "):
                name = line.split(" : ")[0]
                # Of a name that is there already, the lines go nowhere.
                entry = [] if name in entries else entries.setdefault(name, [])
            entry.append(line)
    return "\n".join(line for entry in entries.values() for line in entry)
