"""What is written by hand is what the message classes read, and the other way round."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from coxswain._generated import messages
from coxswain.api.names import GVR
from coxswain.client.grpcwire import (
    batch_number,
    decode_answers,
    encode_answers,
    encode_batch,
    encode_call,
    encode_events,
)
from coxswain.client.interface import JSON, Answer, Call, EventType, Verb, WatchEvent

texts = st.text(max_size=300)
calls = st.builds(
    Call,
    st.sampled_from(get_args(Verb)),
    st.builds(GVR, texts, texts, texts),
    texts,
    texts,
    texts,
    st.dictionaries(texts, texts, max_size=3),
    st.binary(max_size=20_000),
    st.sampled_from([JSON, "application/merge-patch+json"]),
    st.sampled_from([JSON, "application/vnd.coxswain.nothing"]),
)
answers = st.builds(Answer, st.integers(100, 599), st.binary(max_size=200))


events = st.builds(WatchEvent, st.sampled_from(get_args(EventType)), st.binary(max_size=20_000))


def read(message: Any) -> Call:
    resource = GVR(message.group, message.version, message.resource)
    names = (message.namespace, message.name, message.subresource)
    accepted = (message.content_type or JSON, message.accept or JSON)
    return Call(message.verb, resource, *names, dict(message.query), message.body, *accepted)


@given(calls)
def test_a_call_is_read_as_it_was(call: Call) -> None:
    assert read(messages.Call.FromString(encode_call(call))) == call


@given(st.integers(0, 2**64 - 1), st.lists(calls, max_size=4))
def test_a_batch_of_calls_is_read_as_it_was(number: int, batch: list[Call]) -> None:
    message = messages.CallBatch.FromString(encode_batch(number, batch))
    assert message.id == number
    assert [read(one) for one in message.calls] == batch


@given(st.integers(1, 2**64 - 1), st.lists(answers, max_size=5), st.integers(1, 300), st.integers(0, 6))
def test_answers_are_those_that_were_sent(number: int, some: list[Answer], times: int, count: int) -> None:
    for sent in (some, some[:1] * times):
        made = [messages.Answer(code=one.code, body=one.body) for one in sent]
        data = messages.AnswerBatch(id=number, answers=made).SerializeToString()
        found, at = batch_number(data)
        assert found == number
        assert decode_answers(data, at, len(sent)) == sent
        assert decode_answers(data, at, count) == sent


def test_answers_that_look_alike_in_length_only_are_told_apart() -> None:
    sent = [Answer(201, b""), Answer(409, b""), Answer(201, b"")]
    made = [messages.Answer(code=one.code, body=one.body) for one in sent]
    data = messages.AnswerBatch(id=300, answers=made).SerializeToString()
    assert decode_answers(data, batch_number(data)[1], 3) == sent


@given(st.binary(max_size=40), st.integers(0, 5))
def test_other_bytes_are_an_error_or_something_else(data: bytes, count: int) -> None:
    _, at = batch_number(data)
    assert at <= len(data)
    try:
        found = decode_answers(data, at, count)
    except DecodeError:
        return
    assert found == [Answer(one.code, one.body) for one in messages.AnswerBatch.FromString(data).answers]


def test_what_is_cut_short_is_no_message() -> None:
    data = messages.AnswerBatch(id=1, answers=[messages.Answer(code=201, body=b"x")]).SerializeToString()
    with pytest.raises(DecodeError):
        decode_answers(data[:-1], 2, 1)


@given(st.integers(0, 2**64 - 1), st.lists(answers, max_size=5), st.integers(1, 3))
def test_answers_are_written_as_the_message_class_reads_them(
    number: int, some: list[Answer], times: int
) -> None:
    sent = [answer for answer in some for _ in range(times)]
    message = messages.AnswerBatch.FromString(encode_answers(number, sent))
    assert message.id == number
    assert [Answer(one.code, one.body) for one in message.answers] == sent


@given(st.lists(events, max_size=5))
def test_events_are_written_as_the_message_class_reads_them(sent: list[WatchEvent]) -> None:
    found = messages.WatchBatch.FromString(encode_events(sent)).events
    assert [(messages.EVENT_NAMES[one.type], one.object) for one in found] == [(e.type, e.raw) for e in sent]
