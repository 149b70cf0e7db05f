"""An object store that runs in this process; fixtures by way of conftest.py."""

import logging
from collections.abc import Iterator

import pytest

_STORES = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN")


@pytest.fixture(scope="module")
def store_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def options(store_server, monkeypatch) -> dict[str, str]:
    """Make an empty bucket, and give the options that lead to it."""
    from pyarrow.fs import S3FileSystem

    for name in _STORES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = S3FileSystem(
        endpoint_override=store_server.removeprefix("http://"),
        scheme="http",
        access_key="key",
        secret_key="secret",  # noqa: S106
        region="us-east-1",
        allow_bucket_creation=True,
        allow_bucket_deletion=True,
    )
    store.create_dir("bucket")
    store.delete_dir_contents("bucket", missing_dir_ok=True)
    return {
        "aws_endpoint": store_server,
        "allow_http": "true",
        "aws_access_key_id": "key",
        "aws_secret_access_key": "secret",
        "aws_region": "us-east-1",
    }
