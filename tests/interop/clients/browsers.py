"""Headless browsers: two RTCPeerConnections in one page that may use relayed candidates only (browser/page.mjs)."""

import json
import shutil
import subprocess
from pathlib import Path

from rig import process
from rig.dialogue import Dialogue
from rig.process import Failure
from rig.suite import Case

BROWSER = Path(__file__).resolve().parent.parent / "browser"
MESSAGES = 200
FRAMES = 30


class Browser:
    """A browser that stays open between its cases, since starting one takes longer than a call."""

    name = program = driver = None
    # Where TLS is asked for; the certificate is for both.
    tls_host = "127.0.0.1"

    def __init__(self):
        self._dialogue = None
        self._server = None

    def profile(self, server):
        """The profile's folder; None where the driver makes one."""

    def call(self, server, url, credential=None, patience=90):
        """Makes the call and returns what the page measured."""
        if self._server is not server:
            self._close()
            self._open(server)
        username, password = credential or server.ephemeral()
        job = {
            "iceServer": {"urls": url, "username": username, "credential": password},
            "messages": MESSAGES,
            "frames": FRAMES,
        }
        try:
            self._dialogue.tell(job)
            return self._dialogue.hear(patience)
        except Failure:
            self._close()
            raise

    def _open(self, server):
        node = process.require("node", "nodejs")
        if not (BROWSER / "node_modules" / self.driver).is_dir():
            raise Failure(f"{self.driver} is not installed: run tests/interop/install")
        program = process.require(self.program, self.program)
        profile = self.profile(server)
        home = server.workdir / f"{self.name}-home"
        home.mkdir(exist_ok=True)
        log = server.workdir / f"{self.name}.log"
        self._dialogue = Dialogue(self.name, [node, BROWSER / "call.mjs"], log, env={"HOME": str(home)})
        self._server = server
        self._dialogue.tell({"browser": self.name, "program": program, "profile": profile})

    def _close(self):
        if self._dialogue:
            self._dialogue.close()
        self._dialogue = self._server = None


class Chromium(Browser):
    """Debian's Chromium, driven by playwright-core. It takes any certificate."""

    name = program = "chromium"
    driver = "playwright-core"


class Firefox(Browser):
    """Debian's Firefox, driven by puppeteer-core. It verifies certificates, by an authority in its profile."""

    name = "firefox"
    program = "firefox-esr"
    driver = "puppeteer-core"
    tls_host = "localhost"

    def profile(self, server):
        """A new profile that trusts the authority of the run."""
        certutil = process.require("certutil", "libnss3-tools")
        profile = server.workdir / "firefox-profile"
        shutil.rmtree(profile, ignore_errors=True)
        profile.mkdir()
        trust = ["-A", "-n", "authority", "-t", "C,,", "-i", server.certificate.authority]
        for words in (["-N", "--empty-password"], trust):
            done = subprocess.run([certutil, "-d", f"sql:{profile}", *words], capture_output=True, text=True)
            if done.returncode != 0:
                raise Failure(f"certutil {words[0]}: exit status {done.returncode}", done.stderr)
        return str(profile)


def relayed_call(browser, url, protocol):
    """A case body: video and a data channel flow over a relay/relay pair, reached over `protocol`."""

    def body(server):
        result = browser.call(server, url)
        shown = json.dumps(result, indent=1)
        if result["error"]:
            raise Failure(result["error"], shown)
        for side in ("caller", "callee"):
            pair = result[side]
            if pair["state"] != "succeeded" or (pair["local"], pair["remote"]) != ("relay", "relay"):
                raise Failure(f"{side}: pair {pair['local']}/{pair['remote']} is {pair['state']}", shown)
            if pair["relayProtocol"] != protocol:
                raise Failure(f"{side} reaches the relay over {pair['relayProtocol']}, not {protocol}", shown)
        if result["echoed"] != MESSAGES or result["spoiled"]:
            raise Failure(f"{result['echoed']} of {MESSAGES} messages echoed, {result['spoiled']} spoiled", shown)
        decoded = result["framesDecoded"]
        if decoded[1] - decoded[0] < FRAMES:
            raise Failure(f"video stands still: {decoded[0]} frames decoded, then {decoded[1]}", shown)
        return (
            f"frames decoded {decoded[0]} -> {decoded[1]}, {result['echoed']} messages echoed, "
            f"pair relay/relay over {protocol}, round trip {result['caller']['roundTrip'] * 1000:.0f} ms"
        )

    return body


def wrong_password(browser):
    """A case body: the browser is told why it gets no candidate."""

    def body(server):
        result = browser.call(server, "turn:127.0.0.1:3478?transport=udp", (server.user, "not-the-password"))
        codes = sorted({error["code"] for error in result["candidateErrors"]})
        if not result["error"] or 401 not in codes:
            raise Failure("no 401 candidate error", json.dumps(result, indent=1))
        return f"no candidate, candidate error {codes[0]}"

    return body


def cases(browser):
    """The same for every browser."""
    bodies = {
        "relay-udp": relayed_call(browser, "turn:127.0.0.1:3478?transport=udp", "udp"),
        "relay-tcp": relayed_call(browser, "turn:127.0.0.1:3478?transport=tcp", "tcp"),
        "relay-tls": relayed_call(browser, f"turns:{browser.tls_host}:5349?transport=tcp", "tls"),
        "relay-udp-ipv6": relayed_call(browser, "turn:[::1]:3478?transport=udp", "udp"),
        "wrong-password": wrong_password(browser),
    }
    return [Case(f"{browser.name}/{name}", body, credentials="ephemeral") for name, body in bodies.items()]


CASES = cases(Chromium()) + cases(Firefox())
