"""``narrows denoise``: restore pictures with all that their files hold, signals and rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli import options
from narrows.cli.beside import Beside, check_page, no_pictures
from narrows.cli.console import answer
from narrows.cli.exchange import (
    apply_lazily,
    is_signal,
    load_to_restore,
    options_by_file,
    read_to_restore,
    reading_record,
    resized_words,
    restore_signal,
    write_restored,
)
from narrows.cli.originals import score_words
from narrows.cli.photographs import are_photographs, restore_photographs
from narrows.texts import counted

if TYPE_CHECKING:
    from narrows import Autoencoder
    from narrows.data.files import Rows
    from narrows.evaluation import Restoration


@options.verb("denoise")
@click.argument("given", type=options.PATH, nargs=-1, metavar="[MODEL] DATA")
@options.to(
    "A folder for pictures, or a file: a picture's, {written_rows}, {written_pictures}; of a "
    "signal also {sounds}."
)
@click.option(
    "--strength",
    type=float,
    default=1.0,
    metavar="FLOAT",
    help="The multiple of the model's change that is applied, from 0, which leaves the data as "
    "they are, to 10.",
)
@click.option(
    "--even-if-clean",
    is_flag=True,
    help="Apply the change of a picture or signal in full, where little noise is found as well.",
)
@click.option(
    "--thorough",
    is_flag=True,
    help="Restore each picture in all of its eight orientations and average the results, which "
    "restores better and takes eight times as long.",
)
@click.option(
    "--clean",
    type=options.PATH,
    help="The clean originals, of the same names or in the same order, with which the restored "
    "data are compared, and of some pictures what classic denoisers make of them.",
)
@click.option(
    "--page",
    type=options.PATH,
    metavar="FILE.html",
    help="A page on which some pictures are side by side, noisy, restored, and by classic "
    "denoisers, enlarged where they differ most.",
)
@options.restoring
def command(
    *,
    given: tuple[Path, ...],
    to: Path,
    strength: float,
    even_if_clean: bool,
    thorough: bool,
    clean: Path | None,
    page: Path | None,
    overwrite: bool,
    **how: Any,
) -> None:
    """Restore clean pictures, signals and rows from damaged ones.

    MODEL is a model that was trained with damage: narrows train --model denoising. Without one,
    picture files are restored by the denoisers that ship (narrows info --built-in). Picture files
    that it restores at their own size keep size, depth, channels, opacity, EXIF data, colour
    profile, pages, folders, names and kind; each is changed as far as the noise that is found in
    it allows. Other data have the type of the training data, in tables floats; the windows of a
    signal fade into one another, and it is changed as far as its noise allows, too.
    """
    path, data = _parted(given)
    check_page(page, overwrite=overwrite)
    if are_photographs(data, to, how):
        more = {"overwrite": overwrite, "even_if_clean": even_if_clean, "thorough": thorough}
        if restore_photographs(path, data, to, clean, how, strength=strength, page=page, **more):
            return
    of_signal = is_signal(data, how["as_signal"])
    _refuse_options_of_pictures(
        data,
        {
            f"--strength {strength:g}": strength != 1 and not of_signal,
            "--even-if-clean": even_if_clean and not of_signal,
            "--thorough": thorough,
        },
    )
    if page is not None and of_signal:
        raise no_pictures(data)
    model = _check_model(path, data, to, how)
    shares: dict[str, Any] = {"strength": strength, "even_if_clean": even_if_clean}
    if restore_signal(
        model, "denoise", data, to, clean=clean, overwrite=overwrite, **shares, **how
    ):
        return
    _restore_rows(model, data, to, clean, how, page=page, overwrite=overwrite)


def _parted(given: tuple[Path, ...]) -> tuple[Path | None, Path]:
    """Return the model, if one was given, and the data.

    Raises
    ------
    click.UsageError
        If there are not as many arguments.
    """
    if len(given) not in (1, 2):
        raise click.UsageError(
            "give a model and the data to restore, or pictures alone: narrows denoise [MODEL] DATA"
        )
    return (given[0] if len(given) == 2 else None), given[-1]


def _check_model(path: Path | None, data: Path, to: Path, how: dict[str, Any]) -> Path:
    """Refuse to restore other data than pictures without a model.

    Raises
    ------
    ParameterError
        If there is none.
    """
    from narrows.containment import is_folder
    from narrows.data.folders import check_exists
    from narrows.errors import ParameterError

    if path is None:
        check_exists(data, "the pictures")
        own_folder = to.with_name("restored")  # a folder that the pictures could go to
        if not is_folder(to) and to.suffix and are_photographs(data, own_folder, how):
            if is_folder(data):
                raise ParameterError(
                    f"'{data}' is a folder of pictures, which are restored into a folder, and "
                    f"'{to}' ends in {to.suffix}; name a folder"
                )
            raise ParameterError(
                f"'{to}' ends in {to.suffix}, in which no pictures are written; name a folder, or "
                "a file ending in .png, .tif, .jpg or .webp"
            )
        raise ParameterError(
            f"the denoisers that ship restore picture files at their own size, and '{data}' is to "
            "be restored otherwise; name a model before it (narrows train --model denoising), or "
            "give arrays of pictures to narrows.builtin.denoiser(1).denoise in Python"
        )
    return path


def _refuse_options_of_pictures(data: Path, given: dict[str, bool]) -> None:
    """Refuse the options of pictures that keep their size for other data.

    Raises
    ------
    ParameterError
        If one is given.
    """
    from narrows.errors import ParameterError

    for name in (name for name, is_given in given.items() if is_given):
        raise ParameterError(
            f"{name} is for picture files and models that restore them at their own size, and "
            f"'{data}' is not restored so; leave it out"
        )


def _restore_rows(
    path: Path,
    data: Path,
    to: Path,
    clean: Path | None,
    how: dict[str, Any],
    *,
    page: Path | None,
    overwrite: bool,
) -> None:
    """Restore rows, and pictures of a model's own size."""
    from narrows.models.units import known_units, warn_of_units

    loaded = load_to_restore(path, "denoise", to, overwrite=overwrite)
    own, of_clean = options_by_file(how["reading"], [data, clean])
    rows = read_to_restore(loaded, data, own, how["resize"])
    if page is not None and (rows.resized is not None or not loaded.spec_.shows_pictures):
        raise no_pictures(data)
    X = rows.in_units(loaded)
    if loaded.spec_.shows_pictures and not rows.pictures:
        warn_of_units(loaded.scaling_, X)

    def restore(rows: Any) -> Any:
        with known_units():
            return loaded.denoise(rows)

    if clean is None and page is None:
        restored = apply_lazily(X, restore, X.shape[1:], loaded.scaling_.value_type)
    else:  # Restored rows are kept, as they are compared and written.
        restored = restore(X)
    record: dict[str, Any] = {"output": to, "rows": len(restored)}
    line = f"{counted(len(restored), 'row')} restored in {to}{resized_words(rows)}"
    truth = None
    if clean is not None:
        of_clean["skip_unreadable"] = False
        originals = read_to_restore(loaded, clean, of_clean, how["resize"])
        before, after, truth = _compare(restored, loaded, (rows, data), (originals, clean))
        for name in ("psnr", "ssim"):
            record[name] = {"damaged": getattr(before, name), "restored": getattr(after, name)}
        line += score_words(before, after, len(restored))
        record["ssim_window"] = after.ssim_window
        if after.ssim_window is not None:
            line += " (window {} x {}, Gaussian)".format(*after.ssim_window)
        record["exact"] = {"damaged": before.n_exact, "restored": after.n_exact}
        if rows.resized is not None:
            line += ", at the size of the damaged"
    lines = [line]
    if page is not None or (truth is not None and loaded.spec_.shows_pictures):
        limits = (loaded.scaling_.low, loaded.scaling_.high)
        names = rows.names if rows.pictures else [f"row {name}" for name in rows.names]
        beside = Beside.of_rows(names, X, restored, truth, limits)
        lines += beside.report(record)
        if page is not None:
            record["page"] = page
            lines.append(beside.write(page, data, path, overwrite=overwrite))
    write_restored(to, restored, loaded, overwrite=overwrite, rows=rows)
    answer({**record, **reading_record(rows)}, *lines)


def _compare(
    restored: Any, model: "Autoencoder", damaged: "tuple[Rows, Path]", clean: "tuple[Rows, Path]"
) -> "tuple[Restoration, Restoration, Any]":
    """Compare damaged and restored rows with clean ones: pictures at the size of the damaged.

    Returns
    -------
    before, after : Restoration
    truth : ndarray or None
        The clean rows in the order of the damaged ones; None where pictures were resized.
    """
    import numpy as np

    from narrows.data.pairs import originals_of
    from narrows.data.reading import picture_named
    from narrows.evaluation import compare_files_with_clean, compare_with_clean

    rows, originals = damaged[0], clean[0]
    order = list(range(len(originals.names)))
    if rows.pictures and originals.pictures:
        order = originals_of(rows.names, originals.names, clean[1])
    if rows.resized is not None:
        files = [picture_named(damaged[1], name) for name in rows.names]
        clean_files = [picture_named(clean[1], originals.names[place]) for place in order]
        found = compare_files_with_clean(restored, files, clean_files, model.scaling_)
        return *found, None
    truth = originals.in_units(model)
    if order != list(range(len(originals.names))):
        truth = truth[np.array(order)]
    span = model.scaling_.high - model.scaling_.low
    pictures = model.spec_.shows_pictures
    before = compare_with_clean(rows.in_units(model), truth, span, pictures=pictures)
    return before, compare_with_clean(restored, truth, span, pictures=pictures), truth
