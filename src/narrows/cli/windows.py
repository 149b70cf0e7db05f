"""Windows of signals for the commands that take rows: how they are read, labelled and named."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.cli.exchange import (
    is_signal,
    labels_of,
    read_windows,
    refuse_signal_options,
    report_skipped,
)
from narrows.containment import is_folder

if TYPE_CHECKING:
    from narrows.cli.exchange import Model
    from narrows.data.files import Rows


def read_rows_or_windows(
    model: "Model",
    path: Path,
    reading: dict[str, Any],
    read_rows: Callable[[], "Rows"],
    *,
    as_signal: bool,
    signal: dict[str, Any],
) -> "Rows":
    """Read rows by a function; of signals, the windows that a trained model learned to encode.

    Sound files are signals; so are data with ``as_signal`` and, for a model of signals, folders
    and arrays with one axis less than its rows.

    Raises
    ------
    DataError
        If a signal is shorter than a window, or has other channels or another rate than the
        model's.
    ParameterError
        If options of signals are given for other data.
    """
    if not (is_signal(path, as_signal) or _must_be_signal(model, path)):
        refuse_signal_options(**signal)
        return read_rows()
    from narrows import signals
    from narrows.data.files import Rows
    from narrows.data.names import RowNames
    from narrows.models.validation import check_rows

    length = signals.window_length(model)
    windows: Any
    windows, found = read_windows(path, length, signal, reading)
    report_skipped(found.skipped)
    check_rows(model, windows)
    places = [windows.describe(row) for row in range(len(windows))]
    return Rows(windows, RowNames(places), skipped=found.skipped, left_out=found.left_out)


def _must_be_signal(model: "Model", path: Path) -> bool:
    """Return whether data can only be a signal, given that the model learned from windows."""
    from narrows.data.array_files import read_npy

    spec = model.spec_
    if not (spec.signal or spec.definition.of_signals):
        return False
    if is_folder(path):
        return path.suffix.lower() != ".lance" and not any(path.glob("*.npy"))
    if path.suffix.lower() != ".npy":
        return False
    return read_npy(path, mapped=True).ndim == len(spec.sample_shape)


def labels_of_rows(path: Path | None, rows: "Rows", reading: dict[str, Any]) -> list[str] | None:
    """Return the label of each row, as :func:`labels_of` does; windows have those of their files.

    Raises
    ------
    DataError
        As :func:`labels_of`, of files in place of rows.
    """
    if not is_windows(rows):
        return labels_of(path, rows, reading)
    windows: Any = rows.values
    labels = labels_of(path, replace(rows, names=windows.names, pictures=True), reading)
    return None if labels is None else [labels[owner] for owner in windows.owners]


def is_windows(rows: "Rows") -> bool:
    """Return whether rows are windows of signals."""
    from narrows.data.signal_files import Windows

    return isinstance(rows.values, Windows)
