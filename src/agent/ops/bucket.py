"""S3-compatible storage for recordings: put, fetched, listed and removed by their file names. Everything here blocks.

Names are those of the files in RECORDINGS_DIR, after `RECORDINGS_S3_PREFIX`. Amazon's own client does the work (the
extra `s3`): it signs, tries again, and sends large files in parts.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from agent.ops.settings import Settings, SettingsError
from fastaudio.extras import how_to_install

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_S, READ_S = 5, 30
TRIES = 3
AT_ONCE = 1000
"""Names that S3 lists or removes with one request."""
CONTENT_TYPES = {".wav": "audio/wav", ".flac": "audio/flac", ".opus": "audio/ogg"}


class BucketError(OSError):
    """The storage refuses, or cannot be reached; `strerror` says why, without a key."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EIO, f"S3: {why}")


@dataclass(frozen=True, slots=True)
class Stored:
    """One file of the bucket."""

    name: str
    modified: datetime


class Bucket:
    """Recordings in one bucket. Safe for several threads. Each method raises `BucketError`."""

    def __init__(self, settings: Settings, *, tries: int = TRIES, read_s: float = READ_S) -> None:
        """`tries` of each request, each of which waits `read_s` for an answer. Nothing is asked of the storage yet.

        Raises `SettingsError` where the extra is missing.
        """
        try:
            import boto3
        except ImportError:
            raise SettingsError(f"RECORDINGS_S3_BUCKET needs {how_to_install('s3')}") from None
        self._session = boto3.session.Session  # made with the client: that reads files, and takes 0.1 s
        self._settings = settings
        self._tries, self._read_s = tries, read_s
        self._bucket = settings.recordings_s3_bucket
        self._prefix = settings.recordings_s3_prefix
        self._making = threading.Lock()

    @property
    def where(self) -> str:
        """The bucket, for people."""
        return f"s3://{self._bucket}/{self._prefix}"

    @cached_property
    def _made(self) -> S3Client:
        from botocore.config import Config

        settings = self._settings
        config = Config(
            connect_timeout=min(CONNECT_S, self._read_s),
            read_timeout=self._read_s,
            retries={"mode": "standard", "total_max_attempts": self._tries},
            # Storage of other makers does not know the checksums that are newer than S3 itself.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        session = self._session(
            aws_access_key_id=settings.recordings_s3_access_key.get_secret_value() or None,
            aws_secret_access_key=settings.recordings_s3_secret_key.get_secret_value() or None,
            region_name=settings.recordings_s3_region or None,
        )
        return session.client("s3", endpoint_url=settings.recordings_s3_endpoint or None, config=config)

    @property
    def _client(self) -> S3Client:
        with self._making, _told():
            return self._made

    def check(self) -> None:
        """Ask whether the bucket is there and may be used."""
        with _told():
            self._client.head_bucket(Bucket=self._bucket)

    def put(self, path: Path) -> None:
        """Store a file; it is there, whole, when this returns."""
        extra: Any = {"ContentType": CONTENT_TYPES.get(path.suffix, "application/octet-stream")}
        key, size = self._prefix + path.name, path.stat().st_size
        with _told():
            self._client.upload_file(str(path), self._bucket, key, ExtraArgs=extra)
            stored = self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]
        if stored != size:
            raise BucketError(f"{size} bytes were sent and {stored} are there")

    def fetch(self, name: str, file: BinaryIO) -> bool:
        """Write a stored file to one that is open; False when there is none of that name."""
        try:
            with _told():
                self._client.download_fileobj(self._bucket, self._prefix + name, file)
        except BucketError as error:
            if _is_missing(error.__cause__):
                return False
            raise
        return True

    def names(self, beginning: str = "") -> Iterator[list[Stored]]:
        """What is stored, some at a time, `beginning` with this."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + beginning, PaginationConfig={"PageSize": AT_ONCE}
        )
        with _told():
            for page in pages:
                yield [
                    Stored(each["Key"].removeprefix(self._prefix), each["LastModified"])
                    for each in page.get("Contents", ())
                ]

    def remove(self, names: Sequence[str]) -> None:
        """Take files away; those that are not there are no error."""
        for start in range(0, len(names), AT_ONCE):
            objects: Any = [{"Key": self._prefix + name} for name in names[start : start + AT_ONCE]]
            with _told():
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
            if failed := answer.get("Errors"):
                raise BucketError(f"{len(failed)} recordings are not removed: {failed[0].get('Code', '')}")


def bucket_of(settings: Settings) -> Bucket | None:
    """The bucket of the settings; None where recordings stay on the disk. Raises `SettingsError` without the extra."""
    return Bucket(settings) if settings.recordings_s3_bucket else None


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Amazon's errors as ours: they name the cause, and never a key."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise BucketError(str(error.response.get("Error", {}).get("Code", "refused"))) from error
    except (Boto3Error, BotoCoreError) as error:
        cause = error.__context__
        code = cause.response.get("Error", {}).get("Code") if isinstance(cause, ClientError) else None
        raise BucketError(code or type(error).__name__) from error


def _is_missing(error: BaseException | None) -> bool:
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey")
