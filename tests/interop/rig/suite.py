"""Cases and how they are run: one line a case with what was measured, one closing line a suite.

A case is a function that takes the running server, returns what it measured as text, and raises Failure when
that is not as it should be. Cases share a server as far as their credentials allow, so that it also has to
live through all of them; its end is a case of its own.
"""

import argparse
import fnmatch
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import network
from .process import Failure, tail
from .server import Coturn, Hairpin, show_log

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Case:
    """One behaviour: its name, its body, and what the server must offer for it."""

    name: str
    body: Callable
    # "password" for the static user, "ephemeral" for the shared secret; matters to a server that takes one kind only.
    credentials: str = "password"
    # Shows something that only hairpin has.
    hairpin_only: bool = False


class Suite:
    """Runs cases against a server and keeps the count."""

    def __init__(self, name, options, site, make=None):
        self.name = name
        # What is started in place of hairpin or coturn: takes what they take.
        self.make = make or (Coturn if options.server == "coturn" else Hairpin)
        self.options = options
        self.site = site
        self.workdir = Path(options.inside)
        self.passed = 0
        self.failed = 0
        self._server = None
        self._start_failure = None

    def run(self, cases):
        """Runs the cases in order; returns the exit status."""
        started = time.monotonic()
        for case in cases:
            self._run_case(case)
        self._stop_server()
        took = time.monotonic() - started
        print(f"{len(cases)} cases against {self.options.server} in {took:.0f} s")
        print(f"{self.name}: {self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0

    def _run_case(self, case):
        position = 0

        def body():
            nonlocal position
            server = self._server_for(case)
            position = server.log_size()
            server.case_log = self.workdir / f"{case.name.replace('/', '-')}.log"
            measured = case.body(server)
            if not server.running:
                raise Failure(f"{server.name} died during the case")
            return measured

        self._judge(case.name, body, lambda: position)

    def _judge(self, name, body, position):
        """Runs the body and prints its line; the server's log from position() on goes under a failure."""
        started = time.monotonic()
        try:
            measured = body()
        except Failure as failure:
            self._tell_failure(name, failure.reason, failure.output, position())
        except Exception as error:  # A bug in a case fails that case, and the others still run.
            self._tell_failure(name, f"{type(error).__name__}: {error}", "", position())
        else:
            self.passed += 1
            print(f"ok   {name}: {measured} ({time.monotonic() - started:.1f} s)")
        sys.stdout.flush()

    def _tell_failure(self, name, reason, output, position):
        self.failed += 1
        print(f"FAIL {name}: {reason}")
        if output.strip():
            print("    what it printed:\n" + tail(output, 15))
        if self._server is not None:
            if not self._server.running:
                print(f"    {self._server.name} is not running, exit status {self._server.child.process.returncode}")
            print(show_log(self._server, position))

    def _server_for(self, case):
        """The running server, started or started anew where the case needs that."""
        kind = case.credentials
        if self._server is not None:
            fits = self._server.takes_both_credentials or self._server.credentials == kind
            if fits and self._server.running:
                return self._server
            self._stop_server()
        if self._start_failure:
            raise Failure(f"no server: {self._start_failure}")
        self._server = self.make(self.site, self.workdir, self.options.bin, kind)
        self._server.pictures = self.options.pictures and Path(self.options.pictures)
        try:
            self._server.start()
        except Failure as failure:
            # It would fail the same way, and take as long, for every case that follows.
            self._start_failure = failure.reason
            self._server = None
            raise
        return self._server

    def _stop_server(self):
        if self._server is not None:
            self._judge("server/ends-cleanly", self._server.stop, lambda: 0)
            self._server = None


def command_line(description, binary="target/release/hairpin"):
    """The options that all suites share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--server", choices=("hairpin", "coturn"), default="hairpin", help="coturn proves the suite")
    parser.add_argument("--bin", metavar="PATH", default=str(ROOT / binary), help="the program under test")
    parser.add_argument("--only", metavar="PATTERN", help="run the cases whose name contains or matches it")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and end")
    parser.add_argument("--keep-logs", metavar="DIR", help="copy the logs of server and clients there")
    parser.add_argument("--pictures", metavar="DIR", help="write the pictures for the documentation there")
    parser.add_argument("--inside", metavar="WORKDIR", help=argparse.SUPPRESS)
    return parser


def select(cases, chosen):
    """The cases that the options ask for."""
    if chosen.server == "coturn":
        cases = [case for case in cases if not case.hairpin_only]
    if chosen.only:
        pattern = chosen.only
        cases = [c for c in cases if pattern in c.name or fnmatch.fnmatch(c.name, pattern)]
        if not cases:
            raise SystemExit(f"no case matches {pattern!r}; --list shows them")
    return cases


def main(description, cases, inside, parser=None):
    """Every suite's front door: `--list`, the way into the sandbox, and inside it `inside(options, cases)`.

    A suite with options of its own adds them to its `parser`; where they decide on the cases, `cases` is a function
    of the options.
    """
    chosen = (parser or command_line(description)).parse_args()
    selected = select(cases(chosen) if callable(cases) else cases, chosen)
    if chosen.list:
        print("\n".join(case.name for case in selected))
        return 0
    if chosen.inside is None:
        return network.run_in_sandbox(sys.argv[1:], chosen.keep_logs)
    return inside(chosen, selected)
