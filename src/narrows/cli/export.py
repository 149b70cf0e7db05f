"""``narrows export``: a half of a model for other programs."""

from pathlib import Path

import click

from narrows.cli import options
from narrows.cli.console import answer
from narrows.cli.exchange import load_for


@options.verb("export")
@options.model
@options.to("The file: encoder.onnx.")
@click.option(
    "--half",
    type=click.Choice(["encoder", "decoder"]),
    default="encoder",
    show_default=True,
    help="Which half of a whole model.",
)
def command(*, model: Path, to: Path, half: str, overwrite: bool) -> None:
    """Write a half of a model as an ONNX file.

    MODEL is a model or one of its halves. Other programs run the file, whose input and output are
    in the data's units, as float32. Needs the extra narrows[onnx].
    """
    from narrows.onnx import export

    loaded = load_for(model, "transform" if half == "encoder" else "inverse_transform")
    halves = loaded.split() if hasattr(loaded, "split") else (loaded, loaded)
    file = export(halves[half == "decoder"], to, overwrite=overwrite)
    answer({"output": file, "half": half}, f"{half} in {file}")
