"""Signals in files: sound through soundfile, tables and arrays by their readers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from narrows.atomic import atomic_file
from narrows.data.folders import LeftOut, Listing, check_excludable, check_exists, list_files
from narrows.data.numpy_files import read_npy, write_npy
from narrows.data.options import DEFAULTS, FileOptions
from narrows.data.sound import SOUND_SUFFIXES, read_sound, write_sound
from narrows.data.tables import TABLE_SUFFIXES, is_table, read_table, write_table
from narrows.data.text import counted
from narrows.errors import (
    DataError,
    ParameterError,
    UnreadableFileError,
)

_BESIDE = (".csv", ".tsv", ".parquet", ".cue", ".m3u", ".lab")  # what is known of sounds

_WANTED = f"a file ending in {', '.join(sorted(SOUND_SUFFIXES | TABLE_SUFFIXES))} or .npy"


@dataclass(frozen=True)
class Signal:
    """Numbers over time.

    Attributes
    ----------
    values : ndarray of shape (T,) or (T, C)
        Of one channel, or of C; sound as float32, or float64 where a file has 32-bit integers or
        double precision. Integers of sound files stand for -1 to 1, floats are what they are.
    rate : int or None
        Samples a second, where the file says it.
    columns : list of str or None
        What the channels are called, where they have names.
    subtype : str or None
        How a sound file stores a sample, such as "PCM_16".
    """

    values: NDArray[Any]
    rate: int | None = None
    columns: list[str] | None = None
    subtype: str | None = None


class Signals(NamedTuple):
    """Signals of one rate and with the same channels, of a file or a folder.

    Attributes
    ----------
    signals : list of Signal
        At least one.
    skipped : list of (str, str)
        Files that could not be read and were left out, each with the reason.
    left_out : LeftOut or None
        What else lies in the folder; None of a single file.
    files : list of Path
        Where each signal comes from.
    """

    signals: list[Signal]
    skipped: list[tuple[str, str]]
    left_out: LeftOut | None
    files: list[Path]


def read(
    path: str | Path,
    columns: Sequence[str] | None = None,
    *,
    rate: int | None = None,
    options: FileOptions = DEFAULTS,
) -> Signal:
    """Read a signal.

    Parameters
    ----------
    path : str or Path
        A sound file (.wav, .flac, .ogg, .mp3, .aif), a table whose rows follow each other in time
        (.csv, .tsv, .parquet), or a .npy file of shape (T,) or (T, C), which stays on the disk.
    columns : sequence of str, optional
        Which of a table's columns; of other files, which channels, counted from "0". All by
        default.
    rate : int, optional
        Samples a second that sound is brought to, by :func:`resample`; its own by default.
    options : FileOptions, optional
        How to read a text table that does not say it itself.

    Returns
    -------
    Signal
        A single channel has shape (T,).

    Raises
    ------
    MissingFileError, UnreadableFileError
        If there is no such file, it is not what its ending says, or it is shorter than its header
        says.
    DataError, ParameterError
        If it holds no samples, is of another kind, has no such column, or states no rate to be
        brought to another.
    MissingDependencyError
        If it is a sound file and soundfile is not installed.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from narrows import signals
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     wave = signals.Signal(np.sin(np.arange(8000) / 9) / 2, rate=8000)
    ...     file = signals.write(f"{folder}/tone.wav", wave)
    ...     again = signals.read(file)
    >>> again.values.shape, again.values.dtype, again.rate
    ((8000,), dtype('float32'), 8000)
    """
    path = Path(path)
    check_rate(rate)
    check_exists(path, _WANTED)
    options.check_use(path)
    suffix = path.suffix.lower()
    if suffix in SOUND_SUFFIXES:
        signal = _heard(path)
    elif is_table(path):
        values, names = read_table(path, options)
        signal = Signal(values, columns=names)
    elif suffix == ".npy":
        values = read_npy(path)
        if values.ndim not in (1, 2):
            raise DataError(f"'{path}' has shape {values.shape}; a signal has (T,) or (T, C)")
        signal = Signal(values.reshape(len(values), -1))
    else:
        raise DataError(f"'{path}' is no file of a signal; give {_WANTED}")
    signal = _choose(path, signal, columns)
    if rate is None:
        return signal
    if signal.rate is None:
        raise ParameterError(
            f"'{path}' states no rate, so that it cannot be brought to {rate} samples a second; "
            "leave --rate, rate, away"
        )
    return resample(signal, rate)


def read_all(
    path: str | Path,
    columns: Sequence[str] | None = None,
    *,
    rate: int | None = None,
    skip_unreadable: bool = False,
    exclude: str | Sequence[str] = (),
    options: FileOptions = DEFAULTS,
) -> Signals:
    """Read a signal, or all the sound files of a folder, which have one rate and the same channels.

    Parameters
    ----------
    path : str or Path
        A file as for :func:`read`, or a folder, which is searched with its subfolders.
    columns, rate, options
        As for :func:`read`.
    skip_unreadable : bool, default=False
        Whether files of a folder that cannot be read are left out and listed instead of raising.
    exclude : str or sequence of str
        Patterns of files and folders that are left out of a folder; see
        :func:`narrows.data.folders.check_exclude`.

    Returns
    -------
    Signals

    Raises
    ------
    MissingFileError, UnreadableFileError, ParameterError
        As :func:`read`.
    DataError
        As :func:`read`; also if files of a folder have several rates or numbers of channels, or
        none of them can be read.

    Warns
    -----
    NarrowsWarning
        "files_left_out" if the folder holds what is not read.
    """
    found = list_signals(path, exclude)
    found.left_out.tell(Path(path))
    left_out = found.left_out if Path(path).is_dir() else None
    signals: dict[Path, Signal] = {}
    skipped = []
    for file in found.files:
        try:
            signals[file] = read(file, columns, rate=rate, options=options)
        except UnreadableFileError as error:
            if not skip_unreadable or left_out is None:
                raise
            skipped.append((str(file), str(error)))
    if not signals:
        raise DataError(
            f"none of {counted(len(skipped), 'sound file')} in '{path}' can be read; the first: "
            f"{skipped[0][1]}"
        )
    first, *others = signals
    one = signals[first]
    for file in others:
        other = signals[file]
        if other.rate != one.rate:
            raise DataError(
                f"'{first}' has {one.rate} samples a second and '{file}' {other.rate}; bring them "
                f"to one rate (--rate {one.rate}, rate={one.rate}), or leave one out"
            )
        if other.values.shape[1:] != one.values.shape[1:]:
            raise DataError(
                f"'{first}' has {_channels(one)} and '{file}' {_channels(other)}; choose the same "
                "of all (--columns 0, columns=['0']), or leave one out"
            )
    return Signals(list(signals.values()), skipped, left_out, list(signals))


def resample(signal: Signal, rate: int) -> Signal:
    """Bring a signal to another rate, by a polyphase filter that keeps what both rates can hold.

    Parameters
    ----------
    signal : Signal
        With a rate.
    rate : int
        Samples a second, from 1 on.

    Returns
    -------
    Signal
        Of ``ceil(T * rate / signal.rate)`` samples.

    Raises
    ------
    ParameterError
        If one of the rates is none.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import signals
    >>> tone = signals.Signal(np.sin(2 * np.pi * 440 * np.arange(16000) / 16000), 16000)
    >>> half = signals.resample(tone, 8000)
    >>> error = half.values - np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    >>> half.rate, len(half.values), bool(abs(error[200:-200]).max() < 2e-3)
    (8000, 8000, True)
    """
    check_rate(rate)
    if signal.rate is None:
        raise ParameterError("the signal has no rate to be brought to another; give one that has")
    if rate == signal.rate:
        return signal
    from scipy.signal import resample_poly  # takes a while to import

    common = math.gcd(rate, signal.rate)
    values = signal.values
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    made = resample_poly(values, rate // common, signal.rate // common, axis=0)
    return replace(signal, values=made.astype(values.dtype, copy=False), rate=rate)


def check_rate(rate: int | None) -> None:
    """Refuse what is no number of samples a second; None asks for none.

    Raises
    ------
    ParameterError
        If it is not a whole number from 1 on.
    """
    if rate is not None and (
        isinstance(rate, bool) or not isinstance(rate, int | np.integer) or rate < 1
    ):
        raise ParameterError(
            f"rate={rate!r} is not allowed; give a whole number of samples a second, from 1 on"
        )


def write(path: str | Path, signal: Signal, *, overwrite: bool = False) -> Path:
    """Write a signal, whole or not at all.

    Parameters
    ----------
    path : str or Path
        As for :func:`read`. Sound files of integers hold -1 to 1, and what is beyond is cut off;
        those of floats hold all values. Where the signal has no ``subtype`` and goes beyond, floats
        are written if the kind of file has them.
    signal : Signal
        A sound file needs its rate.
    overwrite : bool, default=False
        Whether a file that exists is replaced.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    OutputExistsError, OutputError
        If the file exists and is not to be replaced, or cannot be written.
    ParameterError
        If the ending is another, or there is no rate for sound.

    Warns
    -----
    NarrowsWarning
        "samples_clipped" if samples are cut off.
    """
    path = check_signal_output(path, signal.rate)
    with atomic_file(path, overwrite=overwrite) as temporary:
        suffix = path.suffix.lower()
        if suffix in SOUND_SUFFIXES:
            write_sound(temporary, path, signal.values, signal.rate, signal.subtype)
        elif suffix == ".npy":
            write_npy(temporary, signal.values)
        else:
            write_table(temporary, signal.values, signal.columns)
    return path


def check_signal_output(path: str | Path, rate: int | None) -> Path:
    """Refuse, before any work is done, a path that :func:`write` would refuse after it."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SOUND_SUFFIXES | TABLE_SUFFIXES | {".npy"}:
        raise ParameterError(f"'{path}' is no place for a signal; name {_WANTED}")
    if suffix in SOUND_SUFFIXES and rate is None:
        raise ParameterError(
            f"'{path}' needs to know how many samples make a second; give the rate, or name a "
            "table or a .npy file"
        )
    return path


def find_signals(path: str | Path, exclude: str | Sequence[str] = ()) -> list[Path]:
    """List the sound files in a folder and its subfolders, sorted; a file is listed alone.

    Hidden files and folders and those of systems are left out, and linked folders are not followed;
    see :mod:`narrows.data.folders`.

    Parameters
    ----------
    path : str or Path
        A file or a folder.
    exclude : str or sequence of str
        Patterns of files and folders that are left out of a folder; see
        :func:`narrows.data.folders.check_exclude`.

    Raises
    ------
    MissingFileError, DataError, ParameterError
        If there is nothing at the path, the folder holds no sound, or there is no folder to leave
        files out of.
    """
    return list_signals(path, exclude).files


def list_signals(path: str | Path, exclude: str | Sequence[str] = ()) -> Listing:
    """List sound files as :func:`find_signals`, and count what else is in the folder."""
    path = Path(path)
    check_exists(path, f"{_WANTED}, or a folder of sound files")
    check_excludable(path, exclude)
    if not path.is_dir():
        return Listing([path], LeftOut())
    found = list_files(path, SOUND_SUFFIXES, beside=_BESIDE, exclude=exclude)
    if not found.files:
        kinds = found.left_out.kinds_in_words()
        raise DataError(
            f"'{path}' holds no sound files{f', but {kinds}' if kinds else ''}; give {_WANTED}, or "
            "a folder of sound"
        )
    return found


def _channels(signal: Signal) -> str:
    count = math.prod(signal.values.shape[1:])
    return "1 channel" if count == 1 else f"{count} channels"


def _choose(path: Path, signal: Signal, columns: Sequence[str] | None) -> Signal:
    values = signal.values
    if not len(values):
        raise DataError(f"'{path}' holds no samples; give a signal with some")
    names = signal.columns or [str(channel) for channel in range(values.shape[1])]
    wanted = list(names if columns is None else columns)
    if unknown := [name for name in wanted if name not in names]:
        raise ParameterError(
            f"'{path}' has no column {unknown[0]!r}; its columns are {', '.join(names[:20])}"
        )
    if not wanted:
        raise ParameterError("no columns were named; name at least one")
    if wanted != names:
        values = values[:, [names.index(name) for name in wanted]]
    values = values[:, 0] if len(wanted) == 1 else values
    return Signal(values, signal.rate, wanted if signal.columns else None, signal.subtype)


def _heard(path: Path) -> Signal:
    values, rate, subtype = read_sound(path)
    return Signal(values, rate, subtype=subtype)
