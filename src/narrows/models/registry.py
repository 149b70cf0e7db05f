"""The registry of models by name, and the processing of classes that join it.

The command line, loading, the web page and the contract tests use the registry.
"""

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any

from narrows.errors import ParameterError
from narrows.plugins import plug_ins, refuse


class Models(dict[str, type[Any]]):
    """Classes of models by their names on the command line ("autoencoder", "denoising").

    A name that is missing is looked for among the models of other packages.
    """

    def __missing__(self, name: str) -> type[Any]:
        load_plugins()
        if name not in self:
            raise KeyError(name)
        return self[name]


MODELS = Models()


def define(model: type) -> None:
    """Make a dataclass of a new subclass of the base class of models, and register it.

    The class keeps the ``__eq__``, ``__hash__`` and ``__repr__`` that it inherits, even under a
    further ``@dataclass``: estimators are compared by identity, and scikit-learn displays them.

    Raises
    ------
    ParameterError
        If the class has the name of a model of Narrows or of another module, or a field has no
        default.
    """
    name = _name(model)
    known = MODELS.get(name)
    is_other = hasattr(known, "check_parameters") and not is_built_in(model)
    if known is not None and is_other and known.__module__ != model.__module__:
        raise ParameterError(
            f"class {model.__qualname__} would take the place of {known.__name__}, as both are "
            f"{name!r} on the command line and in saved models; give the class another name"
        )
    _inherit_defaults(model)
    for method in ("__eq__", "__hash__", "__repr__"):
        if method not in vars(model):
            setattr(model, method, getattr(model, method))
    dataclass(kw_only=True, eq=False, repr=False)(model)
    for field in dataclasses.fields(model):
        if field.default is field.default_factory is dataclasses.MISSING:
            raise ParameterError(
                f"the parameter {field.name!r} of class {model.__qualname__} has no default; give "
                "it one in the class"
            )
    MODELS[name] = model
    _describe(model)


def is_built_in(model: type) -> bool:
    """Return whether a class of models belongs to Narrows."""
    return model.__module__.startswith("narrows.")


def load_plugins() -> None:
    """Import the models of other packages, from the entry points ``narrows.models``.

    The import defines their classes, which registers them in :data:`MODELS`.
    """
    for found in plug_ins("narrows.models"):
        if not any(found.value is model for model in MODELS.values()):
            refuse(
                "narrows.models", found.name, found.package, "it is no subclass of BaseAutoencoder"
            )


def package_of(model: type) -> str | None:
    """Return the package whose entry point brings a class of models; None if there is none."""
    if is_built_in(model):
        return None
    brought = (p.package for p in plug_ins("narrows.models") if p.value is model)
    return next(brought, None)


def model_named(name: str) -> type[Any] | None:
    """Return the class with a name on the command line, also of plug-ins; None if unknown."""
    if name not in MODELS:
        load_plugins()
    return MODELS.get(name)


def class_named(name: object) -> type[Any] | None:
    """Return the class with a Python name, also of plug-ins; None if unknown."""
    classes = {model.__name__: model for model in MODELS.values()}
    if str(name) not in classes:
        load_plugins()
        classes = {model.__name__: model for model in MODELS.values()}
    return classes.get(str(name))


def _inherit_defaults(model: type) -> None:
    """Set the defaults of a future dataclass by Python's method resolution order.

    A dataclass copies all fields of its first base, inherited ones included, which would hide the
    defaults that its other bases have changed.

    Parameters
    ----------
    model : type
        A subclass of :class:`narrows.models.BaseAutoencoder`.
    """
    annotations = inspect.get_annotations(model)
    taken: dict[str, dataclasses.Field[Any]] = {}
    right: dict[str, dataclasses.Field[Any]] = {}
    for base in filter(dataclasses.is_dataclass, model.__mro__[:0:-1]):
        known = {field.name: field for field in dataclasses.fields(base)}
        taken |= known
        right |= {name: known[name] for name in inspect.get_annotations(base) if name in known}
    hidden = {n: f for n, f in right.items() if taken[n] is not f and n not in annotations}
    model.__annotations__ = annotations | {name: field.type for name, field in hidden.items()}
    for name, field in hidden.items():
        setattr(model, name, dataclasses.field(default=field.default, kw_only=field.kw_only))


def _name(model: type) -> str:
    """Return the command-line name of a class."""
    return model.__name__.removesuffix("Autoencoder").lower() or "autoencoder"


def _describe(model: type) -> None:
    """Insert the inherited parameters and attributes into the docstring of a class."""
    if model.__doc__:
        text = inspect.cleandoc(model.__doc__)
        for section in ("Parameters", "Attributes"):
            text = text.replace("{" + section.lower() + "}", _section(model.__mro__, section))
        model.__doc__ = text


def _section(classes: tuple[type, ...], title: str) -> str:
    """Collect a section's entries from the docstrings of the base classes, each name once."""
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
                # The lines of a repeated name are dropped.
                entry = [] if name in entries else entries.setdefault(name, [])
            entry.append(line)
    return "\n".join(line for entry in entries.values() for line in entry)
