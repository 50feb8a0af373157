"""One ICE agent, made of aioice, that is told over standard input what to do and answers on standard output.

Runs in the suites' virtual environment, one process an agent, so that two of them can live in different
network namespaces. Both directions are one JSON object a line:

    in   {"controlling", "policy": "relay"|"all", "turn": {"host", "port", "username", "password",
          "transport", "tls"?}|null, "stun": [host, port]|null, "messages", "size", "patience"}
    out  {"ufrag", "pwd", "candidates"}          the agent's own side
    in   the other agent's line
    out  {"received", "wrong", "local", "remote"}  or {"error"}
    in   anything, or the end of input: close

Its log, on standard error, is aioice's own.
"""

import asyncio
import json
import logging
import os
import sys

import aioice

PAUSE = 0.005  # between two messages: 200 a second


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
            data = await connection.recv()
            if data in wanted:
                wanted.remove(data)
            else:
                wrong += 1

    sending = asyncio.create_task(send())
    try:
        await asyncio.wait_for(receive(), job["patience"])
    except TimeoutError:
        pass
    await sending
    return expected - len(wanted), wrong


async def main():
    job = await read_line()
    turn = job["turn"] or {}
    connection = aioice.Connection(
        ice_controlling=job["controlling"],
        stun_server=tuple(job["stun"]) if job["stun"] else None,
        turn_server=(turn["host"], turn["port"]) if turn else None,
        turn_username=turn.get("username"),
        turn_password=turn.get("password"),
        turn_transport=turn.get("transport", "udp"),
        turn_ssl=turn.get("tls", False),
        use_ipv6=False,
        transport_policy=aioice.TransportPolicy[job["policy"].upper()],
    )
    await connection.gather_candidates()
    tell(
        ufrag=connection.local_username,
        pwd=connection.local_password,
        candidates=[candidate.to_sdp() for candidate in connection.local_candidates],
    )

    remote = await read_line()
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
        received, wrong = await exchange(connection, job)
        pair = connection._nominated[1]  # The one component's chosen pair; there is no public way to ask.
        tell(
            received=received,
            wrong=wrong,
            local=pair.local_candidate.to_sdp(),
            remote=pair.remote_candidate.to_sdp(),
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
