"""Picture files restored at their own size, with everything that they hold: which, where and how.

One line says how noisy the pictures were and how much they changed; what is out of the ordinary is
said by one line for each kind of it. ``--json`` has the figures of every file.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.beside import Beside
from narrows.cli.console import answer, progress
from narrows.cli.exchange import load_for, refuse_signal_options, report_skipped
from narrows.cli.originals import Scores
from narrows.containment import is_file, is_folder
from narrows.data.formats import IMAGE_SUFFIXES
from narrows.texts import counted, shortened

if TYPE_CHECKING:
    from narrows.data.folders import LeftOut
    from narrows.models.restored_files import FileChange, Observer

# The share of a model's change below which a picture counts as held back.
_HELD_BACK = 0.1
_EIGHT_BITS = 255
_LITTLE_NOISE = 1.5 / 255  # of white: about what clean photographs seem to have
# How much stronger than what the model learned noise is before it is said.
_STRONGER = 1.15
# What is said of noise that the model did not learn, as the end of "3 files ...".
_NOISE_KINDS = {
    "salt_and_pepper": "with single black or white pixels (salt and pepper), most of which stay: "
    "--even-if-clean takes off more, and a model of them nearly all",
    "stripes": "with stripes (an offset of each row or column), which stay, as the model learned "
    "noise of single pixels: train one of stripes",
    "correlated": "with noise that neighbouring pixels share, which stays, as the model learned "
    "noise of single pixels: train one of it",
}
# What the denoisers that ship are called.
_BUILT_IN = "built-in"


def are_photographs(data: Path, to: Path, how: dict[str, Any]) -> bool:
    """Return whether data are picture files that are to be written as such, at their own size."""
    from narrows.data.files import holds_rows

    if how["as_signal"] or how["resize"]:
        return False
    into_folder = is_folder(to) or not to.suffix
    if is_file(data):
        is_picture = data.suffix.lower() in IMAGE_SUFFIXES
        return is_picture and (into_folder or to.suffix.lower() in IMAGE_SUFFIXES)
    if not is_folder(data) or not into_folder or to.suffix.lower() == ".lance":
        return False
    return not holds_rows(data, how["reading"]["exclude"])


def restore_photographs(
    path: Path | None,
    data: Path,
    to: Path,
    clean: Path | None,
    how: dict[str, Any],
    *,
    strength: float,
    even_if_clean: bool,
    thorough: bool,
    page: Path | None,
    overwrite: bool,
) -> bool:
    """Restore picture files by a model that takes any size, and say how.

    Without a model, by the denoisers that ship.

    Returns
    -------
    bool
        Whether the model takes any size; otherwise nothing was done.

    Raises
    ------
    NarrowsError
        If files cannot be read, restored or written.
    """
    from narrows.data.folders import check_exists
    from narrows.models.picture_restorer import PictureRestorer

    models = _models_by_channels(path)
    if not models:
        return False
    refuse_signal_options(**how["signal"])
    how["reading"]["options"].check_use(data)
    _refuse_first_page()
    restorer = PictureRestorer(models.get, strength, even_if_clean=even_if_clean, thorough=thorough)
    files, left_out = _files_of(data, how["reading"]["exclude"])
    places = _places(data, files, to, overwrite=overwrite)
    root = data if is_folder(data) else data.parent
    scores = None
    if clean is not None:
        check_exists(clean, "the clean pictures")
        scores = Scores.of(files, root, clean, how["reading"]["exclude"])
    observers: list[Observer] = [] if scores is None else [scores.add]
    beside = None
    if scores is not None or page is not None:
        beside = Beside([file.relative_to(root).as_posix() for file in files])
        observers.append(beside.observer(files, scores))
    done, skipped, unwritable = _restore_all(
        files, places, to, restorer, observers, overwrite=overwrite,
        skip_unreadable=how["reading"]["skip_unreadable"] and is_folder(data),
    )  # fmt: skip
    _warn(done)
    _warn_of_unwritable(unwritable, path)
    strongest = _strongest_of(models.values())
    if strongest is not None:
        _warn_of_noise(done, strongest)
    record: dict[str, Any] = {"output": to, "strength": strength, "thorough": thorough}
    record["model"] = path or _BUILT_IN
    line = _told(record, done, root)
    not_restored = [*skipped, *unwritable]
    record["skipped"] = [{"path": path, "reason": reason} for path, reason in not_restored]
    if left_out is not None and any(left_out.as_json().values()):
        record["left_out"] = left_out.as_json()
    if scores is not None:
        line += scores.report(record)
    lines = [line]
    if beside is not None:
        lines += beside.report(record)
    if beside is not None and page is not None:
        record["page"] = page
        lines.append(
            beside.write(page, data, path or Path("the denoiser that ships"), overwrite=overwrite)
        )
    answer(record, *lines)
    return True


def _models_by_channels(path: Path | None) -> dict[int, Any]:
    """Return the models that restore pictures of some channels; none where they take one size."""
    from narrows import builtin

    if path is None:
        return {channels: builtin.denoiser(channels) for channels in builtin.CHANNELS}
    model = load_for(path, "denoise", tables=True)
    if not getattr(model, "takes_any_size_", False) or not model.spec_.shows_pictures:
        return {}
    shape = model.sample_shape_
    return {shape[2] if len(shape) == 3 else 1: model}


def _refuse_first_page() -> None:
    """Refuse to leave pages out, of files that keep all that they hold.

    Raises
    ------
    ParameterError
        If ``--pages first`` was given.
    """
    from narrows.data.reading import current
    from narrows.errors import ParameterError

    source = click.get_current_context().get_parameter_source("pages")
    if source is click.core.ParameterSource.COMMANDLINE and current().pages == "first":
        raise ParameterError(
            "--pages first would leave pages out, and restored files keep all of them; leave it "
            "out, or extract the first page",
            parameter="pages",
        )


def _files_of(data: Path, exclude: Sequence[str]) -> "tuple[list[Path], LeftOut | None]":
    """List the picture files to restore."""
    from narrows.data.files import check_excludable
    from narrows.data.images import list_images

    check_excludable(data, exclude)
    if is_file(data):
        return [data], None
    listing = list_images(data, exclude)
    listing.left_out.warn(data, stacklevel=4)
    return listing.files, listing.left_out


def _places(
    data: Path, files: Sequence[Path], to: Path, *, overwrite: bool
) -> dict[Path, PurePosixPath | None]:
    """Choose where each restored file goes: within a folder, or None for the output itself.

    Raises
    ------
    OutputExistsError, OutputError, ParameterError
        If it cannot go there, or would replace a picture that is read.
    """
    from narrows.atomic import check_output
    from narrows.data.photographs import check_writable, same_ending
    from narrows.errors import ParameterError

    into_folder = is_folder(to) or not to.suffix
    given = {file.resolve() for file in files}
    root = data if is_folder(data) else data.parent
    if into_folder:
        places: dict[Path, PurePosixPath | None] = {
            file: PurePosixPath(file.relative_to(root)) for file in files
        }
        in_place = any((to / str(place)).resolve() in given for place in places.values())
    else:
        places = dict.fromkeys(files)
        in_place = to.resolve() in given
    inside = is_folder(data) and to.resolve().is_relative_to(data.resolve())
    if in_place or inside:
        why = "lies in" if inside and not in_place else "would replace the pictures of"
        raise ParameterError(
            f"'{to}' {why} '{data}', which is only read; name a folder or a file elsewhere"
        )
    check_output(to, overwrite=overwrite, kind="folder" if into_folder else "file")
    if not into_folder and not same_ending(to, data):
        check_writable(to)
    return places


def _restore_all(
    files: Sequence[Path],
    places: dict[Path, PurePosixPath | None],
    to: Path,
    restorer: Any,
    observers: "Sequence[Observer]",
    *,
    overwrite: bool,
    skip_unreadable: bool,
) -> "tuple[list[FileChange], list[tuple[str, str]], list[tuple[str, str]]]":
    """Restore all files; they appear together or not at all.

    Returns
    -------
    done : list of FileChange
    skipped, unwritable : list of (str, str)
        Files that cannot be read, and those of a folder that their kind cannot hold here, with
        the reasons.

    Raises
    ------
    UnreadableFileError, DataError
        If a file cannot be read and is not to be skipped, or is not taken by the model.
    """
    from narrows.atomic import atomic_file, atomic_folder
    from narrows.data.image_codec import DefectError, quietly
    from narrows.data.images import none_readable
    from narrows.data.photographs import UnwritableError
    from narrows.data.reading import current
    from narrows.errors import DataError, UnreadableFileError
    from narrows.models.restored_files import restore_file

    done: list[FileChange] = []
    skipped: list[tuple[str, str]] = []
    unwritable: list[tuple[str, str]] = []
    into_folder = places[files[0]] is not None
    writing = atomic_folder if into_folder else atomic_file
    with writing(to, overwrite=overwrite) as temporary, progress("restoring") as advance, quietly():
        for number, file in enumerate(files, 1):
            place = places[file]
            new = temporary if place is None else temporary / place
            new.parent.mkdir(parents=True, exist_ok=True)
            final = to if place is None else to / place
            try:
                change = restore_file(
                    file, restorer, new, final, how=current(), observers=observers
                )
                done.append(change)
            except DefectError as error:
                new.unlink(missing_ok=True)
                if not skip_unreadable:
                    remedy = (
                        "repair or remove it, or leave out what cannot be read "
                        "(--skip-unreadable)" if len(files) > 1 else "repair it, or give another"
                    )  # fmt: skip
                    raise UnreadableFileError(
                        f"'{file}' is not restored: {error}; {remedy}", path=file, reason=str(error)
                    ) from error
                skipped.append((str(file), str(error)))
            except UnwritableError as error:
                new.unlink(missing_ok=True)
                if len(files) == 1:
                    raise
                unwritable.append((str(file), str(error.reason)))
            except DataError as error:
                reason = str(error).removeprefix("it ")
                raise DataError(f"'{file}' {reason}" if reason != str(error) else reason) from error
            advance(number, len(files))
        if not done:
            raise none_readable(len(files), files[0], (skipped + unwritable)[0][1])
        _remove_empty(temporary)
    report_skipped(skipped)
    return done, skipped, unwritable


def _warn_of_unwritable(unwritable: Sequence[tuple[str, str]], model: Path | None) -> None:
    """Say which files of a folder were not restored, as their kind cannot hold them here."""
    from narrows.errors import warn

    if unwritable:
        first, reason = unwritable[0]
        named = "" if model is None else f"{shortened(str(model))} "
        such = f", such as '{shortened(first)}'," if len(unwritable) > 1 else f" ('{first}')"
        warn(
            f"{counted(len(unwritable), 'file')}{such} not restored, as they cannot be written in "
            f"their kind: {reason}; restore each by itself into another kind (narrows denoise "
            f"{named}{shortened(first)} -o NAME.tif)",
            kind="not_written",
            files=len(unwritable),
            first=first,
        )


def _remove_empty(folder: Path) -> None:
    """Remove folders of which no picture could be read."""
    if folder.is_dir():
        for inner in sorted((f for f in folder.rglob("*") if f.is_dir()), reverse=True):
            if not any(inner.iterdir()):
                inner.rmdir()


def _say(kind: str, found: "Sequence[FileChange]", n: int, words: str, **facts: Any) -> None:
    """Say in one line what is out of the ordinary in some of n files; nothing of none."""
    from narrows.errors import warn

    if found:
        first = shortened(str(found[0].path))
        such = f", such as '{first}'," if n > 1 else f" ('{first}')"
        line = f"{counted(len(found), 'file')}{such} {words}"
        warn(line, kind=kind, stacklevel=5, files=len(found), first=str(found[0].path), **facts)


def _strongest_of(models: Iterable[Any]) -> float | None:
    """Return the highest level of noise that models learned, of white; None of other damage."""
    from narrows.models.damage import strongest_noise
    from narrows.models.picture_restorer import is_of_noise

    levels = [strongest_noise(model) if is_of_noise(model) else None for model in models]
    known = [level for level in levels if level is not None]
    return min(known) if len(known) == len(levels) else None


def _warn_of_noise(done: "Sequence[FileChange]", strongest: float) -> None:
    """Say which pictures have noise that the model did not learn, one line for each kind of it."""
    for kind, words in _NOISE_KINDS.items():
        remedy = f"(narrows train CLEAN-PICTURES -o MODEL --model denoising --corruption {kind})"
        found = [one for one in done if kind in one.noise_kinds]
        _say("unknown_noise", found, len(done), f"{words} {remedy}", noise_kind=kind)
    found = [
        one
        for one in done
        if (one.change.noise or 0) > _STRONGER * strongest and not one.noise_kinds
    ]
    if found:
        noise = max(one.change.noise or 0 for one in found)
        level = min(1.0, math.ceil(11 * noise) / 10)
        _say(
            "unknown_noise",
            found,
            len(done),
            f"with noise of up to {_EIGHT_BITS * noise:.3g} of 255, stronger than the "
            f"{_EIGHT_BITS * strongest:.3g} that the model learned, so that more of it stays: "
            "train one of such noise (narrows train CLEAN-PICTURES -o MODEL --model denoising "
            f"--corruption-level 0:{level:g}, without clean ones narrows train NOISY -o MODEL "
            "--noisy)",
            noise_kind="strong",
            noise=round(_EIGHT_BITS * noise, 4),
            learned=round(_EIGHT_BITS * strongest, 4),
        )


def _warn(done: "Sequence[FileChange]") -> None:
    """Say what is out of the ordinary, one line for each kind of it."""
    from narrows.data.photographs import NOTES

    def say(kind: str, found: "Sequence[FileChange]", words: str, **facts: Any) -> None:
        _say(kind, found, len(done), words, **facts)

    for note, words in NOTES.items():
        say("not_kept", [one for one in done if note in one.notes], words, what=note)
    say(
        "channels_apart",
        [one for one in done if one.way == "channels"],
        "whose channels were restored one by one, as the model learned from grey pictures",
    )
    say(
        "channels_apart",
        [one for one in done if one.way == "grey"],
        "restored as grey pictures by a model of colours, each channel by itself",
    )
    say(
        "chroma_apart",
        [one for one in done if one.change.chroma_apart],
        "with noise of colours that neighbouring pixels share, as JPEG makes it: brightness and, "
        "at half the size, colours were restored apart",
    )
    say(
        "noise_shared",
        [one for one in done if one.change.shared],
        "with noise that neighbouring pixels share, as after JPEG or resizing: high-frequency "
        "noise was added first, so that the model recognises the noise, and both were removed",
    )
    say(
        "tones_guessed",
        [one for one in done if one.tones is not None],
        "that do not tell which value is white: black and white were found in their values, and "
        "what is beyond, such as stars, was seen as white",
    )
    unfinished = [one for one in done if one.change.not_finite]
    say(
        "not_finite",
        unfinished,
        f"with {sum(one.change.not_finite for one in unfinished)} values that are not finite (NaN "
        "or infinity), which stay as they are",
    )
    held = [one for one in done if one.change.share < _HELD_BACK and not one.noise_kinds]
    say(
        "no_noise",
        [one for one in held if one.change.noise == 0],
        "in which no noise was found, so that they stay as they are (--even-if-clean applies the "
        "model's change)",
    )
    say(
        "held_back",
        [one for one in held if 0 < (one.change.noise or 0) <= _LITTLE_NOISE],
        "with hardly any noise, so that they stay nearly as they are (--even-if-clean applies all "
        "of the model's change)",
    )
    say(
        "held_back",
        [one for one in held if (one.change.noise or 0) > _LITTLE_NOISE],
        f"of which less than {_HELD_BACK:.0%} of the model's change was applied, as more of it "
        "would harm them by the noise that was found in them; a model of such pictures does better "
        "(narrows train CLEAN-PICTURES -o MODEL --model denoising), and --even-if-clean applies "
        "all of the change",
    )
    say(
        "held_back",
        [one for one in done if one.change.noise is None and not one.change.share],
        "of one bit, in which noise cannot be measured: they stay as they are; --even-if-clean "
        "restores them",
    )


def _told(record: dict[str, Any], done: "Sequence[FileChange]", root: Path) -> str:
    """Put what was done into a record, and return it in one line."""
    import numpy as np

    changes = [one.change for one in done]
    rms = _EIGHT_BITS * float(np.sqrt(np.mean([change.rms**2 for change in changes])))
    noises = [_EIGHT_BITS * one.noise for one in changes if one.noise is not None]
    pages = sum(one.pages for one in done)
    record |= {"rows": pages, "files": len(done), "noise": None, "rms_change": round(rms, 4)}
    record["pictures"] = [
        {"path": one.path.relative_to(root).as_posix(), **one.as_json()} for one in done
    ]
    line = f"{counted(len(done), 'picture')} restored in {record['output']}"
    if pages > len(done):
        files = counted(len(done), "file")
        line = f"{counted(pages, 'page')} of {files} restored in {record['output']}"
    if noises:
        low, middle, high = (round(float(n), 4) for n in np.quantile(noises, (0, 0.5, 1)))
        record["noise"] = {"least": low, "median": middle, "largest": high}
        spread = f" ({low:.2g} to {high:.2g})" if len(noises) > 1 else ""
        line += f"; noise {middle:.3g} of 255{spread}"
    return f"{line}; changed by {rms:.3g} of 255 (root mean square)"
