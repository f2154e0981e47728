"""A headless Chromium over a pipe, where one is on PATH: enough of the DevTools protocol to type, click and look."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio", "--remote-debugging-pipe",
    "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
WAIT = 60.0  # seconds for an answer


def find():
    """The path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab. Messages are JSON that end in NUL: ours go to its descriptor 3, its own come from 4."""

    def __init__(self, process, inlet, outlet):
        self.process, self.inlet, self.outlet = process, inlet, outlet
        self.buffer, self.count, self.session = b"", 0, None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.send("Page.enable")

    def send(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.inlet, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self):
        while b"\0" not in self.buffer:
            assert select.select([self.outlet], [], [], WAIT)[0], "the browser does not answer"
            read = os.read(self.outlet, 1 << 20)
            assert read, "the browser is gone"
            self.buffer += read
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def size(self, width, height=900):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 700)  # fmt: skip

    def open(self, path):
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.until("document.readyState === 'complete'")

    def js(self, code):
        """The value of an expression, promises awaited."""
        answer = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, code):
        end = time.monotonic() + WAIT
        while not self.js(code):
            assert time.monotonic() < end, f"never came true: {code}"
            time.sleep(0.05)

    def click(self, selector):
        """A real click in the middle of an element."""
        find = f"document.querySelector({json.dumps(selector)})"
        self.js(f"{find}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.js(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({find}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def press(self, key):
        """A real key stroke, such as "1" or "ArrowDown"."""
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def picture(self, path, whole=True):
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def browsing(profile):
    """A Page of a fresh browser whose profile lies in `profile`."""
    into, inlet = os.pipe()
    outlet, out_of = os.pipe()

    def wire():  # in the child: 3 and 4 are where Chromium looks
        for number, descriptor in ((13, into), (14, out_of)):
            os.dup2(descriptor, number)
        os.dup2(13, 3)
        os.dup2(14, 4)

    process = subprocess.Popen(
        [find(), *FLAGS, f"--user-data-dir={profile}", "about:blank"], preexec_fn=wire, close_fds=False,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(into)
    os.close(out_of)
    try:
        yield Page(process, inlet, outlet)
    finally:
        process.terminate()
        process.wait(20)
        os.close(inlet)
        os.close(outlet)
