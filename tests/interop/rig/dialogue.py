"""A program that is told things on its standard input and answers on its standard output, one JSON object a line."""

import json
import selectors
import subprocess
import time

from .process import Child, Failure, read_from


class Dialogue:
    """The running program; what it says on standard error is in the log."""

    def __init__(self, name, command, log, env=None):
        self.name = name
        self.child = Child(command, log, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self._pending = b""

    def tell(self, what):
        try:
            self.child.process.stdin.write(json.dumps(what).encode() + b"\n")
            self.child.process.stdin.flush()
        except BrokenPipeError:
            raise self._failure("ended early") from None

    def hear(self, patience):
        """The program's next line."""
        deadline = time.monotonic() + patience
        stream = self.child.process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0, deadline - time.monotonic())):
                    raise self._failure(f"said nothing for {patience} s")
                data = stream.read1(65536)
                if not data:
                    raise self._failure("ended early")
                self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        return json.loads(line)

    def close(self):
        """Ends its input, which lets it put things in order, and kills it where that takes long."""
        try:
            self.child.process.stdin.close()
            self.child.process.wait(8)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass
        self.child.kill()

    def _failure(self, what):
        return Failure(f"{self.name} {what}", read_from(self.child.log, 0))
