"""``narrows encode``: turn data into latent codes."""

from pathlib import Path
from typing import Any

import click

from narrows.cli import options
from narrows.cli.console import answer
from narrows.cli.exchange import (
    apply_lazily,
    code_words,
    is_signal,
    load_for,
    read_for,
    read_signal,
    reading_record,
    refuse_signal_options,
)


@options.verb("encode")
@options.model
@options.data
@options.to("A file for the codes: .npy, .npz, .csv, .parquet or .lance.")
@options.as_signal
@options.signal
@click.option("--onnx", is_flag=True, help="Let ONNX Runtime encode (needs narrows[onnx]).")
@options.reading
def command(
    *,
    model: Path,
    data: Path,
    to: Path,
    as_signal: bool,
    signal: dict[str, Any],
    onnx: bool,
    reading: dict[str, Any],
    overwrite: bool,
) -> None:
    """Turn data into codes.

    MODEL is a model or its encoder alone. The codes (embeddings) stand in the order of the data's
    rows, those of pictures in the order of their paths. An .npz file also keeps the pictures'
    names. A signal has a code for each of its windows.
    """
    from narrows.data.files import check_destination, write

    check_destination(to, overwrite=overwrite, sample_shape=(1,))
    encoder = load_for(model, "transform")
    spec, transform = encoder.spec_, encoder.transform
    if onnx:
        from narrows.onnx import OnnxEncoder

        transform = OnnxEncoder(encoder).transform
    names = None
    left_out: dict[str, Any] = {"skipped": []}
    if is_signal(data, as_signal):
        from narrows import signals

        read = read_signal(data, signal, reading)
        codes = transform(signals.windows_for(encoder, read, signal["hop"]))
    else:
        refuse_signal_options(**signal)
        rows = read_for(encoder, data, reading)
        names, left_out = rows.names, reading_record(rows)
        X = rows.for_model(encoder)
        if spec.is_map and len(X.shape) > len(spec.sample_shape):
            spec = spec.at(X.shape[1:])
        codes = apply_lazily(X, transform, (spec.code_width,), "float32")
    units = [f"{type(encoder).__name__.lower()}{i}" for i in range(codes.shape[1])]
    write(to, codes, names=names, columns=units, overwrite=overwrite)
    record = {
        "output": to,
        "rows": len(codes),
        "n_components": codes.shape[1],
        "sample_shape": spec.sample_shape,
        **left_out,
    }
    line = f"{len(codes)} {code_words(spec, len(codes))} in {to}"
    if spec.sample_shape != encoder.sample_shape_:
        size = "x".join(map(str, spec.sample_shape[:2]))
        line += f"; to decode them, give --image-size {size}"
    answer(record, line)
