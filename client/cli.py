"""`b2s`: the service from a shell.

Exit codes: 0 done · 1 a file or job failed · 2 wrong usage · 3 the service does not answer · 4 the service refused ·
5 not finished in time · 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape

from . import display
from .batch import Outcome, denoise_all
from .errors import B2SError, JobCanceled, JobFailed, ProblemError, TimedOut, Unreachable
from .inputs import InputError, Plan, plan
from .sync import Client
from .types import Event, FineTuneOptions, Options

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
out = Console()
err = Console(stderr=True)

USAGE, FAILED, UNREACHABLE, REFUSED, LATE, INTERRUPTED = 2, 1, 3, 4, 5, 130

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
JobId = Annotated[str, typer.Argument(help="Id of a job, as `b2s jobs` shows it.")]
Url = Annotated[str | None, typer.Option("--url", envvar="B2S_URL", help="Address of the service.")]
Key = Annotated[str | None, typer.Option("--api-key", envvar="B2S_API_KEY", help="Key, if the service asks for one.")]


class Format(StrEnum):
    """Formats of results."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    TIFF = "tiff"


class MetadataChoice(StrEnum):
    """What of the metadata a result keeps."""

    KEEP = "keep"
    SAFE = "safe"
    NONE = "none"


@app.callback()
def connection(context: typer.Context, url: Url = None, api_key: Key = None) -> None:
    """Denoise images with a Blind2Sound service."""
    context.obj = {"url": url, "api_key": api_key}


@app.command()
def denoise(
    context: typer.Context,
    inputs: Annotated[list[str], typer.Argument(metavar="IN…", help="Files, folders or globs.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where results go.")] = Path("denoised"),
    model: Annotated[str | None, typer.Option(help="A model of `b2s models`.")] = None,
    strength: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the noise to take out.")] = None,
    output_format: Annotated[Format | None, typer.Option("--format", help="Format of the results.")] = None,
    metadata: Annotated[MetadataChoice | None, typer.Option(help="Metadata of the results.")] = None,
    report: Annotated[bool, typer.Option(help="Measure the noise.")] = True,
    parallel: Annotated[int, typer.Option("--parallel", "-p", min=1, max=256, help="Files at once.")] = 16,
    overwrite: Annotated[bool, typer.Option(help="Do again what is done.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for one file.")] = 3600.0,
    as_json: Json = False,
) -> None:
    """Denoise files into DIR. What is there is skipped, so running it again does only the rest."""
    options = Options()
    if model is not None:
        options["model"] = model
    if strength is not None:
        options["strength"] = strength
    if output_format is not None:
        options["output_format"] = output_format.value
    if metadata is not None:
        options["metadata"] = metadata.value
    if not report:
        options["report"] = False
    with reported(as_json):
        planned = plan(inputs, output, output_format)
        counts = _denoise(context.obj, planned, options, parallel, overwrite, timeout, as_json)
    if counts["failed"] or counts["late"]:
        raise typer.Exit(FAILED if counts["failed"] else LATE)


@app.command()
def finetune(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="IN…", help="A folder of noisy images, or files.")],
    minutes: Annotated[float | None, typer.Option(help="Longest training.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Most training steps.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the model.")] = None,
    base: Annotated[str | None, typer.Option(help="Model to start from; `none` for none.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Start of the random numbers.")] = None,
    keep_dataset: Annotated[bool, typer.Option(help="Leave the images on the server.")] = False,
    as_json: Json = False,
) -> None:
    """Make a model for images like these, from noisy images alone. Run again, it goes on where it was cut off."""
    given = {"max_minutes": minutes, "max_steps": steps, "name": name, "base_model": base, "seed": seed}
    options = cast(FineTuneOptions, {key: value for key, value in given.items() if value is not None})
    with reported(as_json), Client(**context.obj) as client:
        with display.FineTuneBar(err) as bar:
            on_event = (lambda event: print_json(event_line(event))) if as_json else bar.on_event
            try:
                made = client.finetune(
                    inputs, keep_dataset=keep_dataset, on_upload=bar.on_upload, on_event=on_event, **options
                )
            except (ValueError, FileNotFoundError) as error:
                raise InputError(str(error)) from None
        if as_json:
            print_json(dataclasses.asdict(made))
        else:
            out.print(display.fine_tuned(made), highlight=False)


@app.command()
def models(context: typer.Context, as_json: Json = False) -> None:
    """List the models."""
    with reported(as_json), Client(**context.obj) as client:
        found = client.models()
        if as_json:
            for model in found:
                print_json(model.raw)
        else:
            out.print(display.models_table(found))


@app.command()
def jobs(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed or canceled.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """List the newest jobs."""
    with reported(as_json), Client(**context.obj) as client:
        found = client.jobs(state, limit)
        if as_json:
            for job in found:
                print_json(job.raw)
        else:
            out.print(display.jobs_table(found))


@app.command()
def watch(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Follow a job until it has ended."""
    with reported(as_json), Client(**context.obj) as client:
        if as_json:
            for event in client.events(job_id):
                print_json(event_line(event))
        else:
            _watch(client.events(job_id))
        client.wait(job_id, timeout=10)  # an end other than success is an error of this command


@app.command()
def report(
    context: typer.Context,
    job_id: JobId,
    show: Annotated[bool, typer.Option("--open", help="Open the drawn report in the viewer.")] = False,
    save: Annotated[Path | None, typer.Option(help="Save the drawn report as this PNG.")] = None,
    as_json: Json = False,
) -> None:
    """Show what was measured in a job."""
    with reported(as_json), Client(**context.obj) as client:
        numbers = client.report(job_id)
        if as_json:
            print_json(numbers)
        else:
            out.print(display.report_table(numbers))
        if show and save is None:
            save = Path(tempfile.gettempdir()) / f"{job_id}.png"
        if save is not None:
            save.write_bytes(client.report_picture(job_id))
        if show:
            typer.launch(str(save))


@app.command()
def cancel(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Stop a job."""
    with reported(as_json), Client(**context.obj) as client:
        job = client.cancel(job_id)
        if as_json:
            print_json(job.raw)
        else:
            out.print(f"{job.id} {'is stopping' if job.state == 'running' else job.state}")


@app.command()
def delete(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Remove the bytes of a job from the service."""
    with reported(as_json), Client(**context.obj) as client:
        client.delete(job_id)
        if as_json:
            print_json({"id": job_id, "deleted": True})
        else:
            out.print(f"{job_id} deleted")


def _denoise(
    connection: dict[str, Any],
    planned: Plan,
    options: Options,
    parallel: int,
    overwrite: bool,
    timeout: float,
    as_json: bool,
) -> dict[str, int]:
    """Denoise and show; how many files came to which state."""
    counts = {"done": 0, "skipped": 0, "failed": 0, "late": 0}
    begin = time.perf_counter()
    with display.bar(err) as bar:
        line = bar.add_task("denoising", total=len(planned.tasks))

        def show(outcome: Outcome) -> None:
            counts[outcome.state] += 1
            bar.advance(line)
            if as_json:
                print_json(outcome.to_dict())
            elif outcome.error:
                err.print(
                    f"[red]{outcome.state}[/] {escape(f'{outcome.task.source}: {outcome.error}')}", highlight=False
                )

        with Client(**connection, connections=parallel) as client:
            denoise_all(
                client, planned.tasks, options, parallel=parallel, overwrite=overwrite, timeout=timeout, on_outcome=show
            )
    if not as_json:
        seconds = time.perf_counter() - begin
        words = [f"{count} {state}" for state, count in counts.items() if count]
        said = ", ".join(words + [planned.left_out_words] * bool(planned.left_out))
        out.print(f"{said} in {seconds:.1f} s", markup=False, highlight=False)
    elif planned.left_out:
        print_json({"state": "left_out", "files": sum(planned.left_out.values()), "suffixes": dict(planned.left_out)})
    return counts


def _watch(events: Iterator[Event]) -> None:
    with display.bar(err) as bar:
        line = bar.add_task("queued", total=None)
        for event in events:
            if event.type == "progress":
                bar.update(line, completed=event.data["done"], total=event.data["total"])
            elif event.type == "state":
                bar.update(line, description=event.data["state"])
                out.print(event.data["state"], highlight=False)


@contextmanager
def reported(as_json: bool) -> Iterator[None]:
    """Turn what goes wrong into one line on stderr (or one JSON object) and the exit code."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read our output has seen enough; typer ends quietly
    except (B2SError, InputError, OSError) as error:
        if as_json:
            print_json({"error": error.problem if isinstance(error, ProblemError) else {"detail": str(error)}})
        else:
            err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
            if isinstance(error, ProblemError) and error.request_id:
                err.print(f"request {error.request_id}", highlight=False)
        raise typer.Exit(exit_code(error)) from None
    except KeyboardInterrupt:
        err.print("Interrupted. Jobs under way go on; run the same command again to fetch the rest.")
        raise typer.Exit(INTERRUPTED) from None


def exit_code(error: Exception) -> int:
    """The exit code for an error, as the head of this module lists them."""
    match error:
        case InputError():
            return USAGE
        case Unreachable():
            return UNREACHABLE
        case TimedOut():
            return LATE
        case JobFailed() | JobCanceled() | OSError():
            return FAILED
        case _:
            return REFUSED


def event_line(event: Event) -> dict[str, Any]:
    """An event as one JSON object."""
    return {"id": event.id, "event": event.type, **event.data}


def print_json(value: dict[str, Any]) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the command line."""
    app()
