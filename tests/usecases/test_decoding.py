"""Decoding many images at a time."""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from service.errors import ArtifactMissing, EngineBusy, RequestTooLarge
from service.metalearning.header import InputFormat
from service.usecases.decoding import Decoder, Source
from service.usecases.limits import Limits
from service.usecases.uploads import Upload
from tests.usecases.conftest import png


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(Limits(decodes_in_flight=2))
    yield decoder
    decoder.close()


PHOTOGRAPH, DRAWING = InputFormat(10, 3), InputFormat(10, 1)
N_BYTES = 300 + 100 + 300
"""Of one image in both formats, and put together with others in the larger one."""


@pytest.fixture
def narrow() -> Iterator[Decoder]:
    decoder = Decoder(Limits(decoded_bytes=2 * N_BYTES), patience_s=0.05)
    yield decoder
    decoder.close()


async def test_an_upload_waits_for_room_and_is_told_when_none_comes(narrow: Decoder) -> None:
    async with narrow.room(2, [PHOTOGRAPH, DRAWING]):
        with pytest.raises(EngineBusy, match="open requests hold the 1400 bytes"):
            await narrow.room(1, [DRAWING]).__aenter__()
    async with narrow.room(1, [PHOTOGRAPH, DRAWING]), narrow.room(1, [PHOTOGRAPH, DRAWING]):
        pass


async def test_a_prediction_waits_behind_no_upload(narrow: Decoder) -> None:
    async with narrow.room(2, [PHOTOGRAPH, DRAWING]), narrow.room(2, [PHOTOGRAPH], for_prediction=True):
        pass


async def test_more_images_than_there_is_ever_room_for_are_too_many(narrow: Decoder) -> None:
    with pytest.raises(RequestTooLarge, match="3 images take 2100 bytes decoded, the most is 1400"):
        await narrow.room(3, [PHOTOGRAPH, DRAWING]).__aenter__()


async def test_an_image_that_is_lost_ends_the_decoding_of_those_beside_it(decoder: Decoder) -> None:
    read: list[int] = []

    def lose() -> bytes:
        raise ArtifactMissing("the image is gone")

    def read_slowly(index: int) -> bytes:
        read.append(index)
        time.sleep(0.01)
        return png(60)

    reads: list[Callable[[], bytes]] = [lose, *(partial(read_slowly, index) for index in range(50))]
    sources = [Source(Upload(None, 0, each), "/examples/x", blocks=True) for each in reads]
    with pytest.raises(ArtifactMissing):
        await decoder.decode(sources, [InputFormat(8, 1)])
    await asyncio.sleep(0.2)
    assert len(read) <= 3
