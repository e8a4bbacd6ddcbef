"""Settings of recordings that are kept in S3-compatible storage."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from agent.ops.setting_types import Endpoint


class S3Settings(BaseSettings):
    """Where recordings go once their call is over; nowhere but RECORDINGS_DIR without a bucket."""

    recordings_s3_bucket: str = Field(
        "", description="bucket that recordings move to when their call is over; empty: they stay in RECORDINGS_DIR"
    )
    recordings_s3_prefix: str = Field("", description="what their names begin with there, such as `london/`")
    recordings_s3_endpoint: Endpoint = Field(
        "", description="base URL of an S3-compatible storage; empty: Amazon's, by the region"
    )
    recordings_s3_region: str = Field("", description="its region; empty: what AWS_REGION or the host's role says")
    recordings_s3_access_key: SecretStr = Field(
        SecretStr(""), description="access key; empty: what the environment or the host's role says"
    )
    recordings_s3_secret_key: SecretStr = Field(SecretStr(""), description="secret key that goes with it")
