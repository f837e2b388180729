"""A line in the terminal for each run: steps made, time left, loss."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from bridge_nerf.images.generation import OnStep, Progress


class Bar:
    """A progress bar in the terminal while it is open.

    Args:
        console: The console to write to; by default the terminal.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=console,
        )

    def __enter__(self) -> Bar:
        self.rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self.rich.tasks:
            if task.total is None:  # refused before its first step: of that, the terminal keeps the refusal
                self.rich.remove_task(task.id)
        # What stops the whole display ends it with an empty line where there is no terminal.
        (self.rich if self.rich.tasks else self.rich.live).stop()

    def of(self, title: str) -> OnStep:
        """Add a line with a title; return the observer that updates it."""
        task = self.rich.add_task(title, total=None, numbers="")

        def show(progress: Progress) -> None:
            (metrics,) = progress.metrics
            numbers = f"stage {metrics['stage']:.0f}  loss {metrics['loss']:.4g}"
            self.rich.update(task, total=progress.steps, completed=progress.done, numbers=numbers)

        return show
