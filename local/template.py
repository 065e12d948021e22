"""Reads template.yaml: which functions there are, and what calls them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# What SAM merges key by key from Globals; every other property of a function replaces the global one.
# https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-template-anatomy-globals.html
_FUNCTION = "AWS::Serverless::Function"
_RATE = re.compile(r"rate\((\d+) (minute|minutes|hour|hours|day|days)\)")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86_400}
_SUBSTITUTION = re.compile(r"\$\{([^!}]+)\}")


class TemplateError(Exception):
    """The template can't be used; the message names the resource and what is wrong with it."""


@dataclass(frozen=True)
class Function:
    """One Lambda function: what to import, from where, and how long a call may take."""

    name: str
    handler: str
    code: Path
    layers: tuple[Path, ...]
    timeout_seconds: float
    memory_mb: int
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Route:
    """One route of the HTTP API, such as "ANY /v1/client/{proxy+}" or "$default"."""

    key: str
    method: str
    path: str
    function: str


@dataclass(frozen=True)
class Schedule:
    name: str
    period_seconds: int
    function: str


@dataclass(frozen=True)
class CustomResource:
    """A Custom::* resource, whose function CloudFormation calls when the stack is deployed."""

    logical_id: str
    type: str
    function: str
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Template:
    functions: Mapping[str, Function]
    routes: tuple[Route, ...]
    schedules: tuple[Schedule, ...]
    custom_resources: tuple[CustomResource, ...]


def read_template(path: Path) -> Template:
    """Reads what can be run on one machine; other resources are passed over.

    Raises:
        TemplateError: the file is missing, no YAML, or a resource in it is not as SAM wants it.
    """
    try:
        document = yaml.load(path.read_text(), _Loader)  # noqa: S506  (a SafeLoader with CloudFormation's short tags)
    except OSError as error:
        raise TemplateError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise TemplateError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise TemplateError(f"{path}: has no Resources")
    return _Reader(path.parent.absolute(), document).template()


class _Loader(yaml.SafeLoader):
    """Reads !Ref X as {"Ref": X} and !Y X as {"Fn::Y": X}, as CloudFormation writes them in full."""


def _short_tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {"Ref" if suffix == "Ref" else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_tag)


class _Reader:
    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self._folder = folder
        self._resources: dict[str, Any] = document["Resources"]
        self._parameters: dict[str, Any] = document.get("Parameters") or {}
        self._globals: dict[str, Any] = (document.get("Globals") or {}).get("Function") or {}

    def template(self) -> Template:
        functions: dict[str, Function] = {}
        routes: list[Route] = []
        schedules: list[Schedule] = []
        custom: list[CustomResource] = []
        for name, resource in self._resources.items():
            kind = resource.get("Type") if isinstance(resource, dict) else None
            if not isinstance(kind, str):
                raise TemplateError(f"{name}: has no Type")
            properties = resource.get("Properties") or {}
            if kind == _FUNCTION:
                functions[name] = self._function(name, properties)
                for event_name, event in (properties.get("Events") or {}).items():
                    self._event(name, f"{name}.Events.{event_name}", event, routes, schedules)
            elif kind.startswith("Custom::"):
                custom.append(self._custom_resource(name, kind, properties))
        for resource in custom:
            if resource.function not in functions:
                raise TemplateError(f"{resource.logical_id}: ServiceToken names no function of this template")
        if not functions:
            raise TemplateError("there is no function in it")
        return Template(functions, tuple(routes), tuple(schedules), tuple(custom))

    def _function(self, name: str, own: dict[str, Any]) -> Function:
        merged = {**self._globals, **own}
        for required in ("Handler", "CodeUri"):
            if not isinstance(merged.get(required), str):
                raise TemplateError(f"{name}: {required} is missing")
        layers = [*(self._globals.get("Layers") or []), *(own.get("Layers") or [])]
        variables = {**self._variables(self._globals), **self._variables(own)}
        try:
            timeout_seconds, memory_mb = float(merged.get("Timeout", 3)), int(merged.get("MemorySize", 128))
        except (TypeError, ValueError) as error:
            raise TemplateError(f"{name}: Timeout and MemorySize must be numbers") from error
        return Function(
            name=name,
            handler=merged["Handler"],
            code=self._existing(name, "CodeUri", merged["CodeUri"]),
            layers=tuple(self._layer(name, layer) for layer in layers),
            timeout_seconds=timeout_seconds,
            memory_mb=memory_mb,
            variables={key: self._text(f"{name}: variable {key}", value) for key, value in variables.items()},
        )

    def _layer(self, function: str, reference: Any) -> Path:
        layer = reference.get("Ref") if isinstance(reference, dict) else None
        properties = self._resources.get(layer, {}).get("Properties", {}) if layer else {}
        if not isinstance(properties.get("ContentUri"), str):
            raise TemplateError(f"{function}: Layers must refer to layers of this template that have a ContentUri")
        return self._existing(str(layer), "ContentUri", properties["ContentUri"])

    def _existing(self, name: str, property_name: str, value: str) -> Path:
        folder = self._folder / value
        if not folder.is_dir():
            raise TemplateError(f"{name}: {property_name} {value} is no folder")
        return folder.resolve()

    def _variables(self, properties: dict[str, Any]) -> dict[str, Any]:
        return (properties.get("Environment") or {}).get("Variables") or {}

    def _event(self, function: str, where: str, event: Any, routes: list[Route], schedules: list[Schedule]) -> None:
        kind = event.get("Type") if isinstance(event, dict) else None
        properties = (event.get("Properties") or {}) if isinstance(event, dict) else {}
        if kind == "HttpApi":
            path, method = properties.get("Path", "$default"), str(properties.get("Method", "ANY")).upper()
            if path != "$default" and not path.startswith("/"):
                raise TemplateError(f"{where}: Path must begin with /")
            routes.append(Route("$default" if path == "$default" else f"{method} {path}", method, path, function))
        elif kind in ("Schedule", "ScheduleV2"):
            expression = properties.get("ScheduleExpression" if kind == "ScheduleV2" else "Schedule")
            schedules.append(Schedule(where.rsplit(".", 1)[-1], _period_seconds(where, expression), function))
        else:
            raise TemplateError(f"{where}: events of type {kind} can't be emulated (HttpApi, Schedule, ScheduleV2 can)")

    def _custom_resource(self, name: str, kind: str, properties: dict[str, Any]) -> CustomResource:
        token = properties.get("ServiceToken")
        target = token.get("Fn::GetAtt") if isinstance(token, dict) else None
        if not isinstance(target, list) or target[1:] != ["Arn"]:
            raise TemplateError(f"{name}: ServiceToken must be !GetAtt of a function's Arn")
        given = {
            key: self._value(f"{name}: {key}", value) for key, value in properties.items() if key != "ServiceToken"
        }
        return CustomResource(name, kind, target[0], given)

    def _text(self, where: str, value: Any) -> str:
        resolved = self._value(where, value)
        if isinstance(resolved, dict | list) or resolved is None:
            raise TemplateError(f"{where} is no text")
        # YAML's true is CloudFormation's "true".
        return str(resolved).lower() if isinstance(resolved, bool) else str(resolved)

    def _value(self, where: str, value: Any) -> Any:
        """What !Ref and !Sub of parameters stand for; nothing else has a value before it is deployed."""
        if isinstance(value, list):
            return [self._value(where, item) for item in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Ref"}:
            return self._parameter(where, value["Ref"])
        if set(value) == {"Fn::Sub"} and isinstance(value["Fn::Sub"], str):
            return _SUBSTITUTION.sub(lambda match: str(self._parameter(where, match[1])), value["Fn::Sub"])
        if any(key == "Ref" or key.startswith("Fn::") for key in value):
            raise TemplateError(f"{where}: {', '.join(value)} has no value outside of AWS")
        return {key: self._value(where, item) for key, item in value.items()}

    def _parameter(self, where: str, name: str) -> Any:
        if name not in self._parameters:
            raise TemplateError(f"{where} refers to {name}, which is no parameter")
        if "Default" not in self._parameters[name]:
            raise TemplateError(f"{where} refers to the parameter {name}, which has no Default")
        return self._parameters[name]["Default"]


def _period_seconds(where: str, expression: Any) -> int:
    match = _RATE.fullmatch(expression) if isinstance(expression, str) else None
    if match is None or int(match[1]) == 0:
        raise TemplateError(f"{where}: schedule {expression!r} can't be emulated, only rate(N minutes|hours|days) can")
    return int(match[1]) * _SECONDS[match[2].rstrip("s")]
