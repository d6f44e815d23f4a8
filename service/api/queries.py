"""Query parameters that an operation does not have: refused, so that a misspelt one is not left out in silence."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from service.api.problems import RejectedFields, did_you_mean
from service.errors import BadItem

API_PREFIX: Final = "/v1/"


async def known_query(request: Request) -> None:
    """Refuse what the operation at this address does not take; pages outside the API take anything.

    Raises:
        RejectedFields: it names every parameter that there is not.
    """
    route = request.scope.get("route")
    if not request.scope["query_string"] or not isinstance(route, APIRoute) or not route.path.startswith(API_PREFIX):
        return
    names, prefixes = _taken(route)
    strange = [name for name in request.query_params if name not in names and not name.startswith(prefixes)]
    if not strange:
        return
    items = tuple(
        BadItem(_pointer(name), "unknown-parameter", f"there is no such parameter; {did_you_mean(name, names)}")
        for name in strange
    )
    more = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
    raise RejectedFields(f"{items[0].pointer}: {items[0].detail}{more}", items)


def _taken(route: APIRoute) -> tuple[frozenset[str], tuple[str, ...]]:
    """The names of an operation's parameters, and how those begin that may have any name."""
    names = frozenset(_names(route.dependant))
    free: list[dict[str, Any]] = (route.openapi_extra or {}).get("parameters", [])
    return names, tuple(f"{parameter['name']}." for parameter in free)


def _names(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for each in dependant.dependencies:
        yield from _names(each)


def _pointer(name: str) -> str:
    return "/query/" + name[:100].replace("~", "~0").replace("/", "~1")
