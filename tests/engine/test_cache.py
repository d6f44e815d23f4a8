"""The cache of task parameters."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.engine.cache import ByteCache
from service.errors import ArtifactMissing


def make_cache(max_bytes: int = 10) -> ByteCache[bytes]:
    return ByteCache(max_bytes=max_bytes, size_of=len)


def not_loaded() -> bytes:
    raise AssertionError("the value should have been kept")


def missing() -> bytes:
    raise ArtifactMissing("it is not there")


def test_a_kept_value_is_not_loaded_again() -> None:
    cache = make_cache()
    assert cache.get("a", lambda: b"value") == b"value"
    assert cache.get("a", not_loaded) == b"value"
    counts = cache.counts()
    assert (counts.hits, counts.misses, counts.items, counts.n_bytes) == (1, 1, 1, 5)


def test_the_value_unused_for_longest_leaves_first() -> None:
    cache = make_cache(10)
    cache.put("a", b"aaaa")
    cache.put("b", b"bbbb")
    cache.get("a", not_loaded)
    cache.put("c", b"cccc")
    assert cache.get("a", not_loaded) == b"aaaa"
    assert cache.get("b", lambda: b"again") == b"again"
    assert cache.counts().n_bytes <= 10


def test_one_large_value_pushes_out_several_small_ones() -> None:
    cache = make_cache(10)
    cache.put("a", b"aaa")
    cache.put("b", b"bbb")
    cache.put("c", b"ccc")
    cache.put("large", b"l" * 9)
    counts = cache.counts()
    assert (counts.items, counts.n_bytes) == (1, 9)


def test_a_value_larger_than_the_bound_is_served_but_not_kept() -> None:
    cache = make_cache(10)
    cache.put("a", b"aaaa")
    assert cache.get("huge", lambda: b"h" * 11) == b"h" * 11
    counts = cache.counts()
    assert (counts.items, counts.n_bytes) == (1, 4)


def test_a_value_put_twice_counts_once() -> None:
    cache = make_cache()
    cache.put("a", b"aaaa")
    cache.put("a", b"aa")
    assert (cache.counts().items, cache.counts().n_bytes) == (1, 2)


def test_a_bound_of_zero_keeps_nothing() -> None:
    cache = make_cache(0)
    assert cache.get("a", lambda: b"value") == b"value"
    assert cache.counts().items == 0


def test_clearing_lets_go_of_every_byte() -> None:
    cache = make_cache()
    cache.put("a", b"aaaa")
    cache.clear()
    assert (cache.counts().items, cache.counts().n_bytes) == (0, 0)


def test_a_failed_load_is_tried_again_by_the_next_who_asks() -> None:
    cache = make_cache()
    with pytest.raises(ArtifactMissing):
        cache.get("a", missing)
    assert cache.get("a", lambda: b"value") == b"value"


def test_a_key_is_loaded_once_however_many_ask() -> None:
    cache = make_cache()
    everybody_asked = threading.Event()
    loads: list[int] = []

    def slow() -> bytes:
        loads.append(1)
        everybody_asked.wait(5)
        return b"value"

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(cache.get, "a", slow) for _ in range(8)]
        everybody_asked.set()
        values = [future.result() for future in asked]
    assert values == [b"value"] * 8
    assert loads == [1]
    assert (cache.counts().misses, cache.counts().hits) == (1, 7)
