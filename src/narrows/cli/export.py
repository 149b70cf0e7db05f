"""``narrows export``."""

from pathlib import Path

import click

from narrows.cli.console import PATH, answer, json_option, overwrite_option
from narrows.cli.exchange import load_for, model_argument


@click.command("export")
@model_argument
@click.option(
    "-o", "--to", required=True, metavar="FILE", type=PATH, help="The file: encoder.onnx."
)
@click.option(
    "--half",
    type=click.Choice(["encoder", "decoder"]),
    default="encoder",
    show_default=True,
    help="Which half of a whole model.",
)
@overwrite_option
@json_option
def command(*, model: Path, to: Path, half: str, overwrite: bool, as_json: bool) -> None:
    """Write a half of a model as an ONNX file.

    MODEL is a model or one of its halves. Other programs run the file; it takes and gives the
    data's units, as float32. Needs the extra narrows[onnx].
    """
    from narrows.onnx import export

    whole = load_for(model, "transform" if half == "encoder" else "inverse_transform")
    halves = whole.split() if hasattr(whole, "split") else (whole, whole)
    file = export(halves[half == "decoder"], to, overwrite=overwrite)
    answer({"output": file, "half": half}, as_json, f"{half} in {file}")
