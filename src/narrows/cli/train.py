"""``narrows train``: train a model, whose parameters are options, or go on with its training."""

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from narrows.cli import options
from narrows.cli.anomalies import fit_detector, read_training_rows
from narrows.cli.console import answer, note, one_answer, progress, training
from narrows.cli.exchange import (
    code_words,
    crops_for,
    read_windows,
    reading_record,
    refuse_signal,
    report_skipped,
)
from narrows.cli.pairs import of_pairs, read_all_pairs
from narrows.cli.process import stopping
from narrows.cli.purposes import check_matching, of_noisy
from narrows.cli.resuming import (
    check_one_process,
    held_out_psnr,
    load_to_resume,
    model_name_of,
    note_resumed,
    psnr_words,
    read_to_resume,
    shape_of,
)
from narrows.cli.tables import (
    NONE_SKIPPED,
    column_parameters,
    note_kinds,
    read_learnable,
    read_table,
)
from narrows.texts import counted

if TYPE_CHECKING:
    from narrows import Autoencoder, TableAutoencoder
    from narrows.data.files import Rows
    from narrows.signals import Signals

_SIZE = (6.4, 6.0)  # of the plot of training, in inches
_PCA_KEPT = "PCA was kept: training did not lower the held-out error significantly (paired t tests)"
_MODEL, _OPTIONS = "narrows.model", "narrows.options"


class TrainCommand(options.Verb):
    """A command that has the parameters of the model named by ``--model`` as options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for ``--model`` or ``--resume`` first: they decide which options there are."""
        from argparse import ArgumentParser

        peek = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        peek.add_argument("--model", nargs="?")
        peek.add_argument("--resume", nargs="?")
        peek.add_argument("--noisy", action="store_true")
        peek.add_argument("--for", nargs="?", dest="purpose")
        found = peek.parse_known_args(args)[0]
        name = found.model or ("denoising" if found.noisy else None)
        if name is None and found.purpose == "matching":
            name = "matching"
        if name is None and found.resume is not None:
            name = model_name_of(found.resume)
        ctx.meta[_MODEL] = name or "autoencoder"
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the verb's own options and the model's."""
        return [*super().get_params(ctx), *self._model_options(ctx)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the model's parameters apart from the verb's own options."""
        sections = {
            "Options": super().get_params(ctx),
            f"Parameters of the model ({ctx.meta[_MODEL]})": self._model_options(ctx),
        }
        for title, parameters in sections.items():
            with formatter.section(title):
                shown = (p for p in parameters if isinstance(p, click.Option))
                records = (option.get_help_record(ctx) for option in shown)
                formatter.write_dl([record for record in records if record is not None])

    def _model_options(self, ctx: click.Context) -> list[click.Parameter]:
        from narrows import MODELS
        from narrows.models.registry import model_named

        name = ctx.meta[_MODEL]
        if (model := model_named(name)) is None:
            raise click.BadParameter(
                f"{name!r} is not a model; use one of {', '.join(MODELS)}",
                ctx,
                param_hint="--model",
            )
        if _OPTIONS not in ctx.meta:
            ctx.meta[_OPTIONS] = options.of_model(model)
            taken = {p.name for p in super().get_params(ctx)}
            for option in ctx.meta[_OPTIONS]:
                if option.name in taken:
                    raise click.BadParameter(
                        f"{name!r} has a parameter {option.name!r}, which is the name of an option "
                        "of this verb; rename it in the class, or train the model from Python",
                        ctx,
                        param_hint="--model",
                    )
        made: list[click.Parameter] = ctx.meta[_OPTIONS]
        return made


@options.verb("train", cls=TrainCommand)
@options.data
@options.to("The folder of the trained model.")
@click.option(
    "--model",
    "model_name",
    default="autoencoder",
    help="Which model; --help lists the parameters of the one named.",
)
@click.option(
    "--noisy",
    is_flag=True,
    help="Learn to denoise DATA from itself, without clean pictures: short for --model denoising "
    "--corruption blind_spot. The noise of neighbouring pixels has to be independent.",
)
@click.option(
    "--clean",
    type=options.PATH,
    metavar="FOLDER",
    help="With --model denoising: the clean originals of DATA, picture files of the same names and "
    "sizes, or rows in the same order. --corruption, by default none, adds to DATA's own damage.",
)
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["anomalies", "matching"]),
    help="anomalies: train a detector, of small networks that each score the rows that they have "
    "not seen, or, with --model, of five models of that kind. matching: train a model for "
    "libraries, whose codes are alike for distorted versions of a picture (--model matching).",
)
@click.option(
    "--resume",
    type=options.PATH,
    metavar="MODEL",
    help="Go on with the run that made this model, with its options and the same DATA: where it "
    "was stopped, or with more epochs (--max-epochs, those done included).",
)
@click.option(
    "--resumable/--no-resumable",
    default=True,
    help="Whether the model's folder keeps what --resume needs, three to four times the weights.",
)
@options.pictures
@click.option(
    "--window",
    type=int,
    help="Take DATA for a signal (sound, or a table or array) or a folder of sound, and learn from "
    "windows of so many samples.",
)
@options.signal
@options.table_columns
@click.option(
    "--log",
    type=options.PATH,
    metavar="CSV",
    help="Also write a line after every epoch, for `narrows serve --training` to show while "
    "training goes on.",
)
@options.ray("Train")
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
@options.reading
def command(*, data: Path, to: Path, **how: Any) -> int:
    """Train a model on pictures, a table or a signal.

    Text tables ({text_tables}, also {compressed}) are read in whatever way they are written where
    that is certain, which is reported; otherwise --delimiter, --decimal, --encoding and --header
    say it.

    Ctrl-C, SIGTERM and SIGHUP end training early and keep what was learned; a second one ends the
    process at once. "narrows train DATA --resume MODEL -o OUT" goes on: with the epochs that were
    planned the result is that of the run without a stop, bit for bit. With --max-epochs N, the
    learning rate is from there on that of a cycle over N epochs, and early stopping counts anew.

    "torchrun --nproc-per-node N -m narrows train ..." shares each batch out over N processes. They
    keep a checkpoint beside the model until it is done. Those that torchrun starts again
    (--max-restarts) go on from it, as does the same command after Ctrl-C.

    --ray does so by the workers of a Ray cluster, which begins again what it loses. DATA that fit
    into memory travel; larger ones are read by all workers or, where one does not see them, brought
    by Ray Data from this machine.
    """
    from narrows.errors import ParameterError
    from narrows.ranks import is_launched, together

    if how["clean"] is not None:
        how |= of_pairs(how)
    if how.pop("noisy"):
        how |= of_noisy(how, click.get_current_context().meta[_MODEL])
    purpose = how.pop("purpose")
    if purpose == "anomalies":
        del how["clean"]
        return _train_detector(data, to, **how)
    if purpose == "matching":
        check_matching(click.get_current_context().meta[_MODEL])
        how["model_name"] = "matching"
    if how["ray"] is None:
        if how["workers"] is not None:
            raise ParameterError("--workers is for --ray; torchrun has --nproc-per-node")
        if how["stream"] is not None:
            raise ParameterError(
                "--stream and --no-stream are for --ray; leave them out, or give it"
            )
    elif how["checkpoint"] is not None:
        raise ParameterError("--ray keeps checkpoints of its own; leave out --checkpoint")
    elif how["resume"] is not None:
        raise ParameterError(
            "--ray does not go with --resume; leave out --ray, or have torchrun share out training"
        )
    if not is_launched():
        return _train(data, to, True, **how)
    if how["ray"] is not None:
        raise ParameterError("torchrun and --ray both share out training; use one of them")
    stopping.leave()  # torchrun starts and ends this process
    with _print_error_once(), together() as is_first, nullcontext() if is_first else _silence():
        if how["checkpoint"] is None:
            how["checkpoint"] = to.with_name(f"{to.name}.checkpoint")
        return _train(data, to, is_first, **how)


def _train_detector(
    data: Path,
    to: Path,
    *,
    model_name: str,
    pictures: dict[str, Any],
    window: int | None,
    signal: dict[str, Any],
    reading: dict[str, Any],
    overwrite: bool,
    drop: str | None,
    categorical: str | None,
    **parameters: Any,
) -> int:
    """Train a detector of anomalies, by the committee or by models of the kind that was named."""
    from narrows import MODELS
    from narrows.errors import ParameterError
    from narrows.ranks import is_launched
    from narrows.storage import check_destination
    from narrows.texts import counted

    source = click.get_current_context().get_parameter_source
    given = [n for n in parameters if source(n) is ParameterSource.COMMANDLINE]
    refused = {"resume", "resumable", "log", "ray", "workers", "stream", "checkpoint"}
    if source("model_name") is not ParameterSource.COMMANDLINE:
        refused = set(parameters) - {"random_state"}
    if wrong := [name for name in given if name in refused]:
        option = f"--{wrong[0].replace('_', '-')}"
        raise ParameterError(
            f"{option} does not go with --for anomalies; leave it out, or, if it is a parameter of "
            "a model, name that model (--model autoencoder)"
        )
    if is_launched():
        raise ParameterError("--for anomalies trains in one process; start it without torchrun")
    check_destination(to, overwrite=overwrite)
    model = None
    if source("model_name") is ParameterSource.COMMANDLINE:
        kind = MODELS[model_name]
        names = {field.name for field in dataclasses.fields(kind)}
        model = kind(**{name: value for name, value in parameters.items() if name in names})
    asked = column_parameters(signal["columns"] if window is None else None, drop, categorical)
    read = read_training_rows(data, window, signal, {**reading, **pictures}, asked)
    seed = parameters["random_state"]
    with training():
        detector = fit_detector(model, read.X, random_state=seed, **asked)
    detector.save(to, overwrite=overwrite)
    record = {
        "output": to,
        "rows": len(read.X),
        "threshold": -detector.offset_,
        "false_alarms": detector.false_alarms,
        "fingerprint": detector.fingerprint_,
        **reading_record(read.found),
    }
    answer(record, f"a detector of anomalies, trained on {counted(len(read.X), 'row')}, in {to}")
    return 0


@contextmanager
def _print_error_once() -> Iterator[None]:
    """Print an error only in the first of several processes that fail."""
    from narrows.cli.main import exit_code
    from narrows.errors import NarrowsError
    from narrows.ranks import fails_first

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
    clean: Path | None,
    model_name: str,
    resume: Path | None,
    resumable: bool,
    pictures: dict[str, Any],
    window: int | None,
    signal: dict[str, Any],
    drop: str | None,
    categorical: str | None,
    log: Path | None,
    ray: str | None,
    workers: int | None,
    stream: bool | None,
    reading: dict[str, Any],
    overwrite: bool,
    **parameters: Any,
) -> int:
    """Train in this process, which writes and answers if it is the first of several."""
    from narrows import MODELS, TableAutoencoder
    from narrows.atomic import check_output
    from narrows.data.frames import Frame
    from narrows.data.lazy_rows import LazyRows, stored
    from narrows.storage import check_destination
    from narrows.training.progress import logged

    check_destination(to, overwrite=overwrite)
    if log is not None:
        check_output(log, overwrite=overwrite, kind="file")
    model: Any
    if resume is None:
        model, resumed = MODELS[model_name](**parameters), {}
        model.check_parameters()
        pictures |= {} if window is not None else crops_for(model)
    else:
        model = load_to_resume(resume, model_name, parameters)
        resumed = {"resumed": note_resumed(resume, model)}
        pictures = shape_of(model, pictures)
    asked = column_parameters(signal["columns"] if window is None else None, drop, categorical)
    found: Any
    originals: list[Any] = []
    paired: dict[str, Any] = {}
    if clean is not None:
        pairs, paired = read_all_pairs(data, clean, {**reading, **pictures})
        X, found, read_again = pairs.damaged.for_model(), pairs.damaged, None
        originals.append(pairs.clean.for_model())
    elif isinstance(model, TableAutoencoder):
        table = read_to_resume(model, data, window, asked, reading["options"])
        X, found, read_again = table, NONE_SKIPPED, None
    else:
        X, found, read_again = _read_any(data, window, signal, {**reading, **pictures}, asked=asked)
        model = _of_table(model, asked, resume, ray) if isinstance(X, Frame) else model
    report_skipped(found.skipped)
    rows, by_ray = X, None
    if ray is not None:
        # Each process reads rows that are not in memory.
        is_read = isinstance(stored(X), LazyRows)
        rows, sees = (read_again, [data]) if is_read else (X, [])
        by_ray = {"address": ray, "workers": workers, "sees": sees, "stream": stream}
    with training(keeps=True), logged(log if is_first else None):
        model = _learn(model, [rows, *originals], by_ray, resumes=resume is not None)
    if not is_first:
        return 0
    model.save(to, overwrite=overwrite, resumable=resumable)
    _draw(model, to)
    resumable = resumable and model.is_resumable_
    interrupted = model.history_.ended == "interrupted"
    if stopping.number is not None or interrupted:
        _note_stop(to, interrupted=interrupted, resumable=resumable)
    _answer(model, to, len(X), found, {**resumed, **paired, "resumable": resumable})
    return stopping.exit_code if interrupted else 0


def _learn(model: Any, data: list[Any], by_ray: dict[str, Any] | None, *, resumes: bool) -> Any:
    """Fit a model to rows, or to damaged and clean ones, in this process or by those of Ray."""
    from narrows.scale.ray_training import fit_by_ray
    from narrows.training.progress import on_choices

    note_choices = _note_choices_once()
    with on_choices(note_choices), warnings.catch_warnings():
        # This is reported with the model's folder.
        warnings.filterwarnings("ignore", message="training was interrupted")
        if resumes:
            return model.resume(*data)
        if by_ray is None:
            return model.fit(*data)
        with one_answer():
            model = fit_by_ray(model, *data, **by_ray)
        note_choices(model.choices_)  # which workers knew before the first step
    return model


def _answer(model: Any, to: Path, count: int, found: Any, more: dict[str, Any]) -> None:
    """Say what was learned, from how many rows or pairs, and how well."""
    from narrows import TableAutoencoder

    kinds = (
        note_kinds(model.column_encoder_)
        if isinstance(model, TableAutoencoder)
        else reading_record(found)
    )
    record = {"output": to, "rows": count, **_figures(model), **kinds, **more}
    rows = counted(count, "pair" if "clean" in more else "row")
    answer(
        record,
        f"{record['model']} with {code_words(model.spec_)}, trained on {rows} "
        f"for {counted(record['epochs'], 'epoch')} ({record['seconds']:.1f} s), in {to}",
        *([_PCA_KEPT] if _kept_pca(model) else []),
        *psnr_words(model, to),
    )


def _note_stop(to: Path, *, interrupted: bool, resumable: bool) -> None:
    """Print what a signal has stopped, and where the model is."""
    if interrupted:
        goes_on = f"; --resume {to} goes on" if resumable else ""
        note(f"stopped by {stopping.reason}; what was learned is kept in {to}{goes_on}")
    else:
        note(f"{stopping.reason} came when training was over; the whole model is in {to}")


def _read_any(
    data: Path,
    window: int | None,
    signal: dict[str, Any],
    reading: dict[str, Any],
    *,
    asked: dict[str, Any],
) -> "tuple[Any, Any, Callable[[], Any] | None]":
    """Read rows as :func:`_read_data` does, or a table of other columns than numbers, as a Frame.

    Raises
    ------
    ParameterError
        If options choose columns of other data than tables.
    DataError
        If it cannot be learned from.
    """
    import pyarrow as pa

    from narrows.data.extremes import extremes_of, warn_of_extremes
    from narrows.data.formats import is_table
    from narrows.errors import ParameterError

    named = [name for name, value in asked.items() if value]
    of_table = window is None and is_table(data)
    for name in () if of_table else named:
        if name != "columns":
            what = "is read as a signal" if window is not None else "is none"
            raise ParameterError(f"--{name} is for tables, and '{data}' {what}; leave it out")
    if named and of_table:
        return read_table(data, reading["options"]), NONE_SKIPPED, None
    read = partial(_read_data, data, window, signal, reading)
    is_of_pictures = (reading.get("image_size"), reading.get("color")) != ("auto", "auto")
    if not of_table or is_of_pictures:
        return read()
    found = read_learnable(read, data, reading["options"])
    if not isinstance(found, tuple):
        return found, NONE_SKIPPED, None
    if isinstance(X := found[0], pa.Table):
        warn_of_extremes(extremes_of((name, X[name].to_numpy()) for name in X.column_names))
    return found


def _of_table(
    model: Any, asked: dict[str, Any], resume: Path | None, ray: str | None
) -> "TableAutoencoder":
    """Make the model of a table with categories, dates or gaps around a model of its rows.

    Raises
    ------
    ParameterError
        If its training is to be shared out, or a model of other rows to be resumed.
    """
    from narrows import TableAutoencoder
    from narrows.errors import ParameterError

    if resume is not None:
        raise ParameterError(
            f"'{resume}' learned from rows of numbers, and not from a table with categories, dates "
            "or gaps; give what it learned from, or leave out --resume"
        )
    check_one_process(ray)
    return TableAutoencoder(model, random_state=model.random_state, **asked)


def _note_choices_once() -> Callable[[dict[str, Any]], None]:
    """Make the callback that prints what was chosen for the first run; layers of a stack follow."""
    from narrows.models.choices import sentence

    noted: list[dict[str, Any]] = []

    def note_first(choices: dict[str, Any]) -> None:
        if not noted:
            note(sentence(choices) if choices else "chosen: nothing, all parameters were given")
        noted.append(choices)

    return note_first


def _read_data(
    data: Path, window: int | None, signal: dict[str, Any], reading: dict[str, Any]
) -> "tuple[Any, Rows | Signals, Callable[[], Any]]":
    """Read rows to learn from; return them, the report of reading, and how to read them again.

    Raises
    ------
    ParameterError
        If options are for other data.
    """
    from narrows.data.files import read
    from narrows.data.reading import current

    if window is not None:
        X, found = read_windows(data, window, signal, reading)
        return X, found, partial(_windows, data.absolute(), window, signal, reading)
    refuse_signal(data, signal)
    # Other processes do not know how all picture files are read here.
    reading = {**reading, "pages": current().pages, "max_pixels": current().max_pixels}
    with progress("reading") as advance:
        rows = read(data, **reading, progress=advance)
    return rows.for_model(), rows, partial(_rows, data.absolute(), **reading)


def _windows(data: Path, *how: Any) -> Any:
    """Cut a signal into windows once more, where another process needs them."""
    return read_windows(data, *how)[0]


def _rows(data: Path, **reading: Any) -> Any:
    """Read rows for a model once more, where another process needs them."""
    from narrows.data.files import read

    return read(data, **reading).for_model()


def _draw(model: "Autoencoder", folder: Path) -> None:
    """Save a plot of training beside the model, unless it took no epochs."""
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


def _kept_pca(model: "Autoencoder") -> bool:
    """Return whether a network that started at PCA stayed there."""
    history = model.history_
    return history.start is not None and history.best_epoch == 0 and len(history) > 0


def _figures(model: Any) -> dict[str, Any]:
    fingerprint, name = model.fingerprint_, type(model).__name__
    model = getattr(model, "model_", model)  # of a table
    return {
        "model": name,
        "n_components": model.spec_.n_components,
        "sample_shape": model.sample_shape_,
        **model.history_.summary(),
        **held_out_psnr(model),
        "chosen": {
            name: {"value": choice.value, "reason": choice.reason}
            for name, choice in model.choices_.items()
        },
        "fingerprint": fingerprint,
    }
