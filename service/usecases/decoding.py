"""Uploads become arrays: a bounded number of images at a time, off the event loop unless they are small."""

from service.usecases.limits import Limits


class Decoder:
    """The decode threads of the process, shared by every use case; `close` ends them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def close(self) -> None:
        """End the threads; what they decode is finished first."""
