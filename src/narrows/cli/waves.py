"""Verbs on signals: sound files, and tables or arrays that are one long signal."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import answer
from narrows.cli.reading import shared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from narrows import Autoencoder
    from narrows.data.formats import FileOptions
    from narrows.signals import Signal, Signals, Windows

# Endings of sound files, known without importing what reads them.
_SOUND = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")


def signal_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb what it has to know of a signal."""
    for option in (rate_option, hop_option, columns_option, signal_option):
        function = option(function)
    return function


def signal_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb its ``--signal``."""
    return click.option(
        "--signal",
        is_flag=True,
        help="Take a table or an array for one long signal, as sound files are.",
    )(function)


def hop_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb its ``--hop``."""
    return click.option(
        "--hop", type=int, help="Samples from a window to the next.  [default: half a window]"
    )(function)


def rate_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb its ``--rate``."""
    return click.option(
        "--rate",
        type=click.IntRange(1),
        help="Bring sound to so many samples a second.  [default: its own, which the model "
        "remembers]",
    )(function)


def columns_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb its ``--columns``."""
    return click.option(
        "--columns",
        metavar="NAME,...",
        help="A signal's columns or channels (0,1,...).  [default: all]",
    )(function)


def is_signal(path: Path, signal: bool) -> bool:
    """Tell whether a file is to be taken for a signal."""
    return signal or path.suffix.lower() in _SOUND


def refuse_signal_options(
    *, rate: int | None, columns: str | None = None, hop: int | None = None, by: str = "--signal"
) -> None:
    """Refuse the options of signals for data that are read as rows.

    Parameters
    ----------
    rate, columns, hop
        What was given.
    by : str
        The option that would make a table or an array a signal.

    Raises
    ------
    ParameterError
        If one is given.
    """
    from narrows.errors import ParameterError

    if rate is not None:
        raise ParameterError(f"--rate {rate} is for sound, and these data are none; leave it out")
    for name, value in (("columns", columns), ("hop", hop)):
        if value is not None:
            raise ParameterError(
                f"--{name} {value} is for signals, and these data are read as rows; give {by} for "
                f"a signal, or leave --{name} out"
            )


def read_signal(
    path: Path,
    columns: str | None,
    files: "FileOptions",
    rate: int | None = None,
    exclude: tuple[str, ...] = (),
) -> "Signal":
    """Read a signal, or some columns of it."""
    from narrows import signals
    from narrows.data.files import check_excludable

    check_excludable(path, exclude)
    return signals.read(path, _names(columns), rate=rate, options=files)


def read_windows(
    path: Path, columns: str | None, length: int, hop: int | None, **options: Any
) -> "tuple[Windows, Signals]":
    """Cut a signal, or all those of a folder, into windows to learn from."""
    from narrows import signals

    found = signals.read_all(path, _names(columns), **options)
    _check_lengths(found, length)
    return signals.Windows(found.signals, length, hop), found


def _check_lengths(found: "Signals", length: int) -> None:
    """Name the first file that is shorter than a window.

    Raises
    ------
    DataError
        If there is one.
    """
    from narrows.errors import DataError

    for signal, file in zip(found.signals, found.files, strict=True):
        if len(signal.values) < length:
            several = f", or leave this one out (--exclude '{file.name}')"
            raise DataError(
                f"'{file}': a signal of {len(signal.values)} samples is shorter than a window of "
                f"{length}; take a shorter --window{several if found.left_out else ''}"
            )


def _names(columns: str | None) -> list[str] | None:
    return None if columns is None else columns.split(",")


def restore_signal(
    model: "Autoencoder",
    method: str,
    data: Path,
    to: Path,
    *,
    columns: str | None,
    hop: int | None,
    rate: int | None,
    exclude: tuple[str, ...],
    files: "FileOptions",
    overwrite: bool,
    as_json: bool,
    clean: Path | None = None,
) -> None:
    """Run a whole signal through a model, and write what comes back."""
    from narrows import signals
    from narrows.atomic import check_output
    from narrows.texts import counted

    check_output(to, overwrite=overwrite, kind="file")
    own, of_clean = shared(files, [data, clean])
    signal = read_signal(data, columns, own, rate, exclude)
    signals.check_signal_output(to, signal.rate)
    original = None if clean is None else _clean_of(signal, clean, columns, of_clean, rate)
    restored = getattr(signals, method)(model, signal, hop)
    record = {"output": to, "samples": len(restored), "rate": signal.rate}
    said = f"{counted(len(restored), 'sample')} restored in {to}"
    if original is not None:
        before, after = (signals.snr(values, original) for values in (signal.values, restored))
        record["snr"] = {"damaged": before, "restored": after}
        said += f"; SNR {after:.4g} dB (input: {before:.4g} dB)"
    signals.write(to, replace(signal, values=restored), overwrite=overwrite)
    answer(record, as_json, said)


def _clean_of(
    signal: "Signal", path: Path, columns: str | None, files: "FileOptions", rate: int | None
) -> "NDArray[Any]":
    """Read the clean original of a signal, which has its rate.

    Raises
    ------
    DataError
        If it has another.
    """
    from narrows.errors import DataError

    clean = read_signal(path, columns, files, rate)
    if None not in (clean.rate, signal.rate) and clean.rate != signal.rate:
        raise DataError(
            f"'{path}' has {clean.rate} samples a second, the signal {signal.rate}; bring both to "
            f"one rate (--rate {signal.rate})"
        )
    return clean.values
