"""What every test runs under: quiet threads, no network, no files of the user's."""

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from cli_kit import Run

# OpenMP and BLAS read these when torch and numpy load them, which is after this.
for _name, _value in {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MPLBACKEND": "agg",
}.items():
    os.environ.setdefault(_name, _value)

# Who starts the tests in the background of a script has them ignore Ctrl-C, and all that they start
# would ignore it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Fixtures that several files share.
pytest_plugins = ["browser_kit", "libraries", "store_kit"]

# The same examples in every run; a test of its own may ask for more of them.
settings.register_profile("narrows", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("narrows")


def pytest_report_header() -> str:
    """Say what makes a run repeatable."""
    return "seeds: each test names its own; hypothesis runs derandomised"


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # the path of a Unix socket
    if address[0] in ("", "localhost"):
        return True
    try:
        found = ipaddress.ip_address(address[0])
    except ValueError:
        return False
    # One can listen at this machine's own addresses only; a cluster of Ray on it is at such a one.
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as own:
        try:
            own.bind((address[0], 0))
        except OSError:
            return False
    return True


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Fail a test that leaves this machine; its failure is no ``OSError`` that code could catch."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    getaddrinfo = socket.getaddrinfo

    def guard(address: Any) -> None:
        if not _is_local(address):
            pytest.fail(f"a test wanted to reach {address!r}; tests use no network")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        guard(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        guard(address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        guard((host or "localhost",))
        return getaddrinfo(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture(autouse=True)
def _no_files_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep caches and data sets of the one who runs the tests out of them."""
    monkeypatch.delenv("NARROWS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> "Run":
    """Run `narrows` with these arguments in an empty folder."""
    from cli_kit import Result

    from narrows.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Result:
        code = main([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def figures_closed() -> Iterator[None]:
    """Leave no figure of pyplot's to the next test."""
    import matplotlib.pyplot as plt

    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with pictures, a table, a model of each, codes and a library."""
    from cli_kit import TINY, pictures, save_csv, save_pictures, table

    from narrows.cli.main import main

    folder = tmp_path_factory.mktemp("made")
    save_pictures(folder / "photos", pictures())
    save_csv(folder / "table.csv", table())
    for data, model in (("photos", "model"), ("table.csv", "table-model")):
        assert main(["train", f"{folder}/{data}", "-o", f"{folder}/{model}", *TINY]) == 0
    for name in ("photos", "table"):
        prefix = "table-" if name == "table" else ""
        data = "table.csv" if name == "table" else "photos"
        arguments = [f"{folder}/{prefix}model", f"{folder}/{data}"]
        assert main(["encode", *arguments, "-o", f"{folder}/{prefix}codes.npy"]) == 0
    assert main(["split", f"{folder}/model", "-o", f"{folder}/encoder", f"{folder}/decoder"]) == 0
    library = ["index", f"{folder}/model", f"{folder}/photos", "-o", f"{folder}/pictures.lance"]
    assert main(library) == 0
    return folder
