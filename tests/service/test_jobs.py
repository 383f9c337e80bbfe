import time
from concurrent.futures import ThreadPoolExecutor

from tests.harness.gateway import Running, problem_of


def test_jobs_are_listed_newest_first_page_by_page(gateway: Running) -> None:
    made = [gateway.post()["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    pages = 0
    while cursor is not None:
        page = gateway.http.get(f"/jobs?limit=2{f'&cursor={cursor}' if cursor else ''}").json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        pages += 1
    assert seen == made[::-1]
    assert pages == 3


def test_a_list_shows_places_in_the_queue(gateway: Running) -> None:
    for _ in range(3):
        gateway.post()
    assert [job["queue_position"] for job in gateway.http.get("/jobs").json()["jobs"]] == [3, 2, 1]


def test_lists_are_filtered(gateway: Running) -> None:
    done, waiting = gateway.done()["id"], gateway.post()["id"]
    by_state = gateway.http.get("/jobs?state=succeeded").json()["jobs"]
    assert [job["id"] for job in by_state] == [done]
    by_both = gateway.http.get("/jobs?kind=denoise&state=queued").json()["jobs"]
    assert [job["id"] for job in by_both] == [waiting]
    assert gateway.http.get("/jobs?kind=finetune").json()["jobs"] == []


def test_a_job_shows_progress_and_then_its_result(gateway: Running) -> None:
    posted = gateway.post()
    running = gateway.claim()
    gateway.progress(running, 3, 16)
    shown = gateway.http.get(posted["links"]["self"]).json()
    assert (shown["state"], shown["attempt"], shown["queue_position"]) == ("running", 1, None)
    assert shown["progress"] == {"done": 3, "total": 16, "unit": "tile", "detail": {}}
    assert shown["links"]["result"] is None
    gateway.succeed(running)
    shown = gateway.http.get(posted["links"]["self"]).json()
    assert shown["state"] == "succeeded"
    assert shown["timings"]["compute"] == 0.1
    assert gateway.http.get(shown["links"]["result"]).content == b"result"


def test_waiting_for_a_job_is_held_until_it_ends(gateway: Running) -> None:
    path = gateway.post()["links"]["self"]
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(gateway.http.get, f"{path}?wait=20")
        time.sleep(0.1)
        assert not answer.done()
        gateway.succeed(gateway.claim())
        assert answer.result().json()["state"] == "succeeded"


def test_waiting_is_bounded_by_what_was_asked(gateway: Running) -> None:
    path = gateway.post()["links"]["self"]
    answer = gateway.http.get(path, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    for wait in ("-1", "nan", "1e9"):
        problem_of(gateway.http.get(f"{path}?wait={wait}"), 422, "invalid-request")


def test_canceling_a_queued_job_ends_it_at_once(gateway: Running) -> None:
    job = gateway.post()
    answer = gateway.http.post(job["links"]["cancel"])
    assert (answer.status_code, answer.json()["state"]) == (202, "canceled")
    assert gateway.http.post(job["links"]["cancel"]).json()["state"] == "canceled"  # twice is fine
    document = problem_of(gateway.http.get(f"/jobs/{job['id']}/result"), 409, "job-has-no-result")
    assert "was canceled" in document["detail"]


def test_canceling_a_running_job_asks_its_worker(gateway: Running) -> None:
    job = gateway.post()
    running = gateway.claim()
    answer = gateway.http.post(job["links"]["cancel"]).json()
    assert (answer["state"], answer["cancel_requested"]) == ("running", True)
    assert gateway.services.jobs.renew(running) == "cancel"


def test_canceling_a_finished_job_is_a_conflict(gateway: Running) -> None:
    problem_of(gateway.http.post(f"/jobs/{gateway.done()['id']}/cancel"), 409, "job-is-final")


def test_deleting_removes_every_byte_and_keeps_the_record(gateway: Running) -> None:
    job = gateway.done()
    for _ in range(2):  # twice is fine
        assert gateway.http.delete(job["links"]["self"]).status_code == 204
    assert list(gateway.services.blobs.below(f"jobs/{job['id']}")) == []
    for path in (job["links"]["result"], job["links"]["report"]):
        problem_of(gateway.http.get(path), 410, "result-gone")
    shown = gateway.http.get(job["links"]["self"]).json()
    assert shown["state"] == "succeeded"
    assert shown["deleted_at"] is not None
    assert shown["links"]["result"] is None


def test_deleting_a_queued_job_cancels_it(gateway: Running) -> None:
    job = gateway.post()
    assert gateway.http.delete(job["links"]["self"]).status_code == 204
    assert gateway.http.get(job["links"]["self"]).json()["state"] == "canceled"
    assert gateway.services.jobs.claim("denoise", "test") is None  # type: ignore[arg-type]


def test_deleting_a_running_job_waits_for_its_worker(gateway: Running) -> None:
    job = gateway.post()
    running = gateway.claim()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(gateway.http.delete, job["links"]["self"])
        while gateway.services.jobs.renew(running) != "cancel":
            time.sleep(0.01)
        gateway.services.jobs.canceled(running)
        assert answer.result().status_code == 204
    assert list(gateway.services.blobs.below(f"jobs/{job['id']}")) == []


def test_deleting_a_job_that_does_not_stop_says_so(gateway: Running) -> None:
    job = gateway.post()
    gateway.claim()
    answer = gateway.http.delete(job["links"]["self"])
    problem_of(answer, 409, "job-is-running")
    assert answer.headers["retry-after"] == "2"
