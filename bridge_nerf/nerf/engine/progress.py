"""One line of progress with the time left, readable on a terminal and in a log file."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import ClassVar

from nerfstudio.configs.base_config import LocalWriterConfig
from nerfstudio.utils.writer import EVENT_STORAGE, GLOBAL_BUFFER, EventName, LocalWriter

from bridge_nerf.flags import STEP, Range


@dataclass
class ProgressConfig(LocalWriterConfig):
    """Progress in the terminal."""

    RANGES: ClassVar[dict[str, Range]] = {"max_log_size": STEP, "seconds": STEP}

    _target: type = field(default_factory=lambda: ProgressWriter)
    enable: bool = True
    """Show progress."""
    seconds: float = 15.0
    """Seconds between two lines where the output is not a terminal."""


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, or hours and minutes."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


class ProgressWriter(LocalWriter):
    """nerfstudio's own writer redraws a table with cursor codes, and its time left is wrong after a
    resume."""

    def __init__(self, config: ProgressConfig, banner_messages: list[str] | None = None) -> None:
        super().__init__(config, banner_messages)
        self.seconds = config.seconds
        self.last = 0.0
        for message in banner_messages or ():
            print(message)

    def write_stats_log(self, step: int) -> None:
        """Print a line; nerfstudio calls it once a step, before it clears its storage."""
        end = GLOBAL_BUFFER["max_iter"]
        events = {event["name"]: event["event"] for event in EVENT_STORAGE if event["step"] == step}
        per_step = events.get(EventName.ITER_TRAIN_TIME.value)
        terminal = sys.stdout.isatty()
        due = time.monotonic() - self.last > (0.5 if terminal else self.seconds)
        if per_step is None or not (due or step == end - 1):
            return
        self.last = time.monotonic()
        done = step + 1
        left = clock((end - done) * per_step)
        line = f"step {done}/{end}  {done / end:4.0%}  {per_step:.2f} s a step  {left} left"
        print(f"\r{line:<70}" if terminal else line, end="" if terminal and done < end else "\n", flush=True)
