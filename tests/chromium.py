"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

_START_S = 30.0
_ANSWER_S = 30.0


class Tab:
    """One tab of the browser.

    Attributes:
        complaints: what the page logged as a warning or an error, and its uncaught exceptions.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._loaded = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last = 0
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            data = json.loads(message.data)
            if "id" in data:
                self._waiting.pop(data["id"]).set_result(data)
            elif data["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif data["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(data["params"]["exceptionDetails"]))
            elif data["method"] == "Runtime.consoleAPICalled" and data["params"]["type"] in ("error", "warning"):
                self.complaints.append(str(data["params"]["args"]))
            elif data["method"] == "Log.entryAdded" and data["params"]["entry"]["level"] in ("error", "warning"):
                self.complaints.append(str(data["params"]["entry"]))

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a DevTools command."""
        self._last += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._last] = answer
        await self._socket.send_json({"id": self._last, "method": method, "params": params})
        data = await asyncio.wait_for(answer, _ANSWER_S)
        assert "error" not in data, (method, data)
        return data["result"]

    async def open(self, url: str, size_wh: tuple[int, int], scale: float = 1, *, phone: bool = False) -> None:
        """Show a page at a size in CSS pixels."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.ask(f"{domain}.enable")
        await self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=size_wh[0],
            height=size_wh[1],
            deviceScaleFactor=scale,
            mobile=phone,
        )
        self._loaded.clear()
        await self.ask("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), _ANSWER_S)

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        done = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    async def until(self, expression: str, timeout_s: float = 15) -> Any:
        """What the expression gives, once that is true."""
        end = asyncio.get_running_loop().time() + timeout_s
        while not (value := await self.value(expression)):
            assert asyncio.get_running_loop().time() < end, f"{expression} stays {value!r}; {self.complaints}"
            await asyncio.sleep(0.05)
        return value

    async def screenshot(self) -> bytes:
        """A PNG of what is visible."""
        return base64.b64decode((await self.ask("Page.captureScreenshot", format="png"))["data"])


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Tab]:
    """A tab of a fresh browser; skips the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on the PATH")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        flags += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--mute-audio"]
        command = [program, *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = await _port(Path(profile) / "DevToolsActivePort", process)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                    pages = [one for one in await response.json() if one["type"] == "page"]
                async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    tab = Tab(socket)
                    yield tab
                    tab.reader.cancel()
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    end = asyncio.get_running_loop().time() + _START_S
    while not file.exists() or not file.read_text().strip():
        if process.poll() is not None:
            pytest.skip(f"Chromium does not start here (exit status {process.returncode})")
        assert asyncio.get_running_loop().time() < end, "Chromium opened no port"
        await asyncio.sleep(0.05)
    return int(file.read_text().split()[0])
