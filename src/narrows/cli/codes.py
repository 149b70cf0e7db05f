"""``narrows encode``, ``decode``, ``reconstruct``, ``sample``: to codes and back."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from narrows.cli import options
from narrows.cli.console import answer
from narrows.cli.exchange import (
    apply_lazily,
    code_words,
    is_signal,
    load_for,
    load_to_restore,
    read_signal,
    read_to_restore,
    reading_record,
    refuse_signal_options,
    resized_words,
    restore_signal,
    write_restored,
)
from narrows.cli.tables import decode_table, load_with_reader, restore_table, sample_table
from narrows.texts import counted


@options.verb("encode")
@options.model
@options.data
@options.to("A file for the codes: {written_rows}.")
@options.as_signal
@options.signal
@click.option("--onnx", is_flag=True, help="Let ONNX Runtime encode (needs narrows[onnx]).")
@options.reading
def encode(
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
    encoder, read_rows = load_with_reader(model, "transform")
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
        rows = read_rows(data, reading)
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


@options.verb("decode")
@options.model
@click.argument("codes", type=options.PATH, metavar="CODES")
@options.to(f"{options.RESTORED}; of a signal also {{sounds}}.")
@click.option(
    "--image-size",
    type=options.image_size_of,
    default="auto",
    metavar="SIZE",
    show_default="that learned from",
    help="The size of the pictures that were encoded, where the model takes any: a side, or "
    "HEIGHTxWIDTH.",
)
@options.as_signal
@options.hop
@click.option("--samples", type=int, help="A signal's length.  [default: that of its windows]")
@click.option(
    "--rate",
    type=int,
    help="Samples a second, which sound files state.  [default: those of the sound learned from]",
)
@options.files
def decode(
    *,
    model: Path,
    codes: Path,
    to: Path,
    image_size: int | tuple[int, int] | Literal["auto"],
    as_signal: bool,
    hop: int | None,
    samples: int | None,
    rate: int | None,
    reading: dict[str, Any],
    overwrite: bool,
) -> None:
    """Turn codes back into data.

    MODEL is a model or its decoder alone. The output has the type of the training data; pictures
    are numbered in the order of the codes, unless an .npz file has their names. With --signal, or
    for a sound file, the codes are those of a signal's windows.
    """
    from narrows.data.files import check_destination, read

    if is_signal(to, as_signal):
        from narrows import signals
        from narrows.atomic import check_output
        from narrows.models.validation import check_rate

        check_output(to, overwrite=overwrite, kind="file")
        decoder = load_for(model, "inverse_transform")
        check_rate(decoder, rate)
        rate = decoder.rate_ if rate is None else rate
        signals.check_signal_output(to, rate)
        values = signals.decode(decoder, read(codes, **reading).values, hop, samples)
        signals.write(to, signals.Signal(values, rate), overwrite=overwrite)
        record = {"output": to, "samples": len(values), "rate": rate}
        answer(record, f"{counted(len(values), 'sample')} decoded in {to}")
        return
    decoder = load_for(model, "inverse_transform", tables=True)
    if hasattr(decoder, "column_encoder_"):
        decode_table(decoder, codes, to, reading, overwrite=overwrite)
        return
    check_destination(to, overwrite=overwrite)
    shape = learned = decoder.sample_shape_
    if image_size != "auto":
        sides = (image_size,) * len(learned[:2]) if isinstance(image_size, int) else image_size
        shape = (*sides, *learned[2:])
    pictures = decoder.spec_.shows_pictures
    check_destination(to, overwrite=overwrite, sample_shape=shape, pictures=pictures)
    rows = read(codes, **reading)
    restore = partial(decoder.inverse_transform, sample_shape=shape)
    restored = apply_lazily(rows.values, restore, shape, decoder.scaling_.value_type)
    write_restored(to, restored, decoder, overwrite=overwrite, names=rows.names)
    record = {"output": to, "rows": len(restored), "sample_shape": shape}
    answer(record, f"{counted(len(restored), 'row')} decoded in {to}")


@options.verb("reconstruct")
@options.model
@options.data
@options.to(f"{options.RESTORED}; of a signal also {{sounds}}.")
@click.option("--fill-only", is_flag=True, help="Of a table, fill gaps alone, as narrows impute.")
@options.restoring
def reconstruct(
    *, model: Path, data: Path, to: Path, fill_only: bool, overwrite: bool, **how: Any
) -> None:
    """Encode and decode data in one go.

    The output has the type of the training data, in tables of numbers as floats; pictures keep
    their names, and the windows of a signal fade into one another. A table of categories, dates or
    gaps comes back with its columns, in their order and types.
    """
    import numpy as np

    from narrows.errors import FormatError

    if restore_signal(model, "reconstruct", data, to, overwrite=overwrite, **how):
        return
    loaded = load_to_restore(model, "reconstruct", to, overwrite=overwrite, tables=True)
    if hasattr(loaded, "column_encoder_"):
        reading = how["reading"]
        restore_table(loaded, data, to, reading, fill_only=fill_only, overwrite=overwrite)
        return
    if fill_only:
        raise FormatError(
            f"'{model}' learned from data without gaps, and fills none; leave --fill-only out, or "
            "train on a table with gaps"
        )
    rows = read_to_restore(loaded, data, how["reading"], how["resize"])
    X = rows.in_units(loaded)
    squares = 0.0

    def restore(block: Any) -> Any:
        nonlocal squares
        restored = loaded.reconstruct(block)
        squares += float(np.square(np.subtract(restored, block, dtype=np.float64)).sum())
        return restored

    restored = apply_lazily(X, restore, X.shape[1:], loaded.scaling_.value_type)
    write_restored(to, restored, loaded, overwrite=overwrite, rows=rows)
    error = squares / X.size
    record = {"output": to, "rows": len(restored), "mean_squared_error": error}
    answer(
        {**record, **reading_record(rows)},
        f"{counted(len(restored), 'row')} restored in {to}{resized_words(rows)}; "
        f"mean squared error {error:.6g}",
    )


@options.verb("sample")
@options.model
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=1),
    default=16,
    help="How many rows or pictures.",
)
@options.to(f"{options.RESTORED}.")
@options.random_state
def sample(
    *,
    model: Path,
    count: int,
    to: Path,
    random_state: int,
    overwrite: bool,
) -> None:
    """Draw new rows or pictures from a model of a density.

    MODEL is a variational model: latent codes are drawn from N(0, I), and the decoder's means for
    them are written, in the type of the training data; of tables, the most likely categories. Other
    models learn no density to draw from.
    """
    from narrows import TableAutoencoder
    from narrows.errors import FormatError

    loaded = load_to_restore(model, "reconstruct", to, overwrite=overwrite, tables=True)
    if not hasattr(loaded, "sample"):
        name = type(getattr(loaded, "model_", loaded)).__name__
        raise FormatError(
            f"'{model}' is of the class {name}, which learns no density to draw from; give a "
            "variational model (narrows train --model variational)"
        )
    record: dict[str, Any]
    if isinstance(loaded, TableAutoencoder):
        drawn = sample_table(loaded, count, to, random_state, overwrite=overwrite)
        record = {"output": to, "rows": count, "columns": drawn.column_names}
    else:
        drawn = loaded.sample(count, random_state)
        write_restored(to, drawn, loaded, overwrite=overwrite)
        record = {"output": to, "rows": count, "sample_shape": loaded.sample_shape_}
    answer(record, f"{counted(len(drawn), 'row')} drawn in {to}")
