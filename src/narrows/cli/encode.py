"""``narrows encode``."""

from pathlib import Path

import click

from narrows.cli.console import answer, json_option, overwrite_option, skip_option, to_option
from narrows.cli.exchange import data_argument, load_for, model_argument, read_for


@click.command("encode")
@model_argument
@data_argument
@to_option("A file for the codes: .npy, .npz, .csv or .parquet.")
@skip_option
@overwrite_option
@json_option
def command(
    *, model: Path, data: Path, to: Path, skip_unreadable: bool, overwrite: bool, as_json: bool
) -> None:
    """Turn data into codes.

    MODEL is a model or its encoder alone. The codes stand in the order of the data's rows, of
    pictures in the order of their paths. An .npz file also keeps the pictures' names.
    """
    from narrows.data.files import check_destination, write

    check_destination(to, overwrite=overwrite, sample_shape=(1,))
    encoder = load_for(model, "transform")
    rows = read_for(encoder, data, skip_unreadable=skip_unreadable)
    codes = encoder.transform(rows.for_model(encoder))
    columns = [f"{type(encoder).__name__.lower()}{i}" for i in range(codes.shape[1])]
    write(to, codes, names=rows.names, columns=columns, overwrite=overwrite)
    record = {
        "output": to,
        "rows": len(codes),
        "n_components": codes.shape[1],
        "skipped": [{"path": path, "reason": reason} for path, reason in rows.skipped],
    }
    answer(record, as_json, f"{len(codes)} codes of {codes.shape[1]} numbers in {to}")
