"""Sound files, through soundfile: whole, at the precision they have, or refused."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.contents import what_it_is
from narrows.data.memory import check_fits
from narrows.errors import (
    DataError,
    MissingDependencyError,
    NarrowsError,
    OutputError,
    UnreadableFileError,
    warn,
)
from narrows.texts import shortened

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"})
"""Endings of the files that are read and written as sound."""

# Formats, whatever a file's ending, of which it can be told whether a file was cut short.
_FORMATS = ("WAV", "WAVEX", "RF64", "AIFF", "FLAC", "OGG", "MP3")
# Subtypes whose samples single precision does not hold, and those that go beyond -1 to 1.
_DOUBLE = ("DOUBLE", "PCM_32")
_UNBOUNDED = (
    "FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III",
)  # fmt: skip
# How libsndfile notes that there is less than a header states, and from where on the number of a
# header means that its writer did not know the length.
_NOTED = {
    r"(?m)^\s*(?:data|SSND)\s*: (?P<stated>\d+) \(should be (?P<found>\d+)\)": "bytes of sound",
    r"count (?P<found>\d+) does not match value from 'ds64' chunk of (?P<stated>\d+)": "samples",
}
_UNKNOWN = 0x7FFF0000
_HEADER = 4096  # bytes that a file without any sound may have
_LARGEST_PAGE = 65_307  # bytes of an Ogg file


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
        How the file stores a sample, such as "PCM_16".

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
        # By its descriptor: soundfile opens no file whose name is not UTF-8.
        with path.open("rb") as opened, soundfile.SoundFile(opened.fileno(), closefd=False) as file:
            if file.format not in _FORMATS:
                raise UnreadableFileError(
                    f"'{path}' holds {shortened(file.format_info, 60)}, of which it cannot be told "
                    "whether it is complete; convert it to WAV or FLAC"
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
                    f"'{path}' is cut short: {missing}; copy it again, or choose another"
                )
            return values, file.samplerate, file.subtype
    except NarrowsError:
        raise
    except (soundfile.SoundFileError, ValueError) as error:
        reason = what_it_is(path) or f"it is damaged or cut short ({' '.join(str(error).split())})"
        raise UnreadableFileError(
            f"'{path}' is not a readable sound file: {reason}; repair it or choose another"
        ) from error


def _cut_short(path: Path, file: Any, read: int) -> str | None:
    """Say what of a sound file is missing, by its header and what was read; None if nothing is.

    Of WAV and AIFF, libsndfile takes the samples that are there, and notes the difference. Of MP3
    and FLAC it states the samples that the header promises. An Ogg file's last page says so.
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
    """Tell whether the last page of an Ogg file is whole, and says that it is (RFC 3533)."""
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
    """Write sound to a temporary file that will become ``path``, whose ending says which kind.

    Raises
    ------
    OutputError
        If it cannot be written.
    MissingDependencyError
        If soundfile is not installed.

    Warns
    -----
    NarrowsWarning
        "samples_clipped" if samples lie beyond what the subtype holds.
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
