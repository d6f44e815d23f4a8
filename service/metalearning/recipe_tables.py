"""Dataclasses from TOML tables, with a sentence that names the key where a value cannot be one.

Pydantic does this too, but the learning core has no part of the service among its dependencies.
"""

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from service.errors import RecipeError
from service.metalearning.header import Setting

T = TypeVar("T")
_PLAIN: dict[object, str] = {int: "an integer", str: "a text", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Named:
    """A backbone or a learner by name, with its settings: in TOML one table with `name` and the rest, or the name."""

    name: str
    settings: Mapping[str, Setting] = field(default_factory=dict)


def from_table(cls: type[T], table: object, key: str = "") -> T:
    """The dataclass that a table describes.

    Args:
        cls: its fields are dataclasses, `Named`, plain types, literals, tuples or mappings.
        table: what `tomllib` gave.
        key: where it stands in the recipe.

    Raises:
        RecipeError: names the key that is missing, unknown or of another type.
    """
    given = _mapping(table, key)
    hints = get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # T is a dataclass
    prefix = f"{key}." if key else ""
    unknown = given.keys() - {item.name for item in fields}
    if unknown:
        known = ", ".join(item.name for item in fields)
        raise RecipeError(f"{prefix}{min(unknown)} is not a key of a recipe, expected one of {known}")
    for item in fields:
        optional = item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
        if item.name not in given and not optional:
            raise RecipeError(f"{prefix}{item.name} is missing")
    return cls(**{name: _value(item, hints[name], f"{prefix}{name}") for name, item in given.items()})


def _value(value: object, hint: object, key: str) -> object:
    """The value as the type hint wants it."""
    if hint == Setting or hint in _PLAIN or hint is float:
        return _plain(value, hint, key)
    if get_origin(hint) in (Union, types.UnionType):
        return _value(value, get_args(hint)[0], key)  # only `X | None` occurs, and TOML has no None
    if hint is Named:
        return _named(value, key)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_table(hint, value, key)
    return _composed(value, hint, key)


def _composed(value: object, hint: object, key: str) -> object:
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        _expect(value in arguments, value, key, " or ".join(map(repr, arguments)))
        return value
    if get_origin(hint) is tuple:
        _expect(isinstance(value, list), value, key, "a list")
        return tuple(_value(item, arguments[0], key) for item in cast("list[object]", value))
    return {name: _value(item, arguments[1], f"{key}.{name}") for name, item in _mapping(value, key).items()}


def _plain(value: object, hint: object, key: str) -> object:
    if hint is float:
        _expect(isinstance(value, float | int) and not isinstance(value, bool), value, key, "a number")
        return float(cast("float", value))
    if hint == Setting:
        _expect(isinstance(value, float | int | str), value, key, "a number, a text or true or false")
    else:
        _expect(type(value) is hint, value, key, _PLAIN[hint])
    return value


def _named(value: object, key: str) -> Named:
    table = {"name": value} if isinstance(value, str) else dict(_mapping(value, key))
    if "name" not in table:
        raise RecipeError(f"{key}.name is missing")
    name = _plain(table.pop("name"), str, f"{key}.name")
    settings = {setting: _plain(item, Setting, f"{key}.{setting}") for setting, item in table.items()}
    return Named(cast("str", name), cast("dict[str, Setting]", settings))


def _mapping(value: object, key: str) -> Mapping[str, object]:
    _expect(isinstance(value, Mapping), value, key, "a table")
    return cast("Mapping[str, object]", value)


def _expect(holds: bool, value: object, key: str, expected: str) -> None:
    if not holds:
        raise RecipeError(f"{key} is {value!r}, expected {expected}")
