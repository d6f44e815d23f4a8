"""Decoding many images at a time."""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from service.errors import ArtifactMissing
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
