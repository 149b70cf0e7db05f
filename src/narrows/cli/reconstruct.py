"""``narrows reconstruct``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import (
    answer,
    json_option,
    overwrite_option,
    reading_options,
    reading_record,
    to_option,
)
from narrows.cli.exchange import (
    at_size,
    by_blocks,
    data_argument,
    load_for,
    model_argument,
    read_to_restore,
    refuse_resize,
    resize_option,
    write_restored,
)
from narrows.cli.reading import file_options
from narrows.cli.waves import is_signal, refuse_signal_options, restore_signal, signal_options

if TYPE_CHECKING:
    from narrows.data.formats import FileOptions


@click.command("reconstruct")
@model_argument
@data_argument
@to_option("A folder for pictures, or a file: .npy, .npz, .csv, .parquet or .lance.")
@signal_options
@resize_option
@file_options
@reading_options
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
    rate: int | None,
    resize: bool,
    files: "FileOptions",
    skip_unreadable: bool,
    exclude: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Encode and decode data in one go.

    What is written has the type of the training data, in tables as floats; pictures keep their
    names, and the windows of a signal fade into one another.
    """
    import numpy as np

    from narrows.data.files import check_destination
    from narrows.texts import counted

    if is_signal(data, signal):
        refuse_resize(data, resize)
        restore_signal(
            load_for(model, "reconstruct"),
            "reconstruct",
            data,
            to,
            columns=columns,
            hop=hop,
            rate=rate,
            exclude=exclude,
            files=files,
            overwrite=overwrite,
            as_json=as_json,
        )
        return
    refuse_signal_options(rate=rate, columns=columns, hop=hop)
    check_destination(to, overwrite=overwrite)
    whole = load_for(model, "reconstruct")
    shape, pictures = whole.sample_shape_, whole.spec_.shows_pictures
    check_destination(to, overwrite=overwrite, sample_shape=shape, pictures=pictures)
    rows = read_to_restore(
        whole, data, resize, skip_unreadable=skip_unreadable, exclude=exclude, files=files
    )
    X = rows.in_units(whole)
    squares = 0.0

    def restore(block: Any) -> Any:
        nonlocal squares
        restored = whole.reconstruct(block)
        squares += float(np.square(np.subtract(restored, block, dtype=np.float64)).sum())
        return restored

    restored = by_blocks(X, restore, X.shape[1:], whole.scaling_.value_type)
    write_restored(
        to,
        restored,
        whole,
        names=rows.names,
        columns=rows.columns,
        overwrite=overwrite,
        file_type=rows.file_type,
    )
    error = squares / X.size
    record = {
        "output": to,
        "rows": len(restored),
        "mean_squared_error": error,
        **reading_record(rows),
    }
    answer(
        record,
        as_json,
        f"{counted(len(restored), 'row')} restored in {to}{at_size(rows)}; "
        f"mean squared error {error:.6g}",
    )
