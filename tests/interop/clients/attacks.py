"""Floods, and clients that begin and never end, each beside a call that has to go on as through a bare forwarder.

Server, flood and call share the machine's cores. A flood that fills them takes packets from any program, so the same
flood is sent against a forwarder first, and what counts is what the server loses beyond that.
"""

import json
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rig import process, siege, turn
from rig.dialogue import Dialogue
from rig.process import Failure
from rig.suite import Case

from . import metrics, steady_call
from .soak import memory

ATTACKERS = Path(__file__).resolve().parents[1] / "attackers"
RATE = 100_000
PORT, TLS_PORT, FORWARDER_PORT = 3478, 5349, 3999
ONE_NETWORK = "192.88.98.0/24"
# A peer that those who read nothing allowed to send.
ANOTHER_PEER = "10.10.0.3"
# What a call may lose beyond what the forwarder's does.
ALLOWED_LOSS = 0.01
# How long a flood of the forwarder lasts at most.
BARE_SECONDS = 5
HEADERS = 28
# `strangers.answers_total` and as much at once.
TOTAL_A_SECOND = 4 << 20
MIB = 1 << 20


@dataclass
class Attack:
    """What the attackers run, and what may come of it."""

    program: str
    kind: str
    sources: str
    port: int = PORT
    rate: int = RATE
    # MiB that the server's memory may grow by.
    memory: float = 8
    # Whether answers are bounded by what came in, or by the bucket of all strangers, or not looked at.
    answers: str = "any"
    recorded: str = None
    # Clients who hold an allocation and read nothing; what the attackers send then goes to their relays.
    deaf: int = 0


ATTACKS = {
    "garbage": Attack("flood", "garbage", "everywhere", answers="fewer"),
    "allocates-of-one-network": Attack("flood", "allocate", ONE_NETWORK, answers="fewer"),
    "allocates-from-everywhere": Attack("flood", "allocate", "everywhere", answers="total"),
    "forged-credentials": Attack("flood", "forged", "everywhere", answers="total"),
    "bindings-of-one-network": Attack("flood", "binding", ONE_NETWORK, answers="fewer"),
    "bindings-from-everywhere": Attack("flood", "binding", "everywhere", answers="total"),
    "dtls-hellos-from-everywhere": Attack("flood", "hello", "everywhere", TLS_PORT, answers="fewer", recorded="dtls"),
    "syns-from-everywhere": Attack("flood", "syn", "everywhere"),
    "silent-connections": Attack("strangers", "silent", siege.OWN, memory=200),
    "half-open-tls": Attack("strangers", "hello", siege.OWN, TLS_PORT, memory=400, recorded="tls"),
    "parts-of-a-tls-hello": Attack("strangers", "half-hello", siege.OWN, TLS_PORT, memory=400, recorded="tls"),
    "half-open-dtls": Attack("strangers", "handshake", siege.OWN, TLS_PORT, memory=200, recorded="dtls"),
    "slow-writers": Attack("strangers", "slow", siege.OWN, memory=200),
    "slow-readers": Attack("flood", "media", f"{ANOTHER_PEER}/32", memory=150, deaf=64),
    "requests-and-no-reading": Attack("strangers", "unread", siege.OWN, rate=RATE // 100, memory=64),
}


def recorded(which, workdir):
    """A file with the first thing that OpenSSL says to a server."""
    file = Path(workdir) / f"hello-{which}"
    if file.exists():
        return file
    if which == "tls":
        out = ssl.MemoryBIO()
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
        except ssl.SSLWantReadError:
            file.write_bytes(out.read())
        return file
    openssl = process.require("openssl", "openssl")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        where = f"127.0.0.1:{sock.getsockname()[1]}"
        with process.Child([openssl, "s_client", "-dtls1_2", "-connect", where], Path(workdir) / "hello.log"):
            file.write_bytes(sock.recv(2048))
    return file


class Attackers:
    """The running program of an attack."""

    def __init__(self, field, attack, port, seconds, log):
        words = [attack.kind, attack.sources, siege.SERVER, port, attack.rate, seconds]
        if attack.recorded:
            words.append(recorded(attack.recorded, field.workdir))
        program = [sys.executable, "-B", ATTACKERS / f"{attack.program}.py", *words]
        self._dialogue = Dialogue(attack.kind, [*field.outside.prefix, *program], log)
        self._seconds = seconds
        self._dialogue.hear(30)

    def begin(self):
        self._dialogue.tell("go")

    @property
    def running(self):
        return self._dialogue.child.running

    def result(self):
        result = self._dialogue.hear(self._seconds + 30)
        self._dialogue.close()
        return result


def bare(server, name, attack, seconds):
    """What a call through a forwarder loses under the same attack."""
    field = server.site.siege
    program = siege.compiled(ATTACKERS / "forwarder.c", field.workdir, "-pthread")
    with field.home.entered():
        peer_port = free_port(siege.HOME)
    words = [siege.SERVER, FORWARDER_PORT, siege.HOME, siege.HOME, peer_port]
    forwarder = process.Child([*field.server.prefix, program, *words], field.workdir / "forwarder.log")
    with forwarder:
        time.sleep(0.3)
        with field.home.entered():
            call = steady_call.Call((siege.SERVER, FORWARDER_PORT), here=siege.HOME, peer_port=peer_port)
        attackers = Attackers(field, attack, FORWARDER_PORT, seconds, server.case_log)
        call.start()
        time.sleep(0.5)
        began = time.monotonic()
        attackers.begin()
        attackers.result()
        ended = time.monotonic()
        call.stop()
        if not forwarder.running:
            raise Failure("the forwarder died", process.read_from(forwarder.log, 0))
    return call.account(began, ended)


def deaf_clients(server, count):
    """Clients over TCP with an allocation and a permission, none of whom will read any more."""
    clients = []
    with server.site.siege.home.entered():
        for _ in range(count):
            client = turn.Client((siege.SERVER, PORT), server.user, server.password, "tcp")
            client.allocate()
            client.permit((ANOTHER_PEER, 0))
            clients.append(client)
    return clients


def free_port(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        return sock.getsockname()[1]


def newcomer(server, link, patience):
    """How long a client of home takes to get an allocation, in milliseconds, or what became of it instead."""
    began = time.monotonic()
    try:
        with server.site.siege.home.entered():
            with turn.Client((siege.SERVER, PORT), server.user, server.password, link, patience=patience) as client:
                client.allocate()
                took = f"{1000 * (time.monotonic() - began):.0f} ms"
                client.refresh(0)
                return took
    except (OSError, turn.Refused) as error:
        return f"no ({type(error).__name__} {error})"


def normal_service(server):
    """A second after an attack clients are served as if there had been none; in words."""
    told = []
    for link in ("udp", "tcp"):
        began = time.monotonic()
        try:
            with server.site.siege.home.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.bind((siege.HOME, 0))
                peer.settimeout(1)
                with turn.Client((siege.SERVER, PORT), server.user, server.password, link, patience=1) as client:
                    client.allocate()
                    client.bind(0x4001, peer.getsockname())
                    for number in range(20):
                        client.send_channel(0x4001, b"there %d" % number)
                        payload, relayed = peer.recvfrom(2048)
                        peer.sendto(payload, relayed)
                        if client.receive(1) != (0x4001, b"there %d" % number):
                            raise Failure(f"an echo over {link} is missing a second after the attack")
                    client.refresh(0)
        except (OSError, turn.Refused) as error:
            raise Failure(f"no service over {link} a second after the attack: {error}") from None
        took = time.monotonic() - began
        if took > 1:
            raise Failure(f"an allocation and 20 echoes over {link} took {took:.1f} s a second after the attack")
        told.append(f"{link} {1000 * took:.0f} ms")
    return ", ".join(told)


def judge_answers(attack, passed, seconds):
    """Bytes out against bytes in, on the wire; in words."""
    factor = passed.bytes_out / max(passed.bytes_in, 1)
    told = f"{passed.bytes_in / MIB:.1f} MiB in, {passed.bytes_out / MIB:.1f} MiB out, factor {factor:.2f}"
    payload_out = passed.bytes_out - HEADERS * passed.packets_out
    if attack.answers == "fewer" and passed.bytes_out > passed.bytes_in:
        raise Failure(f"more came out than in: {told}")
    if attack.answers == "total" and payload_out > TOTAL_A_SECOND * (seconds + 2):
        raise Failure(f"more answers than `answers_total` allows: {told}")
    return told


def against(name, attack, seconds):
    def body(server):
        field = server.site.siege
        through_forwarder = bare(server, name, attack, min(seconds, BARE_SECONDS))
        with field.home.entered():
            call = steady_call.Call((siege.SERVER, PORT), (server.user, server.password), siege.HOME)
        deaf = deaf_clients(server, attack.deaf)
        ports = ",".join(str(client.relayed[1]) for client in deaf) or attack.port
        attackers = Attackers(field, attack, ports, seconds, server.case_log)
        call.start()
        time.sleep(0.5)
        before, most = memory(server), 0
        wire = field.traffic()
        began = time.monotonic()
        attackers.begin()
        newcomers = None
        while attackers.running:
            most = max(most, memory(server))
            if newcomers is None and time.monotonic() - began > seconds / 2:
                newcomers = [newcomer(server, link, max(1, seconds / 4)) for link in ("udp", "tcp")]
            time.sleep(0.1)
        result = attackers.result()
        ended = time.monotonic()
        passed = field.traffic().since(wire)
        for client in deaf:
            client.reset()
        time.sleep(max(0, ended + 1 - time.monotonic()))
        service = normal_service(server)
        call.stop()
        account = call.account(began, ended)
        grown = (most - before) / 1024
        told = (
            f"{json.dumps(result)}; call {account} (forwarder: {through_forwarder}); newcomers {newcomers}; memory "
            f"{grown:+.1f} MiB; {judge_answers(attack, passed, ended - began)}; a second later {service}"
        )
        if account.share > through_forwarder.share + ALLOWED_LOSS:
            raise Failure(f"the call lost too much: {told}")
        if grown > attack.memory:
            raise Failure(f"memory grew by more than {attack.memory} MiB: {told}")
        return told

    return body


def amplification(kind, network):
    """Ten seconds of a flood that is slow enough for every packet to be answered, in the name of one network."""

    def body(server):
        field = server.site.siege
        # Networks that no other case has used up the allowance of.
        attack = Attack("flood", kind, network, rate=1000, answers="fewer")
        attackers = Attackers(field, attack, PORT, 10, server.case_log)
        wire = field.traffic()
        attackers.begin()
        result = attackers.result()
        time.sleep(0.2)
        return f"{result['sent']} requests, {judge_answers(attack, field.traffic().since(wire), 10)}"

    return body


def cases(seconds):
    slow = [
        Case("amplification/allocates-of-one-network", amplification("allocate", "192.88.96.0/24")),
        Case("amplification/bindings-of-one-network", amplification("binding", "192.88.97.0/24")),
    ]
    fast = [Case(f"attacks/{name}", against(name, attack, seconds)) for name, attack in ATTACKS.items()]
    return [*slow, *fast]
