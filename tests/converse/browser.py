"""A page in a headless Chromium, driven as a person drives it: with a mouse and a keyboard, by what is to be seen.

By the Chrome DevTools Protocol, https://chromedevtools.github.io/devtools-protocol/.
"""

import asyncio
import base64
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS = 30.0
SECONDS = 20.0
SCREEN = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}

# What a person sees of a selector, perhaps with a text in it; and where to click it, once nothing lies above it and it
# has come to rest.
_EYES = """
window.seen = (selector, text) => [...document.querySelectorAll(selector)].filter(
    one => one.checkVisibility({visibilityProperty: true}) && one.getClientRects().length > 0
        && (text === null || (one.innerText ?? '').includes(text) || one.value === text));
window.place = async (selector, text) => {
    const one = seen(selector, text).at(-1);
    if (!one) return null;
    one.scrollIntoView({block: 'nearest', behavior: 'instant'});
    const at = () => {
        const box = one.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    };
    const before = at();
    await new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    const [x, y] = at();
    const hit = document.elementFromPoint(x, y);
    return x === before[0] && y === before[1] && hit && (one.contains(hit) || hit.contains(one)) ? [x, y] : null;
};
"""
_KEYS = {"Enter": 13, "ArrowUp": 38, "Escape": 27}


def chromium() -> str:
    """Return the browser's program. Skip the test where there is none; CI has one."""
    for name in PROGRAMS:
        if (found := shutil.which(name)) is not None:
            return found
    missing = "Chromium is missing: apt-get install chromium"
    pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    raise AssertionError


class Page:
    """The one page of a browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Take the page's own debugging socket."""
        self.said: list[str] = []
        """What the page has written on its console, and what went wrong in it."""
        self._socket = socket
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}

    @classmethod
    @asynccontextmanager
    async def opens(
        cls, directory: Path, *, trusted: Sequence[str] = (), hosts: Mapping[str, str] | None = None
    ) -> AsyncIterator["Page"]:
        """Start a browser with its profile in `directory`; it is gone afterwards, whatever happened.

        `trusted` are public keys (SHA-256, base64) of servers whose certificates nobody vouches for; `hosts` says where
        names lead, as `{"hs1:443": "127.0.0.1:10443"}`.
        """
        rules = [f"MAP {name} {address}" for name, address in (hosts or {}).items()]
        # There is nothing else in the world.
        rules.append("MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        process = await asyncio.create_subprocess_exec(
            chromium(), "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={directory}",
            # Root may not use the sandbox, and CI is root; /dev/shm is small in containers.
            "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run", "--disable-extensions",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
            "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--lang=en-US",
            "--hide-scrollbars", f"--host-resolver-rules={', '.join(rules)}",
            f"--ignore-certificate-errors-spki-list={','.join(trusted)}", "about:blank",
            env={**os.environ, "LANGUAGE": "en", "TZ": "UTC"},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with aiohttp.ClientSession() as http:
                url = await _debugging_url(http, directory / "DevToolsActivePort", process)
                async with http.ws_connect(url, max_msg_size=0) as socket:
                    page = cls(socket)
                    listening = asyncio.create_task(page._listens())
                    for domain in ("Page", "Runtime", "Log", "DOM"):
                        await page.asks(f"{domain}.enable")
                    await page.asks("Page.addScriptToEvaluateOnNewDocument", source=_EYES)
                    await page.asks("Emulation.setDeviceMetricsOverride", **SCREEN)
                    yield page
                    listening.cancel()
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(5):
                        await process.wait()
                except TimeoutError:
                    process.kill()
            await process.wait()

    async def asks(self, method: str, **parameters: Any) -> Any:
        """Send a command of the protocol; return its result."""
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(SECONDS):
            return await answer

    async def _listens(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                answer = self._asked.pop(told["id"])
                if answer.done():
                    continue
                if "error" in told:
                    answer.set_exception(AssertionError(told["error"]["message"]))
                else:
                    answer.set_result(told["result"])
            elif told["method"] == "Runtime.consoleAPICalled":
                self.said.append(
                    " ".join(str(one.get("value", one.get("description"))) for one in told["params"]["args"])
                )
            elif told["method"] == "Runtime.exceptionThrown":
                details = told["params"]["exceptionDetails"]
                self.said.append(details.get("exception", {}).get("description", details["text"]))
            elif told["method"] == "Log.entryAdded":
                entry = told["params"]["entry"]
                self.said.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")

    async def goes(self, url: str) -> None:
        """Open an address."""
        await self.asks("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def loads_again(self) -> None:
        """Load the page anew."""
        await self.evaluates("window.before = true")
        await self.asks("Page.reload")
        await self.until("window.before === undefined && document.readyState === 'complete'")

    async def evaluates(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        result = await self.asks("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, f"{expression}: {result['exceptionDetails']}"
        return result["result"].get("value")

    async def until(self, expression: str, seconds: float = SECONDS) -> Any:
        """Wait until an expression is true in the page; return what it is."""
        try:
            async with asyncio.timeout(seconds):
                while not (value := await self.evaluates(expression)):  # noqa: ASYNC110 - nobody tells us
                    await asyncio.sleep(0.03)
                return value
        except TimeoutError:
            shown = await self.evaluates("document.body.innerText")
            raise AssertionError(
                f"never {expression}; the page shows:\n{shown}\n" + "\n".join(self.said[-20:])
            ) from None

    async def sees(self, selector: str, text: str | None = None) -> None:
        """Wait until something is to be seen."""
        await self.until(f"seen({_js(selector, text)}).length > 0")

    async def sees_no(self, selector: str, text: str | None = None) -> None:
        """Wait until something is no longer to be seen."""
        await self.until(f"seen({_js(selector, text)}).length === 0")

    async def reads(self, selector: str) -> list[str]:
        """Return the texts of all that is to be seen of a selector, from the first on."""
        return [
            str(text).strip() for text in await self.evaluates(f"seen({_js(selector, None)}).map(one => one.innerText)")
        ]

    async def points_at(self, selector: str, text: str | None = None) -> tuple[float, float]:
        """Move the mouse to the last that is to be seen; return where that is."""
        x, y = await self.until(f"place({_js(selector, text)})")
        await self.asks("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return x, y

    async def clicks(self, selector: str, text: str | None = None) -> None:
        """Click the last that is to be seen."""
        x, y = await self.points_at(selector, text)
        for kind in ("mousePressed", "mouseReleased"):
            await self.asks("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def turns(self, selector: str, pixels: int) -> None:
        """Turn the mouse wheel over something: up by a negative number."""
        x, y = await self.points_at(selector)
        await self.asks("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=pixels)

    async def fills(self, selector: str, text: str) -> None:
        """Click a field and put a text in it, in the place of what is there."""
        await self.clicks(selector)
        await self.evaluates("document.activeElement.select()")
        await self.asks("Input.insertText", text=text)

    async def presses(self, key: str) -> None:
        """Press a key: a letter, or one of those with names."""
        named: dict[str, Any] = {"windowsVirtualKeyCode": _KEYS[key]} if key in _KEYS else {"text": key}
        if key == "Enter":
            named["text"] = "\r"
        await self.asks("Input.dispatchKeyEvent", type="keyDown", key=key, **named)
        await self.asks("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def chooses_file(self, selector: str, file: Path) -> None:
        """Choose a file where a page asks for one: the dialogue that its button opens is none of the page's."""
        last = f"[...document.querySelectorAll({json.dumps(selector)})].at(-1)"
        await self.until(f"{last} !== undefined")
        found = await self.asks("Runtime.evaluate", expression=last)
        await self.asks("DOM.setFileInputFiles", files=[str(file)], objectId=found["result"]["objectId"])

    async def draws(self) -> bytes:
        """Return a picture of the page, as PNG."""
        return base64.b64decode((await self.asks("Page.captureScreenshot", format="png"))["data"])


def _js(selector: str, text: str | None) -> str:
    return f"{json.dumps(selector)}, {json.dumps(text)}"


async def _debugging_url(http: aiohttp.ClientSession, port_file: Path, process: asyncio.subprocess.Process) -> str:
    """Return the address of the page's debugging socket, as soon as the browser is there."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            assert process.returncode is None, "Chromium does not start"
            if port := _port(port_file):
                async with http.get(f"http://127.0.0.1:{port}/json/list") as response:
                    pages = [one for one in await response.json() if one["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)


def _port(file: Path) -> str | None:
    """Return what a browser has written of where it can be reached, None before it has."""
    lines = file.read_text().splitlines() if file.exists() else []
    return lines[0] if len(lines) > 1 else None
