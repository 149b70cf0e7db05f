"""Runs that are stopped in the middle, and what their histories say."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from narrows.training.history import History
from narrows.training.progress import on_step


@contextmanager
def stopped_after(steps: int) -> Iterator[list[int]]:
    """Interrupt training after so many steps and held-out batches; count them."""
    count = [0]

    def step() -> None:
        count[0] += 1
        if count[0] == steps:
            raise KeyboardInterrupt

    with on_step(step):
        yield count


def told(history: History) -> dict[str, Any]:
    """Return all that a history says but the seconds."""
    plain = json.loads(json.dumps(history.as_json()))
    for part in (plain, *plain.get("layers", [])):
        for record in part["epochs"]:
            del record["seconds"]
    found: dict[str, Any] = plain
    return found
