"""Means over rows of a loss's terms, read back from the device once an epoch."""

from typing import Any, Self

import torch
from torch import Tensor

from narrows import ranks
from narrows.losses import Loss
from narrows.training.history import Record


class Means:
    """Means over rows of a loss's terms.

    Only sums are kept: a small tensor per step between the large blocks that steps allocate and
    free would fragment the heap, which would grow with the number of steps.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._first: list[Tensor] = []
        self._rows = 0

    def __bool__(self) -> bool:
        return self._rows > 0

    def add(self, parts: Loss, rows: int) -> None:
        """Add the terms of a batch of ``rows`` rows, which stay on their device."""
        if not self._first:
            self._first = [term.detach().double() for term in parts.values()]
        for name, term in parts.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros((), dtype=_kind(term.device), device=term.device)
            self._sums[name].add_(term.detach(), alpha=rows)
        self._rows += rows

    def first(self) -> float:
        """Return the loss of the first batch that was added."""
        return sum(float(ranks.add(term)) for term in self._first) / ranks.size()

    def read(self) -> Record:
        """Return the loss and its terms, of the rows of all processes."""
        rows = ranks.total(self._rows)
        means = {name: float(ranks.add(total)) / rows for name, total in self._sums.items()}
        return {"loss": sum(means.values()), **means}

    def as_json(self) -> dict[str, Any]:
        """Return the sums in JSON types, for :meth:`from_json`."""
        sums = {name: float(total) for name, total in self._sums.items()}
        return {"rows": self._rows, "sums": sums, "first": [float(term) for term in self._first]}

    @classmethod
    def from_json(cls, facts: dict[str, Any], device: torch.device) -> Self:
        """Restore the means; of several processes, the first one gets all that was added.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the facts are not those of means.
        """
        rows, sums, first = facts["rows"], dict(facts["sums"]), list(facts["first"])
        if type(rows) is not int or not 0 <= rows < 2**63:
            raise ValueError(f"its rows of an epoch are {rows!r}")
        means = cls()
        share = int(ranks.rank() == 0)
        means._rows = rows * share
        for name, total in sums.items():
            value = torch.tensor(float(total) * share, dtype=_kind(device), device=device)
            means._sums[str(name)] = value
        means._first = [
            torch.tensor(float(term), dtype=_kind(device), device=device) for term in first
        ]
        return means


def _kind(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
