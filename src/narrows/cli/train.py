"""``narrows train``: the models' parameters are its options."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from narrows.cli.console import (
    PATH,
    answer,
    json_option,
    one_answer,
    overwrite_option,
    ray_option,
    skip_option,
    skipped_record,
    to_option,
)
from narrows.cli.exchange import code_words, data_argument, picture_options
from narrows.cli.reading import file_options
from narrows.cli.waves import columns_option, hop_option, is_signal, read_windows

if TYPE_CHECKING:
    from narrows import Autoencoder
    from narrows.data.options import FileOptions

_SIZE = (6.4, 6.0)  # of the picture, in inches
_MODEL, _OPTIONS = "narrows.model", "narrows.options"


class TrainCommand(click.Command):
    """A command that has the parameters of the model named by ``--model`` as options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for ``--model`` first: it decides which options there are."""
        from argparse import ArgumentParser

        peek = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        peek.add_argument("--model", nargs="?", default="autoencoder")
        ctx.meta[_MODEL] = peek.parse_known_args(args)[0].model
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the verb's own options and the model's."""
        return [*super().get_params(ctx), *_model_options(ctx)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the model's parameters apart from the verb's own options."""
        sections = {
            "Options": super().get_params(ctx),
            f"Parameters of the model ({ctx.meta[_MODEL]})": _model_options(ctx),
        }
        for title, parameters in sections.items():
            with formatter.section(title):
                shown = (p for p in parameters if isinstance(p, click.Option))
                records = (option.get_help_record(ctx) for option in shown)
                formatter.write_dl([record for record in records if record is not None])


@click.command("train", cls=TrainCommand)
@data_argument
@to_option("The folder of the trained model.")
@click.option(
    "--model",
    "model_name",
    default="autoencoder",
    show_default=True,
    help="Which model; --help lists the parameters of the one named.",
)
@picture_options
@click.option(
    "--window",
    type=int,
    help="Take DATA for a signal (sound, or a table or array) or a folder of sound, and learn from "
    "windows of so many samples.",
)
@hop_option
@click.option(
    "--log",
    type=PATH,
    metavar="CSV",
    help="Also write a line after every epoch, for `narrows serve --training` to show while "
    "training goes on.",
)
@ray_option("Train")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="With --ray: how many processes.  [default: one for each machine]",
)
@click.option(
    "--stream / --no-stream",
    default=None,
    help="With --ray: whether rows that stay on a disk are brought from this machine.  "
    "[default: if a worker does not see them]",
)
@columns_option
@file_options
@skip_option
@overwrite_option
@json_option
def command(*, data: Path, to: Path, **options: Any) -> int:
    """Train a model on pictures, a table or a signal.

    Text tables (.csv, .tsv, .txt, also .gz) are read in whatever way they are written where that is
    certain, which is said; otherwise --delimiter, --decimal, --encoding and --header say it.

    Ctrl-C ends training early and keeps what was learned.

    "torchrun --nproc-per-node N -m narrows train ..." shares each batch out over N processes. They
    keep a checkpoint beside the model until it is done, at which those that torchrun starts again
    (--max-restarts) go on, as does the same command after Ctrl-C.

    --ray does so by the workers of a Ray cluster, which begins again what it loses. DATA that fit
    into memory travel; larger ones are read by all workers or, where one does not see them, brought
    by Ray Data from this machine.
    """
    from narrows.errors import ParameterError
    from narrows.scale.processes import is_launched, together

    if options["workers"] is not None and options["ray"] is None:
        raise ParameterError("--workers is for --ray; torchrun has --nproc-per-node")
    if options["stream"] is not None and options["ray"] is None:
        raise ParameterError("--stream and --no-stream are for --ray; leave them out, or give it")
    if options["ray"] is not None and options["checkpoint"] is not None:
        raise ParameterError("--ray keeps checkpoints of its own; leave out --checkpoint")
    if not is_launched():
        return _train(data, to, True, **options)
    if options["ray"] is not None:
        raise ParameterError("torchrun and --ray both share out training; use one of them")
    with _told_once(), together() as is_first, nullcontext() if is_first else _silence():
        if options["checkpoint"] is None:
            options["checkpoint"] = to.with_name(f"{to.name}.checkpoint")
        return _train(data, to, is_first, **options)


@contextmanager
def _told_once() -> Iterator[None]:
    """Let of several processes that fail only the first one say why."""
    from narrows.cli.main import exit_code
    from narrows.errors import NarrowsError
    from narrows.scale.processes import fails_first

    try:
        yield
    except NarrowsError as error:
        if fails_first():
            raise
        raise click.exceptions.Exit(exit_code(error) or 1) from error


@contextmanager
def _silence() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _train(
    data: Path,
    to: Path,
    is_first: bool,
    *,
    model_name: str,
    image_size: int | tuple[int, int] | Literal["auto"],
    color: bool | None,
    window: int | None,
    hop: int | None,
    log: Path | None,
    columns: str | None,
    ray: str | None,
    workers: int | None,
    stream: bool | None,
    files: "FileOptions",
    skip_unreadable: bool,
    overwrite: bool,
    as_json: bool,
    **parameters: Any,
) -> int:
    """Train by this process, which writes and answers if it is the first of those that do."""
    from narrows import MODELS
    from narrows.atomic import check_output
    from narrows.cli.console import note, progress, report_skipped, training
    from narrows.data.files import read
    from narrows.data.lazy import LazyRows
    from narrows.data.stored import stored
    from narrows.errors import ParameterError
    from narrows.scale.training import fit_by_ray
    from narrows.storage import check_destination
    from narrows.training.progress import logged

    check_destination(to, overwrite=overwrite)
    if log is not None:
        check_output(log, overwrite=overwrite, kind="file")
    skipped: list[tuple[str, str]] = []
    X: Any
    read_again: Callable[[], Any]
    if window is not None:
        read_again = partial(read_windows, data.absolute(), columns, files, window, hop)
        X = read_windows(data, columns, files, window, hop)
    elif is_signal(data, hop is not None or columns is not None):
        raise ParameterError(f"'{data}' is a signal; say how many samples a window has (--window)")
    else:
        shape: Any = {
            "image_size": image_size,
            "color": "auto" if color is None else color,
            "options": files,
        }
        read_again = partial(_read, data.absolute(), **shape, skip_unreadable=skip_unreadable)
        with progress("reading") as advance:
            rows = read(data, **shape, skip_unreadable=skip_unreadable, progress=advance)
        X, skipped = rows.for_model(), rows.skipped
        report_skipped(skipped)
    model = MODELS[model_name](**parameters)
    with training(), logged(log if is_first else None), warnings.catch_warnings():
        # Said below, and where the model is.
        warnings.filterwarnings("ignore", message="training was interrupted")
        if ray is None:
            model.fit(X)
        else:
            # Each process reads for itself what is not in memory.
            given = read_again if isinstance(stored(X), LazyRows) else X
            sees = [data] if given is read_again else []
            with one_answer():
                model = fit_by_ray(model, given, ray, workers=workers, sees=sees, stream=stream)
    if not is_first:
        return 0
    model.save(to, overwrite=overwrite)
    _draw(model, to)
    interrupted = model.history_.ended == "interrupted"
    if interrupted:
        note(f"stopped by Ctrl-C; what was learned is kept in {to}")
    record = {"output": to, "rows": len(X), **_figures(model)}
    record["skipped"] = skipped_record(skipped)
    answer(
        record,
        as_json,
        f"{record['model']} with {code_words(model.spec_)}, trained on "
        f"{record['rows']} rows for {record['epochs']} epochs ({record['seconds']:.1f} s), in {to}",
    )
    return 130 if interrupted else 0


def _read(data: Path, **options: Any) -> Any:
    """Read rows for a model once more, where another process needs them."""
    from narrows.data.files import read

    return read(data, **options).for_model()


def _model_options(ctx: click.Context) -> list[click.Parameter]:
    from narrows import MODELS
    from narrows.cli.parameters import options

    name = ctx.meta[_MODEL]
    if name not in MODELS:
        raise click.BadParameter(
            f"{name!r} is not a model; use one of {', '.join(MODELS)}", ctx, param_hint="--model"
        )
    if _OPTIONS not in ctx.meta:
        ctx.meta[_OPTIONS] = options(MODELS[name])
    made: list[click.Parameter] = ctx.meta[_OPTIONS]
    return made


def _draw(model: "Autoencoder", folder: Path) -> None:
    """Leave a picture of how training went beside the model."""
    from matplotlib.figure import Figure

    from narrows import plots
    from narrows.atomic import atomic_file

    figure = Figure(figsize=_SIZE, dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    plots.history(model.history_, ax=upper).set_xlabel("")
    # The layers' names stand above.
    for text in plots.learning_rate(model.history_, ax=lower).texts:
        text.set_visible(False)
    with atomic_file(folder / "history.png", overwrite=True) as file:
        figure.savefig(file)


def _figures(model: "Autoencoder") -> dict[str, Any]:
    return {
        "model": type(model).__name__,
        "n_components": model.n_components,
        "sample_shape": model.sample_shape_,
        **model.history_.summary(),
        "fingerprint": model.fingerprint_,
    }
