"""How long a report takes, and how large its page is.

    python benchmarks/report.py [--folder DATA] [--rounds 3] [--epochs 5]

On the 10 000 test pictures of Fashion-MNIST with labels, for a model that was trained before; as
the command `narrows report` does it, start-up, measuring, drawing and writing included.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from narrows import Autoencoder, datasets

SEED = 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    given = parser.parse_args()
    data = datasets.load("fashion-mnist", given.folder)
    model = Autoencoder(32, max_epochs=given.epochs, random_state=SEED).fit(data.X_train)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        model.save(here / "model")
        np.save(here / "X.npy", data.X_test)
        (here / "y.csv").write_text("\n".join(["label", *map(str, data.y_test)]))
        command = [sys.executable, "-m", "narrows", "report", "model", "X.npy", "-o", "report"]
        command += ["--labels", "y.csv", "--overwrite"]
        print("| seconds | MB of HTML |\n| --- | --- |")
        for _ in range(given.rounds):
            start = time.perf_counter()
            subprocess.run(command, cwd=here, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
            size = (here / "report" / "index.html").stat().st_size / 1e6
            print(f"| {seconds:.1f} | {size:.2f} |", flush=True)


if __name__ == "__main__":
    main()
