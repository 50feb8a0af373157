"""The server under test: hairpin, or coturn where the suite itself is to be proved.

Both are started from a configuration written for the run, with credentials made for the run, and count as
ready when they answer a STUN Binding request on every address.
"""

import base64
import contextlib
import hashlib
import hmac
import re
import secrets
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import certificate, network, stun
from .process import Child, Failure, read_from, tail

PATIENCE_START = 15
PATIENCE_STOP = 15
METRICS = ("127.0.0.1", 9641)
REALM = "example.org"
RELAY_PORTS = (49152, 50151)
# TCP with TLS and without: hairpin only.
AUTO_PORT = 443
# The keys that `turnutils_uclient -J` makes its access tokens with (RFC 7635); it picks one by chance for each.
TOKEN_KEYS = [
    ("north", "A256GCM", b"01234567890123456789012345678901"),
    ("union", "A128GCM", b"1234567890123456"),
    ("oldempire", "A256GCM", b"12345678901234567890123456789012"),
]


@dataclass
class Site:
    """Where the server stands: what it listens on, relays from and may send to."""

    listen: list
    relay: list
    peers: list
    ports: list = field(default_factory=lambda: [3478])
    # NAT behaviour discovery, from the first two addresses and ports.
    discovery: bool = False
    tls_port: int = 5349
    # Further lines of hairpin's configuration, by section.
    more: dict = field(default_factory=dict)
    # Where the server's log is, if not in the working directory.
    log_folder: Path = None
    environment: dict = field(default_factory=dict)
    namespace: network.Namespace = None

    def entered(self):
        """The server's network namespace; a site without one is in the sandbox itself."""
        return self.namespace.entered() if self.namespace else contextlib.nullcontext()

    @property
    def prefix(self):
        return self.namespace.prefix if self.namespace else []


class Server:
    """A server process with its log and the credentials it knows."""

    name = None
    # Exit statuses that count as a clean end after SIGTERM.
    clean_exits = (0,)
    # Whether static users and shared secrets work side by side.
    takes_both_credentials = True

    def __init__(self, site, workdir, hairpin, credentials="password"):
        self.site = site
        self.workdir = Path(workdir)
        # hairpin's binary: the server itself, and `hairpin probe` as a client of any server.
        self.hairpin = Path(hairpin).resolve()
        self.credentials = credentials
        self.user = "alice"
        self.password = secrets.token_hex(12)
        self.secret = secrets.token_hex(16)
        number = len(list(self.workdir.glob("server-*.log"))) + 1
        self.log = (site.log_folder or self.workdir) / f"server-{number}.log"
        self.config = self.workdir / f"server-{number}.conf"
        self.certificate = certificate.make(self.workdir / "certificate", ["localhost", *site.listen])
        self.child = None

    def start(self):
        """Starts the server and waits until it answers on every address."""
        with self.site.entered():
            for port in [*self.site.ports, self.site.tls_port, AUTO_PORT]:
                network.require_free(port, self.site.listen)
        self.config.touch(mode=0o600)
        self.config.write_text(self.configuration())
        try:
            self.child = Child(
                [*self.site.prefix, *self.command()],
                self.log,
                cwd=self.workdir,
                env={"RUST_BACKTRACE": "1", **self.site.environment},
            )
        except OSError as error:
            raise Failure(f"cannot start {self.name}: {error}") from None
        deadline = time.monotonic() + PATIENCE_START
        with self.site.entered():
            for address in self.site.listen:
                for port in self.site.ports:
                    self._wait_for(address, port, deadline)

    def _wait_for(self, address, port, deadline):
        while True:
            if not self.child.running:
                status = self.child.process.returncode
                raise Failure(f"{self.name} ended while starting, exit status {status}", self.log_from(0))
            try:
                with socket.socket(stun.family(address), socket.SOCK_DGRAM) as sock:
                    stun.binding(sock, (address, port), timeout=0.3, tries=1)
                with socket.create_connection((address, port), timeout=0.3) as sock:
                    stun.binding(sock, timeout=0.3, tries=1)
                return
            except (OSError, ValueError) as error:
                if time.monotonic() > deadline:
                    self.child.kill()
                    raise Failure(
                        f"{self.name} did not answer STUN on {address} port {port} "
                        f"within {PATIENCE_START} s: {error}",
                        self.log_from(0),
                    ) from None
                time.sleep(0.05)

    @property
    def running(self):
        return self.child is not None and self.child.running

    def stop(self):
        """SIGTERM; returns what was measured, and fails on a dirty end, a panic or a secret in the log."""
        if not self.running:
            status = self.child.process.returncode if self.child else "never started"
            raise Failure(f"{self.name} was not running any more, exit status {status}")
        started = time.monotonic()
        status = self.child.terminate(PATIENCE_STOP)
        took = time.monotonic() - started
        log = self.log_from(0)
        if status is None:
            raise Failure(f"{self.name} was still running {PATIENCE_STOP} s after SIGTERM")
        if status not in self.clean_exits:
            raise Failure(f"{self.name} ended with exit status {status} after SIGTERM")
        if panics := re.findall(r"panicked at .*", log):
            raise Failure(f"{len(panics)} panics in the log, the first: {panics[0]}")
        for what, text in (("password", self.password), ("shared secret", self.secret)):
            if text in log:
                raise Failure(f"the {what} stands in the log in clear text")
        return f"exit status {status} {took:.1f} s after SIGTERM, {len(log.splitlines())} log lines, no panic"

    def log_from(self, position):
        return read_from(self.log, position) if self.log.exists() else ""

    def log_size(self):
        return self.log.stat().st_size if self.log.exists() else 0

    def ephemeral(self, user="bob", secret=None, lifetime=3600):
        """A (username, password) minted from the shared secret: `expiry:user` and base64 HMAC-SHA1."""
        username = f"{int(time.time()) + lifetime}:{user}"
        digest = hmac.new((secret or self.secret).encode(), username.encode(), hashlib.sha1).digest()
        return username, base64.b64encode(digest).decode()

    def configuration(self):
        raise NotImplementedError

    def command(self):
        raise NotImplementedError


class Hairpin(Server):
    """hairpin itself."""

    name = "hairpin"

    def command(self):
        return [self.hairpin, "run", "-c", self.config]

    def start(self):
        if not self.hairpin.is_file():
            raise Failure(f"there is no {self.hairpin}: build it with `cargo build --release`")
        super().start()

    def configuration(self):
        lines = ["[server]", "workers = 2", 'drain = "0s"', ""]
        for address in self.site.listen:
            for port in self.site.ports:
                for transport in ("udp", "tcp"):
                    lines += ["[[listener]]", f'transport = "{transport}"', f'address = "{at(address, port)}"', ""]
            for transport, port in (
                ("tls", self.site.tls_port),
                ("dtls", self.site.tls_port),
                ("auto", AUTO_PORT),
            ):
                lines += ["[[listener]]", f'transport = "{transport}"', f'address = "{at(address, port)}"', ""]
        files = self.certificate
        lines += ["[[tls.certificate]]", f'certificate = "{files.chain}"', f'key = "{files.key}"', ""]
        if self.site.discovery:
            (first, second, *_), (port, other, *_) = self.site.listen, self.site.ports
            lines += ["[[discovery]]", f'primary = "{at(first, port)}"', f'alternate = "{at(second, other)}"', ""]
        lines += ["[relay]", f'ports = "{RELAY_PORTS[0]}-{RELAY_PORTS[1]}"', ""]
        for address in self.site.relay:
            lines += ["[[relay.address]]", f'address = "{address}"', ""]
        # turnutils_uclient picks channel numbers from the whole range of RFC 5766.
        lines += ["[allocation]", "rfc5766_channels = true", "mobility = true", ""]
        lines += ["[tcp_relay]", "enabled = true", ""]
        lines += ["[auth]", f'realm = "{REALM}"', f'secrets = ["{self.secret}"]', ""]
        lines += ["[[auth.user]]", f'name = "{self.user}"', f'password = "{self.password}"', ""]
        lines += ["[oauth]", f'server_name = "{REALM}"', "truncated_mac_keys = true", ""]
        for kid, algorithm, key in TOKEN_KEYS:
            lines += ["[[oauth.key]]", f'id = "{kid}"', f'algorithm = "{algorithm}"', f'secret = "{key.hex()}"', ""]
        lines += ["[peers]", "allow = [" + ", ".join(f'"{block}"' for block in self.site.peers) + "]", ""]
        lines += ["[metrics]", f'address = "{at(*METRICS)}"', ""]
        for section, more in self.site.more.items():
            head = f"[{section}]"
            if head not in lines:
                lines.append(head)
            at_head = lines.index(head) + 1
            lines[at_head:at_head] = more
        return "\n".join(lines)


class Coturn(Server):
    """coturn, the server that the suites were proved with."""

    name = "coturn"
    # 4.6.1 puts the default handler back and dies of the signal.
    clean_exits = (0, -signal.SIGTERM)
    # use-auth-secret disables its static users.
    takes_both_credentials = False

    def command(self):
        return ["turnserver", "-c", self.config]

    def configuration(self):
        lines = [f"listening-ip={address}" for address in self.site.listen]
        lines += [f"relay-ip={address}" for address in self.site.relay]
        lines += [f"listening-port={self.site.ports[0]}"]
        if self.site.discovery:
            lines += [f"alt-listening-port={self.site.ports[1]}"]
        else:
            lines += [f"aux-server={at(a, port)}" for a in self.site.listen for port in self.site.ports[1:]]
        lines += [f"min-port={RELAY_PORTS[0]}", f"max-port={RELAY_PORTS[1]}", f"realm={REALM}", "fingerprint"]
        if self.credentials == "ephemeral":
            lines += ["use-auth-secret", f"static-auth-secret={self.secret}"]
        else:
            lines += ["lt-cred-mech", f"user={self.user}:{self.password}"]
        lines += ["mobility", "no-cli", "allow-loopback-peers", "log-file=stdout", "simple-log"]
        lines += [f"tls-listening-port={self.site.tls_port}", f"cert={self.certificate.chain}"]
        lines += [f"pkey={self.certificate.key}"]
        lines += [f"pidfile={self.workdir}/coturn.pid", f"userdb={self.workdir}/coturn.db"]
        return "\n".join(lines) + "\n"


def at(address, port):
    """address:port as text, IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def show_log(server, position):
    """The end of the server's log since `position`, ready to print under a failure."""
    text = server.log_from(position)
    return f"    end of {server.name}'s log:\n{tail(text, 25)}" if text.strip() else f"    {server.name} logged nothing"
