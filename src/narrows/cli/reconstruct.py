"""``narrows reconstruct``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import (
    answer,
    json_option,
    overwrite_option,
    skip_option,
    skipped_record,
    to_option,
)
from narrows.cli.exchange import (
    by_blocks,
    data_argument,
    in_units,
    load_for,
    model_argument,
    read_for,
    write_restored,
)
from narrows.cli.reading import file_options
from narrows.cli.waves import is_signal, restore_signal, signal_options

if TYPE_CHECKING:
    from narrows.data.options import FileOptions


@click.command("reconstruct")
@model_argument
@data_argument
@to_option("A folder for pictures, or a file: .npy, .npz, .csv, .parquet or .lance.")
@signal_options
@file_options
@skip_option
@overwrite_option
@json_option
def command(
    *,
    model: Path,
    data: Path,
    to: Path,
    signal: bool,
    columns: str | None,
    hop: int | None,
    files: "FileOptions",
    skip_unreadable: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Encode and decode data in one go.

    What is written has the type of the training data, in tables as floats; pictures keep their
    names, and the windows of a signal fade into one another.
    """
    import numpy as np

    from narrows.data.files import check_destination

    if is_signal(data, signal):
        restore_signal(
            load_for(model, "reconstruct"),
            "reconstruct",
            data,
            to,
            columns=columns,
            hop=hop,
            files=files,
            overwrite=overwrite,
            as_json=as_json,
        )
        return
    check_destination(to, overwrite=overwrite)
    whole = load_for(model, "reconstruct")
    check_destination(to, overwrite=overwrite, sample_shape=whole.sample_shape_)
    rows = read_for(whole, data, skip_unreadable=skip_unreadable, files=files)
    X = in_units(rows, whole)
    squares = 0.0

    def restore(block: Any) -> Any:
        nonlocal squares
        restored = whole.reconstruct(block)
        squares += float(np.square(np.subtract(restored, block, dtype=np.float64)).sum())
        return restored

    restored = by_blocks(X, restore, X.shape[1:], whole.scaling_.value_type)
    write_restored(to, restored, whole, names=rows.names, columns=rows.columns, overwrite=overwrite)
    error = squares / X.size
    record = {
        "output": to,
        "rows": len(restored),
        "mean_squared_error": error,
        "skipped": skipped_record(rows.skipped),
    }
    answer(
        record,
        as_json,
        f"{len(restored)} rows restored in {to}; mean squared error {error:.6g}",
    )
