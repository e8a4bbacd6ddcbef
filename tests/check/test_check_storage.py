"""The bucket and the Redis that hosts share: there, and away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from agent.check import storage
from agent.ops.bucket import Bucket, BucketError
from tests.check.conftest import SubjectMaker, look
from tests.office.s3_storage import make_bucket, s3_settings
from tests.office.s3_storage import storage as s3_storage


async def test_a_bucket(a_subject: SubjectMaker) -> None:
    assert await look(storage.bucket, a_subject()) == {}
    with s3_storage() as url:
        missing = (await look(storage.bucket, a_subject(**s3_settings(url))))["recordings-s3"]
        assert (missing.level, "cannot be looked at: S3: 404" in missing.text) == ("error", True)
        make_bucket(url)
        subject = a_subject(**s3_settings(url))
        assert (await look(storage.bucket, subject))["recordings-s3"].level == "ok"
        there = Bucket(subject.settings)
        assert [each for page in there.names() for each in page] == [], "nothing is left there"
        subject.offline = True
        assert (await look(storage.bucket, subject))["recordings-s3"].level == "skipped"


async def test_a_bucket_that_takes_nothing(a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, path: Path) -> None:
        raise BucketError("AccessDenied")

    with s3_storage() as url:
        make_bucket(url)
        monkeypatch.setattr(Bucket, "put", refuse)
        found = (await look(storage.bucket, a_subject(**s3_settings(url))))["recordings-s3"]
    assert (found.level, "be written and read: S3: AccessDenied" in found.text) == ("error", True)


async def test_redis(a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    subject = a_subject()
    assert await look(storage.redis, subject) == {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As much of RESP as a client needs that connects and pings."""
        while count := await reader.readline():
            words = []
            for _ in range(int(count[1:])):
                await reader.readline()
                words.append((await reader.readline()).strip().upper())
            writer.write(b"+PONG\r\n" if words[0] == b"PING" else b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = SecretStr(f"redis://:hidden-password@127.0.0.1:{port}/0?protocol=2")
        subject.settings_ = subject.settings.model_copy(update={"redis_url": url})
        assert (await look(storage.redis, subject))["redis"].level == "ok"
        monkeypatch.setattr(storage, "SLOW_S", 0.0)
        assert (await look(storage.redis, subject))["redis"].level == "warning"
    found = (await look(storage.redis, subject))["redis"]
    assert found.level == "error"
    assert "hidden-password" not in str(found)
