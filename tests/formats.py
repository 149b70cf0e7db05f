"""Samples of files of every format version, and what the present code reads from them."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np

from narrows import Autoencoder, Library, load
from narrows.errors import CheckpointError, FormatError
from narrows.library import ApproximateIndex

FOLDER = Path(__file__).with_name("data") / "formats"
# What is not read, the error, and words of the remedy in it.
REFUSED = {
    "model-v1-first": (FormatError, "train again"),
    "library-v1": (FormatError, "build the library again"),
    "library-v2": (FormatError, "build the library again"),
    "checkpoint-first": (CheckpointError, "delete it to start anew"),
}
WARNED = {"index-v1": ["index_measured_again"]}


def samples():
    """List the folders of samples."""
    return sorted(path for path in FOLDER.iterdir() if path.is_dir())


def compare(sample: Path, to: Path) -> list[str]:
    """Open a copy of a sample; list what differs from its recorded values."""
    folder = Path(shutil.copytree(sample, to / sample.name))
    values = json.loads((folder / "values.json").read_text())
    X = np.asarray(values["X"], np.uint8)
    if sample.name.startswith("model"):
        return _model(folder, values, X)
    if sample.name.startswith("library"):
        return _library(folder, values, X)
    if sample.name.startswith("index"):
        return _index(folder, values)
    settings = {"hidden_layer_sizes": (6, 5), "max_epochs": 2, "random_state": 0}
    Autoencoder(3, **settings, checkpoint=folder / "run.ckpt").fit(X)
    return []


def _model(folder, values, X):
    model = load(folder / "model")
    encoder, decoder = load(folder / "encoder"), load(folder / "decoder")
    codes = model.transform(X)
    found = {
        "codes": (codes, values["codes"]),
        "codes of the encoder alone": (encoder.transform(X), values["codes"]),
        "reconstructions": (model.inverse_transform(codes), values["reconstructions"]),
        "those of the decoder alone": (decoder.inverse_transform(codes), values["reconstructions"]),
    }
    wrong = [what for what, pair in found.items() if not np.allclose(*pair, rtol=1e-5, atol=1e-5)]
    same = len({one.fingerprint_ for one in (model, encoder, decoder)}) == 1
    return wrong + ([] if same else ["the halves' fingerprints"])


def _library(folder, values, X):
    library = Library.open(folder / "pictures.lance")
    found = [
        [[m.id, m.path, round(float(m.distance), 6)] for m in one] for one in library.match(X, k=3)
    ]
    wrong = []
    if len(library) != values["length"]:
        wrong.append("the number of pictures")
    for one, expected in zip(found, values["matches"], strict=True):
        same = [match[:2] for match in one] == [match[:2] for match in expected]
        if not same or not np.allclose([m[2] for m in one], [m[2] for m in expected], atol=1e-5):
            wrong.append(f"the matches {expected}")
    if not np.allclose(library.model.transform(X), values["codes"], rtol=1e-5, atol=1e-5):
        wrong.append("the model's codes")
    if library.count("year >= 1902") != 2:
        wrong.append("the column of one's own")
    if library.verify().problems:
        wrong.append("verifying")
    # It is written to as well, and then has the present format.
    library.update("year = 1903", {"year": 1904})
    library.compact()
    if not library.verify().checked or library.count("year = 1904") != 1:
        wrong.append("what was changed")
    return wrong


def _index(folder, values):
    codes = np.load(folder / "codes.npy")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        index = ApproximateIndex.load(folder / "index.safetensors", codes)
    distances, rows = index.search(codes[:10], 3)
    same = np.allclose(distances, values["distances"], atol=1e-5)
    wrong = [] if same and np.array_equal(rows, values["rows"]) else ["what is nearest"]
    # What version 1 did not measure is measured now, and said so.
    said = [getattr(one.message, "kind", str(one.message)) for one in caught]
    return wrong if said == WARNED.get(folder.name, []) else [*wrong, f"what is said ({said})"]
