"""A library that is served, and Chromium to look at it with."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

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


@contextmanager
def serving(library, *arguments):
    """Run `narrows serve` until the block ends; gives the address."""
    command = [sys.executable, "-m", "narrows", "serve", library, *arguments]
    command += ["--port", "0", "--no-open", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield json.loads(server.stdout.readline())["address"].rstrip("/")
        finally:
            server.terminate()


@contextmanager
def chromium():
    from playwright.sync_api import sync_playwright

    place = os.environ.get("NARROWS_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=place, args=FLAGS)
        yield browser
        browser.close()
