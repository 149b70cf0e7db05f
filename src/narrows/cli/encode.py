"""``narrows encode``."""

from pathlib import Path

import click

from narrows.cli.console import answer, json_option, overwrite_option, skip_option, to_option
from narrows.cli.exchange import data_argument, load_for, model_argument, read_for
from narrows.cli.waves import is_signal, read_signal, signal_options


@click.command("encode")
@model_argument
@data_argument
@to_option("A file for the codes: .npy, .npz, .csv or .parquet.")
@signal_options
@click.option("--onnx", is_flag=True, help="Let ONNX Runtime encode (needs narrows[onnx]).")
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
    onnx: bool,
    skip_unreadable: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Turn data into codes.

    MODEL is a model or its encoder alone. The codes stand in the order of the data's rows, of
    pictures in the order of their paths. An .npz file also keeps the pictures' names. A
    signal has a code for each of its windows.
    """
    from narrows.data.files import check_destination, write

    check_destination(to, overwrite=overwrite, sample_shape=(1,))
    encoder = load_for(model, "transform")
    transform = encoder.transform
    if onnx:
        from narrows.onnx import OnnxEncoder

        transform = OnnxEncoder(encoder).transform
    names, skipped = None, []
    if is_signal(data, signal):
        from narrows import signals

        windows = signals.windows_for(encoder, read_signal(data, columns).values, hop)
        codes = transform(windows)
    else:
        rows = read_for(encoder, data, skip_unreadable=skip_unreadable)
        names, skipped = rows.names, rows.skipped
        codes = transform(rows.for_model(encoder))
    units = [f"{type(encoder).__name__.lower()}{i}" for i in range(codes.shape[1])]
    write(to, codes, names=names, columns=units, overwrite=overwrite)
    record = {
        "output": to,
        "rows": len(codes),
        "n_components": codes.shape[1],
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
    }
    answer(record, as_json, f"{len(codes)} codes of {codes.shape[1]} numbers in {to}")
