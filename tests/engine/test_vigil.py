"""A slow worker is not a hung one."""

from service.engine.vigil import Vigil


def looks(*used_s: float | None, silence_s: float = 100, stuck_s: float = 600) -> list[bool]:
    """What each look says of a worker that may be silent for 60 s, 15 s apart."""
    vigil = Vigil(stuck_s)
    return [
        vigil.is_hung(15.0 * n, silence_s=silence_s, used_s=used, hang_s=60) for n, used in enumerate(used_s, start=1)
    ]


def test_a_silent_worker_that_does_nothing_hangs() -> None:
    assert looks(7.0, 7.0, 7.0) == [False, True, True]


def test_a_silent_worker_that_computes_is_slow() -> None:
    assert looks(7.0, 22.0, 37.0, 52.0) == [False] * 4


def test_a_worker_that_is_given_little_of_a_busy_machine_is_slow() -> None:
    assert looks(7.0, 7.5, 8.0, 8.5) == [False] * 4


def test_a_worker_that_computes_without_end_hangs() -> None:
    assert looks(7.0, 22.0, 37.0, 52.0, silence_s=601)[-1]


def test_where_processor_time_says_nothing_silence_counts() -> None:
    assert looks(None, None) == [False, True]


def test_a_worker_that_gives_signs_does_not_hang() -> None:
    assert looks(7.0, 7.0, 7.0, silence_s=59) == [False] * 3
