"""``narrows sample``."""

from pathlib import Path

import click

from narrows.cli.console import (
    answer,
    json_option,
    overwrite_option,
    random_state_option,
    to_option,
)
from narrows.cli.exchange import load_for, model_argument, spec_of, write_restored


@click.command("sample")
@model_argument
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="How many rows or pictures.",
)
@to_option("A folder for pictures, or a file: .npy, .npz, .csv, .parquet or .lance.")
@random_state_option
@overwrite_option
@json_option
def command(
    *, model: Path, count: int, to: Path, random_state: int, overwrite: bool, as_json: bool
) -> None:
    """Draw new rows or pictures from a model of a density.

    MODEL is a variational model: latent codes are drawn from N(0, I), and what is written are the
    decoder's means for them, in the type of the training data. Other models learn no density to
    draw from.
    """
    from narrows.data.files import check_destination
    from narrows.errors import FormatError
    from narrows.texts import counted

    check_destination(to, overwrite=overwrite)
    loaded = load_for(model, "reconstruct")
    if not hasattr(loaded, "sample"):
        raise FormatError(
            f"'{model}' is of the class {type(loaded).__name__}, which learns no density to draw "
            "from; give a variational model (narrows train --model variational)"
        )
    shape, pictures = loaded.sample_shape_, spec_of(loaded).shows_pictures
    check_destination(to, overwrite=overwrite, sample_shape=shape, pictures=pictures)
    drawn = loaded.sample(count, random_state)
    write_restored(to, drawn, loaded, names=None, columns=None, overwrite=overwrite)
    record = {"output": to, "rows": len(drawn), "sample_shape": shape}
    answer(record, as_json, f"{counted(len(drawn), 'row')} drawn in {to}")
