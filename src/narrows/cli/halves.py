"""``narrows split`` and ``export``: the halves of a model, and one of them for other programs."""

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
def split(*, model: Path, to: tuple[Path, Path], overwrite: bool) -> None:
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


@options.verb("export")
@options.model
@options.to("The file: encoder.onnx.")
@click.option(
    "--half",
    type=click.Choice(["encoder", "decoder"]),
    default="encoder",
    help="Which half of a whole model.",
)
def export(*, model: Path, to: Path, half: str, overwrite: bool) -> None:
    """Write a half of a model as an ONNX file.

    MODEL is a model or one of its halves. Other programs run the file, whose input and output are
    in the data's units, as float32. Needs the extra narrows[onnx].
    """
    from narrows.onnx import export

    loaded = load_for(model, "transform" if half == "encoder" else "inverse_transform")
    halves = loaded.split() if hasattr(loaded, "split") else (loaded, loaded)
    file = export(halves[half == "decoder"], to, overwrite=overwrite)
    answer({"output": file, "half": half}, f"{half} in {file}")
