"""``narrows denoise``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import (
    PATH,
    answer,
    json_option,
    overwrite_option,
    skip_option,
    skipped_record,
    to_option,
)
from narrows.cli.exchange import (
    by_blocks,
    data_argument,
    in_units,
    load_for,
    model_argument,
    read_for,
    write_restored,
)
from narrows.cli.waves import is_signal, restore_signal, signal_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from narrows import Autoencoder
    from narrows.data.files import Rows


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
@skip_option
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
    skip_unreadable: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Restore clean data from damaged data.

    MODEL is a model that was trained with damage: narrows train --model denoising. What is written
    has the type of the training data; pictures keep their names, and the windows of a signal fade
    into one another.
    """
    from narrows.data.files import check_destination

    if is_signal(data, signal):
        restore_signal(
            load_for(model, "denoise"),
            "denoise",
            data,
            to,
            columns=columns,
            hop=hop,
            clean=clean,
            overwrite=overwrite,
            as_json=as_json,
        )
        return
    check_destination(to, overwrite=overwrite)
    whole = load_for(model, "denoise")
    check_destination(to, overwrite=overwrite, sample_shape=whole.sample_shape_)
    rows = read_for(whole, data, skip_unreadable=skip_unreadable)
    X = in_units(rows, whole)
    restored = by_blocks(X, whole.denoise, X.shape[1:], whole.scaling_.value_type)
    record: dict[str, Any] = {"output": to, "rows": len(restored)}
    said = f"{len(restored)} rows restored in {to}"
    if clean is not None:
        from narrows.evaluation import compare_with_clean

        originals = _originals(read_for(whole, clean, skip_unreadable=False), rows, whole, clean)
        span = whole.scaling_.high - whole.scaling_.low
        before = compare_with_clean(X, originals, span)
        after = compare_with_clean(restored, originals, span)
        for name, unit in (("psnr", " dB"), ("ssim", "")):
            pair = getattr(before, name), getattr(after, name)
            record[name] = dict(zip(("damaged", "restored"), pair, strict=True))
            if pair[1] is not None:
                said += f"; {name.upper()} {pair[1]:.4g}{unit}, of the damaged {pair[0]:.4g}{unit}"
        record["ssim_window"] = after.ssim_window
        if after.ssim_window is not None:
            said += " (window {} x {}, Gaussian)".format(*after.ssim_window)
        record["exact"] = {"damaged": before.n_exact, "restored": after.n_exact}
    write_restored(to, restored, whole, names=rows.names, columns=rows.columns, overwrite=overwrite)
    record["skipped"] = skipped_record(rows.skipped)
    answer(record, as_json, said)


def _originals(found: "Rows", rows: "Rows", model: "Autoencoder", path: Path) -> "NDArray[Any]":
    """Put clean pictures into the damaged ones' order, by their names; arrays have none."""
    import numpy as np

    from narrows.errors import DataError

    values: NDArray[Any] = in_units(found, model)
    if not (rows.pictures and found.pictures) or found.names == rows.names:
        return values
    stems = {Path(name).with_suffix(""): place for place, name in enumerate(found.names)}
    missing = [name for name in rows.names if Path(name).with_suffix("") not in stems]
    if missing:
        if len(rows.names) == len(found.names) == 1:
            return values
        raise DataError(
            f"'{path}' has no clean original of {missing[0]!r} ({len(missing)} missing in all); "
            "give the originals the names of the damaged pictures"
        )
    order = np.array([stems[Path(name).with_suffix("")] for name in rows.names])
    ordered: NDArray[Any] = values[order]
    return ordered
