"""Read signals from sound files, tables and arrays, cut them into windows, and join these."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from narrows.atomic import atomic_file
from narrows.containment import check_fits
from narrows.data.folders import (
    LeftOut,
    Listing,
    check_excludable,
    check_exists,
    list_files,
    what_it_is,
)
from narrows.data.formats import (
    DEFAULTS,
    SOUND_SUFFIXES,
    Contents,
    FileOptions,
    format_of,
    is_numeric,
    is_table,
    suffixes_of,
)
from narrows.data.lazy_rows import LazyRows
from narrows.data.tables import read_table
from narrows.errors import (
    DataError,
    MissingDependencyError,
    NarrowsError,
    OutputError,
    ParameterError,
    UnreadableFileError,
    warn,
)
from narrows.texts import as_text, counted, shortened

_BESIDE = (".csv", ".tsv", ".parquet", ".cue", ".m3u", ".lab")  # descriptions of sounds
# Formats of which truncated files can be recognised, whatever the suffix.
_FORMATS = ("WAV", "WAVEX", "RF64", "AIFF", "FLAC", "OGG", "MP3")
# Subtypes that need double precision, and those of values beyond -1 to 1.
_DOUBLE = ("DOUBLE", "PCM_32")
_UNBOUNDED = (
    "FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III",
)  # fmt: skip
# Notes of libsndfile on headers that state more than there is, and the number in a header from
# which on the length was unknown to the writer.
_NOTED = {
    r"(?m)^\s*(?:data|SSND)\s*: (?P<stated>\d+) \(should be (?P<found>\d+)\)": "bytes of sound",
    r"count (?P<found>\d+) does not match value from 'ds64' chunk of (?P<stated>\d+)": "samples",
}
_UNKNOWN = 0x7FFF0000
_HEADER = 4096  # most bytes of a file without samples
_LARGEST_PAGE = 65_307  # bytes of a page of an Ogg file


@dataclass(frozen=True)
class Signal:
    """Numbers over time.

    Attributes
    ----------
    values : ndarray of shape (T,) or (T, C)
        Samples of one channel, or of C; sound in float32, or float64 if the file has 32-bit
        integers or double precision. Integers of sound files are scaled to -1 to 1.
    rate : int or None
        Samples per second, if the file states it.
    columns : list of str or None
        Names of the channels, if they have names.
    subtype : str or None
        Type of a sample in a sound file, such as "PCM_16".
    name : str or None
        Name of the file, or its path within the folder that was read.
    """

    values: NDArray[Any]
    rate: int | None = None
    columns: list[str] | None = None
    subtype: str | None = None
    name: str | None = None


class Signals(NamedTuple):
    """The signals of a file or a folder, of one rate and with the same channels.

    Attributes
    ----------
    signals : list of Signal
        At least one.
    skipped : list of (str, str)
        Unreadable files that were left out, each with the reason.
    left_out : LeftOut or None
        Other files of the folder; None for a single file.
    files : list of Path
        The file of each signal.
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
        A sound file (.wav, .flac, .ogg, .mp3, .aif), a table with a row per time step (.csv, .tsv,
        .parquet), or a .npy file of shape (T,) or (T, C), which is memory-mapped if it is large.
    columns : sequence of str, optional
        Columns of a table, or channels of other files, counted from "0". All by default.
    rate : int, optional
        Samples per second to which sound is resampled by :func:`resample`; its own by default.
    options : FileOptions, optional
        How to read a text table.

    Returns
    -------
    Signal
        A single channel has shape (T,).

    Raises
    ------
    MissingFileError, UnreadableFileError
        If there is no such file, it is not what its suffix says, or it is shorter than its header
        states.
    DataError, ParameterError
        If it holds no samples, is of another kind, has no such column, or has no rate from which it
        could be resampled.
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
    check_exists(path, _wanted)
    options.check_use(path)
    file_format = format_of(path)
    if file_format is None or "signals" not in file_format.kinds:
        raise DataError(f"'{path}' is no file of a signal; give {_wanted()}", path=path)
    if path.suffix.lower() in SOUND_SUFFIXES:
        sound, own_rate, subtype = read_sound(path)
        signal = Signal(sound, own_rate, subtype=subtype)
    elif is_table(path):
        values, names = read_table(path, options)
        signal = Signal(values, columns=names)
    else:
        contents = file_format.load(path, options)
        values = contents.values
        if values.ndim not in (1, 2):
            raise DataError(
                f"'{path}' has shape {values.shape}; a signal has (T,) or (T, C)", path=path
            )
        signal = Signal(values.reshape(len(values), -1), columns=contents.columns)
    signal = replace(_choose(path, signal, columns), name=as_text(path.name))
    if rate is None:
        return signal
    if signal.rate is None:
        raise ParameterError(
            f"'{path}' states no rate, so that it cannot be brought to {rate} samples a second; "
            "leave --rate, rate, away",
            path=path,
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
    """Read a signal, or all sound files of a folder, of one rate and with the same channels.

    Parameters
    ----------
    path : str or Path
        A file as for :func:`read`, or a folder, which is searched with its subfolders.
    columns, rate, options
        See :func:`read`.
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
        See :func:`read`.
    DataError
        See :func:`read`; also if files of a folder have several rates or numbers of channels, or
        none of them can be read.

    Warns
    -----
    NarrowsWarning
        "files_left_out" if the folder holds other files.
    """
    found = list_signals(path, exclude)
    found.left_out.warn(Path(path))
    left_out = found.left_out if Path(path).is_dir() else None
    signals: dict[Path, Signal] = {}
    skipped = []
    for file in found.files:
        try:
            signal = read(file, columns, rate=rate, options=options)
        except UnreadableFileError as error:
            if not skip_unreadable or left_out is None:
                raise
            skipped.append((str(file), error.reason or str(error)))
        else:
            inside = file.relative_to(path) if left_out is not None else Path(file.name)
            signals[file] = replace(signal, name=as_text(inside.as_posix()))
    if not signals:
        raise DataError(
            f"none of {counted(len(skipped), 'sound file')} in '{path}' can be read; the first, "
            f"'{skipped[0][0]}': {skipped[0][1]}"
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
    """Resample a signal by a polyphase filter, which keeps the frequencies of both rates.

    Parameters
    ----------
    signal : Signal
        A signal with a rate.
    rate : int
        Samples per second, from 1 on.

    Returns
    -------
    Signal
        The signal in ``ceil(T * rate / signal.rate)`` samples.

    Raises
    ------
    ParameterError
        If a rate is missing, or not allowed.

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
    """Refuse what is no number of samples per second; None is allowed.

    Raises
    ------
    ParameterError
        If it is not a whole number from 1 on.
    """
    if rate is not None and (
        isinstance(rate, bool) or not isinstance(rate, int | np.integer) or rate < 1
    ):
        raise ParameterError(
            f"rate={rate!r} is not allowed; give a whole number of samples a second, from 1 on",
            parameter="rate",
        )


def write(path: str | Path, signal: Signal, *, overwrite: bool = False) -> Path:
    """Write a signal atomically.

    Parameters
    ----------
    path : str or Path
        See :func:`read`. Sound files of integers are clipped to -1 to 1; those of floats hold all
        values. If the signal has no ``subtype`` and exceeds this range, floats are written if the
        format has them.
    signal : Signal
        The signal; sound files need its rate.
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
        If the suffix is another, or sound has no rate.

    Warns
    -----
    NarrowsWarning
        "samples_clipped" if samples are clipped.
    """
    path = check_signal_output(path, signal.rate)
    with atomic_file(path, overwrite=overwrite) as temporary:
        if path.suffix.lower() in SOUND_SUFFIXES:
            write_sound(temporary, path, signal.values, signal.rate, signal.subtype)
        elif (file_format := format_of(path)) is not None:
            file_format.save(temporary, Contents(signal.values, signal.columns))
    return path


def check_signal_output(path: str | Path, rate: int | None) -> Path:
    """Refuse, before any computation, a path that :func:`write` would refuse after it."""
    path = Path(path)
    file_format = format_of(path)
    if file_format is None or "signals" not in file_format.kinds or file_format.write is None:
        raise ParameterError(
            f"'{path}' is no place for a signal; name {_wanted(written=True)}", path=path
        )
    if path.suffix.lower() in SOUND_SUFFIXES and rate is None:
        raise ParameterError(
            f"'{path}' needs to know how many samples make a second; give the rate, or name a "
            "table or a .npy file",
            path=path,
        )
    return path


def find_signals(path: str | Path, exclude: str | Sequence[str] = ()) -> list[Path]:
    """List the sound files in a folder and its subfolders; a single file is a list of one.

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
        If the path does not exist, the folder holds no sound, or patterns are given for a file.
    """
    return list_signals(path, exclude).files


def list_signals(path: str | Path, exclude: str | Sequence[str] = ()) -> Listing:
    """List sound files as :func:`find_signals`, and count the other files."""
    path = Path(path)
    check_exists(path, lambda: f"{_wanted()}, or a folder of sound files")
    check_excludable(path, exclude)
    if not path.is_dir():
        return Listing([path], LeftOut())
    found = list_files(path, SOUND_SUFFIXES, beside=_BESIDE, exclude=exclude)
    if not found.files:
        kinds = found.left_out.kinds_in_words()
        raise DataError(
            f"'{path}' holds no sound files{f', but {kinds}' if kinds else ''}; give {_wanted()}, "
            "or a folder of sound",
            path=path,
        )
    return found


def _channels(signal: Signal) -> str:
    count = math.prod(signal.values.shape[1:])
    return "1 channel" if count == 1 else f"{count} channels"


def _choose(path: Path, signal: Signal, columns: Sequence[str] | None) -> Signal:
    values = signal.values
    if not len(values):
        raise DataError(f"'{path}' holds no samples; give a signal with some", path=path)
    names = signal.columns or [str(channel) for channel in range(values.shape[1])]
    wanted = list(names if columns is None else columns)
    if unknown := [name for name in wanted if name not in names]:
        raise ParameterError(
            f"'{path}' has no column {unknown[0]!r}; its columns are {', '.join(names[:20])}",
            path=path,
            parameter="columns",
            column=unknown[0],
        )
    if not wanted:
        raise ParameterError("no columns were named; name at least one", parameter="columns")
    if wanted != names:
        values = values[:, [names.index(name) for name in wanted]]
    values = values[:, 0] if len(wanted) == 1 else values
    return Signal(values, signal.rate, wanted if signal.columns else None, signal.subtype)


def _wanted(*, written: bool = False) -> str:
    """Name the files that hold signals, for messages."""
    *others, last = suffixes_of(["signals"], written=written)
    return f"a file ending in {', '.join(others)} or {last}"


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


def read_sound(path: Path) -> tuple[NDArray[Any], int, str]:
    """Read a sound file.

    Returns
    -------
    values : ndarray of shape (T, C)
        float32, or float64 where the file has 32-bit integers or double precision.
    rate : int
        Samples a second.
    subtype : str
        Type of a sample in the file, such as "PCM_16".

    Raises
    ------
    UnreadableFileError
        If it is no sound file, is of another format than those of :data:`SOUND_SUFFIXES`, is
        damaged, or is shorter than its header says.
    DataError
        If it is larger than the memory.
    MissingDependencyError
        If soundfile is not installed.
    """
    soundfile = _soundfile()
    try:
        # soundfile opens no file whose name is not UTF-8, but takes descriptors.
        with path.open("rb") as opened, soundfile.SoundFile(opened.fileno(), closefd=False) as file:
            if file.format not in _FORMATS:
                what = f"holds {shortened(file.format_info, 60)}, of which it cannot be told "
                what += "whether it is complete"
                raise UnreadableFileError(
                    f"'{path}' {what}; convert it to WAV or FLAC", path=path, reason=f"it {what}"
                )
            dtype = np.dtype(np.float64 if file.subtype in _DOUBLE else np.float32)
            check_fits(
                file.frames * file.channels * dtype.itemsize,
                f"'{path}'",
                "cut it into shorter files",
                DataError,
            )
            count = -1 if file.seekable() else file.frames  # such as GSM 6.10
            values = file.read(count, dtype=dtype.name, always_2d=True)
            if (missing := _cut_short(path, file, len(values))) is not None:
                raise UnreadableFileError(
                    f"'{path}' is cut short: {missing}; copy it again, or choose another",
                    path=path,
                    reason=f"it is cut short: {missing}",
                )
            return values, file.samplerate, file.subtype
    except NarrowsError:
        raise
    except (soundfile.SoundFileError, ValueError) as error:
        reason = what_it_is(path) or f"it is damaged or cut short ({' '.join(str(error).split())})"
        raise UnreadableFileError(
            f"'{path}' is not a readable sound file: {reason}; repair it or choose another",
            path=path,
            reason=reason,
        ) from error


def _cut_short(path: Path, file: Any, read: int) -> str | None:
    """Tell from its header what a truncated sound file lacks; None if it is complete.

    Of WAV and AIFF, libsndfile reads the samples there are, and notes the difference. Of MP3 and
    FLAC it states the samples in the header. The last page of an Ogg file is marked.
    """
    if read < file.frames:
        return f"{read} of the {file.frames} samples that its header states can be read"
    for pattern, what in _NOTED.items():
        noted = re.search(pattern, file.extra_info)
        if noted and int(noted["found"]) < int(noted["stated"]) < _UNKNOWN:
            return f"its header states {noted['stated']} {what}, and {noted['found']} are there"
    if file.format == "OGG" and not _ends_as_ogg(path):
        return "its last page is missing"
    if not read and (size := path.stat().st_size) > _HEADER:
        return f"its header states 0 samples for {size} bytes, as of a recording never closed"
    return None


def _ends_as_ogg(path: Path) -> bool:
    """Return whether an Ogg file's last page is complete, and marked as the last (RFC 3533)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 2 * _LARGEST_PAGE))
        tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def write_sound(
    temporary: Path, path: Path, values: NDArray[Any], rate: int | None, subtype: str | None
) -> None:
    """Write sound to a temporary file that will become ``path``, whose suffix gives the format.

    Raises
    ------
    OutputError
        If it cannot be written.
    MissingDependencyError
        If soundfile is not installed.

    Warns
    -----
    NarrowsWarning
        "samples_clipped" if samples exceed the range of the subtype.
    """
    soundfile = _soundfile()
    suffix = path.suffix[1:].upper()
    kind = "AIFF" if suffix == "AIF" else suffix
    values = np.asarray(values)
    beyond = int((np.abs(values) > 1).sum())
    if subtype is None and beyond and soundfile.check_format(kind, "FLOAT"):
        subtype = "FLOAT"
    if subtype is None or not soundfile.check_format(kind, subtype):
        subtype = soundfile.default_subtype(kind)
    if beyond and subtype not in _UNBOUNDED:
        warn(
            f"'{path}': {beyond} of {values.size} samples lie beyond -1 to 1, which {subtype} does "
            "not hold, and were cut off there; name a .npy file to keep them",
            kind="samples_clipped",
            stacklevel=5,
            samples=beyond,
            of=values.size,
        )
        values = np.clip(values, -1, 1)
    try:
        with temporary.open("w+b") as opened:
            soundfile.write(
                opened.fileno(),
                values.astype(np.float64 if subtype in _DOUBLE else np.float32),
                rate,
                format=kind,
                subtype=subtype,
                closefd=False,
            )
    except (soundfile.SoundFileError, ValueError) as error:
        raise OutputError(
            f"'{path}' could not be written: {' '.join(str(error).split())}; choose another kind "
            "of file, or another rate"
        ) from error


class Windows(LazyRows):
    """Windows over one signal or several, cut out on access.

    Models take them as they take the rows of an array.

    Parameters
    ----------
    signals : ndarray of shape (T,) or (T, C), Signal, or sequence of them
        Numbers over time, of one channel or of C. Memory-mapped arrays stay on the disk. The rate
        of a :class:`narrows.signals.Signal` is kept by models that are trained on the windows.
    length : int
        Samples in a window, L, at most those of the shortest signal.
    hop : int, optional
        Samples from the start of a window to the next, from 1 to L; L / 2 by default. The last
        window of a signal ends with the signal.

    Attributes
    ----------
    rate : int or None
        Samples per second, if the signals have a rate.
    names : list of str
        The name of each signal; "signal 0", "signal 1" and so on for those without one.
    channels : list of str or None
        Names of the channels, if the first signal has names.
    owners, starts : ndarray of int and shape (n,)
        The number of each window's signal, and its first sample there.

    Raises
    ------
    DataError
        If a signal is shorter than a window, or they do not have the same channels or rates.
    ParameterError
        If length or hop is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import Autoencoder
    >>> from narrows.signals import Windows
    >>> wave = np.sin(np.arange(1000) / 7)
    >>> windows = Windows(wave, length=64, hop=16)
    >>> windows.shape
    (60, 64)
    >>> model = Autoencoder(2, max_epochs=3, random_state=0).fit(windows)
    >>> model.transform(windows).shape
    (60, 2)
    """

    def __init__(
        self,
        signals: NDArray[Any] | Signal | Sequence[NDArray[Any] | Signal],
        length: int,
        hop: int | None = None,
    ) -> None:
        each: Sequence[Any] = [signals]
        if isinstance(signals, list | tuple) and signals and _is_signal(signals[0]):
            each = signals
        self.rate = _common_rate(each)
        given = [
            _as_signal(signal.values if isinstance(signal, Signal) else signal) for signal in each
        ]
        channels = {signal.shape[1:] for signal in given}
        if len(channels) > 1:
            raise DataError(
                f"signals with the shapes {', '.join(str(signal.shape) for signal in given[:5])} "
                "were given; give signals with the same channels"
            )
        for signal in given:
            _check_axes(signal, length)
        self.names = [
            getattr(signal, "name", None) or f"signal {number}"
            for number, signal in enumerate(each)
        ]
        self.channels = getattr(each[0], "columns", None)
        starts = [window_starts(len(signal), length, hop) for signal in given]
        self.starts = np.concatenate(starts)
        self.owners = np.repeat(np.arange(len(starts)), [len(some) for some in starts])
        # Views of all possible windows, without a copy.
        self._views = [_all_windows(signal, length) for signal in given]
        self.dtype = np.result_type(*given)
        self.shape = (len(self.starts), length, *channels.pop())

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Cut out the windows of these numbers, (len(rows), L[, C])."""
        if len(self._views) == 1:
            return self._views[0][self.starts[rows]]
        taken = np.empty((len(rows), *self.shape[1:]), self.dtype)
        owner = self.owners[rows]
        for number in np.unique(owner):
            mine = owner == number
            taken[mine] = self._views[number][self.starts[rows[mine]]]
        return taken

    def describe(self, row: int) -> str:
        """Name the signal and the time of a window.

        Examples
        --------
        >>> Windows(np.zeros(100), 20).describe(3)
        'signal 0, samples 30-49'
        >>> Windows(Signal(np.zeros(100), rate=10, name="a.wav"), 20).describe(3)
        'a.wav, 3.000-5.000 s'
        """
        start = int(self.starts[row])
        name = self.names[self.owners[row]]
        return f"{name}, {in_time(start, start + self.shape[1], self.rate)}"


def in_time(start: int, end: int, rate: int | None) -> str:
    """Write a stretch of samples, without its end, in seconds or by the samples' numbers."""
    if rate is None:
        return f"samples {start}-{end - 1}" if end - start > 1 else f"sample {start}"
    return f"{start / rate:.3f}-{end / rate:.3f} s"


def window_starts(n_samples: int, length: int, hop: int | None = None) -> NDArray[np.int64]:
    """Return the starts of windows: every ``hop`` samples, and one that ends with the signal.

    Parameters
    ----------
    n_samples, length : int
        Samples of the signal and of a window, T and L.
    hop : int, optional
        From 1 to L; L / 2 by default.

    Raises
    ------
    DataError
        If the signal is shorter than a window.
    ParameterError
        If length or hop is out of range.

    Examples
    --------
    >>> window_starts(10, 4, 3), window_starts(11, 4)
    (array([0, 3, 6]), array([0, 2, 4, 6, 7]))
    """
    if isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 2:
        raise ParameterError(
            f"length={length!r} is not allowed; a window has at least 2 samples", parameter="length"
        )
    hop = length // 2 if hop is None else hop
    if isinstance(hop, bool) or not isinstance(hop, int | np.integer) or not 1 <= hop <= length:
        raise ParameterError(
            f"hop={hop!r} is not allowed; give a whole number from 1 to the window's {length}, so "
            "that no sample is left out",
            parameter="hop",
        )
    if n_samples < length:
        raise DataError(
            f"a signal of {n_samples} samples is shorter than a window of {length}; give a longer "
            "signal, or train with shorter windows"
        )
    starts = np.arange(0, n_samples - length + 1, hop)
    last = n_samples - length
    return starts if starts[-1] == last else np.append(starts, last)


def overlap_add(windows: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[Any]:
    """Overlap-add windows: each sample is the mean of the windows over it, weighted by a taper.

    The taper is a Hann window (sine squared), so that one window fades into the next; weights are
    divided by their sum, so that windows of a signal give back this signal for any hop.

    Parameters
    ----------
    windows : ndarray of shape (n, L[, C])
        Windows of floats.
    starts : ndarray of int and shape (n,)
        Start of each window, ascending in steps of at most L.

    Returns
    -------
    ndarray of shape (T[, C])
        In the windows' type; T is the end of the last window.

    Examples
    --------
    >>> wave = np.sin(np.arange(11.0))
    >>> starts = window_starts(11, 4, 3)
    >>> cut = Windows(wave, 4, 3)[:]
    >>> bool(np.allclose(overlap_add(cut, starts), wave, atol=1e-15))
    True
    """
    if any(second < first for first, second in pairwise(starts)):
        raise ParameterError("starts are not ascending; sort them together with their windows")
    length = windows.shape[1]
    taper = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    total = np.zeros((starts[-1] + length, *windows.shape[2:]))
    weights = np.zeros(len(total))
    shaped = taper.reshape(-1, *[1] * (windows.ndim - 2))
    for start, window in zip(starts.tolist(), windows, strict=True):
        total[start : start + length] += shaped * window
        weights[start : start + length] += taper
    total /= weights.reshape(-1, *[1] * (windows.ndim - 2))
    return total.astype(windows.dtype)


def _is_signal(given: Any) -> bool:
    return isinstance(given, Signal) or np.ndim(given) > 0


def _common_rate(signals: Sequence[Any]) -> int | None:
    """Return the common rate of the signals that have one."""
    known = [signal.rate for signal in signals if isinstance(signal, Signal)]
    rates = {rate for rate in known if rate is not None}
    if len(rates) > 1:
        shown = " and ".join(map(str, sorted(rates)[:5]))
        raise DataError(
            f"signals of {shown} samples a second were given; bring them to one rate "
            "(signals.read(path, rate=...), signals.resample), or give those of one"
        )
    return next(iter(rates), None)


def _check_axes(signal: NDArray[Any], length: int) -> None:
    """Refuse signals whose first axis has the channels."""
    if signal.ndim == 2 and isinstance(length, int) and len(signal) < length <= signal.shape[1]:
        raise DataError(
            f"a signal of shape {signal.shape} was given, whose first axis is taken for time and "
            f"is shorter than a window of {length}; if it has {len(signal)} channels of "
            f"{signal.shape[1]} samples, give its transpose (signal.T), or a shorter window"
        )


def _all_windows(signal: NDArray[Any], length: int) -> NDArray[Any]:
    """View a signal (T[, C]) as all its windows, (T - L + 1, L[, C])."""
    windows = sliding_window_view(signal, length, axis=0)
    return np.moveaxis(windows, -1, 1)


def _as_signal(given: Any) -> NDArray[Any]:
    try:
        signal = np.asarray(given)
    except ValueError as error:
        raise DataError(f"this is no signal ({error}); give an array (T,) or (T, C)") from error
    if signal.ndim not in (1, 2) or not is_numeric(signal.dtype) or not signal.size:
        raise DataError(
            f"an array of shape {signal.shape} and type {signal.dtype} is no signal; give numbers "
            "of shape (T,), or (T, C) for C channels"
        )
    return signal
