"""``narrows decode``."""

from pathlib import Path

import click

from narrows.cli.console import PATH, answer, json_option, overwrite_option, to_option
from narrows.cli.exchange import load_for, model_argument, write_restored


@click.command("decode")
@model_argument
@click.argument("codes", type=PATH, metavar="CODES")
@to_option("A folder for pictures, or a file: .npy, .npz, .csv or .parquet.")
@overwrite_option
@json_option
def command(*, model: Path, codes: Path, to: Path, overwrite: bool, as_json: bool) -> None:
    """Turn codes back into data.

    MODEL is a model or its decoder alone. What is written has the type of the training data;
    pictures are numbered in the order of the codes, unless an .npz file has their names.
    """
    from narrows.data.files import check_destination, read

    check_destination(to, overwrite=overwrite)
    decoder = load_for(model, "inverse_transform")
    check_destination(to, overwrite=overwrite, sample_shape=decoder.sample_shape_)
    rows = read(codes)
    restored = decoder.inverse_transform(rows.values)
    write_restored(to, restored, decoder, names=rows.names, columns=None, overwrite=overwrite)
    record = {"output": to, "rows": len(restored), "sample_shape": decoder.sample_shape_}
    answer(record, as_json, f"{len(restored)} rows decoded in {to}")
