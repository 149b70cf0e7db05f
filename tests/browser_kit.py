"""A library that is served, and a real browser before it; skipped where there is no Chromium.

NARROWS_CHROMIUM names the browser, and says that these tests must run.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest

from narrows import DenoisingAutoencoder, Library, datasets

CHROMIUM = os.environ.get("NARROWS_CHROMIUM") or shutil.which("chromium")
ROOT = Path(__file__).parents[1]
AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
# For a machine without a GPU and without a network.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class Served(NamedTuple):
    address: str
    library: Library
    log: Path
    X: Any
    y: list[str]


@contextmanager
def serving(*arguments: str | Path) -> Iterator[str]:
    """Run the command until the block ends; gives the address."""
    command = [sys.executable, "-m", "narrows", "serve", *map(str, arguments)]
    command += ["--port", "0", "--no-open", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"].rstrip("/")
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Three hundred written digits; the library has their names and how bright they are."""
    folder = tmp_path_factory.mktemp("served")
    data = datasets.load("digits")
    X = np.round(data.X_train[:300] * 255 / 16).astype(np.uint8)
    y = [DIGITS[digit] for digit in data.y_train[:300]]
    model = DenoisingAutoencoder(6, hidden_layer_sizes=(32,), max_epochs=20, random_state=0)
    model.fit(X)
    metadata = {"label": y, "brightness": X.mean((1, 2)).tolist()}
    library, _ = Library.build(folder / "digits.lance", X, model=model, metadata=metadata)
    log = folder / "run.csv"
    log.write_text("epoch,loss,validation_loss,learning_rate,seconds\n1,9,8,0.1,1\n2,5,6,0.1,2\n")
    with serving(library.path, "--training", log) as address:
        yield Served(address, library, log, X, y)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def watched(browser: Any, address: str, **settings: Any) -> Iterator[Any]:
    """Open a page that may neither complain nor ask another host."""
    context = browser.new_context(base_url=address, **settings)
    page = context.new_page()
    page.set_default_timeout(10_000)
    complaints: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda asked: (
            asked.url.startswith(("data:", "blob:")) or hosts.add(urlsplit(asked.url).netloc)
        ),
    )
    yield page
    context.close()
    assert complaints == []
    assert hosts == {urlsplit(address).netloc}


@pytest.fixture
def page(chromium: Any, served: Served) -> Iterator[Any]:
    with watched(chromium, served.address, viewport={"width": 1280, "height": 800}) as page:
        yield page
