"""Between files and models: what is read is given to a model, what a model gives is written."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import PATH

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from narrows import Autoencoder, Decoder, Encoder
    from narrows.data.files import Resizing, Rows
    from narrows.data.formats import FileOptions
    from narrows.data.lazy_rows import LazyRows
    from narrows.networks import NetworkSpec

    Model = Autoencoder | Encoder | Decoder

model_argument = click.argument("model", type=PATH, metavar="MODEL")
data_argument = click.argument("data", type=PATH, metavar="DATA")


def image_size_of(word: str) -> int | tuple[int, int] | str:
    """Read ``auto``, a side such as ``64``, or height and width such as ``48x64``."""
    if word == "auto":
        return word
    parts = word.split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{word!r} is not 'auto', a side (64) or HEIGHTxWIDTH (48x64)")
    sides = [int(part) for part in parts]
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def picture_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb that reads picture files ``--image-size`` and ``--color``."""
    color = click.option(
        "--color/--grey", default=None, help="Read pictures in colour or in grey.  [default: auto]"
    )
    size = click.option(
        "--image-size",
        "--size",
        type=image_size_of,
        default="auto",
        metavar="SIZE",
        help="Bring pictures to this size: a side, or HEIGHTxWIDTH.  [default: auto]",
    )
    return size(color(function))


def resize_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb that restores pictures its ``--resize``."""
    return click.option(
        "--resize",
        is_flag=True,
        help="Bring pictures of another size to the one that the model learned from, and restore "
        "them at that; otherwise they are refused.",
    )(function)


def at_size(rows: "Rows") -> str:
    """Say at which size pictures were restored, if it is another than theirs."""
    if rows.resized is None:
        return ""
    to = " x ".join(map(str, rows.resized.to))
    return f" at {to} (height x width), to which {rows.resized.words(short=True)} were brought"


def spec_of(model: "Model") -> "NetworkSpec":
    """Return what the network of a model, or of a half of one, was built from."""
    known: Any = model
    spec: NetworkSpec = known.spec if hasattr(known, "spec") else known.spec_
    return spec


def code_words(spec: "NetworkSpec", count: int = 2) -> str:
    """Tell what so many codes of a network are."""
    from narrows.texts import counted

    if not spec.is_map:
        return f"{'code' if count == 1 else 'codes'} of {counted(spec.code_width, 'number')}"
    size = " x ".join(map(str, (spec.n_components, *spec.map_size)))
    return f"{'map' if count == 1 else 'maps'} of {size} numbers"


def load_for(path: Path, method: str) -> Any:
    """Load a model or the half of one that can do something.

    Parameters
    ----------
    path : Path
        The model's folder.
    method : {"transform", "inverse_transform", "reconstruct"}
        What it has to have.

    Raises
    ------
    FormatError
        If it is the other half, or a classifier.
    """
    from narrows import load
    from narrows.errors import FormatError

    model = load(path)
    if not hasattr(model, method):
        if hasattr(model, "predict"):
            raise FormatError(f"'{path}' is a classifier; give a model, or a half of one")
        half = type(model).__name__.lower()
        needed = {"transform": "the encoder", "inverse_transform": "the decoder"}.get(method)
        raise FormatError(
            f"'{path}' is only the {half} of a model; give the whole model"
            + (f" or {needed}" if needed else "")
        )
    return model


def read_for(
    model: "Model",
    path: Path,
    *,
    skip_unreadable: bool,
    exclude: tuple[str, ...] = (),
    files: "FileOptions | None" = None,
    own_size: bool = True,
    resizing: "Resizing" = "say",
) -> "Rows":
    """Read data for a trained model, pictures as it takes them, and list what was left out.

    Pictures for a model that takes any size keep their own, if so wished.

    Raises
    ------
    DataError
        If the columns of a table are not those learned from.
    """
    from narrows.cli.console import progress, report_skipped
    from narrows.data.files import read
    from narrows.data.formats import DEFAULTS
    from narrows.models.validation import check_columns

    with progress("reading") as advance:
        rows = read(
            path,
            sample_shape=model.sample_shape_,
            scaling=model.scaling_,
            own_size=own_size and model.takes_any_size_,
            of_pictures=spec_of(model).shows_pictures,
            skip_unreadable=skip_unreadable,
            exclude=exclude,
            resizing=resizing,
            options=files or DEFAULTS,
            known=getattr(model, "feature_names_in_", None),
            progress=advance,
        )
    report_skipped(rows.skipped)
    check_columns(model, rows, path)
    return rows


def read_to_restore(
    model: "Model",
    path: Path,
    resize: bool,
    *,
    skip_unreadable: bool,
    exclude: tuple[str, ...],
    files: "FileOptions",
) -> "Rows":
    """Read data that a model is to restore: at another size than its own only if that is wished.

    Raises
    ------
    DataError
        If pictures have another size than the model restores.
    ParameterError
        If what is no picture file is to be brought to another size.
    """
    rows = read_for(
        model,
        path,
        skip_unreadable=skip_unreadable,
        exclude=exclude,
        files=files,
        own_size=not resize,
        resizing="asked" if resize else "refuse",
    )
    if not rows.pictures:
        refuse_resize(path, resize)
    return rows


def refuse_resize(path: Path, resize: bool) -> None:
    """Refuse ``--resize`` for what is no picture.

    Raises
    ------
    ParameterError
        If it is given.
    """
    from narrows.errors import ParameterError

    if resize:
        raise ParameterError(f"--resize is for pictures, and '{path}' holds none; leave it out")


def by_blocks(X: Any, make: Callable[[Any], Any], sample_shape: tuple[int, ...], dtype: Any) -> Any:
    """Return what a model makes of rows; of those on a disk lazily, to be written as it is made."""
    from narrows.data.lazy_rows import LazyRows, MadeRows, stored

    X = stored(X)
    return MadeRows(X, make, sample_shape, dtype) if isinstance(X, LazyRows) else make(X)


def write_restored(
    path: Path,
    values: "NDArray[np.floating] | LazyRows",
    model: "Model",
    *,
    names: Sequence[str] | None,
    columns: list[str] | None,
    overwrite: bool,
    file_type: str | None = None,
) -> Path:
    """Write what a decoder gave, in the training data's own type.

    Pictures have that of the files that they come from, where it is another one that shades have:
    see :meth:`narrows.data.scaling.Scaling.written_type`.
    """
    import numpy as np

    from narrows.data.depths import SHADES
    from narrows.data.files import write
    from narrows.data.lazy_rows import MadeRows
    from narrows.errors import warn

    scaling = model.scaling_
    suffix = path.suffix.lower()
    as_pictures = suffix in ("", ".png") or (path.is_dir() and suffix != ".lance")
    dtype = np.dtype(scaling.written_type(file_type) if as_pictures else scaling.dtype)
    as_shades = as_pictures and dtype in SHADES and scaling.dtype != "uint16"
    if as_shades and file_type is None and scaling.dtype not in ("bool", "uint8"):
        warn(
            f"restored values of type {scaling.dtype} are rounded to 8 bits in '{path}', black at "
            f"{scaling.low:g} and white at {scaling.high:g}; name a file ending in .tif, .npy or "
            ".lance to keep them",
            kind="levels_lost",
            stacklevel=3,
            black=scaling.low,
            white=scaling.high,
        )

    def own(block: "NDArray[np.floating]") -> "NDArray[Any]":
        return scaling.to_pixels(block, dtype) if as_shades else own_type(block, dtype)

    if columns is None and hasattr(model, "feature_names_in_"):
        columns = list(model.feature_names_in_)
    rows = MadeRows(values, own, values.shape[1:], dtype)
    return write(path, rows, names=names, columns=columns, overwrite=overwrite)


def own_type(values: "NDArray[np.floating]", dtype: Any) -> "NDArray[Any]":
    """Turn a model's floats into the type its training data had; integers are rounded."""
    import numpy as np

    kind = np.dtype(dtype)
    if kind.kind == "b":
        return values >= 0.5
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        # The largest 64-bit integers have no float of their own; the one below fits.
        high = limits.max if kind.itemsize < 8 else np.nextafter(float(limits.max), 0)
        values = np.clip(np.rint(values.astype(np.float64)), limits.min, high)
    return values.astype(kind)
