"""``narrows encode``."""

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
    by_blocks,
    code_words,
    data_argument,
    load_for,
    model_argument,
    read_for,
    spec_of,
)
from narrows.cli.reading import file_options
from narrows.cli.waves import is_signal, read_signal, refuse_signal_options, signal_options

if TYPE_CHECKING:
    from narrows.data.formats import FileOptions


@click.command("encode")
@model_argument
@data_argument
@to_option("A file for the codes: .npy, .npz, .csv, .parquet or .lance.")
@signal_options
@click.option("--onnx", is_flag=True, help="Let ONNX Runtime encode (needs narrows[onnx]).")
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
    onnx: bool,
    files: "FileOptions",
    skip_unreadable: bool,
    exclude: tuple[str, ...],
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
    spec, transform = spec_of(encoder), encoder.transform
    if onnx:
        from narrows.onnx import OnnxEncoder

        transform = OnnxEncoder(encoder).transform
    names = None
    read: dict[str, Any] = {"skipped": []}
    if is_signal(data, signal):
        from narrows import signals

        given = read_signal(data, columns, files, rate, exclude)
        windows = signals.windows_for(encoder, given, hop)
        codes = transform(windows)
    else:
        refuse_signal_options(rate=rate, columns=columns, hop=hop)
        rows = read_for(
            encoder, data, skip_unreadable=skip_unreadable, exclude=exclude, files=files
        )
        names, read = rows.names, reading_record(rows)
        X = rows.for_model(encoder)
        if spec.is_map and len(X.shape) > len(spec.sample_shape):
            spec = spec.at(X.shape[1:])
        codes = by_blocks(X, transform, (spec.code_width,), "float32")
    units = [f"{type(encoder).__name__.lower()}{i}" for i in range(codes.shape[1])]
    write(to, codes, names=names, columns=units, overwrite=overwrite)
    record = {
        "output": to,
        "rows": len(codes),
        "n_components": codes.shape[1],
        "sample_shape": spec.sample_shape,
        **read,
    }
    told = f"{len(codes)} {code_words(spec, len(codes))} in {to}"
    if spec.sample_shape != encoder.sample_shape_:
        size = "x".join(map(str, spec.sample_shape[:2]))
        told += f"; to decode them, give --image-size {size}"
    answer(record, as_json, told)
