"""Two libnice agents under GStreamer's nicesrc and nicesink, relayed candidates only (nice_call.py)."""

import json
from pathlib import Path

from rig import process
from rig.process import Failure
from rig.suite import Case

HERE = Path(__file__).resolve().parent
# Debian's: the bindings are built for it, whichever python3 comes first in the path.
PYTHON = Path("/usr/bin/python3")
PACKAGES = "python3-gi gir1.2-gstreamer-1.0 gir1.2-nice-0.1 gstreamer1.0-nice gstreamer1.0-plugins-base"
MESSAGES = 200
SIZE = 500


def call(server, transport, host="127.0.0.1", password=None, patience=20):
    """Makes the call and returns what the agents measured."""
    job = {
        "turn": {
            "host": host,
            "port": server.site.ports[0],
            "username": server.user,
            "password": password or server.password,
            "transport": transport,
        },
        "messages": MESSAGES,
        "size": SIZE,
        "patience": patience,
    }
    status, output = process.run(
        [PYTHON, "-B", HERE / "nice_call.py"], server.case_log, patience + 20, stdin_text=json.dumps(job)
    )
    lines = [line for line in output.splitlines() if line.startswith('{"')]
    if "ImportError" in output or "ModuleNotFoundError" in output or "Namespace" in output:
        raise Failure(f"Debian packages are missing: {PACKAGES}", output)
    if status != 0 or not lines:
        raise Failure(f"the agents ended with exit status {status}", output)
    return json.loads(lines[-1])


def relay_only(transport, host="127.0.0.1"):
    """A case body: data flows both ways over a relay/relay pair."""

    def body(server):
        result = call(server, transport, host)
        shown = json.dumps(result, indent=1)
        if result["error"]:
            raise Failure(result["error"], shown)
        if result["pair"] != ["relay/relay"] * 2:
            raise Failure(f"the chosen pairs are {result['pair']}", shown)
        if result["received"] != [MESSAGES] * 2 or result["wrong"] != [0, 0]:
            raise Failure(f"{result['received']} of {MESSAGES} messages came, {result['wrong']} wrong", shown)
        return f"{MESSAGES} messages of {SIZE} bytes each way, pair relay/relay over {transport}"

    return body


def wrong_password(server):
    """Agents that do not know the password get no candidate."""
    result = call(server, "udp", password="not-the-password", patience=10)
    if result["error"] != "no relayed candidate":
        raise Failure("candidates in spite of a wrong password", json.dumps(result, indent=1))
    return "no relayed candidate on either side"


CASES = [
    Case("gstreamer/relay-only-udp", relay_only("udp")),
    Case("gstreamer/relay-only-tcp", relay_only("tcp")),
    Case("gstreamer/relay-only-ipv6-server", relay_only("udp", host="::1")),
    Case("gstreamer/wrong-password", wrong_password),
]
