"""The log of all functions: JSON lines that name the request they belong to."""

from aws_lambda_powertools import Logger

logger = Logger(service="aitbc-coordinator", serialize_stacktrace=False)
