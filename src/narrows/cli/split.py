"""``narrows split``: the halves of a model."""

from pathlib import Path

import click

from narrows.cli import options
from narrows.cli.console import answer
from narrows.cli.exchange import load_for


@options.verb("split")
@options.model
@click.option(
    "-o",
    "--to",
    required=True,
    nargs=2,
    metavar="ENCODER DECODER",
    type=options.PATH,
    help="The folders of the two halves.",
)
@options.overwrite
def command(*, model: Path, to: tuple[Path, Path], overwrite: bool) -> None:
    """Part a model into its encoder and its decoder.

    Each half is a model of its own: "narrows encode" needs only the encoder, "narrows decode"
    only the decoder. With --overwrite, both are replaced together.
    """
    from narrows.errors import ParameterError
    from narrows.models.encoder_decoder import save_pair
    from narrows.storage import check_destination

    first, second = to
    if first.resolve() == second.resolve():
        raise ParameterError(f"both halves would go to '{first}'; name two different folders")
    whole = model.resolve()
    for folder in to:
        if whole in (folder.resolve(), *folder.resolve().parents):
            raise ParameterError(
                f"'{folder}' is the model '{model}' itself, or lies in it; name folders elsewhere"
            )
        check_destination(folder, overwrite=overwrite)
    encoder, decoder = load_for(model, "split").split()
    save_pair(encoder, decoder, to, overwrite=overwrite)
    answer(
        {"encoder": first, "decoder": second, "fingerprint": encoder.fingerprint_},
        f"encoder in {first}, decoder in {second}",
    )
