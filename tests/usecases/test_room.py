"""Room in memory is had in the order of asking."""

import asyncio

from service.usecases.room import Room


async def test_who_finds_no_room_waits_until_there_is_some() -> None:
    room = Room(10)
    assert room.taken_at_once(6)
    assert not room.taken_at_once(5)
    waiting = asyncio.create_task(room.take(5))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.give_back(6)
    await asyncio.wait_for(waiting, 1)


async def test_nobody_passes_those_who_wait() -> None:
    room = Room(10)
    assert room.taken_at_once(6)
    waiting = asyncio.create_task(room.take(9))
    await asyncio.sleep(0)
    assert not room.taken_at_once(1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert room.taken_at_once(1)


async def test_what_is_larger_than_all_the_room_gets_in_alone() -> None:
    room = Room(10)
    assert room.taken_at_once(11)
    assert not room.taken_at_once(1)
    room.give_back(11)
    assert room.taken_at_once(1)
    assert not room.taken_at_once(11)
