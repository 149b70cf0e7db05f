"""``narrows sample``: draw from a model of a density."""

from pathlib import Path

import click

from narrows.cli import options
from narrows.cli.console import answer
from narrows.cli.exchange import load_to_restore, write_restored


@options.verb("sample")
@options.model
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="How many rows or pictures.",
)
@options.to("A folder for pictures, or a file: .npy, .npz, .csv, .parquet or .lance.")
@options.random_state
def command(
    *,
    model: Path,
    count: int,
    to: Path,
    random_state: int,
    overwrite: bool,
) -> None:
    """Draw new rows or pictures from a model of a density.

    MODEL is a variational model: latent codes are drawn from N(0, I), and the decoder's means for
    them are written, in the type of the training data. Other models learn no density to draw from.
    """
    from narrows.errors import FormatError
    from narrows.texts import counted

    loaded = load_to_restore(model, "reconstruct", to, overwrite=overwrite)
    if not hasattr(loaded, "sample"):
        raise FormatError(
            f"'{model}' is of the class {type(loaded).__name__}, which learns no density to draw "
            "from; give a variational model (narrows train --model variational)"
        )
    drawn = loaded.sample(count, random_state)
    write_restored(to, drawn, loaded, overwrite=overwrite)
    record = {"output": to, "rows": len(drawn), "sample_shape": loaded.sample_shape_}
    answer(record, f"{counted(len(drawn), 'row')} drawn in {to}")
