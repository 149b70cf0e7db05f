"""``narrows checks``: test this installation against known answers."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import click

from narrows.cli import options
from narrows.cli.console import answered, note, table
from narrows.cli.exchange import load_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from narrows import Autoencoder
    from narrows.library import Match

# The figures of a check, and whether they are right.
Outcome = tuple[str, bool]


@options.verb("checks")
def command() -> int:
    """Test this installation against known answers.

    Trains tiny models, saves, loads and matches; takes a few seconds. The exit code is 1 if a
    check fails.
    """
    environment = _environment()
    results = [(name, *_run(check)) for name, check in CHECKS.items()]
    ok = all(passed for _, _, passed in results)
    checks = [
        {"check": name, "ok": passed, "figures": figures} for name, figures, passed in results
    ]
    if answered({"ok": ok, "environment": environment, "checks": checks}):
        return 0 if ok else 1
    table(["installed", ""], list(environment.items()))
    click.echo()
    table(
        ["check", "result", "figures"],
        [(name, "ok" if passed else "FAILED", figures) for name, figures, passed in results],
    )
    if not ok:
        note("narrows: some checks failed; results of this installation are not to be trusted")
    return 0 if ok else 1


def _environment() -> dict[str, str]:
    import os
    import platform
    from importlib.metadata import version

    import torch

    from narrows.training.loop import choose_device

    packages = ("narrows", "torch", "numpy", "scikit-learn", "pylance", "pyarrow", "pillow")
    return {
        **{package: version(package) for package in packages},
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "device": str(choose_device("auto")),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} processors",
        "OpenMP waits": os.environ.get("OMP_WAIT_POLICY", "as it likes").lower(),
    }


def _run(check: Callable[[], Outcome]) -> Outcome:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  whatever breaks a check is its result
        return f"{type(error).__name__}: {' '.join(str(error).split())}", False


def _rows() -> "NDArray[np.float32]":
    """Make 800 rows of 12 features that vary in 4 directions and a little in all."""
    import numpy as np

    generator = np.random.default_rng(0)
    mixed = generator.normal(size=(800, 4)) @ generator.normal(size=(4, 12))
    return (mixed + 0.3 * generator.normal(size=(800, 12))).astype(np.float32)


def _pictures() -> "tuple[NDArray[np.uint8], Autoencoder]":
    """Return pictures, and a model that has learned from them."""
    from narrows import Autoencoder, datasets

    X = datasets.load("digits").X_test[:64]
    return X, Autoencoder(n_components=6, max_epochs=2, random_state=0).fit(X)


def _linear_against_pca() -> Outcome:
    import numpy as np

    from narrows import Autoencoder
    from narrows.evaluation import fit_pca

    X, X_test = np.split(_rows(), 2)
    model = Autoencoder(
        n_components=4,
        hidden_layer_sizes=(),
        activation="identity",
        max_epochs=50,
        learning_rate=0.1,
        early_stopping=False,
        random_state=0,
    ).fit(X)
    (best,) = fit_pca(X, 4).mean_squared_errors(X_test, [4])
    own = np.mean((model.reconstruct(X_test) - X_test) ** 2)
    return f"test error {own:.5f}, PCA {best:.5f} (within 1 %)", bool(own <= 1.01 * best)


def _save_load_transform() -> Outcome:
    X, model = _pictures()
    with TemporaryDirectory() as folder:
        again = load_for(model.save(Path(folder, "model")), "transform")
    return _equal_bits(model.transform(X), again.transform(X))


def _decoder_alone() -> Outcome:
    X, model = _pictures()
    codes = model.transform(X)
    with TemporaryDirectory() as folder:
        decoder = load_for(model.split()[1].save(Path(folder, "decoder")), "inverse_transform")
    return _equal_bits(model.inverse_transform(codes), decoder.inverse_transform(codes))


def _own_picture_first() -> Outcome:
    from narrows import Library

    X, model = _pictures()
    names = [str(i) for i in range(len(X))]
    with TemporaryDirectory() as folder:
        library = Library.create(Path(folder, "pictures.lance"), model=model)
        library.add(X, names=names)
        matches = cast("list[list[Match]]", library.match(X, 1))
        found = [nearest.path for (nearest,) in matches]
    first = sum(name == path for name, path in zip(names, found, strict=True))
    return f"{first} of {len(X)} pictures find themselves", first == len(X)


def _equal_bits(values: "NDArray[Any]", others: "NDArray[Any]") -> Outcome:
    differing = int((values.view("u4") != others.view("u4")).sum())
    return f"{differing} of {values.size} numbers differ", differing == 0


CHECKS: dict[str, Callable[[], Outcome]] = {
    "a linear autoencoder is as good as PCA": _linear_against_pca,
    "save, load, encode: the same bits": _save_load_transform,
    "the decoder alone: the same bits": _decoder_alone,
    "a library finds each of its own pictures first": _own_picture_first,
}
