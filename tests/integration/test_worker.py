"""A real worker on a real Redis: what it does with jobs, doubled and lost messages, cancels, deaths and stops."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path

from redis import Redis

from store.job import JobKind, JobState
from tests.harness.cluster import Cluster, Process, pool_child
from tests.harness.ports import free_port


def test_a_job_is_done_and_every_line_about_it_has_its_ids(shared: Cluster, worker: Process, small: bytes) -> None:
    job = shared.finished(shared.send(small))
    assert (job.state, job.attempt, job.error) == (JobState.SUCCEEDED, 1, None)
    assert job.result_key is not None
    assert shared.blobs.get(job.result_key).startswith(b"\x89PNG")
    shared.wait(lambda: worker.logged(f'"job_id": "{job.id}"') > 0)
    lines = [json.loads(line) for line in worker.log.read_text().splitlines() if job.id in line]
    assert [line["event"] for line in lines] == ["job_ended"]
    assert lines[0]["request_id"] == f"req-{job.id}"


def test_the_main_process_loads_no_torch(shared: Cluster, worker: Process, small: bytes) -> None:
    shared.finished(shared.send(small))
    mapped = Path(f"/proc/{worker.pid}/maps").read_text()
    assert "python" in mapped
    assert "torch" not in mapped


def test_a_doubled_message_changes_nothing(shared: Cluster, worker: Process, small: bytes) -> None:
    job = shared.store(small)
    for _ in range(5):
        shared.broker.ring(JobKind.DENOISE, job.id)
    done = shared.finished(job)
    shared.wait(lambda: shared.broker.unheard(JobKind.DENOISE) == 0)
    after = shared.finished(shared.send(small))
    assert (done.attempt, after.attempt) == (1, 1)
    assert [event.data.get("state") for event in shared.jobs.events(done.id) if event.type == "state"] == [
        "queued", "running", "succeeded",
    ]  # fmt: skip


def test_a_lost_message_is_made_up_for(shared: Cluster, worker: Process, small: bytes) -> None:
    assert shared.finished(shared.store(small)).state is JobState.SUCCEEDED


def test_emptying_redis_loses_no_job(shared: Cluster, worker: Process, small: bytes) -> None:
    sent = [shared.send(small) for _ in range(10)]
    Redis.from_url(shared.settings.redis_url).flushall()
    assert {shared.finished(job).state for job in sent} == {JobState.SUCCEEDED}


def test_a_running_job_is_canceled_between_tiles(shared: Cluster, worker: Process, large: bytes) -> None:
    running = shared.computing(shared.send(large))
    assert running.state is JobState.RUNNING
    shared.jobs.request_cancel(running.id)
    canceled = shared.finished(running)
    assert canceled.state is JobState.CANCELED
    assert canceled.progress.total is not None
    assert canceled.progress.done < canceled.progress.total
    shared.wait(lambda: [blob.key for blob in shared.blobs.below(f"jobs/{running.id}/1")] == [])


def test_a_killed_pool_child_costs_one_attempt(shared: Cluster, worker: Process, large: bytes) -> None:
    before = worker.logged("child_ready")
    running = shared.computing(shared.send(large))
    os.kill(pool_child(running), signal.SIGKILL)
    done = shared.finished(running)
    assert (done.state, done.attempt, done.strikes) == (JobState.SUCCEEDED, 2, 1)
    assert done.result_key == f"jobs/{done.id}/2/result.png"
    shared.ready(worker, before + 1)


def test_metrics_speak_for_all_processes_of_a_worker(own: Cluster, small: bytes) -> None:
    port = free_port()
    own.ready(own.worker(B2S_METRICS_PORT=str(port)))
    own.finished(own.send(small))
    own.store(small)
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url) as answer:
        lines = answer.read().decode().splitlines()
    assert 'b2s_attempts_total{kind="denoise",outcome="succeeded"} 1.0' in lines
    assert 'b2s_stage_seconds_count{kind="denoise",stage="compute"} 1.0' in lines
    assert any(line.startswith('b2s_queue_jobs{kind="denoise",state="queued"}') for line in lines)
    assert not any("job_" in line or "tenant" in line for line in lines)


def test_the_late_result_of_a_frozen_worker_is_refused(own: Cluster, large: bytes) -> None:
    frozen = own.ready(own.worker())
    running = own.computing(own.send(large))
    child = pool_child(running)
    for pid in (frozen.pid, child):
        os.kill(pid, signal.SIGSTOP)
    own.ready(own.worker())
    done = own.finished(running)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)
    for pid in (frozen.pid, child):
        os.kill(pid, signal.SIGCONT)
    own.wait(lambda: frozen.logged('"outcome": "lost"') == 1)
    assert own.jobs.get(done.id) == done
    assert list(own.blobs.below(f"jobs/{done.id}/1")) == []


def test_sigterm_lets_a_short_job_finish(own: Cluster, small: bytes) -> None:
    worker = own.ready(own.worker(B2S_SHUTDOWN_SECONDS="60"))
    sent = [own.send(small) for _ in range(20)]
    own.taken(sent[0])
    assert worker.stop() == 0
    states = [job.state for job in own.jobs.get_many([job.id for job in sent]).values()]
    assert set(states) <= {JobState.SUCCEEDED, JobState.QUEUED}
    own.ready(own.worker())
    assert {own.finished(job).strikes for job in sent} == {0}


def test_sigterm_hands_a_long_job_back_without_a_strike(own: Cluster, large: bytes) -> None:
    worker = own.ready(own.worker(B2S_SHUTDOWN_SECONDS="1"))
    running = own.computing(own.send(large))
    assert worker.stop() == 0
    back = own.jobs.get(running.id)
    assert (back.state, back.strikes) == (JobState.QUEUED, 0)
    own.ready(own.worker())
    done = own.finished(running)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)
