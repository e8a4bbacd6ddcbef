"""An S3-compatible storage for tests: moto's, on loopback."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import boto3
from moto.server import ThreadedMotoServer

BUCKET: Final = "calls"
REGION: Final = "eu-west-2"


@contextmanager
def storage() -> Iterator[str]:
    """Serve it, without what an earlier one of this process was given; gives its URL."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"), timeout=10):
            yield url
    finally:
        server.stop()


def make_bucket(url: str, name: str = BUCKET) -> None:
    """Make a bucket, or empty the one that is there."""
    client = boto3.client("s3", endpoint_url=url, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    for each in client.list_objects_v2(Bucket=name).get("Contents", ()):
        client.delete_object(Bucket=name, Key=each["Key"])


def s3_settings(url: str) -> dict[str, Any]:
    """Settings that use it."""
    return {
        "recordings_s3_bucket": BUCKET,
        "recordings_s3_prefix": "london/",
        "recordings_s3_endpoint": url,
        "recordings_s3_region": REGION,
        "recordings_s3_access_key": "an access key",
        "recordings_s3_secret_key": "a secret key",
    }
