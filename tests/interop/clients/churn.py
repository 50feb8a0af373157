"""Clients that come and go in every way there is, for as long as it takes to see whether anything stays behind.

Each thread does one thing after the other, chosen at random; what is done is in WAYS. All of it is over within half a
minute of its end, by the server's own doing where the client does not see to it.
"""

import random
import socket
import struct
import threading
import time
import traceback
from collections import Counter

from rig import turn

SERVER = ("127.0.0.1", 3478)
TLS = ("127.0.0.1", 5349)
HERE = "127.0.0.1"
CHANNEL = 0x4001
# Ephemeral credentials of clients that leave without a word: `strict_expiry` ends what they had.
SHORT = 15
# The rings into a worker have so many bytes. Of so many pairs some have their clients on two workers, each way.
RING = 5 << 20
PAIRS = 6


class Lost(Exception):
    """A payload that did not arrive."""


class Crowd:
    """The threads and what they have done."""

    def __init__(self, server, threads, pause):
        self.server = server
        self.pause = pause
        self.done, self.failed = Counter(), Counter()
        self.first_failures = []
        self.full_lifetimes = False
        self._over = threading.Event()
        self._peer = Echo()
        self._threads = [threading.Thread(target=self._live, args=(number,), daemon=True) for number in range(threads)]

    def start(self):
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        self._peer.close()

    def _live(self, number):
        chance = random.Random(number)
        ways, weights = zip(*WAYS)
        while not self._over.wait(chance.uniform(0, 2 * self.pause)):
            way = chance.choices(ways, weights)[0]
            try:
                way(self, chance)
            except Exception as error:  # Whatever goes wrong is the result, and the others go on.
                self.failed[f"{way.__name__}: {type(error).__name__} {error}"] += 1
                if len(self.first_failures) < 5:
                    self.first_failures.append(traceback.format_exc())
            self.done[way.__name__] += 1

    def client(self, chance, link=None, lifetime=3600):
        link = link or chance.choices(("udp", "tcp", "tls"), (6, 3, 1))[0]
        user, password = self.server.ephemeral(user=f"user{chance.randrange(40)}", lifetime=lifetime)
        source = f"127.0.{chance.randrange(200)}.{chance.randrange(1, 250)}"
        return turn.Client(TLS if link == "tls" else SERVER, user, password, link, source)

    @property
    def peer(self):
        return self._peer.address


class Echo:
    """A peer that sends back what it gets, over UDP and TCP."""

    def __init__(self):
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((HERE, 0))
        self.address = self._udp.getsockname()
        self._tcp = socket.create_server(self.address, backlog=64)
        threading.Thread(target=self._datagrams, daemon=True).start()
        threading.Thread(target=self._accept, daemon=True).start()

    def _datagrams(self):
        while True:
            try:
                data, sender = self._udp.recvfrom(65536)
                self._udp.sendto(data, sender)
            except OSError:
                if self._udp.fileno() < 0:
                    return

    def _accept(self):
        while True:
            try:
                stream, _ = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._stream, args=(stream,), daemon=True).start()

    def _stream(self, stream):
        with stream:
            try:
                stream.settimeout(20)
                while data := stream.recv(65536):
                    stream.sendall(data)
            except OSError:
                pass

    def close(self):
        self._udp.close()
        self._tcp.close()


def exchange(client, peer, chance, count):
    """Payloads there and back over a channel."""
    client.bind(CHANNEL, peer)
    for _ in range(count):
        sent = chance.randbytes(chance.randrange(4, 1100))
        client.send_channel(CHANNEL, sent)
        if client.receive() != (CHANNEL, sent):
            raise Lost("an echo")


def call(crowd, chance):
    """Talks to a peer, refreshes, and says good-bye."""
    with crowd.client(chance) as client:
        client.allocate()
        client.permit((HERE, 9))
        exchange(client, crowd.peer, chance, chance.randrange(1, 30))
        client.refresh()
        client.refresh(0)


def meet(crowd, chance):
    """Two clients talk through both their relays, with channels and with indications."""
    with crowd.client(chance) as one, crowd.client(chance) as other:
        one.allocate()
        other.allocate()
        one.bind(CHANNEL, other.relayed)
        other.permit(one.relayed)
        for number in range(chance.randrange(1, 20)):
            one.send_channel(CHANNEL, b"%d" % number)
            if other.receive() != (one.relayed, b"%d" % number):
                raise Lost("what one said")
            other.send_to(one.relayed, b"%d" % number)
            if one.receive() != (CHANNEL, b"%d" % number):
                raise Lost("what the other said")
        one.refresh(0)
        other.refresh(0)


def leave(crowd, chance):
    """Talks, and is gone."""
    with crowd.client(chance, lifetime=SHORT) as client:
        client.allocate()
        exchange(client, crowd.peer, chance, 2)
        if client.link != "udp" and chance.random() < 0.5:
            client.reset()


def leave_for_long(crowd, chance):
    """Is gone, and its allocation stays for ten minutes, where there is time for that."""
    with crowd.client(chance, "udp", 3600 if crowd.full_lifetimes else SHORT) as client:
        client.allocate()
        exchange(client, crowd.peer, chance, 1)


def fail_to_log_in(crowd, chance):
    """A wrong password, an unknown user, or a credential that is over."""
    with crowd.client(chance, chance.choice(("udp", "tcp"))) as client:
        kind = chance.randrange(3)
        if kind == 0:
            client.password = "not this one"
        elif kind == 1:
            client.user = "nobody"
        else:
            client.user, client.password = crowd.server.ephemeral(lifetime=-10)
        try:
            client.allocate()
        except turn.Refused as refused:
            if refused.code == 401:
                return
            raise
        raise AssertionError("an allocation for nobody")


def ask_for_an_address(crowd, chance):
    with crowd.client(chance) as client:
        client.request(turn.BINDING)


def knock(crowd, chance):
    """A connection that begins something, or nothing, and ends."""
    with socket.create_connection(chance.choice((SERVER, TLS)), timeout=5) as stream:
        stream.sendall(chance.choice((b"", b"\x16\x03\x01\x02", b"\0\x03\0\x24\x21\x12", b"GET / HTTP/1.1\r\n\r\n")))
        time.sleep(chance.uniform(0, 2))


def talk_nonsense(crowd, chance):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(20):
            first = chance.choice((b"\0\x01\0", b"\0\x03", b"\x40\x01\0\x04", b"\x16\xfe\xfd", b""))
            sock.sendto(first + chance.randbytes(chance.randrange(1, 200)), chance.choice((SERVER, TLS)))


def reserve(crowd, chance):
    """An even port with the next one kept, which is then asked for, or not."""
    with crowd.client(chance, "udp") as client, crowd.client(chance, "udp") as next_one:
        client.allocate(turn.UDP, None, (turn.EVEN_PORT, b"\x80"))
        if chance.random() < 0.5:
            next_one.user, next_one.password = client.user, client.password
            token = client.answer.attributes[turn.RESERVATION]
            next_one.allocate(turn.UDP, None, (turn.RESERVATION, token))
            next_one.refresh(0)
        client.refresh(0)


def connect(crowd, chance):
    """A TCP connection to a peer (RFC 6062), ended by the client's end or by that of its data connection."""
    with crowd.client(chance, "tcp") as client:
        client.allocate(turn.TCP)
        opened = client.request(turn.CONNECT, (turn.PEER, turn.xor_address(crowd.peer)))
        with turn.Client(SERVER, client.user, client.password, "tcp") as data:
            data.realm, data.nonce = client.realm, client.nonce
            number = opened.attributes[turn.CONNECTION_ID]
            data.request(turn.CONNECTION_BIND, (turn.CONNECTION_ID, number))
            if chance.random() < 0.9:
                sent = chance.randbytes(chance.randrange(1, 60000))
                data.sock.settimeout(5)
                data.sock.sendall(sent)
                got = b""
                while len(got) < len(sent):
                    more = data.sock.recv(65536)
                    if not more:
                        raise Lost("an echo over TCP")
                    got += more
                if got != sent:
                    raise Lost("an echo over TCP")
            if chance.random() < 0.3:
                data.reset()
        if chance.random() < 0.5:
            client.refresh(0)


def fill_rings(server):
    """Sends enough through both relays of some pairs of clients that all memory of the rings between workers is in use.

    It is taken page by page, as payloads first come there, and would look like a leak for as long as that takes.
    """
    for pair in range(PAIRS):
        chance = random.Random(pair)
        users = [(server.user, server.password)] * 2
        one, other = (turn.Client(SERVER, *user, source=f"127.1.{pair}.{chance.randrange(1, 250)}") for user in users)
        with one, other:
            one.allocate()
            other.allocate()
            one.bind(CHANNEL, other.relayed)
            other.bind(CHANNEL, one.relayed)
            # Some at a time, so that a ring's next page is the next to be used and none is dropped.
            for _ in range(RING // 1000 // 20):
                for client in (one, other):
                    for _ in range(20):
                        client.send_channel(CHANNEL, bytes(1000))
                for client in (one, other):
                    for _ in range(20):
                        client.receive(1)
            one.refresh(0)
            other.refresh(0)


WAYS = [
    (call, 30),
    (meet, 15),
    (leave, 12),
    (leave_for_long, 1),
    (fail_to_log_in, 12),
    (ask_for_an_address, 10),
    (knock, 6),
    (talk_nonsense, 4),
    (reserve, 3),
    (connect, 7),
]


class LongCall:
    """One call through it all, 20 packets a second there and back, refreshed as a browser does."""

    def __init__(self, server):
        self.sent = self.received = self.late = 0
        self.failure = None
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._over.set()
        self._thread.join(30)

    def _run(self):
        peer = Echo()
        try:
            user, password = self._server.user, self._server.password
            with turn.Client(SERVER, user, password) as client:
                client.allocate()
                client.bind(CHANNEL, peer.address)
                refreshed = time.monotonic()
                while not self._over.wait(0.05):
                    sent = struct.pack("!Q", self.sent) + bytes(152)
                    client.send_channel(CHANNEL, sent)
                    self.sent += 1
                    if client.receive(2) == (CHANNEL, sent):
                        self.received += 1
                    if time.monotonic() - refreshed > 120:
                        client.refresh()
                        client.bind(CHANNEL, peer.address)
                        refreshed = time.monotonic()
                client.refresh(0)
        except Exception as error:
            self.failure = f"{type(error).__name__} {error}"
        finally:
            peer.close()
