"""Keys that grow."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122

from service.persistence.ids import new_id


def test_an_id_is_a_uuid_of_version_7_with_its_time_in_front() -> None:
    before = time.time_ns() // 1_000_000
    id_ = new_id()
    assert (id_.version, id_.variant) == (7, RFC_4122)
    assert before <= id_.int >> 80 <= time.time_ns() // 1_000_000 + 1


def test_every_id_is_greater_than_those_before_it() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))


def test_threads_never_get_the_same_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: new_id(), range(4_000)))
    assert len(set(ids)) == 4_000
