"""CloudFormation's part: calls the functions behind custom resources before anything is served.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
"""

import asyncio
import json
from functools import partial
from typing import Any
from uuid import uuid4

from local.environments import FunctionFailed, Functions, FunctionTimedOut
from local.template import CustomResource

_STACK = "arn:aws:cloudformation:us-east-1:123456789012:stack/local/00000000-0000-0000-0000-000000000000"
_ANSWER_SECONDS = 10


class DeploymentFailed(Exception):
    """A custom resource could not be created; the message says which and why."""


async def deploy(resources: tuple[CustomResource, ...], functions: Functions) -> None:
    """Creates all custom resources in the order of the template.

    Raises:
        DeploymentFailed: a function failed, or answered with FAILED or not at all.
    """
    for resource in resources:
        answers: asyncio.Queue[Any] = asyncio.Queue()
        server = await asyncio.start_server(partial(_take_answer, answers), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            await _create(resource, functions, f"http://127.0.0.1:{port}/answer", answers)


async def _create(
    resource: CustomResource, functions: Functions, response_url: str, answers: "asyncio.Queue[Any]"
) -> None:
    event = {
        "RequestType": "Create",
        "ResponseURL": response_url,
        "StackId": _STACK,
        "RequestId": str(uuid4()),
        "ResourceType": resource.type,
        "LogicalResourceId": resource.logical_id,
        "ResourceProperties": dict(resource.properties),
    }
    try:
        await functions.invoke(resource.function, event)
        answer = await asyncio.wait_for(answers.get(), _ANSWER_SECONDS)
    except (FunctionFailed, FunctionTimedOut) as error:
        raise DeploymentFailed(f"{resource.logical_id}: {resource.function}: {error}") from error
    except TimeoutError:
        raise DeploymentFailed(f"{resource.logical_id}: {resource.function} sent no answer") from None
    if answer.get("Status") != "SUCCESS":
        raise DeploymentFailed(f"{resource.logical_id}: {answer.get('Reason', 'no reason given')}")


async def _take_answer(
    answers: "asyncio.Queue[Any]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Takes the one PUT of a function, as the pre-signed URL of CloudFormation would."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next((int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length:")), 0)
    body = await reader.readexactly(length)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()
    try:
        answers.put_nowait(json.loads(body))
    except ValueError:
        answers.put_nowait({"Status": "FAILED", "Reason": "the function's answer is no JSON"})
