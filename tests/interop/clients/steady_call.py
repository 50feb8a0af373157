"""A call that behaves: packets at an even pace both ways, each known by its number, and a count of those that are lost."""

import selectors
import socket
import statistics
import struct
import threading
import time
from dataclasses import dataclass

from rig import turn

# Packets a second, each way.
RATE = 250
SIZE = 160
CHANNEL = 0x4001
# How long a packet may take.
PATIENCE = 1.0
BUFFER = 4 << 20


@dataclass
class Account:
    """What became of the packets of some time."""

    sent: int
    lost: int
    middle: float
    longest: float

    @property
    def share(self):
        return self.lost / max(self.sent, 1)

    def __str__(self):
        return f"{100 * self.share:.2f} % lost, {1000 * self.middle:.1f} ms, at most {1000 * self.longest:.0f} ms"


class Call:
    """Between a client and a peer, both in this thread's namespace: through a TURN server, or a forwarder that takes plain
    datagrams."""

    def __init__(self, address, credential=None, here=None, peer_port=0):
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.bind((here, peer_port))
        self.relay = None
        self.head = b""
        if credential:
            self.client = turn.Client(address, *credential)
            self.client.allocate()
            self.client.bind(CHANNEL, self.peer.getsockname())
            self.relay = self.client.relayed
            self.head = struct.pack("!HH", CHANNEL, SIZE)
            self.socket = self.client.sock
        else:
            self.client = None
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind((here, 0))
            self.socket.connect(address)
        for sock in (self.peer, self.socket):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            sock.setblocking(False)
        # By direction: when each was sent, and how long it took.
        self.sent = ([], [])
        self.took = ({}, {})
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        """Waits for what is under way and ends the call."""
        self._over.set()
        self._thread.join(PATIENCE + 5)
        if self.client:
            self.socket.setblocking(True)
            self.client.refresh(0)
        self.socket.close()
        self.peer.close()

    def _run(self):
        watched = selectors.DefaultSelector()
        watched.register(self.socket, selectors.EVENT_READ)
        watched.register(self.peer, selectors.EVENT_READ)
        due = time.monotonic()
        end = None
        while end is None or time.monotonic() < end:
            now = time.monotonic()
            if end is None and self._over.is_set():
                end = now + PATIENCE
            while end is None and due <= now:
                self._send(now)
                due += 1 / RATE
            for key, _ in watched.select(max(0, min(due - time.monotonic(), 0.05)) if end is None else 0.02):
                self._receive(key.fileobj)

    def _send(self, now):
        for direction, sock in enumerate((self.socket, self.peer)):
            if direction == 1 and self.relay is None:
                continue
            number = len(self.sent[direction])
            payload = struct.pack("!Q", number) + bytes(SIZE - 8)
            try:
                if direction == 0:
                    sock.send(self.head + payload)
                else:
                    sock.sendto(payload, self.relay)
            except OSError:
                # The queue on the way is full, which counts as a loss.
                pass
            self.sent[direction].append(now)

    def _receive(self, sock):
        direction = 0 if sock is self.peer else 1
        for _ in range(100):
            try:
                data, sender = sock.recvfrom(2048)
            except OSError:
                return
            payload = data[len(self.head) :] if direction == 1 else data
            if len(payload) != SIZE:
                continue
            (number,) = struct.unpack_from("!Q", payload)
            if direction == 0 and self.relay is None:
                self.relay = sender
            if number < len(self.sent[direction]):
                self.took[direction].setdefault(number, time.monotonic() - self.sent[direction][number])

    def account(self, begin, end):
        """Of what was sent between two moments."""
        sent, delays = 0, []
        for times, took in zip(self.sent, self.took):
            for number, at in enumerate(times):
                if begin <= at < end:
                    sent += 1
                    if number in took:
                        delays.append(took[number])
        delays = delays or [float("inf")]
        return Account(sent, sent - len(delays), statistics.median(delays), max(delays))
