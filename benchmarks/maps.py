"""Maps of Fashion-MNIST's test pictures, made from the training pictures: how good, how fast.

    python benchmarks/maps.py [--folder DATA] [--methods autoencoder pca] [--held-out] [--both]
                              [--model MODEL] [--distances restored]

One thread. Each map learns from the 60 000 training pictures, and places the 10 000 test pictures,
which it has not seen; with --both it learns from all 70 000. t-SNE and UMAP lay out the rows they
are given, and are given the test pictures alone. Trustworthiness is over 15 neighbours and 5 000
pictures drawn, against their pixels; accuracy is that of the 5 nearest on the map. The error is
that of pixels (0 to 1) restored from two numbers. --held-out takes the last 10 000 training
pictures in place of the test's: by them everything was chosen.
"""

import argparse
import time

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from narrows import datasets, load
from narrows.evaluation import MAP_METHODS, project, score_map

SEED = 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where the data set lies")
    parser.add_argument("--methods", nargs="+", default=["autoencoder", "pca"], choices=MAP_METHODS)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--both", action="store_true")
    parser.add_argument("--model", help="a folder, as narrows train writes it")
    parser.add_argument("--distances", default="auto", choices=["auto", "restored", "codes"])
    arguments = parser.parse_args()
    model = None if arguments.model is None else load(arguments.model)
    data = datasets.load("fashion-mnist", arguments.folder)
    X, X_new, y_new = data.X_train, data.X_test, data.y_test
    if arguments.held_out:
        X, X_new, y_new = X[:50_000], X[50_000:], data.y_train[50_000:]
    if arguments.both:
        X = np.concatenate([X, X_new])
    print("| method | learned from | CPU-s | placed/s | trustworthiness | 5-NN accuracy | error |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for method in arguments.methods:
        rows = X_new if method in ("tsne", "umap") else X
        start = time.process_time()
        made = project(
            rows,
            method=method,
            model=model,
            distances=arguments.distances,
            random_state=SEED,
        )
        seconds = time.process_time() - start
        start = time.process_time()
        points = made.transform(X_new)
        rate = len(X_new) / (time.process_time() - start)
        if method in ("tsne", "umap"):
            points = made.points
        scores = score_map(X_new, points, y_new, random_state=SEED)
        restored = made.inverse_transform(points)
        if made.distances == "codes":
            restored = model.inverse_transform(restored)
        error = ((restored - X_new) ** 2).mean() / 255**2
        print(
            f"| {method} | {len(rows):,} | {seconds:.1f} | {rate:,.0f} "
            f"| {scores.trustworthiness:.4f} | {scores.neighbor_accuracy:.4f} | {error:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        main()
