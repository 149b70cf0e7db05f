"""``narrows reconstruct``."""

from pathlib import Path

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
    data_argument,
    in_units,
    load_for,
    model_argument,
    read_for,
    write_restored,
)
from narrows.cli.waves import is_signal, restore_signal, signal_options


@click.command("reconstruct")
@model_argument
@data_argument
@to_option("A folder for pictures, or a file: .npy, .npz, .csv or .parquet.")
@signal_options
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
    skip_unreadable: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Encode and decode data in one go.

    What is written has the type of the training data; pictures keep their names, and the windows
    of a signal fade into one another.
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
            overwrite=overwrite,
            as_json=as_json,
        )
        return
    check_destination(to, overwrite=overwrite)
    whole = load_for(model, "reconstruct")
    check_destination(to, overwrite=overwrite, sample_shape=whole.sample_shape_)
    rows = read_for(whole, data, skip_unreadable=skip_unreadable)
    restored = whole.reconstruct(rows.for_model(whole))
    given = in_units(rows, whole).reshape(restored.shape)
    error = float(np.square(np.subtract(restored, given, dtype=np.float64)).mean())
    write_restored(to, restored, whole, names=rows.names, columns=rows.columns, overwrite=overwrite)
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
