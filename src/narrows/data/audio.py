"""Signals in files: sound through soundfile, tables and arrays by their readers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.atomic import atomic_file
from narrows.data.images import check_exists
from narrows.data.memory import check_fits
from narrows.data.numpy_files import read_npy, write_npy
from narrows.data.options import DEFAULTS, FileOptions
from narrows.data.tables import TABLE_SUFFIXES, is_table, read_table, write_table
from narrows.errors import (
    DataError,
    MissingDependencyError,
    OutputError,
    ParameterError,
    UnreadableFileError,
)

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"})
"""Endings of the files that are read and written as sound."""

_WANTED = f"a file ending in {', '.join(sorted(SOUND_SUFFIXES | TABLE_SUFFIXES))} or .npy"


@dataclass(frozen=True)
class Signal:
    """Numbers over time.

    Attributes
    ----------
    values : ndarray of shape (T,) or (T, C)
        Of one channel, or of C; sound as float32 from -1 to 1.
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


def read(
    path: str | Path, columns: Sequence[str] | None = None, *, options: FileOptions = DEFAULTS
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
    options : FileOptions, optional
        How to read a text table that does not say it itself.

    Returns
    -------
    Signal
        A single channel has shape (T,).

    Raises
    ------
    MissingFileError, UnreadableFileError
        If there is no such file, or it is not what its ending says.
    DataError, ParameterError
        If it holds no samples, is of another kind, or has no such column.
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
    check_exists(path, _WANTED)
    options.check_use(path)
    suffix = path.suffix.lower()
    if suffix in SOUND_SUFFIXES:
        signal = _read_sound(path)
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
    return _choose(path, signal, columns)


def write(path: str | Path, signal: Signal, *, overwrite: bool = False) -> Path:
    """Write a signal, whole or not at all.

    Parameters
    ----------
    path : str or Path
        As for :func:`read`. What a sound file cannot hold, beyond -1 to 1, is cut off.
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
    """
    path = check_signal_output(path, signal.rate)
    with atomic_file(path, overwrite=overwrite) as temporary:
        suffix = path.suffix.lower()
        if suffix in SOUND_SUFFIXES:
            _write_sound(temporary, path, signal)
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


def find_signals(path: str | Path) -> list[Path]:
    """List the sound files in a folder and its subfolders, sorted; a file is listed alone.

    Raises
    ------
    MissingFileError, DataError
        If there is nothing at the path, or the folder holds no sound.
    """
    path = Path(path)
    check_exists(path, f"{_WANTED}, or a folder of sound files")
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SOUND_SUFFIXES)
    if not files:
        raise DataError(f"'{path}' holds no sound files; give {_WANTED}, or a folder of sound")
    return files


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


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its C library is missing
        raise MissingDependencyError(
            f"sound files need the package soundfile ({error}); install it by "
            "pip install 'narrows[audio]'"
        ) from error
    module: ModuleType = soundfile
    return module


def _read_sound(path: Path) -> Signal:
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(path) as file:
            check_fits(
                file.frames * file.channels * np.dtype(np.float32).itemsize,
                f"'{path}'",
                "cut it into shorter files",
                DataError,
            )
            values = file.read(dtype="float32", always_2d=True)
            return Signal(values, file.samplerate, subtype=file.subtype)
    except soundfile.SoundFileError as error:
        raise UnreadableFileError(
            f"'{path}' is not a readable sound file: {' '.join(str(error).split())}; repair it or "
            "choose another"
        ) from error


def _write_sound(temporary: Path, path: Path, signal: Signal) -> None:
    soundfile = _soundfile()
    suffix = path.suffix[1:].upper()
    kind = "AIFF" if suffix == "AIF" else suffix
    subtype = signal.subtype
    if subtype is None or not soundfile.check_format(kind, subtype):
        subtype = soundfile.default_subtype(kind)
    try:
        soundfile.write(
            temporary,
            np.clip(signal.values, -1, 1).astype(np.float32),
            signal.rate,
            format=kind,
            subtype=subtype,
        )
    except (soundfile.SoundFileError, ValueError) as error:
        raise OutputError(
            f"'{path}' could not be written: {' '.join(str(error).split())}; choose another kind "
            "of file, or another rate"
        ) from error
