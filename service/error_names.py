"""From the name of an error back to its class, for errors that come from another process or over HTTP."""

from collections.abc import Iterator

from service.errors import ServiceError


def error_classes() -> Iterator[type[ServiceError]]:
    """Every class of the tree, parents first."""
    pending: list[type[ServiceError]] = [ServiceError]
    while pending:
        cls = pending.pop(0)
        yield cls
        pending.extend(cls.__subclasses__())


def error_class(name: str) -> type[ServiceError]:
    """The class with this class name or problem type; `ServiceError` for a name it does not know."""
    for cls in error_classes():
        if name in (cls.__name__, cls.problem_type()):
            return cls
    return ServiceError
