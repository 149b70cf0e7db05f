"""Libraries for writers that are killed, and all that is in them.

The seed of everything random here is 0.
"""

import json
import shutil
from pathlib import Path

import lance
import numpy as np
from killing import STEPS, Killer
from libraries import draw, fit, say

from narrows import Library


def make_bases(folder: Path, model, pictures) -> Path:
    """Make libraries of three additions, a sound one and one to repair, and models beside them."""
    model.save(folder / "model")
    fit(pictures, seed=1).save(folder / "other")
    library = Library.create(folder / "sound.lance", model=model)
    for seed in (1, 2, 3):
        library.add(draw(50, seed), metadata={"when": range(50)})
    shutil.copytree(library.path, folder / "damaged.lance")
    table = lance.dataset(str(folder / "damaged.lance" / "table.lance"))
    table.update({"path": "'a new name'"}, "id = 7")
    table.update({"picture": "x'00'", "hash": "'no hash of it'"}, "id = 77")
    table.update({"id": "3"}, "id = 103")
    say(folder / "damaged.lance", version=table.version)
    return folder


def rows_of(library):
    """Return the model's fingerprint, the columns and the rows, without the times of addition."""
    facts = json.loads((library.path / "library.json").read_text())
    table = lance.dataset(str(library.path / facts["table"]), version=facts["version"])
    rows = table.to_table().to_pylist()
    for row in rows:
        row.pop("added")
        row["code"] = np.round(row["code"], 4).tolist()  # rounding depends on who encodes
    columns = [field for field in table.schema.names if field != "added"]
    return facts["fingerprint"], columns, sorted(rows, key=lambda row: row["id"])


def state(library):
    """Return all that a library holds, and its problems."""
    fingerprint, columns, rows = rows_of(library)
    assert library.model.fingerprint_ == fingerprint
    problems = [(problem.id, problem.what) for problem in library.verify().problems]
    return fingerprint, columns, rows, problems


def copy(bases: Path, operation: str, to: Path) -> Library:
    """Copy the library that an operation is done to, and the models that it may need."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for name in ("model", "other"):
        shutil.copytree(bases / name, to / name)
    base = "damaged" if operation == "repair" else "sound"
    return Library.open(shutil.copytree(bases / f"{base}.lance", to / "pictures.lance"))


def rehearse(kill: Killer, bases: Path, operation: str, to: Path):
    """Do an operation without a kill; return the state after each step, and its duration."""
    library = copy(bases, operation, to)
    states = [state(library)]
    for step in STEPS[operation]:
        step(library)
        states.append(state(library.refresh()))
    library = copy(bases, operation, to)
    done = kill(operation, library.path)
    assert (done["steps"], done["killed"]) == (len(STEPS[operation]), False)
    assert state(library.refresh()) == states[-1]
    return states, done
