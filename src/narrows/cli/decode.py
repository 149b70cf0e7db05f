"""``narrows decode``."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from narrows.cli.console import PATH, answer, json_option, overwrite_option, to_option
from narrows.cli.exchange import (
    by_blocks,
    image_size_of,
    load_for,
    model_argument,
    spec_of,
    write_restored,
)
from narrows.cli.reading import file_options
from narrows.cli.waves import hop_option, is_signal, signal_option

if TYPE_CHECKING:
    from narrows.data.formats import FileOptions


@click.command("decode")
@model_argument
@click.argument("codes", type=PATH, metavar="CODES")
@to_option("A folder for pictures, or a file: .npy, .npz, .csv, .parquet or .lance.")
@click.option(
    "--image-size",
    type=image_size_of,
    default="auto",
    metavar="SIZE",
    help="Of the pictures that were encoded, where the model takes any: a side, or HEIGHTxWIDTH.  "
    "[default: that learned from]",
)
@signal_option
@hop_option
@click.option("--samples", type=int, help="A signal's length.  [default: that of its windows]")
@click.option(
    "--rate",
    type=int,
    help="Samples a second, which sound files state.  [default: those of the sound learned from]",
)
@file_options
@overwrite_option
@json_option
def command(
    *,
    model: Path,
    codes: Path,
    to: Path,
    image_size: int | tuple[int, int] | Literal["auto"],
    signal: bool,
    hop: int | None,
    samples: int | None,
    rate: int | None,
    files: "FileOptions",
    overwrite: bool,
    as_json: bool,
) -> None:
    """Turn codes back into data.

    MODEL is a model or its decoder alone. What is written has the type of the training data;
    pictures are numbered in the order of the codes, unless an .npz file has their names. With
    --signal, or for a sound file, the codes are those of a signal's windows.
    """
    from narrows.data.files import check_destination, read
    from narrows.texts import counted

    if is_signal(to, signal):
        from narrows import signals
        from narrows.atomic import check_output
        from narrows.models.validation import check_rate

        check_output(to, overwrite=overwrite, kind="file")
        decoder = load_for(model, "inverse_transform")
        check_rate(decoder, rate)
        rate = decoder.rate_ if rate is None else rate
        signals.check_signal_output(to, rate)
        values = signals.decode(decoder, read(codes, options=files).values, hop, samples)
        signals.write(to, signals.Signal(values, rate), overwrite=overwrite)
        record = {"output": to, "samples": len(values), "rate": rate}
        answer(record, as_json, f"{counted(len(values), 'sample')} decoded in {to}")
        return
    check_destination(to, overwrite=overwrite)
    decoder = load_for(model, "inverse_transform")
    shape = learned = decoder.sample_shape_
    if image_size != "auto":
        sides = (image_size,) * len(learned[:2]) if isinstance(image_size, int) else image_size
        shape = (*sides, *learned[2:])
    pictures = spec_of(decoder).shows_pictures
    check_destination(to, overwrite=overwrite, sample_shape=shape, pictures=pictures)
    rows = read(codes, options=files)
    decode = partial(decoder.inverse_transform, sample_shape=shape)
    restored = by_blocks(rows.values, decode, shape, decoder.scaling_.value_type)
    write_restored(to, restored, decoder, names=rows.names, columns=None, overwrite=overwrite)
    record = {"output": to, "rows": len(restored), "sample_shape": shape}
    answer(record, as_json, f"{counted(len(restored), 'row')} decoded in {to}")
