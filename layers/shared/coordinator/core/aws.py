"""What AWS Secrets Manager and SSM Parameter Store keep, by Powertools.

https://docs.aws.amazon.com/powertools/python/latest/utilities/parameters/
"""

from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools.utilities.parameters import SecretsProvider, SSMProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.config import Config
from botocore.exceptions import ClientError

from coordinator.core.errors import ConfigurationError

# What is throttled is tried again too. A request may need several secrets, in 30 s with everything else.
_CALLS = Config(
    connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 3}, tcp_keepalive=True
)
_NOT_THERE = ("ResourceNotFoundException", "ParameterNotFound")
# arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME, arn:aws:ssm:REGION:ACCOUNT:parameter/NAME
_SERVICE_OF_ARN, _REGION_OF_ARN = 2, 3


class NotThere(ConfigurationError):
    """There is no such secret, or it has no version at this stage."""


def fetch(arn: str, stage: str | None = None) -> str:
    """The text that is kept under an ARN now; of a secret the version at a stage, such as AWSPREVIOUS.

    Raises:
        NotThere: it is missing.
        ConfigurationError: it can't be read, or is no text. Messages have AWS's code and nothing of what is kept.
    """
    parts = arn.split(":")
    service, region = parts[_SERVICE_OF_ARN], parts[_REGION_OF_ARN]
    # Always asked anew: Powertools would keep what it got by name alone, and take one stage for another.
    options: dict[str, Any] = {"force_fetch": True}
    if service == "ssm":
        options["decrypt"] = True
    elif stage:
        options["VersionStage"] = stage
    try:
        text: Any = _provider(service, region).get(arn, **options)
    except GetParameterError as error:
        # Powertools puts what AWS has said into words of its own.
        raise _told(error.__context__) from None
    if not isinstance(text, str):
        raise ConfigurationError("is binary, not text")
    return text


@cache
def _provider(service: str, region: str) -> SecretsProvider | SSMProvider:
    client: Any = boto3.client(service, region_name=region, config=_CALLS)  # type: ignore[call-overload]
    return SSMProvider(boto3_client=client) if service == "ssm" else SecretsProvider(boto3_client=client)


def _told(error: BaseException | None) -> ConfigurationError:
    if not isinstance(error, ClientError):
        return ConfigurationError(f"can't be read ({type(error).__name__})")
    code = error.response["Error"]["Code"]
    return (NotThere if code in _NOT_THERE else ConfigurationError)(f"can't be read ({code})")
