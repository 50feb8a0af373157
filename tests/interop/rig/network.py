"""The sandbox a suite runs in, and network namespaces inside it.

A suite starts itself again in a network and a process namespace of its own. Neither has a name on the
machine, so nothing can be left behind: when the suite's last process ends, however it ends, the kernel takes
down every process, interface, address and firewall rule made in there.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .process import Failure

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def run_in_sandbox(arguments, keep_logs=None):
    """Runs this script once more inside the sandbox, with `--inside WORKDIR` added; returns its exit status.

    The working directory is removed at the end, after its logs were copied to `keep_logs` where that is set.
    """
    if os.geteuid() != 0:
        raise SystemExit("namespaces need root: run the suite as root")
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed (Debian packages: util-linux, iproute2)")
    workdir = tempfile.mkdtemp(prefix="hairpin-interop-")

    def stop(number, _frame):
        print(f"stopped by {signal.Signals(number).name}", file=sys.stderr)
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    namespaces = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    sandbox = subprocess.Popen(
        [*namespaces, sys.executable, "-B", sys.argv[0], *arguments, "--inside", workdir],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        # Where this process is killed outright, the sandbox goes with it.
        preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    try:
        return sandbox.wait()
    finally:
        sandbox.kill()
        sandbox.wait()
        if keep_logs is not None:
            Path(keep_logs).mkdir(parents=True, exist_ok=True)
            for log in sorted(Path(workdir).glob("*.log")):
                shutil.copy(log, keep_logs)
        remove(workdir)


def remove(directory):
    """Removes a directory although programs being killed may still write to it for a moment."""
    for _ in range(20):
        shutil.rmtree(directory, ignore_errors=True)
        if not os.path.exists(directory):
            return
        time.sleep(0.1)


def command(*words):
    """Runs a set-up command; a failing one ends the suite, showing what it said."""
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")


def ip(line):
    """`ip` with the words of one line."""
    command("ip", *line.split())


def open_world(ipv4="198.18.0.1", ipv6="fd00:5e::1"):
    """Loopback, and an interface with addresses and default routes for both families that lead nowhere.

    Browsers gather no candidates without a route, so there is one; its gateway has a link address that
    nobody owns, so that whatever is sent there is swallowed instead of answered with an error.
    """
    ip("link set lo up")
    ip("link add world type veth peer name nowhere")
    for name in ("nowhere", "world"):
        Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0")
        ip(f"link set {name} up")
    ip(f"address add {ipv4}/24 dev world")
    swallow_everything_else("world", ipv4.rsplit(".", 1)[0] + ".254")
    if ipv6:
        ip(f"-6 address add {ipv6}/64 dev world nodad")
        swallow_everything_else("world", ipv6.rsplit(":", 1)[0] + ":fe")


def swallow_everything_else(device, gateway):
    """A default route to a gateway that does not exist."""
    ip(f"neighbour add {gateway} lladdr 02:00:00:00:00:fe dev {device}")
    ip(f"{'-6 ' if ':' in gateway else ''}route add default via {gateway} dev {device}")


def require_free(port, addresses):
    """Two servers can share a port through SO_REUSEPORT without a word: require that nobody is on it."""
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for kind, name in ((socket.SOCK_DGRAM, "UDP"), (socket.SOCK_STREAM, "TCP")):
            with socket.socket(family, kind) as sock:
                # The last test's closed connections may linger in TIME_WAIT; a listener still clashes.
                if kind == socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    sock.bind((address, port))
                except OSError as error:
                    raise Failure(f"{name} port {port} on {address} is not free: {error.strerror}") from None


class Namespace:
    """A further network namespace, kept open by a process that does nothing but sleep in it."""

    def __init__(self, name):
        self.name = name
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--", "sleep", "infinity"], stdin=subprocess.DEVNULL, start_new_session=True
        )
        own = os.stat("/proc/self/ns/net").st_ino
        deadline = time.monotonic() + 5
        while os.stat(self._path).st_ino == own:
            if time.monotonic() > deadline:
                raise SystemExit(f"the namespace for {name} did not come up")
            time.sleep(0.01)
        with self.entered():
            ip("link set lo up")

    @property
    def _path(self):
        return f"/proc/{self._holder.pid}/ns/net"

    @property
    def holder(self):
        """The process id by which `ip link set ... netns` finds this namespace."""
        return self._holder.pid

    @property
    def prefix(self):
        """What to put before a command line that shall run in here."""
        return ["nsenter", f"--net={self._path}", "--"]

    @contextlib.contextmanager
    def entered(self):
        """Moves this thread into the namespace. Sockets and processes made meanwhile stay in it."""
        with open("/proc/thread-self/ns/net") as before, open(self._path) as inside:
            _switch(inside)
            try:
                yield self
            finally:
                _switch(before)


def _switch(file):
    if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns failed")
