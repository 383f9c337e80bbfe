"""What the command line shows people: tables and bars. What others wrote is escaped: `[b]` in a name is no markup."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from .batch import Outcome
from .inputs import STDIO
from .types import Event, FineTuned, Job, Model, Usage
from .types import Progress as JobProgress

STATE_STYLES = {"succeeded": "green", "failed": "red", "canceled": "yellow", "running": "cyan"}


def bar(console: Console) -> Progress:
    """A progress bar with counts and times."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


class FineTuneBar:
    """A bar for each phase of a fine-tune: upload, validating, training, evaluating, publishing."""

    def __init__(self, console: Console) -> None:
        self._bar = bar(console)
        self._line = self._bar.add_task("uploading", total=None)

    def __enter__(self) -> FineTuneBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_upload(self, done: int, total: int) -> None:
        self._bar.update(self._line, completed=done, total=total)

    def on_event(self, event: Event) -> None:
        if event.type != "progress":
            self._bar.update(self._line, description=event.data["state"])
            return
        detail = event.data.get("detail") or {}
        score = f", held-out {detail['score']:.2f} dB" if isinstance(detail.get("score"), int | float) else ""
        self._bar.update(
            self._line,
            description=f"{event.data['phase']}{_way(detail)}{score}",
            completed=event.data["done"],
            total=event.data["total"],
        )


class FilesBar:
    """A bar for all files of a run, and one for each whose job takes long. Threads may tell it of progress."""

    def __init__(self, console: Console, files: int) -> None:
        self._bar = bar(console)
        self._all = self._bar.add_task("denoising", total=files, visible=files > 1)
        self._files: dict[Path, TaskID] = {}
        self._lock = Lock()

    def __enter__(self) -> FilesBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def shown(self) -> bool:
        """Whether anybody sees it."""
        return not self._bar.disable

    def on_progress(self, file: Path, progress: JobProgress) -> None:
        """How far the job of a file is."""
        with self._lock:
            if file not in self._files:
                self._files[file] = self._bar.add_task(escape(file.name), total=None)
            self._bar.update(self._files[file], completed=progress.done, total=progress.total)

    def ended(self, file: Path) -> None:
        """A file is done, or will not be."""
        with self._lock:
            line = self._files.pop(file, None)
        if line is not None:
            self._bar.remove_task(line)
        self._bar.advance(self._all)


def file_line(outcome: Outcome) -> str:
    """What became of a file, in one line of markup: in → out, noise, model, warnings."""
    source, target = (escape(_shown(path)) for path in (outcome.task.source, outcome.saved or outcome.task.target))
    if outcome.state == "skipped":
        return f"{source} → {target}  [dim]is there already[/]"
    parts = [f"{source} → {target}"]
    if outcome.alpha is not None and outcome.sigma is not None:
        parts.append(f"noise α {outcome.alpha:.3g} σ {outcome.sigma:.3g}")
    parts += [escape(outcome.model or "")] + [f"[yellow]! {escape(warning)}[/]" for warning in outcome.warnings]
    return "  ".join(filter(None, parts))


def _shown(path: Path) -> str:
    return str(path) if path != STDIO else "–"


def _way(detail: dict[str, Any]) -> str:
    """The method of a training, and what Blind2Sound tells of the noise and of its schedule."""
    if "method" not in detail:
        return ""
    way = f" {'(trial) ' if detail.get('trying') else ''}{escape(str(detail['method']))}"
    visibility = (detail.get("loss_parts") or {}).get("lambda")
    if visibility is None:
        return way
    return f"{way}, α̂ {detail['alpha']:.4f}, σ̂ {detail['sigma']:.4f}, λ {visibility:.1f}"


def fine_tuned(made: FineTuned) -> str:
    """What became of a fine-tune, in words: the verdict, and the model that goes with it."""
    gain = made.scores.get("gain_db")
    verdict = f"[green]It beats its base{_by(gain)}.[/]" if made.promoted else f"[yellow]{_not_shown(gain)}[/]"
    by = f", by {escape(made.method)}" if made.method else ""
    lines = [f"model {made.model}", verdict, f"learned from {made.kept} of {made.kept + made.left_out} files{by}"]
    lines += [escape(said) for said in (made.noise, made.frames) if said]
    lines += [f"[yellow]warning[/] {escape(warning)}" for warning in made.warnings]
    if made.promoted:
        return "\n".join([*lines, f"use it: b2s denoise --model {made.model} …"])
    return "\n".join([*lines, f"use the base: b2s denoise …   (to compare with it: --model {made.model})"])


UNSEEN = "on images that it did not learn from"


def _by(gain: float | None) -> str:
    return "" if gain is None else f" by {gain:.2f} dB {UNSEEN}"


def _not_shown(gain: float | None) -> str:
    if gain is None:
        return "It does not beat its base."
    if gain > 0:
        return f"It is not shown to beat its base: {gain:+.2f} dB {UNSEEN} is within what chance gives."
    return f"It does not beat its base: {gain:+.2f} dB {UNSEEN}."


def jobs_table(jobs: Iterable[Job]) -> Table:
    """Jobs, one a line."""
    table = Table(Column("job", no_wrap=True, min_width=36), "state", "progress", "model", "created", box=None)
    for job in jobs:
        state = f"[{STATE_STYLES.get(job.state, '')}]{job.state}[/]" if job.state in STATE_STYLES else job.state
        table.add_row(job.id, state, _progress(job), escape(job.model or ""), _ago(job.created_at))
    return table


def models_table(models: Iterable[Model]) -> Table:
    """Models, one a line."""
    table = Table(
        Column("model", no_wrap=True, min_width=36), Column("name", min_width=14), "base", "ch", "beats base", box=None
    )
    for model in models:
        beats = "" if model.promoted is None else "[green]yes[/]" if model.promoted else "[yellow]not shown[/]"
        table.add_row(model.id, escape(model.name), escape(model.base_model or ""), str(model.channels), beats)
    return table


def usage_table(usage: Usage) -> Table:
    """What was used, a day and kind a line, and what is left of today."""
    table = Table("day", "kind", box=None)
    for name in ("succeeded", "failed", "canceled", "megapixels", "worker s", "GPU s"):
        table.add_column(name, justify="right")
    for day in usage.days:
        numbers = (day.pixels / 1e6, day.worker_seconds, day.gpu_seconds)
        counts = map(str, (day.succeeded, day.failed, day.canceled))
        table.add_row(day.day.isoformat(), day.kind, *counts, *(f"{number:.1f}" for number in numbers))
    left = "no bound" if usage.pixels_left_today is None else f"{usage.pixels_left_today / 1e6:.1f} megapixels left"
    table.caption = f"{escape(usage.tenant)}: today {usage.pixels_today / 1e6:.1f} megapixels, {left}"
    return table


def report_table(report: dict[str, Any]) -> Table:
    """The numbers of a report that fit on a line, and its warnings."""
    table = Table("number", "value", box=None)
    for name, value in report.items():
        if isinstance(value, float | int | str):
            table.add_row(name, f"{value:.6g}" if isinstance(value, float) else escape(str(value)))
        elif name == "residual_autocorrelation":
            table.add_row(name, ", ".join(f"{lag:.3g}" for lag in value))
    for warning in report.get("warnings", []):
        table.add_row("[yellow]warning[/]", escape(warning))
    return table


def _progress(job: Job) -> str:
    if job.queue_position is not None:
        return f"place {job.queue_position}"
    total = job.progress.total
    return f"{job.progress.done}/{total} {job.progress.unit}s" if total else ""


def _ago(time: datetime) -> str:
    seconds = int((datetime.now(time.tzinfo) - time).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{max(seconds, 0)} s ago"
