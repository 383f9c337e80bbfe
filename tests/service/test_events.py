import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.harness.gateway import Running, problem_of


def read_events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Events of a stream as dicts with `id`, `event` and parsed `data`."""
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line == "" and event:
            yield event
            event = {}
        elif name in ("id", "event"):
            event[name] = value
        elif name == "data":
            event["data"] = json.loads(value)


def events_of(gateway: Running, job_id: str, last: str | None = None) -> list[dict[str, Any]]:
    headers = {} if last is None else {"Last-Event-ID": last}
    with gateway.http.stream("GET", f"/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(read_events(answer.iter_lines()))


def test_the_whole_history_of_a_finished_job(gateway: Running) -> None:
    job = gateway.post()
    running = gateway.claim()
    gateway.progress(running, 1, 2)
    gateway.succeed(running)
    events = events_of(gateway, job["id"])
    assert [event["id"] for event in events] == ["1", "2", "3", "4"]
    assert [event["event"] for event in events] == ["state", "state", "progress", "state"]
    assert [event["data"].get("state") for event in events] == ["queued", "running", None, "succeeded"]
    assert events[2]["data"]["done"] == 1 and events[2]["data"]["total"] == 2


def test_a_client_that_comes_back_gets_what_it_missed(gateway: Running) -> None:
    job = gateway.post()
    running = gateway.claim()
    gateway.progress(running, 1, 2)
    gateway.succeed(running)
    assert [event["id"] for event in events_of(gateway, job["id"], last="2")] == ["3", "4"]
    assert events_of(gateway, job["id"], last="4") == []


def test_a_stream_follows_a_job_to_its_end(gateway: Running) -> None:
    job = gateway.post()
    with gateway.http.stream("GET", f"/jobs/{job['id']}/events") as answer:
        events = read_events(answer.iter_lines())
        assert next(events)["data"]["state"] == "queued"
        running = gateway.claim()
        assert next(events)["data"]["state"] == "running"
        for done in range(1, 4):
            gateway.progress(running, done, 3)
            assert next(events)["data"]["done"] == done
        gateway.succeed(running)
        assert next(events)["data"]["state"] == "succeeded"
        assert list(events) == []  # the server ends the stream


def test_many_streams_of_one_job_all_see_everything(gateway: Running) -> None:
    job = gateway.post()
    with ThreadPoolExecutor(10) as pool:
        streams = [pool.submit(events_of, gateway, job["id"]) for _ in range(10)]
        running = gateway.claim()
        for done in range(1, 6):
            gateway.progress(running, done, 5)
        gateway.succeed(running)
        assert {len(stream.result()) for stream in streams} == {8}


def test_a_deleted_job_has_no_history(gateway: Running) -> None:
    job = gateway.done()
    gateway.http.delete(job["links"]["self"])
    assert events_of(gateway, job["id"]) == []


def test_an_id_that_is_no_number_is_refused(gateway: Running) -> None:
    job = gateway.post()
    for last in ("x", "-1", "1.5", "9" * 30):
        answer = gateway.http.get(f"/jobs/{job['id']}/events", headers={"Last-Event-ID": last})
        problem_of(answer, 422, "invalid-request")
