"""What the command line shows people: tables and bars. What others wrote is escaped: `[b]` in a name is no markup."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from .types import Event, FineTuned, Job, Model

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
            description=f"{event.data['phase']}{score}",
            completed=event.data["done"],
            total=event.data["total"],
        )


def fine_tuned(made: FineTuned) -> str:
    """What became of a fine-tune, in words."""
    gain = made.scores.get("gain_db")
    by = f" by {gain:+.2f} dB on images that it did not learn from" if isinstance(gain, int | float) else ""
    verdict = f"[green]It beats its base{by}.[/]" if made.promoted else f"[yellow]It does not beat its base{by}.[/]"
    lines = [f"model {made.model}", verdict, f"learned from {made.kept} of {made.kept + made.left_out} files"]
    lines += [f"[yellow]warning[/] {escape(warning)}" for warning in made.warnings]
    return "\n".join([*lines, f"use it: b2s denoise --model {made.model} …"])


def jobs_table(jobs: Iterable[Job]) -> Table:
    """Jobs, one a line."""
    table = Table(Column("job", no_wrap=True, min_width=36), "state", "progress", "model", "created", box=None)
    for job in jobs:
        state = f"[{STATE_STYLES.get(job.state, '')}]{job.state}[/]" if job.state in STATE_STYLES else job.state
        table.add_row(job.id, state, _progress(job), escape(job.model or ""), _ago(job.created_at))
    return table


def models_table(models: Iterable[Model]) -> Table:
    """Models, one a line."""
    table = Table(Column("model", no_wrap=True, min_width=36), "channels", "card", box=None)
    for model in models:
        card = ", ".join(
            f"{name} {value}" for name, value in sorted(model.card.items()) if isinstance(value, str | int | float)
        )
        table.add_row(model.id, str(model.channels), escape(card))
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
