"""Between files and models: what verbs read for a model, and write of what it returns.

These are rows and pictures, the labels of rows, and signals: sound files, and tables or arrays that
are one long signal.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from narrows.cli.console import answer, note, progress
from narrows.cli.options import names_of
from narrows.containment import is_file, is_folder
from narrows.data.formats import SOUND_SUFFIXES
from narrows.texts import as_text, counted, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from narrows import Autoencoder, Decoder, Encoder, PictureEncoder
    from narrows.data.files import Resizing, Rows
    from narrows.data.lazy_rows import LazyRows
    from narrows.networks import NetworkSpec
    from narrows.signals import Signal, Signals, Windows

    Model = Autoencoder | Encoder | Decoder

# The column of a table that holds the labels.
_LABEL = "label"


def code_words(spec: "NetworkSpec", count: int = 2) -> str:
    """Describe ``count`` latent codes of a network: "codes of 8 numbers"."""
    if not spec.is_map:
        return f"{'code' if count == 1 else 'codes'} of {counted(spec.code_width, 'number')}"
    if spec.definition.starts_at_input:
        scales = counted(len(spec.hidden_layer_sizes), "scale")
        what = "a row" if count == 1 else "rows"
        return f"maps of {counted(spec.n_components, 'channel')} at {scales} beside {what}"
    size = " x ".join(map(str, (spec.n_components, *spec.map_size)))
    return f"{'map' if count == 1 else 'maps'} of {size} numbers"


def load_for(path: Path, method: str, *, tables: bool = False) -> Any:
    """Load a model or the half of one that has a method.

    Parameters
    ----------
    path : Path
        The model's folder.
    method : {"transform", "inverse_transform", "reconstruct", "denoise", "split"}
        The method that is needed.
    tables : bool, default=False
        Whether a model of a table with categories or gaps is taken too.

    Raises
    ------
    FormatError
        If it is the other half, a classifier, or the model of such a table.
    """
    from narrows import TableAutoencoder, load
    from narrows.errors import FormatError

    model = load(path)
    if isinstance(model, TableAutoencoder) and not tables:
        raise FormatError(
            f"'{path}' is a model of a table with categories, dates or gaps, which this verb does "
            "not take; use encode, decode, reconstruct, impute, map, report or info, or train on "
            "columns of numbers without gaps"
        )
    if not hasattr(model, method):
        if hasattr(model, "predict"):
            kind = "a detector of anomalies" if hasattr(model, "offset_") else "a classifier"
            raise FormatError(f"'{path}' is {kind}; give a model, or a half of one")
        half = type(model).__name__.lower()
        halves = {"transform": " or the encoder", "inverse_transform": " or the decoder"}
        raise FormatError(
            f"'{path}' is only the {half} of a model; give the whole model{halves.get(method, '')}"
        )
    return model


def load_to_restore(
    path: Path, method: str, to: Path, *, overwrite: bool, tables: bool = False
) -> Any:
    """Load a model whose restored rows are written to ``to``, which is checked as well.

    Raises
    ------
    FormatError
        As :func:`load_for`.
    OutputExistsError, OutputError, ParameterError
        If such rows cannot be written there.
    """
    from narrows.data.files import check_destination

    check_destination(to, overwrite=overwrite)
    model = load_for(path, method, tables=tables)
    if hasattr(model, "column_encoder_"):
        return model
    pictures = model.spec_.shows_pictures
    check_destination(to, overwrite=overwrite, sample_shape=model.sample_shape_, pictures=pictures)
    return model


def options_by_file(reading: dict[str, Any], paths: Sequence[Path | None]) -> list[dict[str, Any]]:
    """Return how each of several files is read: with the options that apply to it.

    Raises
    ------
    ParameterError
        If an option applies to none of them.
    """
    from narrows.data.formats import DEFAULTS

    options = reading["options"]
    own = [DEFAULTS if path is None else options.only_for(path) for path in paths]
    used = {name for one in own for name in one.given()}
    if not used.issuperset(options.given()):
        options.check_use(next(path for path in paths if path is not None))
    return [{**reading, "options": one} for one in own]


def read_rows(path: Path, **reading: Any) -> "Rows":
    """Read rows, show the progress, and list what was left out."""
    from narrows.data.files import read

    with progress("reading") as advance:
        rows = read(path, **reading, progress=advance)
    report_skipped(rows.skipped)
    return rows


def read_for(
    model: "Model | PictureEncoder",
    path: Path,
    reading: dict[str, Any],
    *,
    own_size: bool = True,
    resizing: "Resizing" = "say",
) -> "Rows":
    """Read data for a trained model, pictures as it takes them.

    With ``own_size``, pictures for a model that takes any size keep theirs; without, they are cut
    into crops for a model that restores them, and brought to one size for others.

    Raises
    ------
    DataError
        If the columns of a table are not those that the model learned from.
    """
    from narrows.data.reading import reading as how_to_read
    from narrows.models.validation import check_columns

    crops = None
    definition = getattr(model.spec_, "definition", None)  # which encoders of others lack
    if not own_size and resizing == "say" and definition and definition.starts_at_input:
        crops = model.sample_shape_[0]
    with how_to_read(crop=getattr(model, "crop", None)):
        rows = read_rows(
            path,
            crops=crops,
            sample_shape=model.sample_shape_,
            scaling=model.scaling_,
            own_size=own_size and model.takes_any_size_,
            of_pictures=model.spec_.shows_pictures,
            resizing=resizing,
            known=getattr(model, "feature_names_in_", None),
            **reading,
        )
    check_columns(model, rows, path)
    return rows


def read_to_restore(model: "Model", path: Path, reading: dict[str, Any], resize: bool) -> "Rows":
    """Read data that a model is to restore: with ``resize``, pictures at the model's size.

    Raises
    ------
    DataError
        If pictures have another size than the model restores, without ``resize``.
    ParameterError
        If ``resize`` is given for other data than picture files.
    """
    resizing: Resizing = "asked" if resize else "refuse"
    rows = read_for(model, path, reading, own_size=not resize, resizing=resizing)
    if not rows.pictures:
        _refuse_resize(path, resize)
    return rows


def _refuse_resize(path: Path, resize: bool) -> None:
    """Refuse ``--resize`` for other data than pictures.

    Raises
    ------
    ParameterError
        If it is given.
    """
    from narrows.errors import ParameterError

    if resize:
        raise ParameterError(f"--resize is for pictures, and '{path}' holds none; leave it out")


def report_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    """List the files that were left out, and why."""
    for name, reason in skipped:
        note(f"skipped {printable(name)}: {reason}")


def reading_record(found: Any) -> dict[str, Any]:
    """Return what was left out of the data as JSON, and which pictures were resized.

    ``found`` is what was read: rows, signals, or the reports of adding and packing. "left_out" and
    "resized" are there if something was.
    """
    record: dict[str, Any] = {
        "skipped": [{"path": path, "reason": reason} for path, reason in found.skipped]
    }
    for name in ("left_out", "resized", "cropped"):
        report = getattr(found, name, None)
        if report is not None and any(report.as_json().values()):
            record[name] = report.as_json()
    return record


def crops_for(model: Any) -> dict[str, Any]:
    """Return the option by which picture files are cut into crops, for a model that does so."""
    from narrows.data.crops import SIDE
    from narrows.models.resolve import learns_from_crops

    return {"crops": SIDE} if learns_from_crops(model) else {}


def resized_words(rows: "Rows") -> str:
    """Name the size at which pictures were restored, if it is another than theirs."""
    if rows.resized is None:
        return ""
    to = " x ".join(map(str, rows.resized.to))
    return f" at {to} (height x width), to which {rows.resized.words(short=True)} were brought"


def apply_lazily(
    X: Any, make: Callable[[Any], Any], sample_shape: tuple[int, ...], dtype: Any
) -> Any:
    """Return the output of a model for rows; for rows on a disk, it is computed while written."""
    from narrows.data.lazy_rows import ComputedRows, LazyRows, stored

    X = stored(X)
    return ComputedRows(X, make, sample_shape, dtype) if isinstance(X, LazyRows) else make(X)


def write_restored(
    path: Path,
    values: "NDArray[np.floating] | LazyRows",
    model: "Model",
    *,
    overwrite: bool,
    names: Sequence[str] | None = None,
    rows: "Rows | None" = None,
) -> None:
    """Write the output of a decoder, in the training data's own type.

    Names and columns are those of the ``rows`` that were restored, if any. Pictures have the type
    of their files, where it is another one that shades have: see
    :meth:`narrows.data.scaling.Scaling.written_type`.
    """
    import numpy as np

    from narrows.data.depths import SHADES
    from narrows.data.files import write
    from narrows.data.lazy_rows import ComputedRows
    from narrows.errors import warn

    columns, file_type = None, None
    if rows is not None:
        names, columns, file_type = rows.names, rows.columns, rows.file_type
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

    def converted(block: "NDArray[np.floating]") -> "NDArray[Any]":
        return scaling.to_pixels(block, dtype) if as_shades else as_training_type(block, dtype)

    if columns is None and hasattr(model, "feature_names_in_"):
        columns = list(model.feature_names_in_)
    made = ComputedRows(values, converted, values.shape[1:], dtype)
    write(path, made, names=names, columns=columns, overwrite=overwrite)


def as_training_type(values: "NDArray[np.floating]", dtype: Any) -> "NDArray[Any]":
    """Convert a model's floats to the type of its training data; integers are rounded."""
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


def read_labels(path: Path | None, rows: "Rows", reading: dict[str, Any]) -> list[str]:
    """Return the label of each row: from a file, or the folder that a picture lies in.

    Raises
    ------
    DataError
        As :func:`labels_of`, and if without a file the rows lie in no folders, or all in one.
    """
    from narrows.errors import DataError

    if (labels := labels_of(path, rows, reading)) is not None:
        return labels
    if not rows.pictures:
        raise DataError("these rows lie in no folders; say what they are (--labels, --pairs)")
    raise DataError(
        "these pictures lie in one folder, which does not say what belongs together; sort them "
        "into several, or say it (--labels, --pairs)"
    )


def labels_of(path: Path | None, rows: "Rows", reading: dict[str, Any]) -> list[str] | None:
    """Return the label of each row, from a file or from several folders; otherwise None.

    Raises
    ------
    DataError
        If the file does not have one label for each row; if it has a column that names the rows,
        and a row has no label, or several.
    """
    from narrows.data.array_files import is_idx, read_idx
    from narrows.errors import DataError

    if path is None:
        folders = [str(PurePath(name).parent) for name in rows.names] if rows.pictures else []
        return folders if len(set(folders)) > 1 else None
    if is_file(path) and is_idx(path):
        values = read_idx(path)
        labels = [str(value) for value in values] if values.ndim == 1 else []
    else:
        labels = _label_column(path, rows, reading)
    if len(labels) != len(rows.names):
        raise DataError(
            f"'{path}' has {len(labels)} labels for {len(rows.names)} rows; give one for each, "
            "below a heading"
        )
    return labels


def _label_column(path: Path, rows: "Rows", reading: dict[str, Any]) -> list[str]:
    """Return the labels in a table, in the rows' order."""
    from narrows.data.names import RowNames, key_column
    from narrows.errors import DataError

    heading, lines = _read_table(path, reading)
    key = None if isinstance(rows.names, RowNames) else key_column(heading)
    if _LABEL in heading:
        column = heading.index(_LABEL)
    elif key is not None and len(heading) == 2:
        column = 1 - heading.index(key)
    elif len(heading) > 1:
        raise DataError(
            f"'{path}' has the columns {', '.join(heading[:8])}, and none is called {_LABEL}; "
            "rename the one to use, or give it alone",
            path=path,
            column=_LABEL,
        )
    else:
        column, key = 0, None
    if key is not None:
        place = heading.index(key)
        return _by_name(path, [(line[place], line[column]) for line in lines], rows)
    labels = [line[column] for line in lines]
    if "" in labels:
        raise DataError(
            f"'{path}' has no label in row {labels.index('')}, counted from 0 below the heading "
            f"({labels.count('')} in all); give one for each row",
            path=path,
            column=heading[column],
        )
    return labels


def _read_table(path: Path, reading: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Read a table as texts; of Parquet files only the columns that labels may be in."""
    from narrows.data.names import KEYS
    from narrows.data.parquet import find_parts
    from narrows.data.tables import read_columns, read_texts
    from narrows.errors import DataError

    if is_folder(path):
        heading: list[str] = []
        lines: list[list[str]] = []
        for part in find_parts(path)[0].files:
            names, more = _read_table(part, reading)
            if lines and names != heading:
                raise DataError(
                    f"'{part}' has the columns {', '.join(names[:8])} and the files before it "
                    f"{', '.join(heading[:8])}; give files of the same columns"
                )
            heading = names
            lines += more
        return heading, lines
    if path.suffix.lower() != ".parquet":
        return read_texts(path, reading["options"])
    table = read_columns(path, only=(_LABEL, *KEYS))
    columns = [
        ["" if value is None else str(value) for value in column.to_pylist()]
        for column in table.columns
    ]
    return table.column_names, [list(row) for row in zip(*columns, strict=True)]


def _by_name(path: Path, labels: list[tuple[str, str]], rows: "Rows") -> list[str]:
    """Bring labels into the rows' order, by the rows' names; lines of other rows are ignored.

    Raises
    ------
    DataError
        If a row has no label, or several, or a name may mean several rows.
    """
    from narrows.data.names import NameIndex
    from narrows.errors import DataError

    index = NameIndex([[name] for name in rows.names])
    label_of_row: dict[int, str] = {}
    for name, label in labels:
        row = index.find(name)
        if row is None:
            if len(same := index.alike(name)) > 1:
                one, other = (as_text(rows.names[place]) for place in same[:2])
                raise DataError(
                    f"'{path}' names '{name}', as '{one}' and '{other}' are called; give their "
                    "paths in the folder, letter by letter"
                )
            continue
        if label_of_row.setdefault(row, label) != label:
            raise DataError(
                f"'{path}' has the labels '{label_of_row[row]}' and '{label}' for "
                f"'{rows.names[row]}'; keep one of them"
            )
    missing = [name for row, name in enumerate(rows.names) if not label_of_row.get(row)]
    if missing:
        raise DataError(
            f"'{path}' has no label for {len(missing)} of the {len(rows.names)} rows, the first of "
            f"them '{as_text(missing[0])}'; add lines for them"
        )
    return [label_of_row[row] for row in range(len(rows.names))]


def is_signal(path: Path, as_signal: bool) -> bool:
    """Return whether a file is read as a signal, as sound files always are."""
    return as_signal or path.suffix.lower() in SOUND_SUFFIXES


def refuse_signal_options(
    *, rate: int | None, columns: str | None, hop: int | None, by: str = "--signal"
) -> None:
    """Refuse the options of signals for data that are read as rows.

    Parameters
    ----------
    rate, columns, hop
        The values of the options.
    by : str
        The option that would make a table or an array a signal.

    Raises
    ------
    ParameterError
        If one of them is given.
    """
    from narrows.errors import ParameterError

    if rate is not None:
        raise ParameterError(f"--rate {rate} is for sound, and these data are none; leave it out")
    for name, value in (("columns", columns), ("hop", hop)):
        if value is not None:
            raise ParameterError(
                f"--{name} {value} is for signals, and these data are read as rows; give {by} for "
                f"a signal, or leave --{name} out"
            )


def refuse_signal(path: Path, signal: dict[str, Any]) -> None:
    """Refuse a signal where no window was given, and options of signals for other data.

    Raises
    ------
    ParameterError
        For either.
    """
    from narrows.errors import ParameterError

    if is_signal(path, False):
        raise ParameterError(
            f"'{path}' is a signal; say how many samples a window has (--window 256)"
        )
    refuse_signal_options(**signal, by="--window 256")


def read_signal(path: Path, signal: dict[str, Any], reading: dict[str, Any]) -> "Signal":
    """Read a signal, or some columns of it."""
    from narrows import signals
    from narrows.data.files import check_excludable

    check_excludable(path, reading["exclude"])
    columns = _names(signal["columns"])
    return signals.read(path, columns, rate=signal["rate"], options=reading["options"])


def read_windows(
    path: Path, length: int, signal: dict[str, Any], reading: dict[str, Any]
) -> "tuple[Windows, Signals]":
    """Cut a signal, or all signals of a folder, into windows to learn from.

    Options of ``reading`` that are for pictures are ignored.

    Raises
    ------
    DataError
        If a signal is shorter than a window.
    """
    from narrows import signals
    from narrows.errors import DataError

    of_signals = {name: reading[name] for name in ("options", "skip_unreadable", "exclude")}
    found = signals.read_all(path, _names(signal["columns"]), rate=signal["rate"], **of_signals)
    for one, file in zip(found.signals, found.files, strict=True):
        if len(one.values) < length:
            several = f", or leave this one out (--exclude '{file.name}')"
            raise DataError(
                f"'{file}': a signal of {len(one.values)} samples is shorter than a window of "
                f"{length}; take a shorter --window{several if found.left_out else ''}"
            )
    return signals.Windows(found.signals, length, signal["hop"]), found


def restore_signal(
    path: Path,
    method: str,
    data: Path,
    to: Path,
    *,
    as_signal: bool,
    signal: dict[str, Any],
    reading: dict[str, Any],
    resize: bool,
    overwrite: bool,
    clean: Path | None = None,
    **shares: Any,
) -> bool:
    """Run a whole signal through a model, and write the restored signal.

    ``shares`` are the further arguments of :func:`narrows.signals.restore`, to denoise.

    Returns
    -------
    bool
        Whether the data are a signal; otherwise nothing was done.

    Raises
    ------
    DataError
        If the clean original has another rate.
    ParameterError
        If options of signals are given for other data, or those of pictures for a signal.
    """
    from narrows import signals
    from narrows.atomic import check_output
    from narrows.errors import DataError

    if not is_signal(data, as_signal):
        refuse_signal_options(**signal)
        return False
    _refuse_resize(data, resize)
    model = load_for(path, method)
    check_output(to, overwrite=overwrite, kind="file")
    own, of_clean = options_by_file(reading, [data, clean])
    damaged = read_signal(data, signal, own)
    signals.check_signal_output(to, damaged.rate)
    if clean is not None:
        original = read_signal(clean, signal, {**of_clean, "exclude": ()})
        if None not in (original.rate, damaged.rate) and original.rate != damaged.rate:
            raise DataError(
                f"'{clean}' has {original.rate} samples a second, the signal {damaged.rate}; bring "
                f"both to one rate (--rate {damaged.rate})"
            )
    record: dict[str, Any] = {"output": to, "samples": len(damaged.values), "rate": damaged.rate}
    line = f"{counted(len(damaged.values), 'sample')} restored in {to}"
    if method == "denoise":
        restored, noise, share = signals.restore(model, damaged, signal["hop"], **shares)
        record |= {"noise": None if noise is None else noise.tolist(), "share": share}
        if noise is not None:
            found = ", ".join(f"{level:.3g}" for level in noise.ravel())
            line += f"; noise {found} (standard deviation), "
            line += f"{100 * share:.0f} % of the change applied"
    else:
        restored = signals.reconstruct(model, damaged, signal["hop"])
    if clean is not None:
        before, after = (signals.snr(x, original.values) for x in (damaged.values, restored))
        record["snr"] = {"damaged": before, "restored": after}
        line += f"; SNR {after:.4g} dB (input: {before:.4g} dB)"
    signals.write(to, replace(damaged, values=restored), overwrite=overwrite)
    answer(record, line)
    return True


def _names(columns: str | None) -> list[str] | None:
    return None if columns is None else names_of(columns)
