"""Being asked to stop: a signal sets a flag, and the loop comes to rest after its step."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class StopRequest:
    """A context in which SIGTERM and Ctrl-C are noted instead of ending the process; a second Ctrl-C does end it.

    Nothing is saved inside the handler: a signal may come at any instruction.
    """

    def __init__(self) -> None:
        self.signal: int | None = None  # number of the signal that came
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = number

    def __call__(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None
