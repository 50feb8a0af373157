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
        return hear_any([self], patience)[1]

    def _next(self):
        """A line that is there already, or None."""
        if b"\n" not in self._pending:
            return None
        line, self._pending = self._pending.split(b"\n", 1)
        return json.loads(line)

    def _read(self):
        data = self.child.process.stdout.read1(65536)
        if not data:
            raise self._failure("ended early")
        self._pending += data

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


def hear_any(dialogues, patience):
    """The next line of any of the programs: (the program's dialogue, what it said)."""
    deadline = time.monotonic() + patience
    with selectors.DefaultSelector() as selector:
        for dialogue in dialogues:
            selector.register(dialogue.child.process.stdout, selectors.EVENT_READ, dialogue)
        while True:
            for dialogue in dialogues:
                line = dialogue._next()
                if line is not None:
                    return dialogue, line
            ready = selector.select(max(0, deadline - time.monotonic()))
            if not ready:
                raise dialogues[0]._failure(f"said nothing for {patience} s")
            for key, _ in ready:
                key.data._read()
