"""``narrows denoise``: restore damaged data, and measure how well."""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from narrows.cli import options
from narrows.cli.console import answer
from narrows.cli.exchange import (
    apply_lazily,
    load_to_restore,
    options_by_file,
    read_to_restore,
    reading_record,
    resized_words,
    restore_signal,
    write_restored,
)

if TYPE_CHECKING:
    from narrows import Autoencoder
    from narrows.data.files import Rows
    from narrows.evaluation import Restoration


@options.verb("denoise")
@options.model
@options.data
@options.to("A folder for pictures, or a file: .npy, .npz, .csv, .parquet or .lance.")
@click.option(
    "--clean",
    type=options.PATH,
    help="The clean originals, of the same names or in the same order, with which the restored "
    "data are compared.",
)
@options.restoring
def command(
    *, model: Path, data: Path, to: Path, clean: Path | None, overwrite: bool, **how: Any
) -> None:
    """Restore clean data from damaged data.

    MODEL is a model that was trained with damage: narrows train --model denoising. The output has
    the type of the training data, in tables as floats; pictures keep their names, and the windows
    of a signal fade into one another.
    """
    from narrows.texts import counted

    if restore_signal(model, "denoise", data, to, clean=clean, overwrite=overwrite, **how):
        return
    loaded = load_to_restore(model, "denoise", to, overwrite=overwrite)
    own, of_clean = options_by_file(how["reading"], [data, clean])
    rows = read_to_restore(loaded, data, own, how["resize"])
    X = rows.in_units(loaded)
    if clean is None:
        restored = apply_lazily(X, loaded.denoise, X.shape[1:], loaded.scaling_.value_type)
    else:  # Restored rows are kept, as they are compared and written.
        restored = loaded.denoise(X)
    record: dict[str, Any] = {"output": to, "rows": len(restored)}
    line = f"{counted(len(restored), 'row')} restored in {to}{resized_words(rows)}"
    if clean is not None:
        of_clean["skip_unreadable"] = False
        originals = read_to_restore(loaded, clean, of_clean, how["resize"])
        before, after = _compare(restored, loaded, (rows, data), (originals, clean))
        for name, unit in (("psnr", " dB"), ("ssim", "")):
            damaged, now = getattr(before, name), getattr(after, name)
            record[name] = {"damaged": damaged, "restored": now}
            if now is not None:
                line += f"; {name.upper()} {now:.4g}{unit} (input: {damaged:.4g}{unit})"
        record["ssim_window"] = after.ssim_window
        if after.ssim_window is not None:
            line += " (window {} x {}, Gaussian)".format(*after.ssim_window)
        record["exact"] = {"damaged": before.n_exact, "restored": after.n_exact}
        if rows.resized is not None:
            line += ", at the size of the damaged"
    write_restored(to, restored, loaded, overwrite=overwrite, rows=rows)
    answer({**record, **reading_record(rows)}, line)


def _compare(
    restored: Any, model: "Autoencoder", damaged: "tuple[Rows, Path]", clean: "tuple[Rows, Path]"
) -> "tuple[Restoration, Restoration]":
    """Compare damaged and restored rows with clean ones: pictures at the size of the damaged."""
    import numpy as np

    from narrows.data.reading import picture_named
    from narrows.evaluation import compare_files_with_clean, compare_with_clean

    rows, originals = damaged[0], clean[0]
    order = _order(originals, rows, clean[1])
    if rows.resized is not None:
        files = [picture_named(damaged[1], name) for name in rows.names]
        clean_files = [picture_named(clean[1], originals.names[place]) for place in order]
        return compare_files_with_clean(restored, files, clean_files, model.scaling_)
    truth = originals.in_units(model)
    if order != list(range(len(originals.names))):
        truth = truth[np.array(order)]
    span = model.scaling_.high - model.scaling_.low
    pictures = model.spec_.shows_pictures
    before = compare_with_clean(rows.in_units(model), truth, span, pictures=pictures)
    return before, compare_with_clean(restored, truth, span, pictures=pictures)


def _order(originals: "Rows", rows: "Rows", path: Path) -> list[int]:
    """Return the row of each damaged picture's original, by their names; arrays have none."""
    from narrows.data.names import NameIndex
    from narrows.errors import DataError

    are_pictures = rows.pictures and originals.pictures
    are_single = len(rows.names) == len(originals.names) == 1
    if not are_pictures or are_single or originals.names == rows.names:
        return list(range(len(originals.names)))
    by_name = NameIndex([[name] for name in originals.names])
    by_stem = NameIndex([[_stem(name)] for name in originals.names])
    order: list[int] = []
    for name in rows.names:
        place = by_name.find(name)
        if place is None:
            place = by_stem.find(_stem(name))
        if place is not None:
            order.append(place)
            continue
        same = by_stem.alike(_stem(name))
        why = (
            f"has '{originals.names[same[0]]}' and '{originals.names[same[1]]}' for {name!r}; "
            "keep one"
            if len(same) > 1
            else f"has no clean original of {name!r}; give the originals the names of the damaged "
            "pictures"
        )
        raise DataError(f"'{path}' {why}")
    return order


def _stem(name: str) -> str:
    """Leave out the ending of a picture's name, which may differ from its original's."""
    from narrows.data.reading import split_name

    file, page = split_name(name)
    return str(PurePosixPath(file).with_suffix("")) + page
