"""Bodies: what is of another type is not taken for what a field holds, in any field of any request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_args

from fastapi import APIRouter
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field, ValidationError
from starlette.routing import BaseRoute

from syncbridge.http.app import bare_app


class Lax(BaseModel):
    """A body as the framework reads it when nothing else is said."""

    count: Annotated[int, Field(ge=1)] | None = None


WRONG: dict[str, list[Any]] = {
    "integer": [True, False, "7", 7.5],
    "number": [True, False, "7"],
    "boolean": [1, 0, "true", "yes"],
    "string": [1, True],
}


def bodies(routes: Sequence[BaseRoute]) -> dict[str, type[BaseModel]]:
    """Every model that a body of these routes is read by, choices and parts included, by its name."""
    found: dict[str, type[BaseModel]] = {}
    waiting: list[Any] = [
        context.body_field.field_info.annotation
        for context in iter_route_contexts(routes)
        if getattr(context, "body_field", None) is not None
    ]
    while waiting:
        kind = waiting.pop()
        waiting += get_args(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__name__ not in found:
            found[kind.__name__] = kind
            waiting += [field.annotation for field in kind.model_fields.values()]
    return found


def typed_fields(models: dict[str, type[BaseModel]]) -> Iterator[tuple[str, str, str]]:
    """(model, field, type) of every field that holds a value of a plain type."""
    for model, kind in models.items():
        for name, schema in kind.model_json_schema()["properties"].items():
            for one in (schema, *schema.get("anyOf", [])):
                if one.get("type") in WRONG:
                    yield model, name, one["type"]


def taken(models: dict[str, type[BaseModel]]) -> list[str]:
    """Every value of a wrong type that its field does not complain of."""
    complaints = []
    for model, name, kind in typed_fields(models):
        for value in WRONG[kind]:
            places: set[Any] = set()
            try:
                models[model].model_validate({name: value})
            except ValidationError as refused:
                places = {finding["loc"][0] for finding in refused.errors()}
            if name not in places:
                complaints.append(f"{model}.{name} takes {value!r} where {kind} is told")
    return complaints


def test_no_field_of_a_body_takes_a_value_of_another_type() -> None:
    models = bodies(bare_app().routes)
    assert {("Restore", "version", "integer"), ("NewHandoff", "expires_ms", "integer")} <= set(typed_fields(models))
    assert taken(models) == []


def test_walk_finds_a_field_that_takes_true_for_a_number() -> None:
    router = APIRouter()

    @router.post("/lax")
    async def lax(body: Lax | None) -> None: ...

    complaints = [f"Lax.count takes {value} where integer is told" for value in ("True", "'7'")]
    assert taken(bodies(router.routes)) == complaints
