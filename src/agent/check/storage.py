"""What an agent may share with others: the bucket that recordings move to, and the Redis of several hosts."""

from __future__ import annotations

import asyncio
import io
import secrets
import tempfile
import time
from pathlib import Path

from agent.check.finding import Findings, error, ok, skipped, warning
from agent.check.subject import Subject
from agent.ops.bucket import Bucket, BucketError
from agent.ops.settings import SettingsError

ANSWER_S = 3.0
PING_S = 3.0
SLOW_S = 0.1
"""A verdict waits for Redis, and a caller for the verdict."""


async def bucket(subject: Subject) -> Findings:
    """Put a small file there, read it again, and take it away."""
    if not subject.settings.recordings_s3_bucket:
        return
    if subject.offline:
        yield skipped("recordings-s3", "not tried: --offline")
        return
    try:
        # Threads cannot be given up: no request of theirs may take long.
        there = Bucket(subject.settings, tries=1, read_s=ANSWER_S)
    except SettingsError as missing:
        yield error("recordings-s3", str(missing), "install the extra, or leave RECORDINGS_S3_BUCKET out")
        return
    begun = time.monotonic()
    step = "be looked at"
    try:
        await asyncio.to_thread(there.check)
        step = "be written and read"
        await asyncio.to_thread(_round, there)
    except BucketError as problem:
        yield error(
            "recordings-s3",
            f"{there.where} cannot {step}: {problem.strerror}",
            "see RECORDINGS_S3_ENDPOINT, its region and keys, which must be allowed to put, get, list and delete; "
            "recordings stay in RECORDINGS_DIR meanwhile",
        )
        return
    took = time.monotonic() - begun
    yield ok("recordings-s3", f"{there.where}: a file was put, read and removed in {took:.1f} s", seconds=took)


def _round(there: Bucket) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"voice-agent-check-{secrets.token_hex(4)}.txt"
        path.write_text("put here by voice-agent check, and to be removed by it\n")
        there.put(path)
        try:
            there.fetch(path.name, io.BytesIO())
        finally:
            there.remove([path.name])


async def redis(subject: Subject) -> Findings:
    """It answers, and soon."""
    url = subject.settings.redis_url.get_secret_value()
    if not url:
        return
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    client = Redis.from_url(url, socket_timeout=PING_S, socket_connect_timeout=PING_S)
    try:
        await client.ping()
        begun = time.monotonic()
        await client.ping()
        took = time.monotonic() - begun
    except (RedisError, OSError, TimeoutError) as problem:
        yield error(
            "redis",
            f"REDIS_URL does not answer: {type(problem).__name__}",
            "see that Redis runs, its password, and that this host may connect: calls that land on another host than "
            "their announcement need it",
        )
        return
    finally:
        await client.aclose()
    if took > SLOW_S:
        yield warning("redis", f"Redis answers in {1000 * took:.0f} ms", "have it on the network of the hosts")
    else:
        yield ok("redis", f"Redis answers in {1000 * took:.1f} ms", seconds=took)
