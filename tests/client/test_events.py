"""Events are correlated as client-go does it, and never get in the way."""

from __future__ import annotations

import pytest

from coxswain.api import errors
from coxswain.api.names import EVENTS, Object
from coxswain.base import clock
from coxswain.client.events import EventRecorder
from fakeapi import FakeApi

POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "a", "namespace": "d", "uid": "u1", "resourceVersion": "7"},
}


@pytest.mark.virtual
async def test_an_event_says_who_what_and_when() -> None:
    api = FakeApi()
    recorder = EventRecorder(api.client(), "deployment-controller")
    recorder.event(POD, "Normal", "Started", "it started")
    await recorder.close()
    (event,) = api.objects(EVENTS, "d")
    assert event["metadata"]["name"].startswith("a.")
    assert event["involvedObject"] == {
        "kind": "Pod",
        "namespace": "d",
        "name": "a",
        "uid": "u1",
        "apiVersion": "v1",
        "resourceVersion": "7",
    }
    assert event["source"] == {"component": "deployment-controller"}
    assert event["reportingComponent"] == "deployment-controller"
    assert (event["count"], event["type"], event["reason"]) == (1, "Normal", "Started")
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:00:00Z"


@pytest.mark.virtual
async def test_a_repetition_counts_and_moves_the_last_time() -> None:
    api = FakeApi()
    recorder = EventRecorder(api.client(), "c")
    recorder.event(POD, "Warning", "Failed", "no")
    recorder.event(POD, "Warning", "Failed", "no")
    await recorder.flush()
    assert api.objects(EVENTS)[0]["count"] == 2
    await clock.sleep(60)
    recorder.event(POD, "Warning", "Failed", "no")
    await recorder.close()
    (event,) = api.objects(EVENTS)
    assert event["count"] == 3
    assert event["lastTimestamp"] == "2026-01-01T00:01:00Z"
    assert [verb for verb, _, _ in api.writes()] == ["create", "patch"]


@pytest.mark.virtual
async def test_similar_events_are_combined_from_the_tenth_message_on() -> None:
    api = FakeApi()
    recorder = EventRecorder(api.client(), "c")
    for number in range(14):
        recorder.event(POD, "Warning", "Failed", f"number {number}")
    await recorder.close()
    events = api.objects(EVENTS)
    assert len(events) == 10
    (combined,) = [event for event in events if event["message"].startswith("(combined")]
    assert combined["message"] == "(combined from similar events): number 13"
    assert combined["count"] == 5


@pytest.mark.virtual
async def test_a_noisy_object_is_cut_off_and_comes_back_slowly() -> None:
    api = FakeApi()
    recorder = EventRecorder(api.client(), "c")
    for _ in range(40):
        recorder.event(POD, "Warning", "Failed", "no")
    await recorder.flush()
    assert api.objects(EVENTS)[0]["count"] == 25
    await clock.sleep(300)
    recorder.event(POD, "Warning", "Failed", "no")
    await recorder.close()
    assert api.objects(EVENTS)[0]["count"] == 26


@pytest.mark.virtual
async def test_events_survive_a_server_that_comes_back() -> None:
    api = FakeApi()
    api.fail("create", EVENTS, errors.ServiceUnavailable, times=3)
    recorder = EventRecorder(api.client(), "c")
    recorder.event(POD, "Normal", "Started", "it started")
    await recorder.flush()
    assert len(api.objects(EVENTS)) == 1
    await recorder.close()


@pytest.mark.virtual
async def test_an_event_that_expired_is_written_anew_with_its_count() -> None:
    api = FakeApi()
    recorder = EventRecorder(api.client(), "c")
    recorder.event(POD, "Normal", "Started", "it started")
    await recorder.flush()
    api.remove(EVENTS, api.objects(EVENTS)[0]["metadata"]["name"], "d")
    recorder.event(POD, "Normal", "Started", "it started")
    await recorder.flush()
    assert api.objects(EVENTS)[0]["count"] == 2
    await recorder.close()


@pytest.mark.virtual
async def test_a_lost_answer_does_not_write_an_event_twice() -> None:
    api = FakeApi()
    api.lose_answer("create", EVENTS)
    recorder = EventRecorder(api.client(), "c")
    recorder.event(POD, "Normal", "Started", "it started")
    await recorder.flush()
    assert len(api.objects(EVENTS)) == 1
    await recorder.close()


@pytest.mark.virtual
async def test_the_oldest_are_dropped_when_the_queue_is_full() -> None:
    api = FakeApi()
    recorder = EventRecorder(api.client(), "c")
    for number in range(1010):
        about = {"kind": "Pod", "namespace": "d", "name": f"p{number}", "uid": str(number)}
        recorder.event(about, "Normal", "Started", "it started")
    await recorder.close()
    names = {event["involvedObject"]["name"] for event in api.objects(EVENTS)}
    assert len(names) == 1000
    assert "p9" not in names
    assert "p1009" in names


@pytest.mark.virtual
async def test_series_events_are_written_at_two_and_then_rarely() -> None:
    api = FakeApi()
    recorder = EventRecorder(api.client(), "default-scheduler", series=True)
    for _ in range(50):
        recorder.event(POD, "Warning", "FailedScheduling", "no room", action="Scheduling")
        await recorder.flush()
        await clock.sleep(60)
    await recorder.close()
    (event,) = api.objects(EVENTS)
    assert event["source"] == {}
    assert event["action"] == "Scheduling"
    assert event["eventTime"] == "2026-01-01T00:00:00.000000Z"
    assert event["series"]["count"] > 2
    assert [verb for verb, _, _ in api.writes()] == ["create", "patch", "patch"]


@pytest.mark.virtual
async def test_a_yielding_recorder_waits_for_more_urgent_writes() -> None:
    api, busy = FakeApi(), True
    recorder = EventRecorder(api.client(), "scheduler", series=True, yields_to=lambda: busy)
    recorder.event(POD, "Normal", "Scheduled", "placed")
    await clock.sleep(3)
    assert not api.objects(EVENTS)
    busy = False
    await clock.sleep(0.2)
    assert len(api.objects(EVENTS)) == 1
    await recorder.close()


@pytest.mark.virtual
async def test_a_yielding_recorder_does_not_wait_for_ever_nor_drop_a_burst() -> None:
    api = FakeApi()
    recorder = EventRecorder(api.client(), "scheduler", series=True, yields_to=lambda: True)
    for number in range(3000):
        about = {**POD, "metadata": {**POD["metadata"], "name": f"p{number}", "uid": f"u{number}"}}
        recorder.event(about, "Normal", "Scheduled", "placed")
    await clock.sleep(4)
    assert not api.objects(EVENTS)
    await clock.sleep(3)
    assert len(api.objects(EVENTS)) == 3000
    await recorder.close()
