"""Single flipped bits in the files of a library: each is reported, or changes nothing.

A flip is reported if verifying finds damage, or the library is refused with a NarrowsError.
Otherwise everything that can be read of the library has to be unchanged: every column of every row,
the contents of ``library.json`` and the model, and the nearest neighbours of some pictures.
"""

import json
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

import lance
import numpy as np

from benchmarks.reliability.outcome import SEED, Outcome
from narrows import Autoencoder, Library
from narrows.data.depths import encode_png
from narrows.errors import NarrowsError

SHAPE = (12, 12)
SECONDS = 30  # of processor time in a quick round
# Of twenty flips, how many are in each kind of file; within a kind, files are drawn by their size.
SHARES = {"data": 10, "checks": 2, "table": 4, "model": 2, "index": 1, "library.json": 1}
GOOD = ("found", "refused", "without effect")


def check(quick: bool) -> Outcome:
    """Flip bits, one at a time."""
    flips = 60 if quick else 1000
    random = np.random.default_rng(SEED)
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    failures = []
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder, "pictures.lance"))
        whole = {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
        before = everything(path)
        for number in range(flips):
            if quick and time.process_time() - begin > SECONDS:
                break
            file, place, bit = draw(path, list(whole), random)
            flipped = bytearray(whole[file])
            flipped[place] ^= 1 << bit
            file.write_bytes(flipped)
            outcome = look(path, before)
            outcomes[outcome] += 1
            kinds[kind_of(path, file)] += 1
            if outcome not in GOOD:
                where = f"{file.relative_to(path)}, bit {bit} of byte {place}"
                failures.append(f"flip {number} ({where}): {outcome}")
            restore(path, whole)
        size = sum(map(len, whole.values()))
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    where = ", ".join(f"{kinds[kind]} {kind}" for kind in SHARES)
    facts = f"{outcomes.total()} flips in {len(whole)} files of {size:,} bytes ({where}): {said}"
    return Outcome(outcomes.total(), facts, failures)


def make(path: Path) -> Path:
    """Make a library with every kind of file, column and change."""
    random = np.random.default_rng(SEED)
    X = random.integers(0, 256, (300, *SHAPE), np.uint8)
    model = Autoencoder(4, hidden_layer_sizes=(16,), max_epochs=3, random_state=SEED).fit(X)
    library = Library.create(path, model=model)
    library.add(X[:120], names=[f"folder/picture {n}.png" for n in range(120)])
    columns = {
        "label": [f"label {n % 7}" if n % 5 else None for n in range(100)],
        "year": [1900 + n for n in range(100)],
        "weight": random.random(100),
        "seen": [bool(n % 3) for n in range(100)],
        "day": [date(2000, 1, 1 + n % 28) for n in range(100)],
    }
    library.add(X[120:220], metadata=columns)
    photos = path.with_name("photos")
    photos.mkdir()
    for n, picture in enumerate(X[220:240]):
        large = np.kron(picture, np.ones((30, 30), np.uint8))
        (photos / f"{n:02}.png").write_bytes(encode_png(large))
    library.add(photos)
    library.add(X[240:], metadata={"year": range(60)})
    library.update("year < 1920", {"label": "early", "note": "a note of one's own"})
    library.remove(where="id % 10 = 3")
    library.build_index()
    return library.path


def draw(path: Path, files: list[Path], random: np.random.Generator) -> tuple[Path, int, int]:
    """Choose a bit: a kind of file by its share, and every bit of that kind alike."""
    weights = np.array(list(SHARES.values())) / sum(SHARES.values())
    kind = random.choice(list(SHARES), p=weights)
    some = [file for file in files if kind_of(path, file) == kind]
    sizes = np.array([file.stat().st_size for file in some])
    file = some[int(random.choice(len(some), p=sizes / sizes.sum()))]
    return file, int(random.integers(file.stat().st_size)), int(random.integers(8))


def kind_of(path: Path, file: Path) -> str:
    """Name the kind of a file: rows, checksums, what else the table has, the model."""
    parts = file.relative_to(path).parts
    if parts[0].startswith("checks") or "_checks" in parts:
        return "checks"
    if parts[0].startswith("index"):
        return "index"
    if "data" in parts:
        return "data"
    if parts[0].startswith("table"):
        return "table"
    return "model" if parts[0].startswith("model") else "library.json"


def look(path: Path, before: object) -> str:
    """Return what happens to a library with a flipped bit."""
    try:
        found = Library.open(path).verify()
    except NarrowsError:
        return "refused"
    except BaseException as error:  # a panic of Lance is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return f"ended in {type(error).__name__}"
    if found.problems or not found.checked:
        return "found"
    try:
        return "without effect" if everything(path) == before else "unnoticed"
    except NarrowsError:
        return "unnoticed"


def everything(path: Path) -> object:
    """Read all that a library holds."""
    library = Library.open(path)
    facts = json.loads((path / "library.json").read_text())
    table = lance.dataset(str(path / facts["table"]), version=facts["version"])
    rows = sorted(table.to_table().to_pylist(), key=lambda row: row["id"])
    pictures = np.random.default_rng(1).integers(0, 256, (3, *SHAPE), np.uint8)
    matches = [
        [[(m.id, m.distance) for m in one] for one in library.match(pictures, k=5, search=search)]
        for search in ("exact", "approximate")
    ]
    model = library.model
    settings = repr(sorted(model.get_params().items(), key=str)), repr(vars(model.history_))
    return facts, table.schema, rows, matches, model.fingerprint_, settings


def restore(path: Path, whole: dict[Path, bytes]) -> None:
    """Restore every file that was changed, and remove new ones."""
    for file in sorted(path.rglob("*"), reverse=True):
        if file.is_file() and file not in whole:
            file.unlink()
    for file, contents in whole.items():
        if not file.exists() or file.read_bytes() != contents:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(contents)
