"""What to label next: a pool of images out, how far the service is meanwhile, and the choice back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.client.answers import Suggestion, parse
from service.client.connection import Connection, ServiceUnreachable, error_of
from service.client.uploads import ImageSource, file_parts
from service.client.watching import events_in


@dataclass(frozen=True, slots=True)
class PoolProgress:
    """How far a pool is.

    Attributes:
        read: how many images are decoded.
        seen: how many of them went through the network.
        of: how many there are.
    """

    read: int
    seen: int
    of: int


def suggest(
    connection: Connection,
    path: str,
    sources: Sequence[ImageSource],
    *,
    n: int,
    on_progress: Callable[[PoolProgress], None] = lambda _: None,
) -> list[Suggestion]:
    """The images to label next, the first first; `on_progress` is told how far the service is, once it has them all.

    Raises:
        UploadRejected: some images cannot be used; `items` names each.
        ServiceUnreachable: the connection broke.
    """
    lines = connection.sent_lines(path, data={"n": n}, files=file_parts(sources), wait_s=len(sources))
    for event in events_in(lines):
        if event.name == "failed":
            raise error_of(event.data)
        if event.name == "suggestions":
            return [parse(Suggestion, item) for item in event.data["suggestions"]]
        on_progress(parse(PoolProgress, event.data))
    raise ServiceUnreachable(f"{connection.base_url} ended its answer before it was whole; send the images again")
