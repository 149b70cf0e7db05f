"""``narrows denoise``."""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import (
    PATH,
    answer,
    json_option,
    overwrite_option,
    reading_options,
    reading_record,
    to_option,
)
from narrows.cli.exchange import (
    at_size,
    by_blocks,
    data_argument,
    load_for,
    model_argument,
    read_to_restore,
    refuse_resize,
    resize_option,
    write_restored,
)
from narrows.cli.reading import file_options, shared
from narrows.cli.waves import is_signal, refuse_signal_options, restore_signal, signal_options

if TYPE_CHECKING:
    from narrows import Autoencoder
    from narrows.data.files import Rows
    from narrows.data.formats import FileOptions
    from narrows.evaluation import Restoration


@click.command("denoise")
@model_argument
@data_argument
@to_option("A folder for pictures, or a file: .npy, .npz, .csv, .parquet or .lance.")
@click.option(
    "--clean",
    type=PATH,
    help="The clean originals, of the same names or in the same order: how near the restored come "
    "to them is said.",
)
@signal_options
@resize_option
@file_options
@reading_options
@overwrite_option
@json_option
def command(
    *,
    model: Path,
    data: Path,
    to: Path,
    clean: Path | None,
    signal: bool,
    columns: str | None,
    hop: int | None,
    rate: int | None,
    resize: bool,
    files: "FileOptions",
    skip_unreadable: bool,
    exclude: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Restore clean data from damaged data.

    MODEL is a model that was trained with damage: narrows train --model denoising. What is written
    has the type of the training data, in tables as floats; pictures keep their names, and the
    windows of a signal fade into one another.
    """
    from narrows.data.files import check_destination
    from narrows.texts import counted

    if is_signal(data, signal):
        refuse_resize(data, resize)
        restore_signal(
            load_for(model, "denoise"),
            "denoise",
            data,
            to,
            columns=columns,
            hop=hop,
            rate=rate,
            exclude=exclude,
            files=files,
            clean=clean,
            overwrite=overwrite,
            as_json=as_json,
        )
        return
    refuse_signal_options(rate=rate, columns=columns, hop=hop)
    check_destination(to, overwrite=overwrite)
    whole = load_for(model, "denoise")
    shape, pictures = whole.sample_shape_, whole.spec_.shows_pictures
    check_destination(to, overwrite=overwrite, sample_shape=shape, pictures=pictures)
    own, of_clean = shared(files, [data, clean])
    reading: Any = {"skip_unreadable": skip_unreadable, "exclude": exclude}
    rows = read_to_restore(whole, data, resize, files=own, **reading)
    X = rows.in_units(whole)
    if clean is None:
        restored = by_blocks(X, whole.denoise, X.shape[1:], whole.scaling_.value_type)
    else:  # They are read twice, to be compared and to be written, and kept on the way.
        restored = whole.denoise(X)
    record: dict[str, Any] = {"output": to, "rows": len(restored)}
    said = f"{counted(len(restored), 'row')} restored in {to}{at_size(rows)}"
    if clean is not None:
        reading["skip_unreadable"] = False
        found = read_to_restore(whole, clean, resize, files=of_clean, **reading)
        compared = _compare(restored, whole, (rows, data), (found, clean))
        before, after = compared
        for name, unit in (("psnr", " dB"), ("ssim", "")):
            pair = tuple(getattr(one, name) for one in (before, after))
            record[name] = dict(zip(("damaged", "restored"), pair, strict=True))
            if pair[1] is not None:
                said += f"; {name.upper()} {pair[1]:.4g}{unit} (input: {pair[0]:.4g}{unit})"
        record["ssim_window"] = after.ssim_window
        if after.ssim_window is not None:
            said += " (window {} x {}, Gaussian)".format(*after.ssim_window)
        record["exact"] = {"damaged": before.n_exact, "restored": after.n_exact}
        if rows.resized is not None:
            said += ", at the size of the damaged"
    write_restored(
        to,
        restored,
        whole,
        names=rows.names,
        columns=rows.columns,
        overwrite=overwrite,
        file_type=rows.file_type,
    )
    record |= reading_record(rows)
    answer(record, as_json, said)


def _compare(
    restored: Any, model: "Autoencoder", given: "tuple[Rows, Path]", clean: "tuple[Rows, Path]"
) -> "tuple[Restoration, Restoration]":
    """Hold damaged and restored rows against clean ones: pictures at the size of the damaged."""
    import numpy as np

    from narrows.data.reading import picture_named
    from narrows.evaluation import compare_files_with_clean, compare_with_clean

    rows, found = given[0], clean[0]
    order = _order(found, rows, clean[1])
    if rows.resized is not None:
        files = [picture_named(given[1], name) for name in rows.names]
        originals = [picture_named(clean[1], found.names[place]) for place in order]
        return compare_files_with_clean(restored, files, originals, model.scaling_)
    truth = found.in_units(model)
    if order != list(range(len(found.names))):
        truth = truth[np.array(order)]
    span = model.scaling_.high - model.scaling_.low
    pictures = model.spec_.shows_pictures
    before = compare_with_clean(rows.in_units(model), truth, span, pictures=pictures)
    return before, compare_with_clean(restored, truth, span, pictures=pictures)


def _order(found: "Rows", rows: "Rows", path: Path) -> list[int]:
    """Return the place of each damaged picture's original, by their names; arrays have none."""
    from narrows.data.names import NameIndex
    from narrows.errors import DataError

    in_order = list(range(len(found.names)))
    if not (rows.pictures and found.pictures) or found.names == rows.names:
        return in_order
    if len(rows.names) == len(found.names) == 1:
        return in_order
    indexes = (
        (NameIndex([[name] for name in found.names]), lambda name: name),
        (NameIndex([[_stem(name)] for name in found.names]), _stem),
    )
    order: list[int] = []
    for name in rows.names:
        places = (index.find(form(name)) for index, form in indexes)
        place = next((place for place in places if place is not None), None)
        if place is not None:
            order.append(place)
            continue
        same = indexes[1][0].alike(_stem(name))
        why = (
            f"has '{found.names[same[0]]}' and '{found.names[same[1]]}' for {name!r}; keep one"
            if len(same) > 1
            else f"has no clean original of {name!r}; give the originals the names of the damaged "
            "pictures"
        )
        raise DataError(f"'{path}' {why}")
    return order


def _stem(name: str) -> str:
    """Leave out the ending of a picture's name, which may be another than its original's."""
    from narrows.data.reading import split_name

    file, page = split_name(name)
    return str(PurePosixPath(file).with_suffix("")) + page
