"""The history of a training run: losses and learning rates, epoch by epoch."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Literal, Self, get_args

from narrows.atomic import atomic_file
from narrows.errors import FormatError
from narrows.texts import guarded

Record = dict[str, float]
# The columns that every epoch has.
_ALWAYS = ("epoch", "loss", "learning_rate", "seconds")
Ending = Literal["max_epochs", "early_stopping", "collapsed", "interrupted", "running"]


@dataclass
class History:
    """One record an epoch, and how training ended.

    Attributes
    ----------
    epochs : list of dict
        Each with ``epoch`` (from 1), ``loss`` and its terms (``reconstruction``, ``penalty`` where
        there is one), the same with ``validation_`` in front where rows were held out,
        ``learning_rate`` at the epoch's end, and ``seconds`` since the start. Where training was
        interrupted in its first epoch, its only record is of the steps done, without held-out rows.
    best_epoch : int
        The epoch whose weights were kept, from 1; the last where no rows were held out.
    ended : {"max_epochs", "early_stopping", "collapsed", "interrupted", "running"}
        Why training stopped.
    layers : list of History
        The histories of layers that were trained one by one before the whole network, in order.
    start : dict or None
        The losses of the first weights, before any step, of a network that starts at PCA; on the
        held-out rows, if there are any. ``best_epoch`` is 0 where the first weights were kept.
    initial_loss : float or None
        The loss of the first step, before it.
    restarts : list of int
        The epochs after which training had collapsed, and went back to its best weights.
    plans : list of dict
        The plans that were replaced when training was resumed: ``epoch`` and ``step``, the epochs
        done by then and the steps after them, and ``max_epochs``, the epochs that had been planned.
        Early stopping counts from the last.

    Examples
    --------
    >>> first, second = {"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.5}
    >>> history = History([first, second], best_epoch=2)
    >>> history["loss"], history.columns, len(history)
    ([2.0, 1.5], ['epoch', 'loss'], 2)
    >>> history.to_csv("history.csv").read_text().split()
    ['epoch,loss', '1,2.0', '2,1.5']
    """

    epochs: list[Record] = field(default_factory=list)
    best_epoch: int = 0
    ended: Ending = "running"
    layers: list["History"] = field(default_factory=list)
    start: Record | None = None
    initial_loss: float | None = None
    restarts: list[int] = field(default_factory=list)
    plans: list[dict[str, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.epochs)

    def __getitem__(self, column: str) -> list[float]:
        return [record[column] for record in self.epochs]

    @property
    def columns(self) -> list[str]:
        """The names of the recorded figures, in the order in which they were first recorded."""
        return list(dict.fromkeys(name for record in self.epochs for name in record))

    @property
    def best(self) -> Record:
        """The record of the epoch whose weights were kept; empty where there is none."""
        if self.best_epoch == 0 and self.start is not None:
            return self.start
        return self.epochs[self.best_epoch - 1] if self.epochs else {}

    def summary(self) -> dict[str, Any]:
        """Return the main figures of a run, and those of each layer where there are any.

        Examples
        --------
        >>> epochs = [{"epoch": 1, "loss": 2.0, "seconds": 0.5}]
        >>> summary = History(epochs, 1, "max_epochs").summary()
        >>> list(summary), summary["loss"]
        (['epochs', 'ended', 'best_epoch', 'loss', 'validation_loss', 'seconds'], 2.0)
        """
        own: dict[str, Any] = {
            "epochs": len(self),
            "ended": self.ended,
            "best_epoch": self.best_epoch,
            "loss": self.best.get("loss"),
            "validation_loss": self.best.get("validation_loss"),
        }
        own["seconds"] = sum(h.epochs[-1]["seconds"] for h in (self, *self.layers) if h.epochs)
        return {**own, "layers": [h.summary() for h in self.layers]} if self.layers else own

    def to_csv(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a CSV file with a line for each epoch.

        Parameters
        ----------
        path : str or Path
            The file.
        overwrite : bool, default=False
            Whether a file that is there already is replaced.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OutputExistsError, OutputError
            If it is there already, or cannot be written.
        """
        with atomic_file(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(self._csv())
        return Path(path)

    def files(self) -> dict[str, bytes]:
        r"""Return the contents of the CSV files that a model's folder has, by their names.

        ``history.csv``, and ``history-layer-1.csv`` and so on of a stack's layers.

        Examples
        --------
        >>> History([{"epoch": 1, "loss": 2.0}], best_epoch=1).files()
        {'history.csv': b'epoch,loss\r\n1,2.0\r\n'}
        """
        layers = {f"history-layer-{k}.csv": h for k, h in enumerate(self.layers, 1)}
        return {name: h._csv() for name, h in {"history.csv": self, **layers}.items()}

    def _csv(self) -> bytes:
        stream = StringIO(newline="")
        columns = self.columns or _ALWAYS
        writer = csv.DictWriter(stream, columns)
        writer.writerow({name: guarded(name) for name in columns})
        writer.writerows(self.epochs)
        return stream.getvalue().encode()

    def as_json(self) -> dict[str, Any]:
        """Return the fields in JSON types; those that hold nothing are left out."""
        own = {"epochs": self.epochs, "best_epoch": self.best_epoch, "ended": self.ended}
        optional = {
            "start": self.start,
            "initial_loss": self.initial_loss,
            "restarts": self.restarts,
            "plans": self.plans,
        }
        own |= {name: value for name, value in optional.items() if value not in (None, [])}
        return {**own, "layers": [h.as_json() for h in self.layers]} if self.layers else own

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Build a history from the fields that :meth:`as_json` returned.

        Raises
        ------
        FormatError
            If the fields are not those of a history.
        """
        layers = fields.get("layers", [])
        # Layers have no layers: those of a damaged file are ignored.
        history = cls(**{name: value for name, value in fields.items() if name != "layers"})
        history.layers = [cls.from_json({**layer, "layers": []}) for layer in layers]
        epochs, best = history.epochs, history.best_epoch
        if not isinstance(epochs, list) or not all(map(_is_record, epochs)):
            raise FormatError("the history's epochs are not records of numbers; train again")
        if history.start is not None and not _is_record(history.start, ("epoch",)):
            raise FormatError("the history's start is no record of numbers; train again")
        least = 0 if history.start is not None else min(1, len(epochs))
        if type(best) is not int or not least <= best <= len(epochs):
            raise FormatError(
                f"the history's best epoch is {best!r}, of {len(epochs)} epochs; train again"
            )
        if not (
            (history.initial_loss is None or _is_number(history.initial_loss))
            and isinstance(history.restarts, list)
            and all(type(epoch) is int for epoch in history.restarts)
        ):
            raise FormatError("the history's first loss or restarts are no numbers; train again")
        if not isinstance(history.plans, list) or not all(map(_is_plan, history.plans)):
            raise FormatError("the history's plans are no numbers of epochs; train again")
        if history.ended not in get_args(Ending):
            raise FormatError(f"the history ended by {history.ended!r}, not known; train again")
        return history


def _is_record(record: object, always: Sequence[str] = _ALWAYS) -> bool:
    """Return whether a record has these columns, and nothing but finite numbers."""
    return (
        isinstance(record, dict)
        and record.keys() >= set(always)
        and all(map(_is_number, record.values()))
    )


def _is_plan(plan: object) -> bool:
    """Return whether a plan holds numbers of epochs and steps."""
    return (
        isinstance(plan, dict)
        and plan.keys() == {"epoch", "step", "max_epochs"}
        and all(type(number) is int and number >= 0 for number in plan.values())
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
