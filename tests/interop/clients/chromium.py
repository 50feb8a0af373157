"""Headless Chromium: two RTCPeerConnections in one page that may use relayed candidates only (browser/call.mjs)."""

import json
from pathlib import Path

from rig import process
from rig.process import Failure
from rig.suite import Case

BROWSER = Path(__file__).resolve().parent.parent / "browser"
MESSAGES = 200
FRAMES = 30


def call(server, url, credential=None, patience=90):
    """Makes the call and returns what the page measured."""
    chromium = process.require("chromium", "chromium")
    node = process.require("node", "nodejs")
    if not (BROWSER / "node_modules/playwright-core").is_dir():
        raise Failure("playwright-core is not installed: run tests/interop/install")
    username, password = credential or server.ephemeral()
    job = {
        "chromium": chromium,
        "iceServer": {"urls": url, "username": username, "credential": password},
        "messages": MESSAGES,
        "frames": FRAMES,
    }
    home = server.workdir / "chromium-home"
    home.mkdir(exist_ok=True)
    status, output = process.run(
        [node, BROWSER / "call.mjs"], server.case_log, patience, stdin_text=json.dumps(job), env={"HOME": str(home)}
    )
    lines = [line for line in output.splitlines() if line.startswith('{"')]
    if status != 0 or not lines:
        raise Failure(f"the browser's script ended with exit status {status}", output)
    return json.loads(lines[-1])


def relayed_call(url, protocol):
    """A case body: video and a data channel flow over a relay/relay pair, reached over `protocol`."""

    def body(server):
        result = call(server, url)
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


def wrong_password(server):
    """The browser is told why it gets no candidate."""
    result = call(server, "turn:127.0.0.1:3478?transport=udp", (server.user, "not-the-password"))
    codes = sorted({error["code"] for error in result["candidateErrors"]})
    if not result["error"] or 401 not in codes:
        raise Failure("no 401 candidate error", json.dumps(result, indent=1))
    return f"no candidate, candidate error {codes[0]}"


CASES = [
    Case("chromium/relay-udp", relayed_call("turn:127.0.0.1:3478?transport=udp", "udp"), credentials="ephemeral"),
    Case("chromium/relay-tcp", relayed_call("turn:127.0.0.1:3478?transport=tcp", "tcp"), credentials="ephemeral"),
    Case("chromium/relay-tls", relayed_call("turns:127.0.0.1:5349?transport=tcp", "tls"), credentials="ephemeral"),
    Case("chromium/relay-udp-ipv6", relayed_call("turn:[::1]:3478?transport=udp", "udp"), credentials="ephemeral"),
    Case("chromium/wrong-password", wrong_password, credentials="ephemeral"),
]
