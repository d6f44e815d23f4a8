"""What an exception in the worker means: the device is lost, its memory is full, or a request was wrong."""

import logging

import torch

from service.errors import ServiceError, Unavailable

_log = logging.getLogger(__name__)


def is_fatal(error: Exception) -> bool:
    """Whether the device is lost to this process: after an error inside a CUDA kernel every later call fails."""
    return isinstance(error, torch.AcceleratorError)


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the host, has no memory left; torch has no class of its own for the host."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def as_service_error(error: Exception) -> ServiceError:
    """The error that the caller gets; one that nobody foresaw is logged, and its own words stay in the log."""
    if isinstance(error, ServiceError):
        return error
    if is_out_of_memory(error):
        return Unavailable("the device has no memory left for this request; try again later or send fewer images")
    _log.error("a request failed in the worker", exc_info=error)
    return ServiceError(f"the worker could not do this ({type(error).__name__}); its log says why")
