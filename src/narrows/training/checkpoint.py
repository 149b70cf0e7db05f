"""A training run's state on disk, from which it resumes bit for bit.

It is one safetensors file, so that a single rename replaces it: weights, best weights and optimiser
as tensors, the rest as JSON in its header.
"""

import json
import time
from pathlib import Path
from typing import Any

from safetensors import safe_open

from narrows import ranks
from narrows.atomic import atomic_file, check_output, explain_os_errors
from narrows.errors import CheckpointError
from narrows.training.state import DAMAGES, Snapshot, State, checked, reason_of

# The largest share of training time that is spent on writing.
_COST = 0.05


class Checkpoint:
    """A file that holds the last finished epoch of one run.

    Parameters
    ----------
    path : str or Path
        The file; it need not exist.
    identity : str
        Names the run: its data and settings. A file of another run is refused.
    """

    def __init__(self, path: str | Path, identity: str) -> None:
        self.path = Path(path)
        self.identity = identity
        self._due = 0.0

    def seed(self) -> int | None:
        """Return the seed of the run in the file, or ``None`` where there is no file."""
        return int(self._facts()["seed"]) if self._is_there() else None

    def restore(self, state: State) -> None:
        """Bring a run to the state in the file, if there is one.

        Raises
        ------
        CheckpointError
            If the file is damaged or belongs to another run.
        OutputError, OutputExistsError
            If there is no file, and none can be written.
        """
        if not self._is_there():
            check_output(self.path, overwrite=True, kind="file")
            return
        facts = self._facts()
        if len(facts["history"]["epochs"]) < len(state.history):
            return  # the run goes on from a later epoch of a model that was saved
        try:
            with safe_open(self.path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
            Snapshot(tensors, facts).restore(state)
        except DAMAGES as error:
            raise self._damaged(error) from error

    def write(self, state: State, *, at_once: bool = False) -> None:
        """Write the state, unless the last writing was too recent for what it costs.

        Of processes that train together, the first one writes.

        Parameters
        ----------
        state : State
            Between two steps.
        at_once : bool, default=False
            Whether to write in any case, with the other processes waiting for it.
        """
        if ranks.rank() == 0:
            self._write(state, at_once=at_once)
        if at_once:
            ranks.wait()

    def _write(self, state: State, *, at_once: bool) -> None:
        start = time.monotonic()
        if start < self._due and not at_once:
            return
        contents = Snapshot.of(state).with_facts(identity=self.identity).to_bytes()
        with atomic_file(self.path, overwrite=True) as temporary:
            temporary.write_bytes(contents)
        end = time.monotonic()
        self._due = end + (end - start) / _COST

    def remove(self) -> None:
        """Delete the file of a run that is over."""
        if ranks.rank() == 0:
            self.path.unlink(missing_ok=True)
        ranks.wait()

    def _is_there(self) -> bool:
        with explain_os_errors(self.path):  # looking is refused where one must not enter
            return self.path.exists()

    def _facts(self) -> dict[str, Any]:
        try:
            with safe_open(self.path, framework="pt") as file:
                facts = checked(json.loads((file.metadata() or {})["narrows"]))
            if not isinstance(facts["history"]["epochs"], list):
                raise TypeError("its history has no epochs")
        except DAMAGES as error:
            raise self._damaged(error) from error
        if facts.get("identity") != self.identity:
            raise CheckpointError(
                f"'{self.path}' is the checkpoint of another run (other data or parameters); "
                "delete it to start anew, or name another file"
            )
        return facts

    def _damaged(self, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"'{self.path}' is not a whole checkpoint of Narrows ({reason_of(error)}); "
            "delete it to start anew"
        )
