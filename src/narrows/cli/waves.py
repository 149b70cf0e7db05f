"""Verbs on signals: sound files, and tables or arrays that are one long signal."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import answer
from narrows.cli.reading import shared

if TYPE_CHECKING:
    from narrows import Autoencoder
    from narrows.data.options import FileOptions
    from narrows.signals import Signal, Windows

# Endings of sound files, known without importing what reads them.
_SOUND = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")


def signal_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb what it has to know of a signal."""
    for option in (hop_option, columns_option, signal_option):
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


def read_signal(path: Path, columns: str | None, files: "FileOptions") -> "Signal":
    """Read a signal, or some columns of it."""
    from narrows import signals

    return signals.read(path, None if columns is None else columns.split(","), options=files)


def read_windows(
    path: Path, columns: str | None, files: "FileOptions", length: int, hop: int | None
) -> "Windows":
    """Cut a signal, or all those of a folder, into windows to learn from."""
    from narrows import signals

    found = [read_signal(file, columns, files) for file in signals.find_signals(path)]
    return signals.Windows([signal.values for signal in found], length, hop)


def restore_signal(
    model: "Autoencoder",
    method: str,
    data: Path,
    to: Path,
    *,
    columns: str | None,
    hop: int | None,
    files: "FileOptions",
    overwrite: bool,
    as_json: bool,
    clean: Path | None = None,
) -> None:
    """Run a whole signal through a model, and write what comes back."""
    from narrows import signals
    from narrows.atomic import check_output

    check_output(to, overwrite=overwrite, kind="file")
    own, of_clean = shared(files, [data, clean])
    signal = read_signal(data, columns, own)
    signals.check_signal_output(to, signal.rate)
    original = None if clean is None else read_signal(clean, columns, of_clean).values
    restored = getattr(signals, method)(model, signal.values, hop)
    record = {"output": to, "samples": len(restored), "rate": signal.rate}
    said = f"{len(restored)} samples restored in {to}"
    if original is not None:
        before, after = (signals.snr(values, original) for values in (signal.values, restored))
        record["snr"] = {"damaged": before, "restored": after}
        said += f"; SNR {after:.4g} dB, of the damaged {before:.4g} dB"
    signals.write(to, replace(signal, values=restored), overwrite=overwrite)
    answer(record, as_json, said)
