"""How fast folders become libraries, and how soon the command answers from one.

    python benchmarks/library.py adding --folder DATA [--rounds 5] [--copies 10] [--camera 64]
    python benchmarks/library.py startup --folder DATA [--rounds 7]

adding: DATA/photos/bsds-train as JPEG files, as they are and enlarged to 4000 x 3000. The rate of
Library.add beside the rate at which the same decoder alone reads and decodes the same files, on as
many threads as there are processors. Both take turns. The model is a small one: how long encoding
takes is its own matter.
startup: the CPU-seconds of `narrows match` with one picture in a library of 70 000 (Fashion-MNIST),
as a whole and step by step, each round in processes of its own.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

SEED = 0
CAMERA = (4000, 3000)
SHAPES = {"32 x 32 grey": (32, 32), "64 x 64 colour": (64, 64, 3)}


def copy(photos, to, copies):
    """Write each photograph some times, as files that differ in a number behind their end."""
    to.mkdir()
    for number in range(copies):
        for photo in photos:
            contents = photo.read_bytes() + b"%d" % number
            (to / f"{number}-{photo.name}").write_bytes(contents)


def enlarge(photos, to, count):
    to.mkdir()
    for photo in photos[:count]:
        with Image.open(photo) as image:
            upright = image if image.width > image.height else image.transpose(2)
            upright.resize(CAMERA).save(to / photo.name, quality=90)


def both_clocks(job):
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - cpu


def decode_alone(files, shape):
    from narrows.data.image_codec import decode, quietly

    with quietly(), ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(partial(decode, sample_shape=shape), files):
            pass


def rate(title, folder, shape, rounds):
    from narrows import Autoencoder, Library

    X = np.random.default_rng(SEED).integers(0, 256, (64, *shape), np.uint8)
    model = Autoencoder(32, hidden_layer_sizes=(64,), max_epochs=1, random_state=SEED).fit(X)
    files = sorted(folder.iterdir())
    seconds = {"decode": [], "add": [], "add references": []}
    with tempfile.TemporaryDirectory() as temporary:

        def add(store):
            library = Library.create(Path(temporary) / "pictures.lance", model=model)
            library.model.transform(X)
            clocks = both_clocks(lambda: library.add(folder, store=store))
            assert len(library) == len(files)
            shutil.rmtree(library.path)
            return clocks

        for turn in range(rounds + 1):
            taken = [
                both_clocks(lambda: decode_alone(files, shape)),
                add("pictures"),
                add("references"),
            ]
            if turn:  # the first is a rehearsal
                for own, clocks in zip(seconds.values(), taken, strict=True):
                    own.append(clocks)
    medians = {name: np.median(own, axis=0) for name, own in seconds.items()}
    size = sum(file.stat().st_size for file in files) / len(files) / 1000
    print(f"\n{title}: {len(files)} files of {size:.0f} kB\n")
    print("| what | ms a file, by the clock | ms a file, CPU ", end="")
    print("| rate / decode's, by the clock | rate, CPU |")
    print("| --- | --- | --- | --- | --- |")
    for name, taken in medians.items():
        wall, cpu = 1000 * taken / len(files)
        by_clock, by_cpu = medians["decode"] / taken
        print(f"| {name} | {wall:.3f} | {cpu:.3f} | {by_clock:.2f} | {by_cpu:.2f} |", flush=True)


def adding(given):
    photos = sorted((given.folder / "photos" / "bsds-train").rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as temporary:
        small, large = Path(temporary) / "small", Path(temporary) / "large"
        copy(photos, small, given.copies)
        enlarge(photos, large, given.camera)
        for name, shape in SHAPES.items():
            rate(f"as they are, for {name}", small, shape, given.rounds)
            rate(f"of camera size, for {name}", large, shape, given.rounds)


STEPS = """
import sys, time
last = time.process_time()
print("Python", last)
def step(name):
    global last
    now = time.process_time()
    print(name, now - last, sep="\\t")
    last = now
import narrows.cli.main
step("the command's own imports")
import numpy, pyarrow, lance
step("numpy, pyarrow, lance")
import torch
step("torch")
from narrows import Library
step("scikit-learn, scipy and the rest")
library = Library.open(sys.argv[1])
step("open the table")
library.model
step("load the model")
from narrows.cli.exchange import read_for
from pathlib import Path
X = read_for(library.model, Path(sys.argv[2]), {}).in_units(library.model)
step("read the query")
Z = library.model.transform(X)
step("encode it")
library.match(codes=Z, k=5)
step("read 70 000 codes, index, search, look the matches up")
library.match(codes=Z, k=5)
step("the same again, which the command does not")
"""


def of_children(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return taken, done.stdout


def startup(given):
    from PIL import Image

    from narrows import Autoencoder, Library, datasets

    data = datasets.load("fashion-mnist", folder=given.folder)
    X = np.concatenate([data.X_train, data.X_test])
    model = Autoencoder(32, max_epochs=1, random_state=SEED).fit(X[:5000])
    with tempfile.TemporaryDirectory() as temporary:
        library = str(Path(temporary) / "pictures.lance")
        query = str(Path(temporary) / "query.png")
        Library.build(library, X, model=model)
        Image.fromarray(data.X_test[0]).save(query)
        whole, steps = [], {}
        for _ in range(given.rounds):
            whole.append(of_children([sys.executable, "-m", "narrows", "match", library, query])[0])
            told = of_children([sys.executable, "-c", STEPS, library, query])[1]
            for line in told.splitlines():
                name, seconds = line.rsplit(None, 1)
                steps.setdefault(name.strip(), []).append(float(seconds))
    print("\n| what | CPU-seconds |\n| --- | --- |")
    print(f"| narrows match, one picture in {len(X)} | {np.median(whole):.2f} |")
    for name, seconds in steps.items():
        print(f"| {name} | {np.median(seconds):.3f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["adding", "startup"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--camera", type=int, default=64)
    given = parser.parse_args()
    print(f"{os.cpu_count()} processors, seed {SEED}")
    {"adding": adding, "startup": startup}[given.what](given)


if __name__ == "__main__":
    main()
