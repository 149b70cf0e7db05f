"""Arguments and options: those that verbs share, and those made from a model's parameters.

Options that belong together are given to a verb as one dictionary: ``reading`` holds what is passed
to :func:`narrows.data.files.read`, ``signal`` what is passed to :func:`narrows.signals.read_all`,
and ``pictures`` the size and colour of pictures.
"""

import dataclasses
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import reduce, wraps
from pathlib import Path
from typing import Annotated, Any, Literal

import click

from narrows.cli.console import JSON, with_endings
from narrows.texts import printable

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# Parameters of models that are no options: the command line shows progress by itself.
_LEFT_OUT = {"verbose"}


class _Path(click.Path):
    """A path without NUL, which only Python programs can pass."""

    def convert(self, value: Any, *given: Any) -> Any:
        if "\0" in os.fspath(value):
            self.fail(f"{printable(os.fspath(value))!r} is no path, as it holds NUL", *given)
        return super().convert(value, *given)


# Whether a file can be read is checked, and reported, where it is read.
PATH = _Path(path_type=Path, readable=False)


def image_size_of(word: str) -> int | tuple[int, int] | str:
    """Read ``auto``, a side such as ``64``, or height and width such as ``48x64``."""
    if word == "auto":
        return word
    parts = word.split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{word!r} is not 'auto', a side (64) or HEIGHTxWIDTH (48x64)")
    sides = [int(part) for part in parts]
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def words_of(value: str) -> list[str]:
    """Read words with commas between."""
    return [word.strip() for word in value.split(",") if word.strip()]


def names_of(value: str) -> list[str]:
    """Read names with commas between; those that have commas themselves are in double quotes."""
    parts = re.findall(r'\s*"((?:[^"]|"")*)"\s*(?:,|$)|\s*([^,]+?)\s*(?:,|$)', value)
    return [quoted.replace('""', '"') or plain for quoted, plain in parts]


def joined(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> str | None:
    """Take an option that was given more than once for one list."""
    return ",".join(given) if given else None


def floats_of(value: str | None) -> list[float] | None:
    """Read numbers with commas between."""
    if value is None:
        return None
    try:
        return [float(word) for word in words_of(value)]
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not of the form 0.485,0.456,0.406") from error


def numbers_of(value: str) -> list[int]:
    """Read whole numbers with commas between."""
    if not all(word.isdecimal() for word in words_of(value)):
        raise click.BadParameter(f"{value!r} is not of the form 4,12,24")
    return [int(word) for word in words_of(value)]


class Verb(click.Command):
    """A command whose help may name endings of files in braces, such as {tables}."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help with the endings of the formats that are installed."""
        self.help = with_endings(self.help or "")
        for option in self.params:
            if isinstance(option, click.Option) and option.help:
                option.help = with_endings(option.help)
        super().format_help(ctx, formatter)


def verb(name: str, cls: type[Verb] = Verb) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function, with the help in its docstring, and with ``--json``."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        command = click.command(name, cls, context_settings={"show_default": True})(function)
        command.params.append(
            click.Option(
                ["--json"],
                is_flag=True,
                expose_value=False,
                callback=lambda ctx, _option, value: ctx.meta.update({JSON: value}),
                help="Answer with one JSON object.",
            )
        )
        return command

    return decorate


def to(text: str) -> Decorator:
    """Give a verb its ``-o`` and ``--overwrite``.

    The long name of ``-o`` leaves ``--output`` to the models' parameter.
    """
    return _several(click.option("-o", "--to", required=True, type=PATH, help=text), overwrite)


def ray(text: str) -> Decorator:
    """Give a verb its ``--ray``."""
    return click.option(
        "--ray",
        metavar="ADDRESS",
        help=f"{text} by the workers of a Ray cluster (needs narrows[ray]): local starts one on "
        "this machine, auto finds one, host:port names one.",
    )


def _several(*decorators: Decorator) -> Decorator:
    """Make one decorator of several, for options in this order."""
    return lambda function: reduce(lambda made, each: each(made), reversed(decorators), function)


def _as_dict(argument: str, make: Callable[..., dict[str, Any]], *names: str) -> Decorator:
    """Give a verb one argument, the dictionary that ``make`` makes of the options ``names``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def command(**options: Any) -> Any:
            made = make(**{name: options.pop(name) for name in names})
            options[argument] = {**options.get(argument, {}), **made}
            return function(**options)

        return command

    return decorate


def _in_reading(*names: str) -> Decorator:
    """Have a verb read all picture files as these options say, without being given them."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def command(**options: Any) -> Any:
            from narrows.data.reading import reading

            with reading(**{name: options.pop(name) for name in names}):
                return function(**options)

        return command

    return decorate


def _file_options(**options: Any) -> dict[str, Any]:
    from narrows.data.formats import FileOptions

    return {"options": FileOptions(**options)}


def _picture_options(image_size: Any, color: bool | None) -> dict[str, Any]:
    return {"image_size": image_size, "color": "auto" if color is None else color}


def _encoder_options(encoder: Path | None, **given: Any) -> dict[str, Any]:
    for name in ("mean", "deviation"):
        given[name] = floats_of(given[name])
    if (size := given.pop("encoder_size")) is not None and size != "auto":
        given["size"] = size
    chosen = {name: value for name, value in given.items() if value not in (None, False)}
    if encoder is None:
        if chosen:
            from narrows.errors import ParameterError

            names = {"size": "image-size", "output": "output-name"}
            option = next(iter(chosen))
            raise ParameterError(
                f"--{names.get(option, option).replace('_', '-')} says how pictures are prepared "
                "for an encoder; name its ONNX file (--encoder), or leave it out"
            )
        return {}
    return {"path": encoder, **chosen}


RESTORED = "A folder for pictures, or a file: {written_rows}, {written_pictures}"
"""The help of ``-o`` of verbs that write rows or pictures, as a beginning."""

model = click.argument("model", type=PATH, metavar="MODEL")
data = click.argument("data", type=PATH, metavar="DATA")
library = click.argument("library", type=PATH, metavar="LIBRARY")

overwrite = click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
metric = click.option(
    "--metric",
    type=click.Choice(["euclidean", "cosine"]),
    help="The distance between codes.  [default: the model's]",
)
random_state = click.option(
    "--random-state",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    help="The seed of all random numbers.",
)
labels = click.option(
    "--labels",
    type=PATH,
    metavar="FILE",
    help="A table ({text_tables}, .parquet, or a folder of the last) with one column below a "
    "heading, or one called label, in the data's order, or with a column path, file, file_name or "
    "filename that names each row; or an IDX file. By default pictures' folders.",
)
resize = click.option(
    "--resize",
    is_flag=True,
    help="Bring pictures of another size to the one that the model learned from, and restore them "
    "at that; otherwise they are refused.",
)

# How text tables and archives are read where they do not tell it themselves: reading["options"].
files = _several(
    click.option(
        "--delimiter",
        metavar="CHAR",
        help="What separates the values of a text table: a character, tab or whitespace.  "
        "[default: detected]",
    ),
    click.option("--decimal", metavar="MARK", help="The decimal mark of a text table, . or ,"),
    click.option("--thousands", metavar="MARK", help="The thousands separator of a text table."),
    click.option(
        "--encoding",
        metavar="NAME",
        help="The encoding of a text table, such as cp1252 or utf-16.",
    ),
    click.option(
        "--header/--no-header",
        default=None,
        help="Whether the first line of a text table holds the column names.  [default: detected]",
    ),
    click.option(
        "--comment", metavar="TEXT", help="Leave out lines of a text table that begin with this."
    ),
    click.option(
        "--skip-lines",
        type=int,
        default=0,
        metavar="N",
        help="Leave out the first lines of a text table, such as a title.",
    ),
    click.option("--array", metavar="NAME", help="Which array of an .npz file."),
    _as_dict(
        "reading", _file_options, "delimiter", "decimal", "thousands", "encoding", "header",
        "comment", "skip_lines", "array",
    ),
)  # fmt: skip
_max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1, 2**31 - 1),
    help="Refuse pictures of more pixels than this; a JPEG counts at the size at which it is "
    "decoded.  [default: 89478485]",
)
max_pixels = _several(_max_pixels_option, _in_reading("max_pixels"))
# Which files of a folder are read, and how picture files are read.
folder = _several(
    click.option(
        "--skip-unreadable",
        is_flag=True,
        help="Leave out files of a folder that cannot be read, and list them.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="GLOB",
        help="Leave out files and folders of such names: '*_thumb.jpg', 'drafts/', 'raw/*.png'; "
        "give it again for more.",
    ),
    click.option(
        "--pages",
        type=click.Choice(["first", "all"]),
        help="Take the first page of a TIFF file, and the first frame of an animation, or each of "
        "them as a picture: scan.tif#1, scan.tif#2 ...  [default: first]",
    ),
    _max_pixels_option,
    _in_reading("pages", "max_pixels"),
    _as_dict("reading", dict, "skip_unreadable", "exclude"),
)
reading = _several(files, folder)
pictures = _several(
    click.option(
        "--image-size",
        "--size",
        type=image_size_of,
        default="auto",
        metavar="SIZE",
        help="Bring pictures to this size: a side, or HEIGHTxWIDTH.",
    ),
    click.option(
        "--color/--grey",
        default=None,
        help="Read pictures in colour or in grey.  [default: auto]",
    ),
    _as_dict("pictures", _picture_options, "image_size", "color"),
)

# An encoder that was trained elsewhere: what PictureEncoder.from_onnx takes, empty without one.
encoder = _several(
    click.option(
        "--encoder",
        type=PATH,
        metavar="FILE",
        help="Instead of MODEL: the ONNX file of a network that was trained elsewhere (needs "
        "narrows[onnx]). The library keeps a copy.",
    ),
    click.option(
        "--image-size",
        "encoder_size",
        type=image_size_of,
        metavar="SIZE",
        help="The size of the encoder's pictures: a side, or HEIGHTxWIDTH.  [default: the graph's]",
    ),
    click.option(
        "--crop",
        type=float,
        help="Give the encoder the middle of pictures in its proportions: this share of the "
        "largest such part, such as 0.875.  [default: whole pictures]",
    ),
    click.option(
        "--colors",
        type=click.Choice(["rgb", "bgr", "grey"]),
        help="The encoder's channels.  [default: rgb, and grey for one]",
    ),
    click.option(
        "--scale",
        type=float,
        help="The factor of pixels, which are from 0 to 255.  [default: 1/255]",
    ),
    click.option(
        "--mean",
        metavar="FLOAT,...",
        help="What is taken from scaled pixels, for each channel or for all.  [default: "
        "ImageNet's; 0 for grey]",
    ),
    click.option(
        "--deviation",
        metavar="FLOAT,...",
        help="What they are then divided by.  [default: ImageNet's; 1 for grey]",
    ),
    click.option(
        "--channels",
        type=click.Choice(["first", "last"]),
        help="The axis of the encoder's channels.  [default: the graph's]",
    ),
    click.option(
        "--output-name",
        "output",
        metavar="NAME",
        help="Which of the encoder's outputs gives the codes, where there are several.",
    ),
    click.option(
        "--unit-length",
        is_flag=True,
        help="Divide codes by their length, so that distances order as cosines do.",
    ),
    _as_dict(
        "encoder", _encoder_options, "encoder", "encoder_size", "crop", "colors", "scale", "mean",
        "deviation", "channels", "output", "unit_length",
    ),
)  # fmt: skip

as_signal = click.option(
    "--signal",
    "as_signal",
    is_flag=True,
    help="Take a table or an array for one long signal, as sound files are.",
)
hop = click.option(
    "--hop", type=int, help="Samples from a window to the next.  [default: half a window]"
)
signal = _several(
    click.option(
        "--columns",
        multiple=True,
        callback=joined,
        metavar="NAME,...",
        help="A signal's columns or channels (0,1,...); of narrows train, also a table's columns.  "
        "[default: all]",
    ),
    hop,
    click.option(
        "--rate",
        type=click.IntRange(1),
        help="Bring sound to so many samples a second.  "
        "[default: its own, which the model remembers]",
    ),
    _as_dict("signal", dict, "columns", "hop", "rate"),
)

# Which columns of a table are learned from, and what they hold.
table_columns = _several(
    click.option(
        "--drop",
        multiple=True,
        callback=joined,
        metavar="NAME,...",
        help="Leave out columns of a table; names that have commas are in double quotes.",
    ),
    click.option(
        "--categorical",
        multiple=True,
        callback=joined,
        metavar="NAME,...",
        help="Columns of a table that hold categories, such as codes that are numbers.  "
        "[default: texts of few values]",
    ),
)

# The options of verbs that restore rows, pictures and signals.
restoring = _several(as_signal, signal, resize, reading)


def of_model(model: type) -> list[click.Parameter]:
    """Make an option of every parameter of a model, in its docstring's words.

    Parameters
    ----------
    model : type
        A dataclass with a numpydoc section "Parameters".

    Returns
    -------
    list of click.Option
        Named as the parameters, with underscores turned into hyphens.
    """
    texts = parameter_texts(model)
    annotations = typing.get_type_hints(model, include_extras=True)
    options: list[click.Parameter] = []
    for field in dataclasses.fields(model):
        if field.name in _LEFT_OUT:
            continue
        name = field.name.replace("_", "-")
        flag = annotations[field.name] is bool
        default = "" if field.default is None else _shown(field.default)
        options.append(
            click.Option(
                [f"--{name}/--no-{name}" if flag else f"--{name}", field.name],
                default=field.default,
                show_default=False,
                type=bool if flag else reader(annotations[field.name]),
                metavar=None if flag else _metavar(annotations[field.name]),
                help=texts.get(field.name, "") + (f"  [default: {default}]" if default else ""),
            )
        )
    return options


def parameter_texts(model: type) -> dict[str, str]:
    """Read the section "Parameters" of a class's numpydoc docstring.

    Returns
    -------
    dict of str to str
        A line for each parameter.
    """
    lines = inspect.cleandoc(model.__doc__ or "").splitlines()
    texts: dict[str, str] = {}
    if "Parameters" not in lines:
        return texts
    start = lines.index("Parameters") + 2
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


def reader(annotation: Any) -> Callable[[Any], Any]:
    """Return the function that turns an option's text into a value that an annotation allows.

    Which values are allowed is left to the model, which says so.

    Parameters
    ----------
    annotation : type
        The annotation of the parameter.

    Examples
    --------
    >>> read = reader(Sequence[int] | Literal["auto"])
    >>> read("512,128"), read("auto"), read("none")
    ((512, 128), 'auto', ())
    >>> reader(int | None)("none"), reader(float | Literal["auto"])("1e-3")
    (None, 0.001)
    >>> reader(str | Sequence[str])("masking,mirror")
    ('masking', 'mirror')
    >>> reader(float | Sequence[float | tuple[float, float]])("0.02:0.2,0.1")
    ((0.02, 0.2), 0.1)
    """
    kinds, words = _kinds(annotation), _words(annotation)
    # Where a single value is allowed too, only commas make several of it.
    needs_comma = bool(kinds & {int, float, str})

    def read(value: Any) -> Any:
        if not isinstance(value, str) or value in words:
            return value
        if value.lower() == "none" and type(None) in kinds:
            return None
        if Sequence in kinds and ("," in value or ":" in value or not needs_comma):
            return _read_sequence(value, annotation)
        if tuple in kinds and ":" in value:
            with suppress(ValueError):
                return tuple(map(float, value.split(":")))
        for kind in (int, float):
            if kind in kinds:
                with suppress(ValueError):
                    return kind(value)
        return value

    return read


def _read_sequence(value: str, annotation: Any) -> tuple[Any, ...]:
    if value.strip().lower() in ("", "none"):
        return ()
    item = _item(annotation)
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
    """Return the words that an annotation allows: those of a literal, and names of plug-ins."""
    words: list[str] = []
    for member in _members(annotation):
        if typing.get_origin(member) is Literal:
            words += typing.get_args(member)
        elif typing.get_origin(member) is Annotated:
            words += [*member.__metadata__[0]]
    return list(dict.fromkeys(words))


def _item(annotation: Any) -> Any:
    """Return the annotation of the items of a sequence."""
    sequences = (m for m in _members(annotation) if typing.get_origin(m) is Sequence)
    return typing.get_args(next(sequences))[0]


def _metavar(annotation: Any) -> str:
    shown = {float: "FLOAT", int: "INT", Path: "PATH", str: "TEXT"}
    kinds = _kinds(annotation)
    names = [name for kind, name in shown.items() if kind in kinds][:1]
    if Sequence in kinds:
        of_item = _kinds(_item(annotation))
        names.append(f"{next((name for kind, name in shown.items() if kind in of_item), '')},...")
    if tuple in kinds:
        names.insert(1, "FLOAT:FLOAT")
    if type(None) in kinds or Sequence in kinds:
        names.append("none")
    return "|".join([*names, *_words(annotation)])


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "none"
    return str(default)
