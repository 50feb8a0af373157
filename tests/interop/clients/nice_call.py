"""Two libnice agents in one process that call each other, and GStreamer's elements that send and receive over them.

For Debian's python3, whose GObject introspection reaches both. A job as one JSON object on standard input, what was
measured as one line on standard output:

    in   {"turn": {"host", "port", "username", "password", "transport": "udp"|"tcp"}, "messages", "size", "patience"}
    out  {"error", "candidates": [a's, b's], "pair": ["relay/relay", ...], "received": [a's, b's], "wrong": [...]}
"""

import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("Nice", "0.1")
from gi.repository import GLib, Gst, Nice

COMPONENT = 1
PAUSE_MS = 5  # between two messages


class Agent:
    """One side of the call, with its two pipelines: appsrc to nicesink, nicesrc to appsink."""

    def __init__(self, name, job, context):
        self.name = name
        self.job = job
        self.gathered = self.ready = False
        self.failed = False
        self.pair = "none"
        self.wanted = set()
        self.wrong = 0
        self.sent = 0
        turn = job["turn"]
        self.agent = Nice.Agent.new(context, Nice.Compatibility.RFC5245)
        for option, value in (("force-relay", True), ("upnp", False), ("ice-tcp", False)):
            self.agent.set_property(option, value)
        self.agent.set_property("controlling-mode", name == "a")
        local = Nice.Address()
        local.set_from_string("127.0.0.1" if ":" not in turn["host"] else "::1")
        self.agent.add_local_address(local)
        self.agent.connect("candidate-gathering-done", self._on_gathered)
        self.agent.connect("component-state-changed", self._on_state)
        self.agent.connect("new-selected-pair-full", self._on_pair)
        self.stream = self.agent.add_stream(COMPONENT)
        kind = {"udp": Nice.RelayType.UDP, "tcp": Nice.RelayType.TCP}[turn["transport"]]
        account = (turn["host"], turn["port"], turn["username"], turn["password"])
        self.agent.set_relay_info(self.stream, COMPONENT, *account, kind)

        place = f"stream={self.stream} component={COMPONENT}"
        self.pipeline = Gst.parse_launch(
            # Neither sink waits for the other's first buffer before it plays.
            f"nicesrc name=from {place} ! appsink name=in emit-signals=true sync=false async=false "
            f"appsrc name=out ! nicesink name=to {place} sync=false async=false"
        )
        for element in ("from", "to"):
            self.pipeline.get_by_name(element).set_property("agent", self.agent)
        self.pipeline.get_by_name("in").connect("new-sample", self._on_sample)

    def _on_gathered(self, _agent, _stream):
        self.gathered = True

    def _on_state(self, _agent, _stream, _component, state):
        self.ready = state == Nice.ComponentState.READY
        self.failed = self.failed or state == Nice.ComponentState.FAILED

    def _on_pair(self, _agent, _stream, _component, local, remote):
        self.pair = f"{kind(local)}/{kind(remote)}"

    def _on_sample(self, sink):
        buffer = sink.emit("pull-sample").get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        if data in self.wanted:
            self.wanted.remove(data)
        else:
            self.wrong += 1
        return Gst.FlowReturn.OK

    def message(self, number):
        return f"{self.name} {number} ".encode().ljust(self.job["size"], b".")

    def send(self):
        """Sends the next message; false after the last."""
        self.pipeline.get_by_name("out").emit("push-buffer", Gst.Buffer.new_wrapped(self.message(self.sent)))
        self.sent += 1
        return self.sent < self.job["messages"]

    def call(self, other):
        """Takes the other side's description, and expects its messages."""
        found, ufrag, password = other.agent.get_local_credentials(other.stream)
        self.agent.set_remote_credentials(self.stream, ufrag, password)
        self.agent.set_remote_candidates(self.stream, COMPONENT, other.candidates())
        self.wanted = {other.message(number) for number in range(self.job["messages"])}

    def candidates(self):
        return self.agent.get_local_candidates(self.stream, COMPONENT)


def kind(candidate):
    names = {Nice.CandidateType.HOST: "host", Nice.CandidateType.RELAYED: "relay"}
    return names.get(candidate.type, "reflexive")


def main():
    job = json.load(sys.stdin)
    Gst.init(None)
    context = GLib.MainContext.default()
    agents = [Agent(name, job, context) for name in "ab"]
    deadline = GLib.get_monotonic_time() + job["patience"] * 1_000_000

    def until(what, holds):
        while not holds():
            if GLib.get_monotonic_time() > deadline:
                raise TimeoutError(f"{what} took more than {job['patience']} s")
            context.iteration(True)

    # Wakes the loop, so that the time is looked at.
    GLib.timeout_add(50, lambda: True)
    error = None
    try:
        for agent in agents:
            agent.pipeline.set_state(Gst.State.PLAYING)
            agent.agent.gather_candidates(agent.stream)
        until("gathering", lambda: all(agent.gathered for agent in agents))
        if not all(agent.candidates() for agent in agents):
            raise ConnectionError("no relayed candidate")
        for agent, other in zip(agents, reversed(agents)):
            agent.call(other)
        until("connecting", lambda: all(a.ready for a in agents) or any(a.failed for a in agents))
        if any(agent.failed for agent in agents):
            raise ConnectionError("ICE failed")
        for agent in agents:
            GLib.timeout_add(PAUSE_MS, agent.send)
        until("exchanging", lambda: not any(agent.wanted for agent in agents))
    except (TimeoutError, ConnectionError) as failure:
        error = str(failure)
    result = {
        "error": error,
        "candidates": [[kind(candidate) for candidate in agent.candidates()] for agent in agents],
        "pair": [agent.pair for agent in agents],
        "received": [job["messages"] - len(agent.wanted) for agent in agents],
        "wrong": [agent.wrong for agent in agents],
    }
    print(json.dumps(result), flush=True)
    # Gives the relays back: without this they outlive the process until their lifetime ends.
    closed = []
    for agent in agents:
        agent.pipeline.set_state(Gst.State.NULL)
        agent.agent.close_async(lambda *_: closed.append(True))
    end = GLib.get_monotonic_time() + 5_000_000
    while len(closed) < len(agents) and GLib.get_monotonic_time() < end:
        context.iteration(True)


main()
