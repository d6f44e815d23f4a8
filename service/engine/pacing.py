"""How many images go through a network at once: few enough that nobody waits long for what runs.

Between two passes the worker looks at what else waits, and gives a sign of life. A Conv-4 on drawings of 28 px takes a
millisecond for 32 images, `photo` a quarter of a second for 4 on one core, so a number for all would be wrong.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace

from service.engine.inference import Inference, Question

MOST_ROWS = {"cpu": 32, "cuda": 256}
"""Most images in a pass. CPU: an image of a Conv-4 was seen to cost 164 us alone, 38 in a pass of 16, 31 to 41 in
one of 32, up to 76 in one of 64, which no longer fits the processor's cache. GPU: large enough to fill a card, small
enough that what comes next does not wait long."""

PASS_S = 0.25
"""How long a pass may take, unless a single image takes longer."""


def paced(inference: Inference, question: Question, *, clock: Callable[[], float] = time.perf_counter) -> Inference:
    """The inference with passes of at most PASS_S, as long as it takes to answer this question allows.

    The number of images is a power of two. It is measured once and stays, because in passes of another size answers
    round in another way: equal requests are to give equal task parameters.
    """
    since = clock()
    inference.probabilities([question])
    images = PASS_S * len(question.pixels) / (clock() - since)
    return replace(inference, rows_a_pass=min(inference.rows_a_pass, 2 ** max(0, math.floor(math.log2(images)))))
