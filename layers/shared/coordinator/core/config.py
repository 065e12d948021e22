"""Settings, read once from the environment of the process."""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import URL

from coordinator.core.bitcoin import NETWORKS, Account, read_account, script_of
from coordinator.core.database_url import parse_url, url_of_secret
from coordinator.core.errors import ConfigurationError
from coordinator.core.secrets import Given, Kept, Secret, renew_old

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_JOB_TYPES = "llm_inference,text_embedding,image_generation,transcription,training,custom"
# What stands in ESPLORA_URLS for a chain in the memory of one process, where payments are made by calls (regtest only).
MEMORY_CHAIN = "memory:"
_MIN_SECRET_LENGTH = 32
_MAX_RATE_LIMIT = 1_000_000
_MAX_BLOCKS = 1000
_HOUR, _DAY = 3600, 86_400
# With it, 21 bitcoin are still less than what amounts of AITBC may be.
_MAX_EXCHANGE_RATE = 1_000_000
# https://www.rfc-editor.org/rfc/rfc3986#section-3.2: a host, and a port if it is not the scheme's own.
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
# The scheme, the host, a port and a path: what paths of the Esplora API can follow.
_BASE_URL = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~%-]+)*")
_KEY_VARIABLES = ("API_KEYS", "CLIENT_API_KEYS", "MINER_API_KEYS", "ADMIN_API_KEYS")
# Secrets that stand in examples and tutorials; whoever deploys one of them has not chosen a secret.
_EXAMPLE_SECRETS = ("changeme", "change-me", "change_me", "example", "your-secret", "your_secret", "placeholder")


class ConfiguredKey(NamedTuple):
    """An API key, with the name of its owner if it has one: keys of one name are one principal."""

    name: str | None
    key: str


class ApiKeys(NamedTuple):
    """The API keys that the operator has configured, by role."""

    client: tuple[ConfiguredKey, ...]
    miner: tuple[ConfiguredKey, ...]
    admin: tuple[ConfiguredKey, ...]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of this process. Secrets that are kept in AWS are read when they are first asked for."""

    database: Secret[URL]
    # SECRET_KEY and what it was before, newest first.
    secrets: Secret[tuple[str, ...]]
    keys: Secret[ApiKeys]
    # Empty: anyone may read the metrics.
    token: Secret[str]
    job_types: tuple[str, ...]
    lease_seconds: int
    heartbeat_interval_seconds: int
    heartbeat_timeout_seconds: int
    idle_polls_per_second: int
    cors_allow_origins: tuple[str, ...]
    rate_limit_client: int
    rate_limit_miner: int
    rate_limit_user: int
    # Where callers reach us, without a slash at the end; messages that wallets sign name it. Empty: nobody can log in.
    public_url: str
    bitcoin_network: str
    # Where payments go: addresses of an account, else the one address; neither: nobody can pay.
    bitcoin_account: Account | None
    bitcoin_address: str
    # Servers of the Esplora API, tried in this order, without a slash at the end; or MEMORY_CHAIN alone.
    esplora_urls: tuple[str, ...]
    # So many blocks, with the one that a payment is in, confirm it.
    bitcoin_confirmations: int
    # What so many blocks are on top of is never undone.
    bitcoin_reorg_depth: int
    payment_ttl_seconds: int
    # For how long after its end a payment's address is still watched.
    payment_watch_seconds: int
    # Whole AITBC for a bitcoin, which is as many atoms for a satoshi.
    btc_to_aitbc_rate: int
    # Signs receipts; empty: a key derived from SECRET_KEY does.
    receipt_kms_key_id: str

    @property
    def secret_key(self) -> str:
        return self.secrets.value[0]

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """SECRET_KEY and others that are good too: what it was before, and what it is about to be."""
        return self.secrets.value

    @property
    def api_keys(self) -> ApiKeys:
        return self.keys.value

    @property
    def metrics_token(self) -> str:
        """What readers of the metrics must send; empty: anyone may read them."""
        return self.token.value

    @property
    def kept(self) -> tuple[Kept[Any], ...]:
        """The secrets that AWS keeps, but for that of the database, which is renewed when a connection fails."""
        return tuple(secret for secret in (self.secrets, self.keys, self.token) if isinstance(secret, Kept))


_derived: list[Any] = []


def from_secrets(make: F) -> F:
    """Like `functools.cache`, for what is made from secrets: it is made again when one of them was replaced."""
    cached = cache(make)
    _derived.append(cached)
    return cast("F", cached)


def renew_secrets() -> None:
    """Reads secrets again that AWS keeps and that were read some minutes ago. For the time between two events."""
    if renew_old(settings().kept):
        for cached in _derived:
            cached.cache_clear()


@cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        ConfigurationError: a variable is missing or wrong; the functions refuse to start.
    """
    return read_settings(os.environ)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Reads and checks all variables; an empty one counts as not set, as CloudFormation can't leave one out."""
    network = _one_of(environment, "BITCOIN_NETWORK", "testnet", tuple(NETWORKS))
    account, address = _account(environment, network), _address(environment, network)
    esplora_urls = _esplora_urls(environment, network)
    if (account or address) and not esplora_urls:
        raise ConfigurationError(f"ESPLORA_URLS must name a server, as there is no public one for {network}")
    confirmations = _whole(environment, "BITCOIN_CONFIRMATIONS", 2, 1, _MAX_BLOCKS)
    return Settings(
        database=_database(environment),
        secrets=_secret_keys(environment),
        keys=_api_keys(environment),
        token=_metrics_token(environment),
        job_types=_items(environment, "JOB_TYPES") or tuple(DEFAULT_JOB_TYPES.split(",")),
        lease_seconds=_positive(environment, "LEASE_SECONDS", 60),
        heartbeat_interval_seconds=_positive(environment, "HEARTBEAT_INTERVAL_SECONDS", 30),
        heartbeat_timeout_seconds=_positive(environment, "HEARTBEAT_TIMEOUT_SECONDS", 90),
        idle_polls_per_second=_positive(environment, "IDLE_POLLS_PER_SECOND", 50),
        cors_allow_origins=_items(environment, "CORS_ALLOW_ORIGINS"),
        rate_limit_client=_whole(environment, "RATE_LIMIT_CLIENT", 100, 0, _MAX_RATE_LIMIT),
        rate_limit_miner=_whole(environment, "RATE_LIMIT_MINER", 1000, 0, _MAX_RATE_LIMIT),
        rate_limit_user=_whole(environment, "RATE_LIMIT_USER", 60, 0, _MAX_RATE_LIMIT),
        public_url=_origin(environment, "PUBLIC_URL"),
        bitcoin_network=network,
        bitcoin_account=account,
        bitcoin_address=address,
        esplora_urls=esplora_urls,
        bitcoin_confirmations=confirmations,
        bitcoin_reorg_depth=_whole(
            environment, "BITCOIN_REORG_DEPTH", max(6, confirmations), confirmations, _MAX_BLOCKS
        ),
        payment_ttl_seconds=_whole(environment, "PAYMENT_TTL_SECONDS", _HOUR, 1, 7 * _DAY),
        payment_watch_seconds=_whole(environment, "PAYMENT_WATCH_SECONDS", _DAY, 0, 90 * _DAY),
        btc_to_aitbc_rate=_whole(environment, "BTC_TO_AITBC_RATE", 100_000, 1, _MAX_EXCHANGE_RATE),
        receipt_kms_key_id=_text(environment, "RECEIPT_KMS_KEY_ID"),
    )


def in_lambda() -> bool:
    """Tells whether this process is an execution environment of AWS Lambda, which is frozen between events.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    return "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ and "AWS_SAM_LOCAL" not in os.environ


def _text(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip()


def _require_alone(environment: Mapping[str, str], name: str, arn: str) -> None:
    if _text(environment, name):
        raise ConfigurationError(f"{name} and {arn} are both set; set one of them")


def _required(environment: Mapping[str, str], name: str) -> str:
    value = _text(environment, name)
    if not value:
        raise ConfigurationError(f"{name} is not set")
    return value


def _database(environment: Mapping[str, str]) -> Secret[URL]:
    arn, url = _text(environment, "DATABASE_SECRET_ARN"), _text(environment, "DATABASE_URL")
    if not arn:
        return Given(parse_url(_required(environment, "DATABASE_URL")))
    return Kept("DATABASE_SECRET_ARN", arn, lambda texts: url_of_secret(texts[0], url))


def _secret_keys(environment: Mapping[str, str]) -> Secret[tuple[str, ...]]:
    previous = _items(environment, "SECRET_KEY_PREVIOUS")

    def parse(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*map(_strong, texts), *previous)))

    if arn := _text(environment, "SECRET_KEY_ARN"):
        _require_alone(environment, "SECRET_KEY", "SECRET_KEY_ARN")
        return Kept("SECRET_KEY_ARN", arn, parse, all_stages=True)
    return Given((_strong(_required(environment, "SECRET_KEY")), *previous))


def _strong(secret: str) -> str:
    if len(secret) < _MIN_SECRET_LENGTH or len(set(secret)) < _MIN_SECRET_LENGTH // 4:
        raise ConfigurationError(f"SECRET_KEY must be at least {_MIN_SECRET_LENGTH} random characters")
    if any(example in secret.lower() for example in _EXAMPLE_SECRETS):
        raise ConfigurationError("SECRET_KEY is a known example; make one of your own")
    return secret


def _metrics_token(environment: Mapping[str, str]) -> Secret[str]:
    def parse(texts: tuple[str, ...]) -> str:
        if not texts[0]:
            # Empty would mean that anyone may read the metrics.
            raise ConfigurationError("the secret is empty")
        return texts[0]

    if arn := _text(environment, "METRICS_TOKEN_ARN"):
        _require_alone(environment, "METRICS_TOKEN", "METRICS_TOKEN_ARN")
        return Kept("METRICS_TOKEN_ARN", arn, parse)
    return Given(_text(environment, "METRICS_TOKEN"))


def _api_keys(environment: Mapping[str, str]) -> Secret[ApiKeys]:
    """The keys of the variables, and beside them those of the secret: JSON with the same names."""

    def parse(texts: tuple[str, ...]) -> ApiKeys:
        return _keys_of_roles(environment, _key_variables(texts[0]))

    given = _keys_of_roles(environment)
    if arn := _text(environment, "API_KEYS_ARN"):
        return Kept("API_KEYS_ARN", arn, parse)
    return Given(given)


def _key_variables(text: str) -> dict[str, str]:
    try:
        variables = json.loads(text)
    except ValueError:
        variables = None
    if (
        not isinstance(variables, dict)
        or not variables.keys() <= set(_KEY_VARIABLES)
        or not all(isinstance(keys, str) for keys in variables.values())
    ):
        raise ConfigurationError(f"the secret must be a JSON object of texts, named {', '.join(_KEY_VARIABLES)}")
    return variables


def _keys_of_roles(*sources: Mapping[str, str]) -> ApiKeys:
    shared, client, miner, admin = (
        tuple(dict.fromkeys(key for source in sources for key in _keys(source, name))) for name in _KEY_VARIABLES
    )
    _require_one_name_each(shared + client + miner + admin)
    return ApiKeys(shared + client, shared + miner, admin)


def _keys(environment: Mapping[str, str], variable: str) -> tuple[ConfiguredKey, ...]:
    """Items are `key` or `name=key`; the padding of base64 at the end of a key is part of it."""
    split = [(item, *item.partition("=")) for item in _items(environment, variable)]
    return tuple(
        ConfiguredKey(name, key) if name and key.strip("=") else ConfiguredKey(None, item)
        for item, name, _, key in split
    )


def _require_one_name_each(keys: tuple[ConfiguredKey, ...]) -> None:
    names: dict[str, str | None] = {}
    for name, key in keys:
        if names.setdefault(key, name) != name:
            raise ConfigurationError(f"one API key has two names: {name or 'none'} and {names[key] or 'none'}")


def _items(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in environment.get(name, "").split(",") if item.strip())


def _positive(environment: Mapping[str, str], name: str, default: int) -> int:
    # Over a day of lease or heartbeat is a slip of the unit.
    return _whole(environment, name, default, 1, 86_400)


def _whole(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = _text(environment, name)
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ConfigurationError(f"{name} must be a whole number from {least} to {most}, not {text!r}")
    return int(text)


def _one_of(environment: Mapping[str, str], name: str, default: str, possible: tuple[str, ...]) -> str:
    value = _text(environment, name) or default
    if value not in possible:
        raise ConfigurationError(f"{name} must be one of {', '.join(possible)}, not {value!r}")
    return value


def _origin(environment: Mapping[str, str], name: str) -> str:
    value = _text(environment, name).removesuffix("/").lower()
    if value and _ORIGIN.fullmatch(value) is None:
        raise ConfigurationError(f"{name} must be like https://api.example.org, without a path, not {value!r}")
    return value


def _account(environment: Mapping[str, str], network: str) -> Account | None:
    text = environment.get("BITCOIN_XPUB", "").strip()
    try:
        return read_account(text, network) if text else None
    except ValueError as error:
        raise ConfigurationError(f"BITCOIN_XPUB {error}") from None


def _address(environment: Mapping[str, str], network: str) -> str:
    address = environment.get("BITCOIN_ADDRESS", "").strip()
    if address and script_of(address, network) is None:
        raise ConfigurationError(f"BITCOIN_ADDRESS must be an address of {network}, as BITCOIN_NETWORK says")
    # In capitals, as QR codes have it, it is the same.
    return address.lower() if address.lower().startswith(NETWORKS[network].segwit_prefix + "1") else address


def _esplora_urls(environment: Mapping[str, str], network: str) -> tuple[str, ...]:
    urls = tuple(url.rstrip("/") for url in _items(environment, "ESPLORA_URLS")) or NETWORKS[network].esplora_urls
    if urls == (MEMORY_CHAIN,) and network == "regtest":
        return urls
    for url in urls:
        if _BASE_URL.fullmatch(url) is None:
            raise ConfigurationError(f"ESPLORA_URLS must be like https://blockstream.info/api, not {url!r}")
    return urls
