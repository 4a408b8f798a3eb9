"""A page in a real browser: headless Chromium, spoken to through its pipe (DevTools protocol), without any package.

    with Browser() as browser:
        browser.open(page, width=420)
        browser.evaluate("document.title")

`audit` looks for what no page may have: errors, sideways scrolling, text that is hard to read, headings that skip a
level, pictures without words, controls without names, links to nothing.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PATIENCE = 60.0  # seconds for an answer: other tests run at the same time
AUDIT = """
(() => {
  const said = [];
  const luminance = c => {
    const [r, g, b] = c.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > .99) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  if (document.documentElement.scrollWidth > innerWidth + 1)
    said.push(`scrolls sideways: ${document.documentElement.scrollWidth} of ${innerWidth} px`);
  let level = 0;
  for (const head of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const own = Number(head.tagName[1]);
    if (own > level + 1) said.push(`heading skips a level: ${head.textContent}`);
    level = own;
  }
  if (document.querySelectorAll("h1").length !== 1) said.push("not one h1");
  for (const img of document.images) if (!img.alt) said.push("picture without words");
  for (const img of document.images)
    if (img.loading !== "lazy" && !(img.complete && img.naturalWidth)) said.push(`picture that is none: ${img.alt}`);
  for (const control of document.querySelectorAll("input, select, button"))
    if (!control.labels?.length && !control.textContent.trim() && !control.getAttribute("aria-label"))
      said.push(`control without a name: ${control.outerHTML.slice(0, 80)}`);
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
  if (new Set(ids).size < ids.length) said.push("an id twice");
  for (const a of document.querySelectorAll('a[href^="#"]'))
    if (!document.getElementById(decodeURIComponent(a.hash.slice(1)))) said.push(`no place ${a.hash}`);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), seen = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || seen.has(element) || seen.size > 3000) continue;
    seen.add(element);
    if (!element.checkVisibility() || element.closest("svg, script, style, option")) continue;
    const [a, b] = [numbers(getComputedStyle(element).color), ground(element)].map(luminance).sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) said.push(`hard to read: ${element.textContent.trim().slice(0, 40)}`);
  }
  return [...new Set(said)];
})()
"""
LINKS = "[...document.querySelectorAll('a[href]')].map(a => a.href)"


class Browser:
    """One Chromium with one tab; `errors`: what its console said of errors since `open`."""

    def __init__(self) -> None:
        assert CHROMIUM
        self.home = tempfile.mkdtemp(prefix="browser-")
        to_read, self._to_write = os.pipe()
        self._to_read, to_write = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe",
                 f"--user-data-dir={self.home}", "about:blank"]  # fmt: skip
        script = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'  # where Chromium looks for the pipe
        self._process = subprocess.Popen(
            ["bash", "-c", script, CHROMIUM, *flags], pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._number, self._rest, self._session = 0, b"", ""
        self.errors: list[str] = []
        self._events: list[str] = []

    def __enter__(self) -> Self:
        targets = self._call("Target.getTargets")["targetInfos"]
        tab = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._to_read)
        os.close(self._to_write)
        shutil.rmtree(self.home, ignore_errors=True)

    def open(self, page: Path, width: int = 1400, height: int = 900, fragment: str = "") -> None:
        """Load a file and wait until it and its pictures are there."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._events = []
        for address in ("about:blank", page.resolve().as_uri() + fragment):  # another fragment alone loads nothing
            self.errors = []
            self._call("Page.navigate", url=address)
            self.wait_for_load()

    def wait_for_load(self) -> None:
        """Until the page that is being loaded is there."""
        until = time.monotonic() + PATIENCE
        while "Page.loadEventFired" not in self._events:
            self._receive(until)
        self._events = []

    def wait_for(self, condition: str) -> None:
        """Until an expression is true, on whatever page is there then."""
        until = time.monotonic() + PATIENCE
        while not self.evaluate(condition):
            assert time.monotonic() < until, condition
            time.sleep(0.05)

    def evaluate(self, script: str) -> Any:
        """The value of an expression on the page. Raises AssertionError where it fails."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def hover(self, x: float, y: float) -> None:
        """Move the mouse to a place of the window."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Press and let go there."""
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def middle(self, selector: str) -> tuple[float, float]:
        """Where the first element that a selector names is, after it was scrolled to."""
        element = f"const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
        box = "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2];"
        x, y = self.evaluate(f"(() => {{ {element} {box} }})()")
        return x, y

    def audit(self) -> list[str]:
        """What is wrong with the page that is open, in words; empty where nothing is."""
        found = [*self.evaluate(AUDIT), *self.errors]
        for address in self.evaluate(LINKS):
            parts = urlsplit(address)
            if parts.scheme == "file" and not Path(unquote(parts.path)).exists():
                found.append(f"leads nowhere: {unquote(parts.path)}")
        return found

    def picture(self, file: Path) -> None:
        """A PNG of the whole page."""
        answer = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._to_write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(until)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _receive(self, until: float) -> dict[str, Any]:
        """The next message; events are noted."""
        while b"\0" not in self._rest:
            ready = select.select([self._to_read], [], [], max(until - time.monotonic(), 0))[0]
            assert ready, "Chromium does not answer"
            self._rest += os.read(self._to_read, 1 << 20)
        text, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        method, parameters = message.get("method", ""), message.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            self.errors.append(f"script: {parameters['exceptionDetails']}")
        elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.errors.append(f"console: {parameters['args']}")
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(f"log: {parameters['entry']['text']}")
        return message
