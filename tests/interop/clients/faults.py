"""What the system does to a server while clients talk: the clock is set, the disk fills up, the process is stopped."""

import os
import signal
import struct
import time
from pathlib import Path

from rig import turn
from rig.process import Failure
from rig.suite import Case

from .churn import CHANNEL, HERE, SERVER, TLS, Echo
from .soak import holdings, memory

DAY = 86_400
# Longer than clients wait for an answer.
STOPPED = 30
LINKS = ("udp", "tcp", "tls")


class Party:
    """A client of each kind with a call to a peer that answers."""

    def __init__(self, server):
        self.server = server
        self.echo = Echo()
        self.clients = [self.newcomer(link) for link in LINKS]

    def newcomer(self, link, credential=None):
        user, password = credential or (self.server.user, self.server.password)
        client = turn.Client(TLS if link == "tls" else SERVER, user, password, link)
        client.allocate()
        client.bind(CHANNEL, self.echo.address)
        return client

    def talk(self, when):
        for client in self.clients:
            for number in range(20):
                sent = b"%s %d" % (when.encode(), number)
                client.send_channel(CHANNEL, sent)
                if client.receive(2) != (CHANNEL, sent):
                    raise Failure(f"no echo over {client.link} {when}")

    def refresh(self, when):
        for client in self.clients:
            try:
                granted = client.refresh(600)
            except (turn.Refused, OSError) as error:
                raise Failure(f"a Refresh over {client.link} {when}: {error}") from None
            if granted != 600:
                raise Failure(f"a Refresh over {client.link} {when} was granted {granted} s")

    def leave(self):
        for client in self.clients:
            client.refresh(0)
            client.close()
        self.echo.close()
        if left := holdings()["allocations"]:
            raise Failure(f"{left:g} allocations are left")


def set_clock(server, seconds):
    server.site.clock.write_bytes(struct.pack("=q", seconds))


def clock_jumps(server):
    """Calls go on and are refreshed, whatever their credentials; those of newcomers are judged by the clock as it is."""
    party = Party(server)
    before = int(time.time())
    credential = server.ephemeral()
    guest = party.newcomer("udp", credential)
    told = []
    try:
        for offset in (DAY, -DAY, 400 * DAY, 0):
            set_clock(server, offset)
            when = f"with the clock at {offset / DAY:+.0f} days"
            party.talk(when)
            party.refresh(when)
            party.newcomer("udp").refresh(0)
            # Whose credential lasts for an hour: what it opened stays, by the time that has passed.
            guest.refresh(600)
            try:
                party.newcomer("udp", credential).refresh(0)
                admitted = True
            except turn.Refused as refused:
                admitted = refused.code
            if admitted != (401 if offset > 0 else True):
                raise Failure(f"a new client with a credential of an hour {when}: {admitted}")
            told.append(f"{offset / DAY:+.0f}")
        guest.refresh(0)
    finally:
        set_clock(server, 0)
    if abs(time.time() - before) > DAY / 2:
        raise Failure("the machine's own clock moved")
    party.leave()
    return f"days {', '.join(told)}: calls over {', '.join(LINKS)} go on, Refreshes are granted, newcomers served"


def full_disk(server):
    """Nothing can be logged, everybody is served; and there is a log again when there is room."""
    party = Party(server)
    ballast = server.log.parent / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass
    full = server.log_size()
    # More lines than the page that may be left of the file has room for.
    for _ in range(100):
        party.newcomer("udp").refresh(0)
    party.talk("with a full disk")
    party.refresh("with a full disk")
    if server.log_size() > full + 4096:
        raise Failure("the disk was not full")
    ballast.unlink()
    stopped_at = server.log_size()
    party.newcomer("tcp").refresh(0)
    deadline = time.monotonic() + 5
    while server.log_size() == stopped_at:
        if time.monotonic() > deadline:
            raise Failure("nothing is logged any more though there is room")
        time.sleep(0.05)
    party.leave()
    return "100 allocations and the calls of 3 clients with no room for the log, which goes on when there is some"


def stopped(server):
    """SIGSTOP while clients talk, SIGCONT half a minute later: all of them go on."""
    party = Party(server)
    before = memory(server)
    os.kill(server.child.process.pid, signal.SIGSTOP)
    began, sent = time.monotonic(), 0
    while time.monotonic() - began < STOPPED:
        for client in party.clients:
            client.sock.settimeout(0.001)
            try:
                client.send_channel(CHANNEL, bytes(1000))
                sent += 1
            except OSError:
                # A connection takes what the kernel has room for; half a frame would be the end of it.
                raise Failure(f"{client.link} was not writable") from None
        time.sleep(0.05)
    os.kill(server.child.process.pid, signal.SIGCONT)
    resumed = time.monotonic()
    late = 0
    for client in party.clients:
        while client.receive(0.5) is not None:
            late += 1
    took = time.monotonic() - resumed
    party.talk("after SIGCONT")
    party.refresh("after SIGCONT")
    party.newcomer("tcp").refresh(0)
    party.leave()
    return f"{sent} packets sent into {STOPPED} s of silence, {late} came back in {took:.1f} s; calls go on; memory {(memory(server) - before) / 1024:+.1f} MiB"


CASES = [
    Case("faults/clock-jumps", clock_jumps, hairpin_only=True),
    Case("faults/full-disk", full_disk, hairpin_only=True),
    Case("faults/stopped-and-continued", stopped, hairpin_only=True),
]
