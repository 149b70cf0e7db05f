"""The list of models, and what becomes of a class that is defined as one.

The command line's choices, loading from disk, the web page and the contract tests read the list.
"""

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any

from narrows.errors import ParameterError
from narrows.plugins import plug_ins, refuse

# From the name on the command line ("autoencoder", "denoising") to the class.
MODELS: dict[str, type[Any]] = {}


def define(model: type) -> None:
    """Make a dataclass of a new subclass of the base class of models, and add it to the list.

    A decorator ``@dataclass`` that follows, whatever its arguments, finds ``__eq__``, ``__hash__``
    and ``__repr__`` in place: estimators are compared by identity, and scikit-learn shows them.

    Raises
    ------
    ParameterError
        If the class has the name of one that Narrows brings.
    """
    name = _name(model)
    known = MODELS.get(name)
    if known is not None and is_built_in(known) and not is_built_in(model):
        raise ParameterError(
            f"class {model.__qualname__} would take the place of {known.__name__}, as both are "
            f"{name!r} on the command line and in saved models; give the class another name"
        )
    _inherit_defaults(model)
    for method in ("__eq__", "__hash__", "__repr__"):
        if method not in vars(model):
            setattr(model, method, getattr(model, method))
    dataclass(kw_only=True, eq=False, repr=False)(model)
    MODELS[name] = model
    _describe(model)


def is_built_in(model: type) -> bool:
    """Tell whether a class of models comes with Narrows."""
    return model.__module__.startswith("narrows.")


def load_plugins() -> None:
    """Import the models that other packages bring as entry points ``narrows.models``.

    Importing defines their classes, which adds them to :data:`MODELS`.
    """
    for found in plug_ins("narrows.models"):
        if found.value not in MODELS.values():
            refuse(
                "narrows.models", found.name, found.package, "it is no subclass of BaseAutoencoder"
            )


def model_named(name: str) -> type[Any] | None:
    """Find a class by its name on the command line, among plug-ins if need be; None if unknown."""
    if name not in MODELS:
        load_plugins()
    return MODELS.get(name)


def class_named(name: object) -> type[Any] | None:
    """Find a class by its own name, among plug-ins if need be; None if there is none."""
    for look_further in (True, False):
        for model in MODELS.values():
            if model.__name__ == name:
                return model
        if look_further:
            load_plugins()
    return None


def _inherit_defaults(model: type) -> None:
    """Give a class, of which a dataclass is about to be made, the defaults that Python would find.

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


def _name(model: type) -> str:
    """Return the name of a class on the command line."""
    return model.__name__.removesuffix("Autoencoder").lower() or "autoencoder"


def _describe(model: type) -> None:
    """Fill the inherited parameters and attributes into the docstring of a class."""
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
