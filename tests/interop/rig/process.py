"""Child processes whose output goes to a file, and which never outlive the suite.

The sandbox's process namespace ends with the suite and takes them along whatever happens; stopping them here
is for order, and for the exit status.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path


class Failure(Exception):
    """A case that did not hold: the reason, and the output that shows it."""

    def __init__(self, reason, output=""):
        super().__init__(reason)
        self.reason = reason
        self.output = output


def require(program, package):
    """The path of an installed program; a program that is missing fails the case, it never skips it."""
    path = shutil.which(program)
    if path is None:
        raise Failure(f"{program} is not installed (Debian package: {package})")
    return path


class Child:
    """A program running in the background, its standard output and error in one log file."""

    def __init__(self, command, log, cwd=None, stdin=subprocess.DEVNULL, stdout=None, env=None):
        self.command = [str(word) for word in command]
        self.log = Path(log)
        self._file = open(self.log, "ab")
        self.process = subprocess.Popen(
            self.command,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout or self._file,
            stderr=self._file,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )

    @property
    def running(self):
        return self.process.poll() is None

    def kill(self):
        """Ends the program and whatever it started, without asking."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self._file.close()

    def terminate(self, patience):
        """SIGTERM, then up to `patience` seconds; the exit status, or None where it had to be killed."""
        if self.running:
            self.process.terminate()
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def run(command, log, patience, cwd=None, stdin_text=None, env=None):
    """Runs a program to its end: (exit status, output). Fails when that takes longer than `patience` seconds.

    The log keeps the output of every run, each under its command line.
    """
    log = Path(log)
    with open(log, "a") as file:
        file.write(f"$ {' '.join(str(word) for word in command)}\n")
    start = log.stat().st_size
    stdin = subprocess.PIPE if stdin_text is not None else subprocess.DEVNULL
    with Child(command, log, cwd=cwd, stdin=stdin, env=env) as child:
        try:
            child.process.communicate(stdin_text.encode() if stdin_text is not None else None, timeout=patience)
        except subprocess.TimeoutExpired:
            child.kill()
            raise Failure(f"{Path(command[0]).name} did not end within {patience} s", read_from(log, start)) from None
    return child.process.returncode, read_from(log, start)


def read_from(path, start):
    """The text of a log from a position on."""
    with open(path, "rb") as file:
        file.seek(start)
        return file.read().decode("utf-8", "replace")


def tail(text, lines):
    """The last lines of a text, indented; a note in place of what was left out."""
    all_lines = text.rstrip().splitlines()
    kept = all_lines[-lines:]
    left_out = len(all_lines) - len(kept)
    if left_out:
        kept.insert(0, f"({left_out} lines before)")
    return "\n".join("      " + line[:240] for line in kept)
