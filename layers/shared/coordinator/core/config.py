"""Settings, read once from the environment of the process."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from coordinator.core.errors import ConfigurationError

DEFAULT_JOB_TYPES = "llm_inference,text_embedding,image_generation,transcription,training,custom"
_MIN_SECRET_LENGTH = 32
_MAX_RATE_LIMIT = 1_000_000
# Secrets that stand in examples and tutorials; whoever deploys one of them has not chosen a secret.
_EXAMPLE_SECRETS = ("changeme", "change-me", "change_me", "example", "your-secret", "your_secret", "placeholder")


@dataclass(frozen=True, kw_only=True)
class Settings:
    database_url: str
    secret_key: str
    client_api_keys: frozenset[str]
    miner_api_keys: frozenset[str]
    admin_api_keys: frozenset[str]
    job_types: tuple[str, ...]
    lease_seconds: int
    heartbeat_interval_seconds: int
    heartbeat_timeout_seconds: int
    idle_polls_per_second: int
    cors_allow_origins: tuple[str, ...]
    rate_limit_client: int
    rate_limit_miner: int
    rate_limit_user: int


@cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        ConfigurationError: a variable is missing or wrong; the functions refuse to start.
    """
    return read_settings(os.environ)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Reads and checks all variables; an empty one counts as not set, as CloudFormation can't leave one out."""
    shared_keys = _items(environment, "API_KEYS")
    return Settings(
        database_url=_required(environment, "DATABASE_URL"),
        secret_key=_secret(environment),
        client_api_keys=frozenset(shared_keys + _items(environment, "CLIENT_API_KEYS")),
        miner_api_keys=frozenset(shared_keys + _items(environment, "MINER_API_KEYS")),
        admin_api_keys=frozenset(_items(environment, "ADMIN_API_KEYS")),
        job_types=_items(environment, "JOB_TYPES") or tuple(DEFAULT_JOB_TYPES.split(",")),
        lease_seconds=_positive(environment, "LEASE_SECONDS", 60),
        heartbeat_interval_seconds=_positive(environment, "HEARTBEAT_INTERVAL_SECONDS", 30),
        heartbeat_timeout_seconds=_positive(environment, "HEARTBEAT_TIMEOUT_SECONDS", 90),
        idle_polls_per_second=_positive(environment, "IDLE_POLLS_PER_SECOND", 50),
        cors_allow_origins=_items(environment, "CORS_ALLOW_ORIGINS"),
        rate_limit_client=_whole(environment, "RATE_LIMIT_CLIENT", 100, 0, _MAX_RATE_LIMIT),
        rate_limit_miner=_whole(environment, "RATE_LIMIT_MINER", 1000, 0, _MAX_RATE_LIMIT),
        rate_limit_user=_whole(environment, "RATE_LIMIT_USER", 60, 0, _MAX_RATE_LIMIT),
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise ConfigurationError(f"{name} is not set")
    return value


def _secret(environment: Mapping[str, str]) -> str:
    secret = _required(environment, "SECRET_KEY")
    if len(secret) < _MIN_SECRET_LENGTH or len(set(secret)) < _MIN_SECRET_LENGTH // 4:
        raise ConfigurationError(f"SECRET_KEY must be at least {_MIN_SECRET_LENGTH} random characters")
    if any(example in secret.lower() for example in _EXAMPLE_SECRETS):
        raise ConfigurationError("SECRET_KEY is a known example; make one of your own")
    return secret


def _items(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in environment.get(name, "").split(",") if item.strip())


def _positive(environment: Mapping[str, str], name: str, default: int) -> int:
    # Over a day of lease or heartbeat is a slip of the unit.
    return _whole(environment, name, default, 1, 86_400)


def _whole(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ConfigurationError(f"{name} must be a whole number from {least} to {most}, not {text!r}")
    return int(text)
