"""Training runs, read from the logs that ``narrows train --log`` writes during training."""

import csv
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from narrows.containment import read_regular
from narrows.texts import as_text, unguarded

# A run is live if its log was written within this many seconds, unless an epoch takes longer.
_LIVE = 30.0
# The number of logs, and the bytes of each, at most.
_MOST_FILES, _MOST_BYTES = 100, 2**26


def read_runs(paths: Sequence[Path]) -> tuple[list[dict[str, Any]], str]:
    """Read all logs, and return them with a hash of their content.

    Parameters
    ----------
    paths : sequence of Path
        Logs, and folders of logs and of models with a ``history.csv``.
    """
    runs, seen = [], sha256()
    for name, file in _files(paths):
        try:
            state = file.stat()
            text = read_regular(file, _MOST_BYTES, follow=True).decode(errors="replace")
        except OSError:
            continue  # removed since it was listed, no regular file, or too large
        live = file.name != "history.csv" and time.time() - state.st_mtime < _LIVE
        seen.update(f"{name}\n{live}\n{text}".encode())
        columns, rows = _parse(text)
        runs.append({"name": name, "columns": columns, "rows": rows, "live": live})
    return runs, seen.hexdigest()[:32]


def _files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    logs = []
    for path in paths:
        files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        logs += [(as_text(file.stem), file) for file in files]
        if path.is_dir():
            models = sorted(path.glob("*/history.csv"))
            logs += [(as_text(file.parent.name), file) for file in models]
    return logs[:_MOST_FILES]


def _parse(text: str) -> tuple[list[str], list[list[float | None]]]:
    """Parse complete lines of numbers; the last line may be half written."""
    lines = [line for line in csv.reader(text[: text.rfind("\n") + 1].splitlines()) if line]
    if not lines:
        return [], []
    columns = [unguarded(name) for name in lines[0]]
    whole = [line for line in lines[1:] if len(line) == len(columns)]
    return columns, [[_number(word) for word in line] for line in whole]


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
