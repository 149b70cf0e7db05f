"""``narrows decode``: turn codes back into data."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from narrows.cli import options
from narrows.cli.console import answer
from narrows.cli.exchange import apply_lazily, is_signal, load_for, write_restored


@options.verb("decode")
@options.model
@click.argument("codes", type=options.PATH, metavar="CODES")
@options.to("A folder for pictures, or a file: .npy, .npz, .csv, .parquet or .lance.")
@click.option(
    "--image-size",
    type=options.image_size_of,
    default="auto",
    metavar="SIZE",
    help="The size of the pictures that were encoded, where the model takes any: a side, or "
    "HEIGHTxWIDTH.  [default: that learned from]",
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
def command(
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
    from narrows.texts import counted

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
    check_destination(to, overwrite=overwrite)
    decoder = load_for(model, "inverse_transform")
    shape = learned = decoder.sample_shape_
    if image_size != "auto":
        sides = (image_size,) * len(learned[:2]) if isinstance(image_size, int) else image_size
        shape = (*sides, *learned[2:])
    pictures = decoder.spec_.shows_pictures
    check_destination(to, overwrite=overwrite, sample_shape=shape, pictures=pictures)
    rows = read(codes, **reading)
    decode = partial(decoder.inverse_transform, sample_shape=shape)
    restored = apply_lazily(rows.values, decode, shape, decoder.scaling_.value_type)
    write_restored(to, restored, decoder, overwrite=overwrite, names=rows.names)
    record = {"output": to, "rows": len(restored), "sample_shape": shape}
    answer(record, f"{counted(len(restored), 'row')} decoded in {to}")
