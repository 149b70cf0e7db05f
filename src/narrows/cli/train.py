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
    reading_options,
    reading_record,
    to_option,
)
from narrows.cli.exchange import code_words, data_argument, picture_options
from narrows.cli.reading import file_options
from narrows.cli.waves import (
    columns_option,
    hop_option,
    is_signal,
    rate_option,
    read_windows,
    refuse_signal_options,
)

if TYPE_CHECKING:
    from narrows import Autoencoder
    from narrows.data.files import Rows
    from narrows.data.formats import FileOptions
    from narrows.signals import Signals

_SIZE = (6.4, 6.0)  # of the picture, in inches
_MODEL, _OPTIONS = "narrows.model", "narrows.options"


class TrainCommand(click.Command):
    """A command that has the parameters of the model named by ``--model`` as options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for ``--model`` or ``--resume`` first: they decide which options there are."""
        from argparse import ArgumentParser

        peek = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        peek.add_argument("--model", nargs="?")
        peek.add_argument("--resume", nargs="?")
        found = peek.parse_known_args(args)[0]
        name = found.model
        if name is None and found.resume is not None:
            from narrows.cli.resuming import kind_of

            name = kind_of(found.resume)
        ctx.meta[_MODEL] = name or "autoencoder"
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
@click.option(
    "--resume",
    type=PATH,
    metavar="MODEL",
    help="Go on with the run that made this model, with its options and the same DATA: where it "
    "was stopped, or with more epochs (--max-epochs, those done included).",
)
@click.option(
    "--resumable/--no-resumable",
    default=True,
    show_default=True,
    help="Whether the model's folder keeps what --resume needs, three to four times the weights.",
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
@rate_option
@file_options
@reading_options
@overwrite_option
@json_option
def command(*, data: Path, to: Path, **options: Any) -> int:
    """Train a model on pictures, a table or a signal.

    Text tables (.csv, .tsv, .txt, also .gz) are read in whatever way they are written where that is
    certain, which is said; otherwise --delimiter, --decimal, --encoding and --header say it.

    Ctrl-C, SIGTERM and SIGHUP end training early and keep what was learned; a second one ends the
    process at once. "narrows train DATA --resume MODEL -o OUT" goes on: with the epochs that were
    planned the result is that of the run without a stop, bit for bit. With --max-epochs N, the
    learning rate is from there on that of a cycle over N epochs, and early stopping counts anew.

    "torchrun --nproc-per-node N -m narrows train ..." shares each batch out over N processes. They
    keep a checkpoint beside the model until it is done, at which those that torchrun starts again
    (--max-restarts) go on, as does the same command after Ctrl-C.

    --ray does so by the workers of a Ray cluster, which begins again what it loses. DATA that fit
    into memory travel; larger ones are read by all workers or, where one does not see them, brought
    by Ray Data from this machine.
    """
    from narrows.cli import stopping
    from narrows.errors import ParameterError
    from narrows.scale.ddp import is_launched, together

    if options["workers"] is not None and options["ray"] is None:
        raise ParameterError("--workers is for --ray; torchrun has --nproc-per-node")
    if options["stream"] is not None and options["ray"] is None:
        raise ParameterError("--stream and --no-stream are for --ray; leave them out, or give it")
    if options["ray"] is not None and options["checkpoint"] is not None:
        raise ParameterError("--ray keeps checkpoints of its own; leave out --checkpoint")
    if options["ray"] is not None and options["resume"] is not None:
        raise ParameterError(
            "--ray does not go with --resume; leave out --ray, or have torchrun share out training"
        )
    if not is_launched():
        return _train(data, to, True, **options)
    if options["ray"] is not None:
        raise ParameterError("torchrun and --ray both share out training; use one of them")
    stopping.leave()  # torchrun starts and ends this process
    with _told_once(), together() as is_first, nullcontext() if is_first else _silence():
        if options["checkpoint"] is None:
            options["checkpoint"] = to.with_name(f"{to.name}.checkpoint")
        return _train(data, to, is_first, **options)


@contextmanager
def _told_once() -> Iterator[None]:
    """Let of several processes that fail only the first one say why."""
    from narrows.cli.main import exit_code
    from narrows.errors import NarrowsError
    from narrows.scale.ddp import fails_first

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
    resume: Path | None,
    resumable: bool,
    image_size: int | tuple[int, int] | Literal["auto"],
    color: bool | None,
    window: int | None,
    hop: int | None,
    log: Path | None,
    columns: str | None,
    rate: int | None,
    ray: str | None,
    workers: int | None,
    stream: bool | None,
    files: "FileOptions",
    skip_unreadable: bool,
    exclude: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
    **parameters: Any,
) -> int:
    """Train by this process, which writes and answers if it is the first of those that do."""
    from narrows.atomic import check_output
    from narrows.cli import stopping
    from narrows.cli.console import note, report_skipped, training
    from narrows.cli.resuming import make_or_resume, shape_of
    from narrows.data.lazy_rows import LazyRows, stored
    from narrows.scale.ray_training import fit_by_ray
    from narrows.storage import check_destination
    from narrows.texts import counted
    from narrows.training.progress import logged, on_plan

    check_destination(to, overwrite=overwrite)
    if log is not None:
        check_output(log, overwrite=overwrite, kind="file")
    model, resumed = make_or_resume(model_name, resume, parameters)
    pictures = {"image_size": image_size, "color": "auto" if color is None else color}
    if resume is not None:
        pictures = shape_of(model, **pictures)
    options = {"skip_unreadable": skip_unreadable, "exclude": exclude, "options": files}
    signal = {"columns": columns, "hop": hop, "rate": rate}
    X, found, read_again = _read_data(data, window, signal, pictures, options)
    report_skipped(found.skipped)
    tell = _teller()
    with (
        training(keeps=True),
        on_plan(tell),
        logged(log if is_first else None),
        warnings.catch_warnings(),
    ):
        # Said below, and where the model is.
        warnings.filterwarnings("ignore", message="training was interrupted")
        if resume is not None:
            model.resume(X)
        elif ray is None:
            model.fit(X)
        else:
            # Each process reads for itself what is not in memory.
            given = read_again if isinstance(stored(X), LazyRows) else X
            sees = [data] if given is read_again else []
            with one_answer():
                model = fit_by_ray(model, given, ray, workers=workers, sees=sees, stream=stream)
            tell(model.choices_)  # which workers knew before the first step
    if not is_first:
        return 0
    model.save(to, overwrite=overwrite, resumable=resumable)
    _draw(model, to)
    interrupted = model.history_.ended == "interrupted"
    if interrupted:
        goes_on = f"; --resume {to} goes on" if resumable and model.is_resumable_ else ""
        note(f"stopped by {stopping.reason()}; what was learned is kept in {to}{goes_on}")
    elif stopping.is_stopped():
        note(f"{stopping.reason()} came when training was over; the whole model is in {to}")
    record = {"output": to, "rows": len(X), **_figures(model), **resumed, **reading_record(found)}
    record["resumable"] = resumable and model.is_resumable_
    trained = (
        f"trained on {counted(record['rows'], 'row')} for {counted(record['epochs'], 'epoch')}"
    )
    answer(
        record,
        as_json,
        f"{record['model']} with {code_words(model.spec_)}, {trained} "
        f"({record['seconds']:.1f} s), in {to}",
        *_kept(model),
    )
    return stopping.exit_code() if interrupted else 0


def _teller() -> Callable[[dict[str, Any]], None]:
    """Make what says of the first run that is planned what was chosen: a stack's layers follow."""
    from narrows.cli.console import note
    from narrows.models.explain import sentence

    said: list[dict[str, Any]] = []

    def tell(choices: dict[str, Any]) -> None:
        if not said:
            note(sentence(choices) if choices else "chosen: nothing, all parameters were given")
        said.append(choices)

    return tell


def _read_data(
    data: Path,
    window: int | None,
    signal: dict[str, Any],
    pictures: dict[str, Any],
    options: dict[str, Any],
) -> "tuple[Any, Rows | Signals, Callable[[], Any]]":
    """Read rows to learn from; return them, what is known of the reading, and how to do it again.

    Raises
    ------
    ParameterError
        If options are for other data.
    """
    from narrows.cli.console import progress
    from narrows.data.files import read
    from narrows.data.reading import current
    from narrows.errors import ParameterError

    if window is not None:
        options = {**options, **signal, "length": window}
        X, found = read_windows(data, **options)
        return X, found, partial(_windows, data.absolute(), **options)
    if is_signal(data, False):
        raise ParameterError(
            f"'{data}' is a signal; say how many samples a window has (--window 256)"
        )
    refuse_signal_options(**signal, by="--window 256")
    # Another process does not know of the options that hold for all that is read here.
    how = {"pages": current().pages, "max_pixels": current().max_pixels}
    options = {**options, **pictures, **how}
    with progress("reading") as advance:
        rows = read(data, **options, progress=advance)
    return rows.for_model(), rows, partial(_read, data.absolute(), **options)


def _windows(data: Path, **options: Any) -> Any:
    """Cut a signal into windows once more, where another process needs them."""
    return read_windows(data, **options)[0]


def _read(data: Path, **options: Any) -> Any:
    """Read rows for a model once more, where another process needs them."""
    from narrows.data.files import read

    return read(data, **options).for_model()


def _model_options(ctx: click.Context) -> list[click.Parameter]:
    from narrows import MODELS
    from narrows.cli.parameters import options
    from narrows.models.registry import model_named

    name = ctx.meta[_MODEL]
    if (model := model_named(name)) is None:
        raise click.BadParameter(
            f"{name!r} is not a model; use one of {', '.join(MODELS)}", ctx, param_hint="--model"
        )
    if _OPTIONS not in ctx.meta:
        ctx.meta[_OPTIONS] = options(model)
    made: list[click.Parameter] = ctx.meta[_OPTIONS]
    return made


def _draw(model: "Autoencoder", folder: Path) -> None:
    """Leave a picture of how training went beside the model, unless it took no epochs."""
    if not any(map(len, (model.history_, *model.history_.layers))):
        return
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


def _kept(model: "Autoencoder") -> list[str]:
    """Say that a network which started at PCA stayed there, if it did."""
    history = model.history_
    if history.start is None or history.best_epoch or not len(history):
        return []
    return [
        "PCA was kept: training did not lower the held-out error significantly (p < 0.001, paired "
        "t test)"
    ]


def _figures(model: "Autoencoder") -> dict[str, Any]:
    return {
        "model": type(model).__name__,
        "n_components": model.n_components,
        "sample_shape": model.sample_shape_,
        **model.history_.summary(),
        "chosen": {
            name: {"value": choice.value, "reason": choice.reason}
            for name, choice in model.choices_.items()
        },
        "fingerprint": model.fingerprint_,
    }
