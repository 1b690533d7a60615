"""An S3 server in a process of its own, for tests of what is kept in an object store."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

START_SECONDS = 60


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """The environment in which `s3://plant/…` is a place on a server that is there while the block runs."""
    import boto3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port)
        settings = {"ENDPOINT_URL": f"http://127.0.0.1:{port}", "ALLOW_HTTP": "true", "REGION": "us-east-1"}
        settings |= {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}
        boto3.client(
            "s3",
            endpoint_url=settings["ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        ).create_bucket(Bucket="plant")
        yield os.environ | {f"AWS_{name}": value for name, value in settings.items()}
    finally:
        server.kill()
        server.wait()


def _await(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
