"""What the HTTP bodies of all subjects share."""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from coordinator.core.money import parse_aitbc

T = TypeVar("T")


class RequestBody(BaseModel):
    """Unknown fields are ignored, wrong types are errors: "5" is not a number."""

    model_config = ConfigDict(strict=True, extra="ignore")


def _parse_amount(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("must be a decimal string")  # noqa: TRY004  (pydantic reports ValueError as a field error)
    return parse_aitbc(value)


# AITBC: a decimal string outside, atoms (10^-8) inside. The pattern ends where `money.MAX_ATOMS` does.
Amount = Annotated[
    int,
    BeforeValidator(_parse_amount),
    WithJsonSchema({"type": "string", "pattern": r"^(100000000(\.0{1,8})?|(0|[1-9][0-9]{0,7})(\.[0-9]{1,8})?)$"}),
]


def _without_zero_fraction(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# 5.0 is 5, in JSON Schema as in canonical JSON.
WHOLE = BeforeValidator(_without_zero_fraction)
Whole = Annotated[int, WHOLE]

# What ids and times look like, for the document alone: a caller's id of another form is one that nobody has.
Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Page(BaseModel, Generic[T]):
    """Newest first; `next_cursor` fetches what follows, null at the end."""

    items: list[T]
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


class PageQuery(BaseModel):
    limit: int = Field(default=50, ge=1, le=200, description="How many items at most.")
    cursor: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        description="The `next_cursor` of the page before.",
    )
