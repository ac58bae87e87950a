"""The page's server over real sockets: what it refuses, in which order it computes, and what it forgets."""

import asyncio
import gc
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import torch

import cnn_experiments as cnn
from cnn_experiments.errors import UserError
from cnn_experiments.evaluation import exploring
from cnn_experiments.explorer import messages, server, tab
from cnn_experiments.explorer.server import Server
from cnn_experiments.explorer.situation import MOST_UPLOADS, Desk
from cnn_experiments.explorer.subject import CARRIED_RUN, Subject
from cnn_experiments.inspection.progress import Progress
from cnn_experiments.models.lenet5 import LeNet5
from cnn_experiments.settings.schema import Settings
from tests import explored
from tests.conftest import Outcome

aiohttp = pytest.importorskip("aiohttp", reason="the extra explore is not installed")

DRAWING = {"drawn": messages.base64.b64encode(bytes(784)).decode()}


@pytest.fixture
def subject() -> Subject:
    """An untrained LeNet-5 without images of its own."""
    torch.manual_seed(0)
    return Subject("LeNet-5", LeNet5(), (1, 32, 32), list("0123456789"), cnn.MNIST(), problem="None are here.")


@pytest.fixture
def running(subject: Subject) -> Iterator[Server]:
    with Server([subject]) as started:
        yield started


class Tab:
    """The page's end of the connection."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.last = connection, 0

    async def send(self, ask: str, **keys: Any) -> int:
        """Ask, and do not wait; the id of the ask."""
        self.last += 1
        await self.connection.send_str(json.dumps({"id": self.last, "ask": ask, **keys}))
        return self.last

    async def heard(self) -> dict[str, Any]:
        """The next frame."""
        message = await self.connection.receive(timeout=60)
        assert message.type == aiohttp.WSMsgType.BINARY, message
        return messages.read_frame(message.data)

    async def ask(self, ask: str, **keys: Any) -> dict[str, Any]:
        """Ask, and wait for the end."""
        number = await self.send(ask, **keys)
        while (header := await self.heard()).get("id") != number or "progress" in header:
            pass
        return header

    async def upload(self, content: bytes, **keys: Any) -> dict[str, Any]:
        """Hand a file over."""
        self.last += 1
        header = json.dumps({"id": self.last, "ask": "upload", **keys}).encode()
        await self.connection.send_bytes(struct.pack("<I", len(header)) + header + content)
        return await self.heard()


@asynccontextmanager
async def connected(running: Server, **headers: str) -> AsyncIterator[Tab]:
    """A tab."""
    headers = {"Origin": running.address.rstrip("/"), **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{running.address}socket", headers=headers, max_msg_size=0) as connection,
    ):
        yield Tab(connection)


def with_tab(running: Server, use: Callable[[Tab], Awaitable[Any]]) -> Any:
    """What a function of a tab gives."""

    async def main() -> Any:
        async with connected(running) as page:
            return await use(page)

    return asyncio.run(main())


# --- Who may ask ------------------------------------------------------------------------------------------------------


def get(running: Server, path: str, **headers: str) -> Any:
    """Status, headers and body of a request, whatever its path says."""
    with socket.create_connection((server.HOST, running.port)) as connection:
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "Connection: close"]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = b""
        while received := connection.recv(65536):
            answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return int(status.split()[1]), {field.split(": ", 1)[0]: field.split(": ", 1)[1] for field in fields}, body


def test_it_listens_on_this_machine_alone(running: Server) -> None:
    assert running._socket.getsockname()[0] == "127.0.0.1"
    assert running.address == f"http://127.0.0.1:{running.port}/"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_page_comes_with_a_strict_policy(running: Server, name: str) -> None:
    for path in ("/", "/page/main.js", "/page/texts/ko.json", "/nothing"):
        status, headers, body = get(running, path, Host=f"{name}:{running.port}")
        assert status == (404 if path == "/nothing" else 200)
        policy = headers["Content-Security-Policy"].split("; ")
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*" in policy
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example"]
)
def test_another_host_is_refused(running: Server, host: str) -> None:
    for path in ("/", "/page/main.js", "/socket", "/nothing"):
        assert get(running, path, Host=host)[0] == 403


def test_without_a_host_nothing_is_answered(running: Server) -> None:
    assert get(running, "/")[0] in (400, 403)


@pytest.mark.parametrize(
    "path",
    [
        "/page/../server.py",
        "/page/%2e%2e/server.py",
        "/page/..%2fserver.py",
        "/page//etc/passwd",
        "/page/",
        "/page/texts",
        "/page/%00",
        "/page/main.js/",
        "/server.py",
    ],
)
def test_nothing_but_the_page_is_served(running: Server, path: str) -> None:
    status, _, body = get(running, path, Host=f"127.0.0.1:{running.port}")
    assert status in (400, 404)
    assert b"import" not in body


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1", None])
def test_another_origin_gets_no_socket(running: Server, origin: str | None) -> None:
    async def main() -> int:
        headers = {} if origin is None else {"Origin": origin}
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"{running.address}socket", headers=headers)
            return refused.value.status

    assert asyncio.run(main()) == 403
    assert not running.tabs


def test_localhost_is_an_origin_too(running: Server) -> None:
    async def main() -> dict[str, Any]:
        origin = f"http://localhost:{running.port}"
        async with connected(running, Origin=origin, Host=f"localhost:{running.port}") as page:
            return await page.ask("runs")

    assert asyncio.run(main())["answer"]["runs"][0]["title"] == "LeNet-5"


def test_the_number_of_tabs_is_bounded(running: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_TABS", 2)

    async def main() -> int:
        async with connected(running), connected(running):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with connected(running):
                    pass
        return refused.value.status

    assert asyncio.run(main()) == 503


# --- What is no ask ---------------------------------------------------------------------------------------------------

LOOK = {"id": 5, "ask": "look", "image": DRAWING}


@pytest.mark.parametrize(
    ("text", "number", "sentence"),
    [
        ("", None, "no JSON"),
        ("{", None, "no JSON"),
        ("[" * 60_000, None, "no JSON"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, None, "no JSON"),
        ("x" * 70_000, None, "a message of 70,000 letters"),
        ("1", None, "no ask"),
        ("[]", None, "no ask"),
        ('{"id": 1}', 1, "no ask"),
        ('{"id": 1, "ask": "everything"}', 1, "everything"),
        ('{"id": 1, "ask": ["look"]}', 1, "ask"),
        ('{"id": "1", "ask": "runs"}', None, "id"),
        ('{"id": true, "ask": "runs"}', None, "id"),
        ('{"id": -1, "ask": "runs"}', None, "id"),
        ('{"id": 1e400, "ask": "runs"}', None, "id"),
        ('{"id": NaN, "ask": "runs"}', None, "no JSON"),
        (f'{{"id": {"9" * 5000}, "ask": "runs"}}', None, "no JSON"),
        ('{"id": 5, "ask": "runs", "more": 1}', 5, "more"),
        ('{"id": 5, "ask": "upload"}', 5, "upload"),
        *(
            (json.dumps({**LOOK, **keys}), 5, sentence)
            for keys, sentence in [
                ({"run": 2}, "run"),
                ({"run": "0"}, "run"),
                ({"image": {"test": -1}}, "image"),
                ({"image": {"test": 10**12}}, "image"),
                ({"image": {"test": 1.5}}, "image"),
                ({"image": {"test": 0, "drawn": ""}}, "image"),
                ({"image": {"file": "/etc/passwd"}}, "image"),
                ({"image": {"drawn": "AAAA"}}, "3 bytes are no drawing of 28×28"),
                ({"image": {"drawn": "ä"}}, "base64"),
                ({"image": {"drawn": 5}}, "base64"),
                ({"layers": ["c1"] * 1000}, "layers"),
                ({"layers": [1]}, "layers"),
                ({"layers": "c1"}, "layers"),
                ({"layers": ["c9"]}, "c9"),
                ({"layers": ["c1\u001b[31m"]}, "c1"),
                ({"off": [{"layer": "c1", "maps": "some"}]}, "off"),
                ({"off": [{"layer": "c1", "maps": [0], "to": "one"}]}, "off"),
                ({"off": [{"layer": "c1", "maps": [10**9]}]}, "off"),
                ({"off": [{"layer": "c1", "maps": [7]}]}, "c1 has 6 maps"),
                ({"off": [{"layer": "dropout", "maps": "all"}]}, "dropout"),
                ({"off": [{"layer": "c1", "maps": [0], "to": "mean"}]}, "test images"),
                ({"square": {"top": 0, "left": 0, "side": 0}}, "square"),
                ({"square": {"top": 0, "left": 0, "side": 10**9}}, "square"),
                ({"square": [0, 0, 4]}, "square"),
                ({"epoch": -1}, "epoch"),
                ({"epoch": 4}, "epoch=4"),
                ({"slot": "x" * 21}, "slot"),
            ]
        ),
        ('{"id": 5, "ask": "fields", "layer": "c1", "row": 99}', 5, "row=99"),
        ('{"id": 5, "ask": "fields", "layer": "c1", "row": -1}', 5, "row"),
        ('{"id": 5, "ask": "fields", "layer": "../c1"}', 5, "no such layer"),
        ('{"id": 5, "ask": "value", "layer": "c1", "map": 0}', 5, "no image"),
        ('{"id": 5, "ask": "thumbnails", "indices": [' + ",".join(["0"] * 65) + "]}", 5, "indices"),
        ('{"id": 5, "ask": "kernels", "layer": "c1", "maps": []}', 5, "maps"),
        ('{"id": 5, "ask": "stop", "kind": 5}', 5, "kind"),
        (json.dumps({**LOOK, "ask": "ranking", "layers": []}), 5, "nothing to compute"),
        (json.dumps({**LOOK, "ask": "ranking", "layers": ["input"]}), 5, "input"),
        (json.dumps({**LOOK, "ask": "ranking", "class": 10}), 5, "class=10"),
        (json.dumps({**LOOK, "ask": "heat", "class": "3"}), 5, "class"),
    ],
)
def test_what_is_refused_in_a_sentence(running: Server, text: str, number: int | None, sentence: str) -> None:
    async def use(page: Tab) -> tuple[Any, Any]:
        await page.connection.send_str(text)
        refused = await page.heard()
        return refused, await page.ask("look", image=DRAWING)

    refused, next_one = with_tab(running, use)
    assert refused["id"] == number
    assert sentence in refused["refused"]
    assert len(refused["refused"]) < 1000
    assert "\n" not in refused["refused"]
    assert "\x1b" not in refused["refused"]
    assert "answer" in next_one


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x00",
        struct.pack("<I", 2**32 - 1) + b"{}",
        struct.pack("<I", 10) + b"{}",
        struct.pack("<I", 2) + b"{}",
        struct.pack("<I", 4) + b"\xff\xfe\xff\xfe",
        struct.pack("<I", 28) + b'{"id": 3, "ask": "runs"}    ',
        struct.pack("<I", 5000) + b" " * 5000,
    ],
)
def test_bytes_that_are_no_upload(running: Server, content: bytes) -> None:
    async def use(page: Tab) -> tuple[Any, Any]:
        await page.connection.send_bytes(content)
        return await page.heard(), await page.ask("runs")

    refused, next_one = with_tab(running, use)
    assert "refused" in refused
    assert "answer" in next_one


def test_a_file_that_is_too_large(running: Server) -> None:
    async def use(page: Tab) -> tuple[Any, Any]:
        refused = await page.upload(bytes(messages.MOST_BYTES_OF_UPLOAD + 1))
        return refused, await page.ask("runs")

    refused, next_one = with_tab(running, use)
    assert refused["refused"] == "The file is larger than 20 MB. Choose a smaller one."
    assert "answer" in next_one


def test_a_message_that_is_far_too_large_ends_the_connection(running: Server) -> None:
    async def use(page: Tab) -> Any:
        with suppress(ConnectionError):  # it may end before everything is sent
            await page.connection.send_bytes(bytes(server.MOST_BYTES_OF_MESSAGE + 1))
        with suppress(ConnectionError):
            return (await page.connection.receive(timeout=60)).type
        return aiohttp.WSMsgType.CLOSED

    ends = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert with_tab(running, use) in ends
    assert "answer" in with_tab(running, lambda page: page.ask("runs"))
    asyncio.run(until(lambda: not running.tabs))


def test_a_photograph_over_the_wire(running: Server) -> None:
    async def use(page: Tab) -> tuple[Any, ...]:
        sent = await page.upload(explored.photograph())
        broken = await page.upload(b"no picture")
        return sent, broken, await page.ask("image", image={"upload": sent["answer"]["key"]})

    sent, broken, shown = with_tab(running, use)
    assert sent["answer"] == {"key": "u1", "width": 80, "height": 60}
    assert broken["refused"].startswith("This file cannot be used: it is no image")
    assert (broken["text"], broken["values"]) == ("refusal.file.unknown", {})  # for the page's language
    assert shown["answer"]["input"].shape == (1, 32, 32)


def test_a_frame_holds_arrays_in_their_places() -> None:
    header = {
        "id": 1,
        "answer": {
            "bytes": np.arange(5, dtype=np.uint8),
            "deep": [{"floats": torch.ones(2, 3)}, np.array([[-1, 2**31 - 1]], np.int32)],
            "empty": np.zeros((0, 3), np.float32),
            "strided": np.arange(6, dtype=np.float32).reshape(2, 3).T,
            "numbers": [float("nan"), float("inf"), 1.5, None, "é"],
        },
    }
    content = messages.frame(header)
    assert len(content) % 4 == 0
    found = messages.read_frame(content)["answer"]
    assert np.array_equal(found["bytes"], [0, 1, 2, 3, 4])
    assert np.array_equal(found["deep"][0]["floats"], np.ones((2, 3)))
    assert np.array_equal(found["deep"][1], [[-1, 2**31 - 1]])
    assert found["empty"].shape == (0, 3)
    assert np.array_equal(found["strided"], [[0, 3], [1, 4], [2, 5]])
    assert found["numbers"] == [None, None, 1.5, None, "é"]
    with pytest.raises(TypeError, match="float64"):
        messages.frame({"array": np.zeros(2)})


# --- In which order ---------------------------------------------------------------------------------------------------


class Slow:
    """Answers in the place of `answers.answer`, each when the test says so."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.computed: list[str] = []
        self.started = self.steps = self.closed = 0

    def __call__(self, asked: Any, desk: Desk) -> Any:
        if isinstance(asked, tab.LONG):
            return self.long(asked)
        self.started += 1
        self.gate.acquire(timeout=30)
        self.computed.append(f"{asked.ask} {asked.id}")
        return {"id": asked.id}

    def long(self, asked: Any) -> Iterator[Progress[Any]]:
        """Ten steps."""
        try:
            for step in range(1, 11):
                self.gate.acquire(timeout=30)
                self.computed.append(f"{asked.ask} {asked.id} step {step}")
                self.steps += 1
                yield Progress(step, 10, {"step": step})
        finally:
            self.closed += 1

    def open(self, times: int = 1000) -> None:
        """Let so many things be computed."""
        self.gate.release(times)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    computing = Slow()
    monkeypatch.setattr(tab, "answer", computing)
    monkeypatch.setattr(tab, "SECONDS_BETWEEN_REPORTS", -1.0)
    yield computing
    computing.open()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    for _ in range(3000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never was")


def test_the_newest_ask_replaces_the_waiting_one(running: Server, slow: Slow) -> None:
    async def use(page: Tab) -> list[Any]:
        await page.send("look", image=DRAWING)
        await until(lambda: slow.started == 1)
        for _ in range(4):
            await page.send("look", image=DRAWING)
        heard = [await page.heard() for _ in range(3)]
        slow.open()
        return [*heard, await page.heard(), await page.heard()]

    heard = with_tab(running, use)
    assert heard[:3] == [{"id": number, "superseded": True} for number in (2, 3, 4)]
    assert heard[3:] == [{"id": number, "answer": {"id": number}} for number in (1, 5)]
    assert slow.computed == ["look 1", "look 5"]


def test_runs_and_slots_do_not_replace_each_other(running: Server, slow: Slow) -> None:
    async def use(page: Tab) -> set[int]:
        await page.send("look", image=DRAWING)
        await page.send("look", image=DRAWING, run=1)
        await page.send("look", image=DRAWING, slot="left")
        await page.send("fields", layer="c1")
        slow.open()
        return {(await page.heard())["answer"]["id"] for _ in range(4)}

    assert with_tab(running, use) == {1, 2, 3, 4}


def test_short_asks_come_before_the_next_step_of_a_long_one(running: Server, slow: Slow) -> None:
    async def use(page: Tab) -> Any:
        long = await page.send("heat", image=DRAWING)
        slow.open(2)
        await until(lambda: slow.steps == 2)
        await page.send("look", image=DRAWING)
        (mine,) = running.tabs
        await until(lambda: bool(mine.waiting))
        slow.open()
        heard = []
        while not heard or heard[-1].get("id") != long or "progress" in heard[-1]:
            heard.append(await page.heard())
        return heard

    heard = with_tab(running, use)
    assert slow.computed[:2] == ["heat 1 step 1", "heat 1 step 2"]
    assert slow.computed.index("look 2") in (2, 3)  # a step was being computed when it came
    progress = [header["progress"] for header in heard if "progress" in header]
    assert progress == [[step, 10] for step in range(1, 11)]
    assert heard[-1]["answer"] == {"step": 10}


def test_a_newer_long_ask_stops_the_running_one(running: Server, slow: Slow) -> None:
    async def use(page: Tab) -> list[Any]:
        first = await page.send("heat", image=DRAWING)
        slow.open(2)
        await until(lambda: slow.steps == 2)
        second = await page.send("heat", image=DRAWING, stride=4)
        heard = []
        while not heard or not heard[-1].get("superseded"):
            heard.append(await page.heard())
        slow.open()
        while not heard or heard[-1]["id"] != second or "progress" in heard[-1]:
            heard.append(await page.heard())
        assert [header["id"] for header in heard if header.get("superseded")] == [first]
        assert first not in [header["id"] for header in heard if "answer" in header and "progress" not in header]
        return heard

    with_tab(running, use)
    assert len([done for done in slow.computed if done.startswith("heat 1")]) <= 3
    assert slow.closed == 2


def test_long_asks_of_two_kinds_take_turns(running: Server, slow: Slow) -> None:
    async def use(page: Tab) -> None:
        numbers = {await page.send("heat", image=DRAWING), await page.send("ranking", image=DRAWING)}
        await until(lambda: any(len(mine.waiting) + len(mine.running) == 2 for mine in running.tabs))
        slow.open()
        while numbers:
            header = await page.heard()
            if "progress" not in header:
                numbers.discard(header["id"])

    with_tab(running, use)
    names = [done.split()[0] for done in slow.computed]
    assert names[2:18:2] != names[3:19:2]
    assert len(set(names[2:6])) == 2


def test_stop(running: Server, slow: Slow) -> None:
    async def use(page: Tab) -> list[Any]:
        await page.send("heat", image=DRAWING)
        await page.send("heat", image=DRAWING, slot="second")
        slow.open(2)
        await until(lambda: slow.steps == 2)
        await page.send("stop", kind="heat")
        heard = []
        while len(heard) < 3:
            header = await page.heard()
            if "progress" not in header:
                heard.append(header)
        slow.open()
        return [*heard, await page.ask("look", image=DRAWING)]

    superseded, other, stopped, looked = with_tab(running, use)
    assert superseded["superseded"] is other["superseded"] is True
    assert stopped == {"id": 3, "answer": {"stopped": 2}}
    assert "answer" in looked
    assert slow.steps <= 3
    assert slow.closed == 2


def test_what_waits_is_bounded(running: Server, slow: Slow) -> None:
    async def use(page: Tab) -> list[Any]:
        for number in range(tab.MOST_WAITING + 4):
            await page.send("look", image=DRAWING, slot=str(number))
        refused = [await page.heard() for _ in range(3)]
        slow.open()
        return refused

    refused = with_tab(running, use)
    assert all("questions wait" in header["refused"] for header in refused)


def test_closing_a_tab_stops_and_frees_everything(running: Server, slow: Slow) -> None:
    held: list[Any] = []

    async def use(page: Tab) -> None:
        await page.send("heat", image=DRAWING)
        slow.open(2)
        await until(lambda: slow.steps == 2)
        (mine,) = running.tabs
        held.extend([weakref.ref(mine), weakref.ref(mine.desk)])

    with_tab(running, use)
    slow.open(3)
    asyncio.run(until(lambda: not running.tabs))
    slow.open()

    def is_gone() -> bool:
        gc.collect()
        return all(reference() is None for reference in held)

    asyncio.run(until(is_gone))
    assert slow.steps <= 6
    asyncio.run(until(lambda: slow.closed == 1))


def test_the_memory_of_a_tab_is_bounded(running: Server) -> None:
    async def use(page: Tab) -> tuple[int, int]:
        for number in range(MOST_UPLOADS + 3):
            key = (await page.upload(explored.photograph((900, 700))))["answer"]["key"]
            await page.ask("look", image={"upload": key}, layers=["c1"], square={"top": number, "left": 0, "side": 3})
        (mine,) = running.tabs
        return len(mine.desk.uploads), len(mine.desk.results)

    uploads, results = with_tab(running, use)
    assert uploads == MOST_UPLOADS
    assert results <= 4


def test_two_tabs_do_not_disturb_each_other(running: Server) -> None:
    async def main() -> tuple[Any, ...]:
        async with connected(running) as first, connected(running) as second:
            key = (await first.upload(explored.photograph()))["answer"]["key"]
            stolen = await second.ask("image", image={"upload": key})
            looks = await asyncio.gather(
                *(page.ask("look", image=DRAWING, off=off) for page, off in
                  ((first, [{"layer": "c1", "maps": "all"}]), (second, [])))
            )  # fmt: skip
            return stolen, *looks

    stolen, changed, plain = asyncio.run(main())
    assert "give it again" in stolen["refused"]
    assert plain["answer"]["before"] is None
    assert np.array_equal(changed["answer"]["before"]["scores"], plain["answer"]["scores"])
    assert not np.array_equal(changed["answer"]["scores"], plain["answer"]["scores"])


def test_a_mistake_of_the_program_is_said_and_logged(
    running: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(asked: Any, desk: Desk) -> Any:
        raise ZeroDivisionError("secret path")

    async def use(page: Tab) -> tuple[Any, ...]:
        with monkeypatch.context() as patch:
            patch.setattr(tab, "answer", fail)
            short, long = await page.ask("look", image=DRAWING), await page.ask("heat", image=DRAWING)
        return short, long, await page.ask("look", image=DRAWING)

    short, long, next_one = with_tab(running, use)
    for refused in (short, long):
        assert refused["refused"] == "This could not be computed (ZeroDivisionError). The terminal says more."
    assert "answer" in next_one
    assert "ZeroDivisionError" in caplog.text


def test_the_loop_answers_while_something_is_computed(running: Server, slow: Slow) -> None:
    async def use(page: Tab) -> None:
        await page.send("look", image=DRAWING)  # never let through
        async with aiohttp.ClientSession() as session, session.get(running.address) as response:
            assert response.status == 200
        assert (await page.ask("stop", kind="heat"))["answer"] == {"stopped": 0}
        slow.open()

    with_tab(running, use)


# --- From the beginning to the end ------------------------------------------------------------------------------------


def test_a_port_that_is_taken_gets_one_sentence(running: Server, subject: Subject) -> None:
    with pytest.raises(UserError, match=f"port={running.port}: another program listens there"):
        Server([subject], running.port)
    for wrong in (-1, 65536, True, "80"):
        with pytest.raises(UserError, match="port="):
            Server([subject], wrong)  # type: ignore[arg-type]


def test_closing_frees_the_port_and_says_goodbye(subject: Subject) -> None:
    started = Server([subject])

    async def main() -> Any:
        async with connected(started) as page:
            await page.ask("runs")
            await asyncio.to_thread(started.close)
            return await page.connection.receive(timeout=10)

    goodbye = asyncio.run(main())
    assert goodbye.type == aiohttp.WSMsgType.CLOSE
    assert goodbye.data == aiohttp.WSCloseCode.GOING_AWAY
    started.close()
    started.wait()
    with Server([subject], started.port) as again:
        assert urlopen(again.address).status == 200


def test_a_notebook_shows_it_in_a_frame(running: Server) -> None:
    assert f'src="{running.address}"' in running._repr_html_()
    assert running.address in repr(running)


def start_command(folder: Path, *words: str) -> "subprocess.Popen[str]":
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from cnn_experiments.commands.explore import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=without_data(folder),
    )


def without_data(folder: Path) -> dict[str, str]:
    """The environment without a screen, and with no data."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {**kept, "CNN_EXPERIMENTS_DATA": str(folder / "nothing")}


@pytest.mark.skipif(not (CARRIED_RUN / "config.yaml").exists(), reason="the package carries no run")
def test_the_command_alone_shows_the_run_that_the_package_carries(tmp_path: Path) -> None:
    process = start_command(tmp_path, "open=true")
    try:
        line = process.stdout.readline()
        address = line.split()[0]
        port = int(address.rstrip("/").rpartition(":")[2])
        assert address == f"http://127.0.0.1:{port}/"

        async def use() -> Any:
            async with aiohttp.ClientSession() as session:
                origin = {"Origin": address.rstrip("/")}
                async with session.ws_connect(f"{address}socket", headers=origin, max_msg_size=0) as connection:
                    page = Tab(connection)
                    return await page.ask("runs"), await page.ask("look", image={"test": 0})

        runs, looked = asyncio.run(use())
        (run,) = runs["answer"]["runs"]
        assert run["model"] == "lenet5"
        assert run["tests"]["count"] >= 20
        assert run["metrics"]["test/accuracy"] > 0.98
        assert looked["answer"]["probabilities"].argmax() == run["tests"]["predictions"][0]
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)
        assert (process.returncode, error) == (0, "")
        assert not out.strip()
    finally:
        process.kill()
    assert not (tmp_path / "nothing").exists()
    assert list(tmp_path.iterdir()) == []
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_the_command_with_a_run_and_a_second_one(
    run_command: Callable[..., Outcome],
    digits: Path,
    tmp_path: Path,
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, word in (("first", "seed=1"), ("second", "seed=2")):
        explored.write_run(tmp_path / name, settings(*explored.WORDS["lenet5"], word))
    served: list[Any] = []
    monkeypatch.setattr(server, "serve", lambda *arguments: served.append(arguments))
    assert run_command("explore", "run=first", "with=second", "open=false", "port=8123").status == 0
    assert run_command("explore", "run=first").status == 0
    (both, port, opens), (alone, *rest) = served
    assert [subject.title for subject in both] == ["lenet5 on mnist, seed 1", "lenet5 on mnist, seed 2"]
    assert (port, opens, rest) == (8123, False, [0, True])
    assert len(alone) == 1
    assert alone[0].tests is not None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run=nowhere"], "run=nowhere: this is no run directory"),
        (["with=nowhere"], "with=nowhere: this is no run directory"),
        (["open=maybe"], "open=maybe: use true or false"),
        (["port=web"], "port=web: give a number"),
        (["port=70000"], "port=70000: give a number"),
        (["runn=x"], "runn: there is no such key"),
    ],
)
def test_wrong_words_get_one_sentence(run_command: Callable[..., Outcome], words: list[str], sentence: str) -> None:
    outcome = run_command("explore", *words)
    assert outcome.status == 2
    assert outcome.error.startswith(sentence)
    assert outcome.error.count("\n") == 1


def test_without_the_extra_there_is_a_sentence(
    run_command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "find_spec", lambda name: None)
    outcome = run_command("explore")
    assert outcome.status == 2
    assert "pip install 'cnn_experiments[explore]'" in outcome.error


def test_from_python(digits: Path, tmp_path: Path, settings: Callable[..., Settings]) -> None:
    explored.write_run(tmp_path / "run", settings(*explored.WORDS["lenet5"]))
    run = cnn.open_run(tmp_path / "run")
    with run.explore(with_=tmp_path / "run", open=False) as started:
        found = with_tab(started, lambda page: page.ask("runs"))
        assert len(found["answer"]["runs"]) == 2
        assert found["answer"]["differences"] == []
        run.network().double()  # as during a test in double precision
        found = with_tab(started, lambda page: page.ask("look", image=DRAWING))
        assert "answer" in found
    assert started._ended.is_set()


def test_the_browser_is_opened_where_there_is_a_screen(
    running: Server, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server.sys, "platform", "linux")
    server.show(running.address)
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    server.show(running.address)
    assert opened == [running.address]


def test_stopping_takes_no_time(subject: Subject) -> None:
    started = Server([subject])
    with_tab(started, lambda page: page.ask("runs"))
    before = time.monotonic()
    started.close()
    assert time.monotonic() - before < 10
