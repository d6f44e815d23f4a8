"""UUIDv7 keys (RFC 9562, section 5.7): in the order in which this process made them.

Why our own: Python has them from 3.14 on. Keys that grow keep an index's newest page hot, and a list sorted by key
is sorted by age.
"""

import secrets
import threading
import time
from uuid import UUID

_COUNTER_BITS = 74
_lock = threading.Lock()
_last = 0


def new_id() -> UUID:
    """A UUIDv7 greater than every one that this process made before, also if the clock goes back."""
    global _last  # noqa: PLW0603  # the order of keys is a property of the process
    with _lock:
        fresh = time.time_ns() // 1_000_000 << _COUNTER_BITS | secrets.randbits(_COUNTER_BITS)
        _last = fresh if fresh >> _COUNTER_BITS > _last >> _COUNTER_BITS else _last + 1 + secrets.randbits(32)
        return _uuid(_last)


def _uuid(value: int) -> UUID:
    """48 bits of milliseconds and 74 bits that follow them, with version and variant between."""
    milliseconds, rest = value >> _COUNTER_BITS, value & (1 << _COUNTER_BITS) - 1
    high, low = rest >> 62, rest & (1 << 62) - 1
    return UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)
