"""What one tab asks, in the order in which it is computed.

One thing is computed at a time, in a thread of its own. Of asks of the same kind only the newest waits, so that they
cannot pile up. Short ones come before the next step of a long one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.explorer import messages
from cnn_experiments.explorer.answers import Answer, answer
from cnn_experiments.explorer.refusal import RefusalError
from cnn_experiments.explorer.situation import Desk
from cnn_experiments.explorer.subject import Subject
from cnn_experiments.inspection.progress import Progress
from cnn_experiments.runs.formats import cut, printable

log = logging.getLogger(__name__)

MOST_WAITING = 32  # asks of different kinds
LONGEST_SENTENCE = 600  # letters
SECONDS_BETWEEN_REPORTS = 0.05
LONG = (messages.Exciting, messages.Heat, messages.Ranking, messages.Statistics)

Kind = tuple[str, int, str]
"""Name of an ask, its run, and the place on the page that it is for."""


@dataclass
class LongAsk:
    """An ask that is answered in steps.

    Args:
        asked: the ask.
        steps: what is left to do; None before the first step.
        latest: the last step.
        reported: when that was told, by the event loop's clock.
    """

    asked: messages.Ask
    steps: Iterator[Progress[Answer]] | None = None
    latest: Progress[Answer] | None = None
    reported: float = field(default=-1.0)


class Tab:
    """A tab of a browser, for as long as it is connected.

    Args:
        subjects: the runs that the page shows.
        worker: the thread that computes.
        send: sends a frame to the tab.
    """

    def __init__(self, subjects: Sequence[Subject], worker: Executor, send: Callable[[bytes], Awaitable[None]]) -> None:
        self.desk = Desk(subjects)
        self.waiting: dict[Kind, messages.Ask] = {}
        self.running: dict[Kind, LongAsk] = {}
        self._worker, self._send_frame = worker, send
        self._news = asyncio.Event()

    async def receive(self, message: str | bytes) -> None:
        """Take a message of the page; what it asks is computed by `work`."""
        try:
            asked = messages.read_text(message) if isinstance(message, str) else messages.read_bytes(message)
        except UserError as error:
            await self._send_frame(_refusal(messages.id_of(message), error))
            return
        if isinstance(asked, messages.Stop):
            stopped = [kind for kind in (*self.waiting, *self.running) if kind[0] == asked.kind]
            await self._supersede(stopped)
            await self._send({"id": asked.id, "answer": {"stopped": len(stopped)}})
            return
        kind = kind_of(asked)
        await self._supersede([kind])
        if len(self.waiting) >= MOST_WAITING:
            await self._send_frame(_refusal(asked.id, RefusalError("many", number=MOST_WAITING)))
            return
        self.waiting[kind] = asked
        self._news.set()

    async def _supersede(self, kinds: Sequence[Kind]) -> None:
        """Drop what waits or runs of these kinds."""
        for kind in kinds:
            dropped = [self.waiting.pop(kind, None)]
            if kind in self.running:
                dropped.append(self.running.pop(kind).asked)  # `work` closes its steps after the present one
            for asked in dropped:
                if asked is not None:
                    await self._send({"id": asked.id, "superseded": True})

    async def work(self) -> None:
        """Answer what is asked, until cancelled."""
        try:
            while True:
                await self._news.wait()
                short = next((kind for kind, asked in self.waiting.items() if not isinstance(asked, LONG)), None)
                if short is not None:
                    await self._send_frame(await self._compute(self._answered, self.waiting.pop(short)))
                elif self.waiting:
                    kind = next(iter(self.waiting))
                    self.running[kind] = LongAsk(self.waiting.pop(kind))
                elif self.running:
                    await self._step(next(iter(self.running)))
                else:
                    self._news.clear()
        finally:
            self.waiting.clear()
            self.running.clear()

    async def _step(self, kind: Kind) -> None:
        """Do a step of a long ask; then it is the turn of the others."""
        job = self.running[kind]
        clock = asyncio.get_running_loop().time()
        is_time = clock - job.reported > SECONDS_BETWEEN_REPORTS
        ended, report = await self._compute(_stepped, job, self.desk, is_time)
        if self.running.get(kind) is not job:  # it was stopped in the meantime
            await self._compute(_close, job)
            return
        del self.running[kind]
        if not ended:
            self.running[kind] = job
        if report is not None:
            job.reported = clock
            await self._send_frame(report)

    async def _compute(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._worker, function, *arguments)

    def _answered(self, asked: messages.Ask) -> bytes:
        made: bytes = _guarded(asked, lambda: messages.frame({"id": asked.id, "answer": answer(asked, self.desk)}))
        return made

    async def _send(self, header: dict[str, Any]) -> None:
        await self._send_frame(messages.frame(header))


def kind_of(asked: messages.Ask) -> Kind:
    """What an ask replaces, and is replaced by."""
    slot = asked.slot if isinstance(asked, messages.Situated) else ""
    return asked.ask, getattr(asked, "run", 0), slot


def _stepped(job: LongAsk, desk: Desk, is_time: bool) -> tuple[bool, bytes | None]:
    """Do a step of a long ask.

    Args:
        job: the ask.
        desk: what the tab holds.
        is_time: whether the page is to hear of it, if it is not the last.

    Returns:
        Whether that was the end, and a frame for the page.
    """
    number = job.asked.id
    ended = True

    def step() -> bytes | None:
        nonlocal ended
        if job.steps is None:
            steps = answer(job.asked, desk)
            assert isinstance(steps, Iterator)
            job.steps = steps
        step = next(job.steps, None)
        if step is not None:
            ended, job.latest = False, step
            progress = [step.done, step.total]
            return messages.frame({"id": number, "progress": progress, "answer": step.found}) if is_time else None
        if job.latest is None:
            raise RefusalError("nothing")
        return messages.frame({"id": number, "answer": job.latest.found})

    report: bytes | None = _guarded(job.asked, step)  # it says whether this was the end
    return ended, report


def _guarded(asked: messages.Ask, compute: Callable[[], Any]) -> Any:
    """What a function gives, or a frame that says why it could not."""
    try:
        return compute()
    except ExperimentError as error:
        return _refusal(asked.id, error)
    except Exception as error:
        log.exception("%s could not be computed", asked.ask)
        return _refusal(asked.id, RefusalError("failed", error=type(error).__name__))


def _refusal(number: int | None, error: ExperimentError) -> bytes:
    """A frame that says why something is not answered; the sentence may hold what was received."""
    header: dict[str, Any] = {"id": number, "refused": cut(printable(str(error)), LONGEST_SENTENCE)}
    if isinstance(error, RefusalError):
        values = {name: cut(printable(str(value)), LONGEST_SENTENCE) for name, value in error.values.items()}
        header |= {"text": error.key, "values": values}
    return messages.frame(header)


def _close(job: LongAsk) -> None:
    """Have the steps of a long ask leave what they are in."""
    close = getattr(job.steps, "close", None)
    if close is not None:
        close()
