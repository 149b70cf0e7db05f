"""``narrows reconstruct``: encode and decode data."""

from pathlib import Path
from typing import Any

from narrows.cli import options
from narrows.cli.console import answer
from narrows.cli.exchange import (
    apply_lazily,
    load_to_restore,
    read_to_restore,
    reading_record,
    resized_words,
    restore_signal,
    write_restored,
)


@options.verb("reconstruct")
@options.model
@options.data
@options.to("A folder for pictures, or a file: .npy, .npz, .csv, .parquet or .lance.")
@options.restoring
def command(*, model: Path, data: Path, to: Path, overwrite: bool, **how: Any) -> None:
    """Encode and decode data in one go.

    The output has the type of the training data, in tables as floats; pictures keep their names,
    and the windows of a signal fade into one another.
    """
    import numpy as np

    from narrows.texts import counted

    if restore_signal(model, "reconstruct", data, to, overwrite=overwrite, **how):
        return
    loaded = load_to_restore(model, "reconstruct", to, overwrite=overwrite)
    rows = read_to_restore(loaded, data, how["reading"], how["resize"])
    X = rows.in_units(loaded)
    squares = 0.0

    def restore(block: Any) -> Any:
        nonlocal squares
        restored = loaded.reconstruct(block)
        squares += float(np.square(np.subtract(restored, block, dtype=np.float64)).sum())
        return restored

    restored = apply_lazily(X, restore, X.shape[1:], loaded.scaling_.value_type)
    write_restored(to, restored, loaded, overwrite=overwrite, rows=rows)
    error = squares / X.size
    record = {"output": to, "rows": len(restored), "mean_squared_error": error}
    answer(
        {**record, **reading_record(rows)},
        f"{counted(len(restored), 'row')} restored in {to}{resized_words(rows)}; "
        f"mean squared error {error:.6g}",
    )
