"""One ICE agent, made of aioice, that is told over standard input what to do and answers on standard output.

Runs in the suites' virtual environment, one process an agent, so that two of them can live in different
network namespaces. Both directions are one JSON object a line:

    in   {"controlling", "policy": "relay"|"all", "turn": {"host", "port", "username", "password",
          "transport", "tls"?}|null, "stun": [host, port]|null, "messages", "size", "patience",
          "ipv6"?, "head_start"?, "linger"?}
    out  {"ufrag", "pwd", "candidates"}          the agent's own side
    in   the other agent's line
    out  {"received", "wrong", "local", "remote", "leg", "gathered", "connected"}  or {"error"}
    in   anything, or the end of input: close

"turn" may be a list, the best first. aioice takes one server, so the agent asks all of them at once who is there and
takes the first that answers; where that is not by UDP, it does without the STUN server as well.

aioice keeps the first pair that works. "head_start" gives direct pairs so many seconds before pairs with a relay are
tried. "linger" is how long to wait for a next message, "patience" where it is missing. "gathered" and
"connected" are the seconds until the candidates were there, and from the other's line to the chosen pair; "leg" is the
way to the TURN server: udp, tcp or tls.

Its log, on standard error, is aioice's own.
"""

import asyncio
import json
import logging
import os
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aioice

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from rig import stun

PAUSE = 0.005  # between two messages: 200 a second
PROBE = 1.2  # seconds for a server to say that it is there


class Patient(aioice.Connection):
    """A connection that tries pairs with a relay only after `head_start` seconds."""

    head_start = 0.0
    _relays_from = 0.0

    async def connect(self):
        self._relays_from = time.monotonic() + self.head_start
        await super().connect()

    def check_start_task(self, pair):
        # A pair that has to wait stays as it is, and is found again by the periodic look.
        if not self._has_to_wait(pair):
            super().check_start_task(pair)

    def _check_periodic(self):
        if self._check_list_done or time.monotonic() >= self._relays_from:
            return super()._check_periodic()
        for state in (aioice.ice.CandidatePair.State.WAITING, aioice.ice.CandidatePair.State.FROZEN):
            for pair in self._check_list:
                if pair.state == state and pair.task is None and not self._has_to_wait(pair):
                    self.check_start_task(pair)
                    return True
        return True

    def _has_to_wait(self, pair):
        relayed = "relay" in (pair.local_candidate.type, pair.remote_candidate.type)
        return relayed and time.monotonic() < self._relays_from


def leg(account):
    """How an account's server is reached."""
    return "tls" if account.get("tls") else account["transport"]


def answers(account):
    """Whether a server answers a Binding request, over TLS only where its certificate holds."""
    address = (account["host"], account["port"])
    try:
        if leg(account) == "udp":
            with socket.socket(stun.family(address[0]), socket.SOCK_DGRAM) as sock:
                stun.binding(sock, address, timeout=PROBE / 3, tries=3)
            return True
        with socket.create_connection(address, timeout=PROBE) as sock:
            if leg(account) == "tls":
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=address[0])
            with sock:
                stun.binding(sock, timeout=PROBE, tries=1)
        return True
    except (OSError, ValueError):
        return False


async def choose(accounts):
    """The first of the accounts whose server answers, or None."""
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(max_workers=len(accounts))
    asked = [loop.run_in_executor(threads, answers, account) for account in accounts]
    for account, answer in zip(accounts, asked):
        if await answer:
            return account
    return None


def tell(**what):
    print(json.dumps(what), flush=True)


async def read_line():
    """One line of standard input as JSON; None at its end."""
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return json.loads(line) if line.strip() else None


def message(side, number, size):
    """The text that one side sends as its nth message."""
    return f"{side} {number} ".encode().ljust(size, b".")


async def exchange(connection, job):
    """Sends all messages and takes in the other side's: (how many distinct ones came, how many were wrong)."""
    mine, other = ("a", "b") if job["controlling"] else ("b", "a")
    wanted = {message(other, number, job["size"]) for number in range(job["messages"])}
    expected = len(wanted)
    wrong = 0

    async def send():
        for number in range(job["messages"]):
            await connection.send(message(mine, number, job["size"]))
            await asyncio.sleep(PAUSE)

    async def receive():
        nonlocal wrong
        while wanted:
            data = await asyncio.wait_for(connection.recv(), job.get("linger", job["patience"]))
            if data in wanted:
                wanted.remove(data)
            else:
                wrong += 1

    sending = asyncio.create_task(send())
    try:
        await receive()
    except TimeoutError:
        pass
    await sending
    return expected - len(wanted), wrong


async def main():
    job = await read_line()
    started = time.monotonic()
    stun_server = job["stun"]
    turn = job["turn"] or {}
    if isinstance(turn, list):
        turn = await choose(turn) or {}
        if not turn or leg(turn) != "udp":
            stun_server = None
    connection = Patient(
        ice_controlling=job["controlling"],
        stun_server=tuple(stun_server) if stun_server else None,
        turn_server=(turn["host"], turn["port"]) if turn else None,
        turn_username=turn.get("username"),
        turn_password=turn.get("password"),
        turn_transport=turn.get("transport", "udp"),
        turn_ssl=turn.get("tls", False),
        use_ipv6=job.get("ipv6", False),
        transport_policy=aioice.TransportPolicy[job["policy"].upper()],
    )
    connection.head_start = job.get("head_start", 0.0)
    await connection.gather_candidates()
    gathered = time.monotonic() - started
    tell(
        ufrag=connection.local_username,
        pwd=connection.local_password,
        candidates=[candidate.to_sdp() for candidate in connection.local_candidates],
    )

    remote = await read_line()
    started = time.monotonic()
    connection.remote_username = remote["ufrag"]
    connection.remote_password = remote["pwd"]
    for candidate in remote["candidates"]:
        await connection.add_remote_candidate(aioice.Candidate.from_sdp(candidate))
    await connection.add_remote_candidate(None)

    try:
        await asyncio.wait_for(connection.connect(), job["patience"])
    except TimeoutError:
        tell(error=f"no pair of candidates worked within {job['patience']} s")
    except ConnectionError as error:
        tell(error=f"ICE failed: {error}")
    else:
        connected = time.monotonic() - started
        received, wrong = await exchange(connection, job)
        pair = connection._nominated[1]  # The one component's chosen pair; there is no public way to ask.
        tell(
            received=received,
            wrong=wrong,
            local=pair.local_candidate.to_sdp(),
            remote=pair.remote_candidate.to_sdp(),
            leg=leg(turn) if turn else None,
            gathered=gathered,
            connected=connected,
        )
    # The other side may still need this one's relay.
    await read_line()
    try:
        await asyncio.wait_for(connection.close(), 5)
    except TimeoutError:
        print("closing took more than 5 s", file=sys.stderr)


logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
asyncio.run(main())
# A read of standard input may still wait in its thread.
os._exit(0)
