"""`b2s`: the service from a shell.

Exit codes: 0 done · 1 a file or job failed · 2 wrong usage · 3 the service does not answer · 4 the service refused ·
5 not finished in time · 6 done, but with warnings (--strict) · 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.markup import escape

from . import display
from .batch import Outcome, denoise_all
from .choices import (
    Dtype,
    Format,
    FramesChoice,
    JobId,
    Json,
    Key,
    Lines,
    MetadataChoice,
    MethodChoice,
    ModelName,
    Mosaic,
    NoiseChoice,
    Output,
    QualityChoice,
    Scale,
    SideChoice,
    Url,
    Window,
)
from .inputs import InputError, Plan, plan_for
from .shell import FAILED, LATE, REFUSED, UNREACHABLE, USAGE, WARNED, err, out, print_json, reported
from .sync import Client
from .types import Event, FineTuneOptions, Options
from .version import __version__

__all__ = ["FAILED", "LATE", "REFUSED", "UNREACHABLE", "USAGE", "WARNED", "app", "main"]

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    if asked:
        out.print(f"b2s {__version__}", highlight=False)
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day, UTC.")]


@app.callback()
def connection(context: typer.Context, url: Url = None, api_key: Key = None, version: Version = False) -> None:
    """Denoise images with a Blind2Sound service."""
    context.obj = {"url": url, "api_key": api_key}


@app.command()
def denoise(
    context: typer.Context,
    inputs: Annotated[list[str], typer.Argument(metavar="IN…", help="Files, folders or globs, or - for stdin.")],
    output: Output = None,
    model: ModelName = None,
    quality: Annotated[QualityChoice | None, typer.Option(help="Of the base models; not with --model.")] = None,
    strength: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the noise to take out.")] = None,
    output_format: Annotated[Format | None, typer.Option("--format", help="Format of the results.")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Type of the samples; needs TIFF, NPY or FITS.")] = None,
    mosaic: Annotated[Mosaic | None, typer.Option(help="Whether gray files are colour mosaics.")] = None,
    roi: Annotated[str | None, typer.Option(metavar="X,Y,W,H", help="Only this crop, in pixels.")] = None,
    normalize: Annotated[Scale | None, typer.Option(help="What samples are scaled by.")] = None,
    lines: Annotated[Lines | None, typer.Option(help="What becomes of line noise.")] = None,
    metadata: Annotated[MetadataChoice | None, typer.Option(help="Metadata of the results.")] = None,
    report: Annotated[bool, typer.Option(help="Measure the noise.")] = True,
    parallel: Annotated[int, typer.Option("--parallel", "-p", min=1, max=256, help="Files at once.")] = 16,
    overwrite: Annotated[bool, typer.Option(help="Do again what is done.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings make the exit code 6.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for one file.")] = 3600.0,
    as_json: Json = False,
) -> None:
    """Denoise files. Of a folder or many files what is done is skipped, so running it again does only the rest."""
    given = {"quality": quality, "strength": strength, "output_dtype": dtype, "mosaic": mosaic, "roi": roi}
    given |= {"normalize": normalize, "lines": lines, "metadata": metadata, "report": None if report else False}
    to_stdout = output == "-" or (output is None and "-" in inputs)
    with reported(as_json, to_stdout):
        planned = plan_for(inputs, output, None if output_format is None else output_format.value)
        if to_stdout and sys.stdout.isatty():
            raise InputError("An image is nothing for a terminal: add -o FILE, or send stdout into a file or program.")
        run = _Run(planned, cast(Options, _given(given | {"output_format": planned.output_format})), as_json, to_stdout)
        with Client(**context.obj, connections=parallel) as client:
            if model is not None:
                run.options["model"] = client.model(model).id
            run.denoise(client, parallel, overwrite or planned.replace, timeout)
    if code := run.exit_code(strict):
        raise typer.Exit(code)


@app.command()
def finetune(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="IN…", help="A folder of noisy images, or files.")],
    method: Annotated[MethodChoice | None, typer.Option(help="How to learn; `auto` takes or tries the best.")] = None,
    noise: Annotated[NoiseChoice | None, typer.Option(help="Whether neighbours share it; `auto` measures.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Longest training.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Most training steps.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the model.")] = None,
    base: Annotated[str | None, typer.Option(help="Model to start from, by id or name; `none` for none.")] = None,
    quality: Annotated[QualityChoice | None, typer.Option(help="Of the base models; not with --base.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Start of the random numbers.")] = None,
    frames: Annotated[FramesChoice | None, typer.Option(help="Whether frames belong together, or see 3 or 5.")] = None,
    keep_dataset: Annotated[bool, typer.Option(help="Leave the images on the server.")] = False,
    as_json: Json = False,
) -> None:
    """Make a model for images like these, from noisy images alone. Run again, it goes on where it was cut off."""
    given = {"max_minutes": minutes, "max_steps": steps, "name": name, "seed": seed, "quality": quality}
    given |= {"method": method, "frames": frames, "noise": noise}
    options = cast(FineTuneOptions, _given(given))
    with reported(as_json), Client(**context.obj) as client:
        if base is not None:
            options["base_model"] = base if base == "none" else client.model(base).id
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
def usage(context: typer.Context, first: Day = None, last: Day = None, as_json: Json = False) -> None:
    """Show what was used, by day, and what is left of today; without days, the last 30."""
    with reported(as_json), Client(**context.obj) as client:
        found = client.usage(first and first.date(), last and last.date())
        if as_json:
            print_json(found.raw)
        else:
            out.print(display.usage_table(found))


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
def preview(
    context: typer.Context,
    job_id: JobId,
    side: Annotated[SideChoice, typer.Option(help="The upload, the result, or what was taken out.")] = SideChoice.AFTER,
    page: Annotated[int, typer.Option(min=0, help="Page of a stack, from 0.")] = 0,
    window: Window = None,
    max_side: Annotated[int, typer.Option("--max", help="Most pixels of the longest side, up to 2048.")] = 1024,
    channel: Annotated[int | None, typer.Option(min=0, help="One channel, from 0. Default: its colours.")] = None,
    save: Annotated[Path | None, typer.Option("--save", "-o", help="PNG to write. Default: <job>-<side>.png.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the viewer.")] = False,
    as_json: Json = False,
) -> None:
    """Save a job's image of any format (raw, FITS, DICOM, 16 bit) as a PNG for a screen."""
    with reported(as_json), Client(**context.obj) as client:
        picture = client.preview(job_id, side.value, page=page, window=window, max_side=max_side, channel=channel)
        target = save or Path(f"{job_id}-{side}.png")
        target.write_bytes(picture)
        if as_json:
            print_json({"id": job_id, "side": side.value, "file": str(target), "bytes": len(picture)})
        else:
            out.print(str(target), highlight=False, markup=False, soft_wrap=True)
        if show:
            typer.launch(str(target))


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


class _Run:
    """One `b2s denoise`: what it does, and what it says meanwhile. With results on stdout, words go to stderr."""

    def __init__(self, planned: Plan, options: Options, as_json: bool, to_stdout: bool) -> None:
        self.options = options
        self._planned = planned
        self._as_json = as_json
        self._to_stderr = to_stdout
        self._say = err if to_stdout else out
        self._counts = {"done": 0, "skipped": 0, "failed": 0, "late": 0}
        self._warned = 0

    def denoise(self, client: Client, parallel: int, overwrite: bool, timeout: float) -> None:
        """Denoise and show; every file's fate is counted."""
        begin = time.perf_counter()
        tasks = self._planned.tasks
        with display.FilesBar(err, len(tasks)) as bar:

            def show(outcome: Outcome) -> None:
                bar.ended(outcome.task.source)
                self._show(outcome)

            denoise_all(
                client, tasks, self.options, parallel=parallel, overwrite=overwrite, timeout=timeout, on_outcome=show,
                on_progress=(lambda task, done: bar.on_progress(task.source, done)) if bar.shown else None,
            )  # fmt: skip
        self._sum_up(time.perf_counter() - begin)

    def exit_code(self, strict: bool) -> int:
        """Of the whole run; the worst that happened to a file."""
        if self._counts["failed"]:
            return FAILED
        if self._counts["late"]:
            return LATE
        return WARNED if strict and self._warned else 0

    def _show(self, outcome: Outcome) -> None:
        self._counts[outcome.state] += 1
        self._warned += bool(outcome.warnings)
        if self._as_json:
            print_json(outcome.to_dict(), self._to_stderr)
        elif outcome.error:
            words = escape(f"{outcome.task.source}: {outcome.error}")
            err.print(f"[red]{outcome.state}[/] {words}", highlight=False, soft_wrap=True)
        else:
            self._say.print(display.file_line(outcome), highlight=False, soft_wrap=True)

    def _sum_up(self, seconds: float) -> None:
        left_out = self._planned.left_out
        if self._as_json:
            if left_out:
                line = {"state": "left_out", "files": sum(left_out.values()), "suffixes": dict(left_out)}
                print_json(line, self._to_stderr)
            return
        words = [f"{count} {state}" for state, count in self._counts.items() if count]
        words += [f"{self._warned} with warnings"] * bool(self._warned)
        said = ", ".join(words + [self._planned.left_out_words] * bool(left_out))
        self._say.print(f"{said} in {seconds:.1f} s", markup=False, highlight=False)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Those that were given, as plain values."""
    plain = {name: getattr(value, "value", value) for name, value in options.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _watch(events: Iterator[Event]) -> None:
    with display.bar(err) as bar:
        line = bar.add_task("queued", total=None)
        for event in events:
            if event.type == "progress":
                bar.update(line, completed=event.data["done"], total=event.data["total"])
            elif event.type == "state":
                bar.update(line, description=event.data["state"])
                out.print(event.data["state"], highlight=False)


def event_line(event: Event) -> dict[str, Any]:
    """An event as one JSON object."""
    return {"id": event.id, "event": event.type, **event.data}


def main() -> None:
    """Run the command line."""
    app(prog_name="b2s")
