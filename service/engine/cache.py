"""Values in memory, least recently used out first, bounded by their bytes.

Why bytes and not items: a head is kilobytes and an adapted backbone megabytes, so a bound on items either wastes
memory or overruns it.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What a cache holds, and how often it helped."""

    n_bytes: int
    items: int
    hits: int
    misses: int


class ByteCache(Generic[Value]):
    """A bounded map from a key to a value that can be loaded again; safe to share between threads.

    A key that several threads ask for is loaded once: the others wait for it, and count as hits. A load that fails
    fails for all who waited, and the next to ask tries again. A value larger than the bound is served, not kept.
    """

    def __init__(self, *, max_bytes: int, size_of: Callable[[Value], int]) -> None:
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._lock = threading.Lock()
        self._values: OrderedDict[str, tuple[Value, int]] = OrderedDict()  # oldest use first
        self._loading: dict[str, Future[Value]] = {}
        self._n_bytes = self._hits = self._misses = 0

    def get(self, key: str, load: Callable[[], Value]) -> Value:
        """The value of this key, from `load` if it is not kept."""
        with self._lock:
            if key in self._values:
                self._hits += 1
                self._values.move_to_end(key)
                return self._values[key][0]
            if (waiting := self._loading.get(key)) is None:
                self._misses += 1
                loading = self._loading[key] = Future()
            else:
                self._hits += 1
        return self._load(key, load, loading) if waiting is None else waiting.result()

    def put(self, key: str, value: Value) -> None:
        """Keep a value that was made here, so that its first use is a hit."""
        size = self._size_of(value)
        with self._lock:
            self._remove(key)
            if size > self._max_bytes:
                return
            self._values[key] = (value, size)
            self._n_bytes += size
            while self._n_bytes > self._max_bytes:
                self._remove(next(iter(self._values)))

    def clear(self) -> None:
        """Let go of every value."""
        with self._lock:
            self._values.clear()
            self._n_bytes = 0

    def counts(self) -> CacheCounts:
        """A snapshot of the figures."""
        with self._lock:
            return CacheCounts(self._n_bytes, len(self._values), self._hits, self._misses)

    def _load(self, key: str, load: Callable[[], Value], loading: "Future[Value]") -> Value:
        try:
            value = load()
            self.put(key, value)
        except BaseException as error:
            loading.set_exception(error)
            raise
        else:
            loading.set_result(value)
            return value
        finally:
            with self._lock:
                del self._loading[key]

    def _remove(self, key: str) -> None:
        _, size = self._values.pop(key, (None, 0))
        self._n_bytes -= size
