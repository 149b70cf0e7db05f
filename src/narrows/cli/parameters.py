"""Command-line options from a model's class: its dataclass fields, in its docstring's words."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import click

# The command line has progress of its own, which keeps off standard output.
_LEFT_OUT = {"verbose"}


def reader(annotation: Any) -> Callable[[Any], Any]:
    """Make what turns a word of the command line into a value that an annotation allows.

    Which values are allowed is left to the model: it knows, and says so.

    Parameters
    ----------
    annotation : type
        Of the parameter.

    Examples
    --------
    >>> read = reader(Sequence[int] | Literal["auto"])
    >>> read("512,128"), read("auto"), read("none")
    ((512, 128), 'auto', ())
    >>> reader(int | None)("none"), reader(float | Literal["auto"])("1e-3")
    (None, 0.001)
    >>> reader(str | Sequence[str])("masking,mirror")
    ('masking', 'mirror')
    """
    kinds, words = _kinds(annotation), _words(annotation)
    # Where a single value is allowed too, only commas make several of it.
    needs_comma = bool(kinds & {int, float, str})

    def read(value: Any) -> Any:
        if not isinstance(value, str) or value in words:
            return value
        if value.lower() == "none" and type(None) in kinds:
            return None
        if Sequence in kinds and ("," in value or not needs_comma):
            return _read_sequence(value, annotation)
        for kind in (int, float):
            if kind in kinds:
                try:
                    return kind(value)
                except ValueError:
                    continue
        return value

    return read


def options(model: type) -> list[click.Parameter]:
    """Make an option of every parameter of a model.

    Parameters
    ----------
    model : type
        A dataclass with a numpydoc section "Parameters".

    Returns
    -------
    list of click.Option
        Named as the parameters, with underscores turned into hyphens.
    """
    described = parameter_texts(model)
    annotations = typing.get_type_hints(model)
    made: list[click.Parameter] = []
    for field in dataclasses.fields(model):
        if field.name in _LEFT_OUT:
            continue
        name = field.name.replace("_", "-")
        flag = annotations[field.name] is bool
        default = "" if field.default is None else _shown(field.default)
        made.append(
            click.Option(
                [f"--{name}/--no-{name}" if flag else f"--{name}", field.name],
                default=field.default,
                type=bool if flag else reader(annotations[field.name]),
                metavar=None if flag else _metavar(annotations[field.name]),
                help=described[field.name] + (f"  [default: {default}]" if default else ""),
            )
        )
    return made


def parameter_texts(model: type) -> dict[str, str]:
    """Read the section "Parameters" of a class's numpydoc docstring.

    Returns
    -------
    dict of str to str
        A line for each parameter.
    """
    lines = inspect.cleandoc(model.__doc__ or "").splitlines()
    start = lines.index("Parameters") + 2
    texts: dict[str, str] = {}
    names: list[str] = []
    for line, following in zip(lines[start:], [*lines[start + 1 :], ""], strict=True):
        if set(following) == {"-"}:
            break
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.split(" : ")[0].split(",")]
            texts |= dict.fromkeys(names, "")
        else:
            for name in names:
                texts[name] = f"{texts[name]} {line.strip()}".replace("``", "").strip()
    return texts


def _read_sequence(value: str, annotation: Any) -> tuple[Any, ...]:
    if value.strip().lower() in ("", "none"):
        return ()
    (item,) = next(
        typing.get_args(member)
        for member in _members(annotation)
        if typing.get_origin(member) is Sequence
    )
    read = reader(item)
    values = tuple(read(part.strip()) for part in value.strip(" ,()").split(","))
    if str not in _kinds(item):
        for word in values:
            if isinstance(word, str) and word not in _words(item):
                raise click.BadParameter(f"{value!r} is not of the form {_metavar(annotation)}")
    return values


def _members(annotation: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _kinds(annotation: Any) -> set[Any]:
    return {typing.get_origin(member) or member for member in _members(annotation)}


def _words(annotation: Any) -> list[str]:
    literals = (m for m in _members(annotation) if typing.get_origin(m) is Literal)
    return [word for literal in literals for word in typing.get_args(literal)]


def _metavar(annotation: Any) -> str:
    shown = {float: "FLOAT", int: "INT", Path: "PATH", str: "TEXT"}
    kinds = _kinds(annotation)
    names = [name for kind, name in shown.items() if kind in kinds][:1]
    for member in _members(annotation):
        if typing.get_origin(member) is Sequence:
            (item,) = typing.get_args(member)
            item_name = next((name for kind, name in shown.items() if kind in _kinds(item)), "")
            names.append(f"{item_name},...")
    if type(None) in kinds or Sequence in kinds:
        names.append("none")
    return "|".join([*names, *_words(annotation)])


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "none"
    return str(default)
