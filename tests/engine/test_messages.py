"""Frames and the messages in them."""

import numpy as np
import pytest

from service.engine.base import AdaptRequest, AdaptResult, FeatureRow, PredictRequest
from service.engine.messages import (
    PART_BYTES,
    Answer,
    BrokenStreamError,
    Counters,
    Frame,
    FrameDecoder,
    adapt_frame,
    adapt_request,
    answers_frame,
    answers_in,
    encode,
    pixel_frames,
    predict_frame,
    predict_request,
)
from service.error_names import error_classes
from service.errors import BaseModelGone, ServiceError

PIXELS = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)


def through_the_wire(frame: Frame) -> Frame:
    (arrived,) = FrameDecoder().feed(encode(frame))
    return arrived


def test_a_stream_chopped_anywhere_gives_the_same_frames() -> None:
    decoder = FrameDecoder()
    data = encode(Frame("one", {"n": 1}, (PIXELS,))) + encode(Frame("two"))
    frames = [frame for index in range(len(data)) for frame in decoder.feed(data[index : index + 1])]
    assert [frame.kind for frame in frames] == ["one", "two"]
    np.testing.assert_array_equal(frames[0].arrays[0], PIXELS)


def test_bytes_that_are_no_frame_are_refused() -> None:
    with pytest.raises(BrokenStreamError):
        list(FrameDecoder().feed(b"GET / HTTP/1.1\r\n\r\n"))


def test_arrays_of_unexpected_types_are_refused() -> None:
    with pytest.raises(BrokenStreamError):
        through_the_wire(Frame("one", {}, (np.zeros(3, dtype="datetime64[s]"),)))


def test_a_prediction_arrives_as_it_was_sent() -> None:
    request = PredictRequest("base", "task", PIXELS[:, :, ::-1], "request-7")
    frame = through_the_wire(predict_frame(5, request, 1.5))
    arrived = predict_request(frame)
    assert frame.fields["number"] == 5
    assert frame.fields["deadline_s"] == 1.5
    assert (arrived.base_model, arrived.artifact, arrived.request_id) == ("base", "task", "request-7")
    np.testing.assert_array_equal(arrived.pixels, request.pixels)


def test_an_adaptation_arrives_as_it_was_sent() -> None:
    rows = (None, FeatureRow("digest", 3), None)
    request = AdaptRequest("base", "anil", {"steps": 3, "lr": 0.5}, (0, 1, 1), rows, PIXELS, (0.25, 0.75), "r")
    parts = [through_the_wire(frame).arrays[0] for frame in pixel_frames(1, request.pixels)]
    arrived = adapt_request(through_the_wire(adapt_frame(1, request)), parts)
    assert (arrived.options, arrived.labels, arrived.features) == (request.options, request.labels, request.features)
    assert (arrived.prior, arrived.learner, arrived.request_id) == ((0.25, 0.75), "anil", "r")
    np.testing.assert_array_equal(arrived.pixels, PIXELS)


def test_an_adaptation_from_features_alone_has_no_pixels() -> None:
    none = np.zeros((0, 3, 4, 4), np.uint8)
    request = AdaptRequest("base", "ridge", {}, (0, 1), (FeatureRow("d", 0), FeatureRow("d", 1)), none)
    assert list(pixel_frames(1, none)) == []
    assert adapt_request(through_the_wire(adapt_frame(1, request)), []).pixels.shape == none.shape


def test_many_images_travel_in_parts_that_let_others_pass() -> None:
    pixels = np.zeros((1000, 3, 100, 100), np.uint8)
    parts = [frame.arrays[0] for frame in pixel_frames(1, pixels)]
    assert max(part.nbytes for part in parts) <= PART_BYTES
    assert sum(len(part) for part in parts) == 1000


def test_answers_of_all_kinds_arrive_in_one_frame() -> None:
    probabilities = np.array([[0.25, 0.75]], np.float32)
    result = AdaptResult("artifact", 12, None, {"n_way": 2}, {"adapt": 1.5})
    sent = [Answer(1, probabilities), Answer(2, result), Answer(3, BaseModelGone("gone"))]
    answers, counters = answers_in(through_the_wire(answers_frame(sent, Counters(cache_hits=4))))
    assert [answer.number for answer in answers] == [1, 2, 3]
    np.testing.assert_array_equal(answers[0].outcome, probabilities)
    assert answers[1].outcome == result
    assert isinstance(answers[2].outcome, BaseModelGone)
    assert answers[2].outcome.message == "gone"
    assert counters == Counters(cache_hits=4)


@pytest.mark.parametrize("cls", list(error_classes()))
def test_every_error_keeps_its_class_and_message(cls: type[ServiceError]) -> None:
    ((answer,), _) = answers_in(through_the_wire(answers_frame([Answer(1, cls("why"))], Counters())))
    assert type(answer.outcome) is cls
    assert str(answer.outcome) == "why"
