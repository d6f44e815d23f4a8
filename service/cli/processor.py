"""What a process that trains asks of the processor and of the C library; changes the whole process."""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT = {_MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**26}
"""Parameters of glibc's mallopt(3), in bytes; the first is the most that it takes."""


def prepare_training(threads: int | None = None) -> None:
    """Set torch's threads, take the smallest numbers for zero, and keep memory that is freed.

    Seen on a ProtoMAML step whose support loss is near zero: 200 ms instead of 2300 ms without the smallest numbers.
    glibc gives large tensors back to the system, which has to clear them when the next step asks for them again.
    """
    import torch  # noqa: PLC0415  # slow to import

    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # other C libraries have none
        for parameter, n_bytes in _KEPT.items():
            library.mallopt(parameter, n_bytes)
