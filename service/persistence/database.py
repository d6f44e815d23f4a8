"""The connection to the database."""


class Database:
    """A database by its URL: `sqlite:///data/handful.db` or `postgresql://user@host/name`."""

    def __init__(self, url: str) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Close every connection."""
