"""Write a sample of a format, with the code of its time, and what that code reads from it.

    git worktree add /tmp/then COMMIT
    cd tests/data/formats
    PYTHONPATH=/tmp/then/src python write.py library library-v3

The kinds are the names of models, "library", "index" and "checkpoint". README.md has
the commits.
"""

import inspect
import json
import shutil
import sys
from pathlib import Path
from unittest import mock

import numpy as np

import narrows

ROWS = np.random.default_rng(0).integers(0, 256, (12, 4, 4), np.uint8)
CODES = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)
SETTINGS = {"hidden_layer_sizes": (6, 5), "max_epochs": 2, "random_state": 0}


def plain(values):
    return np.asarray(values, np.float64).round(7).tolist()


def write_model(folder, name):
    model = getattr(narrows, name)(3, **SETTINGS).fit(ROWS)
    model.save(folder / "model")
    encoder, decoder = model.split()
    encoder.save(folder / "encoder")
    decoder.save(folder / "decoder")
    codes = model.transform(ROWS)
    return {"codes": plain(codes), "reconstructions": plain(model.inverse_transform(codes))}


def write_library(folder):
    model = narrows.Autoencoder(3, **SETTINGS).fit(ROWS)
    library = narrows.Library.create(folder / "pictures.lance", model=model)
    names = [f"picture {number}" for number in range(12)]
    library.add(ROWS[:8], names=names[:8])
    known = "metadata" in inspect.signature(library.add).parameters  # not in version 1
    columns = {"metadata": {"year": [1900, 1901, 1902, 1903]}} if known else {}
    library.add(ROWS[8:], names=names[8:], **columns)
    if known:
        library.remove([2])
    library = narrows.Library.open(library.path)
    matches = library.match(ROWS, k=3)
    return {
        "codes": plain(model.transform(ROWS)),
        "length": len(library),
        "matches": [[[m.id, m.path, round(float(m.distance), 6)] for m in one] for one in matches],
    }


def write_index(folder):
    from narrows.library import ApproximateIndex

    index = ApproximateIndex(CODES)
    index.save(folder / "index.safetensors")
    np.save(folder / "codes.npy", CODES)
    distances, rows = index.search(CODES[:10], 3)
    return {"distances": plain(distances), "rows": np.asarray(rows).tolist()}


def write_checkpoint(folder):
    # A run that is complete removes its checkpoint.
    with mock.patch.object(Path, "unlink"):
        narrows.Autoencoder(3, **SETTINGS, checkpoint=folder / "run.ckpt").fit(ROWS)
    return {}


def main():
    kind, folder = sys.argv[1], Path(sys.argv[2])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    others = {"library": write_library, "index": write_index, "checkpoint": write_checkpoint}
    values = others[kind](folder) if kind in others else write_model(folder, kind)
    values["X"] = ROWS.tolist()
    (folder / "values.json").write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
