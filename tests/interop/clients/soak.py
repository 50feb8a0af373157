"""What of a server has to stay level under churn, and to be as it was when all clients are gone."""

import os
import statistics
import time
from pathlib import Path

from rig.process import Failure
from rig.suite import Case

from . import churn, metrics

THREADS = 8
# Mean pause of a thread between two clients, in seconds.
PAUSE = 0.4
# Where there is more time than this, some clients leave their allocations for the whole ten minutes they live.
FULL_LIFETIME = 600
# Reservations live for 30 seconds, unfinished connections for 10, and ports rest for 10 more.
DRAIN = 90


def memory(server):
    """Resident memory of the server, in KiB."""
    for line in Path(f"/proc/{server.child.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise Failure("the server has no memory")


def descriptors(server):
    return len(os.listdir(f"/proc/{server.child.process.pid}/fd"))


def holdings():
    """What clients hold: allocations, ports that are not free, and connections."""
    samples, _ = metrics.scrape()
    total = lambda name: sum(value for sample, value in samples.items() if sample.split("{")[0] == name)
    ports = {state: samples.get(f'hairpin_relay_ports{{state="{state}"}}', 0) for state in PORT_STATES}
    return {
        "allocations": total("hairpin_allocations"),
        "connections": total("hairpin_connections"),
        "associations": total("hairpin_dtls_associations"),
        **{f"ports {state}": count for state, count in ports.items()},
    }


PORT_STATES = ("used", "quarantined", "reserved")


def growth(samples):
    """By how much a straight line through (time, value) rises from its first to its last moment."""
    times, values = zip(*samples)
    slope, _ = statistics.linear_regression(times, values)
    return slope * (times[-1] - times[0])


def soak(minutes):
    def body(server):
        at_rest = descriptors(server)
        churn.fill_rings(server)
        crowd = churn.Crowd(server, THREADS, PAUSE)
        long_call = churn.LongCall(server)
        began = time.monotonic()
        end = began + minutes * 60
        warm = began + min(max(30, minutes * 12), FULL_LIFETIME + 60)
        samples = []
        crowd.start()
        long_call.start()
        with open(server.workdir / "soak-samples.log", "w") as table:
            while (now := time.monotonic()) < end:
                crowd.full_lifetimes = end - now > FULL_LIFETIME + 30
                held = holdings()
                sample = {"memory": memory(server), "descriptors": descriptors(server), **held}
                samples.append((now - began, sample))
                done = sum(crowd.done.values())
                print(f"{now - began:.0f}", done, *(f"{name}={value:g}" for name, value in sample.items()),
                      sep="\t", file=table, flush=True)
                time.sleep(min(5, max(0.1, end - now)))
        crowd.stop()
        long_call.stop()
        level = level_or_fail([sample for sample in samples if sample[0] > warm - began])
        empty = empty_or_fail(server, at_rest)
        done, failed = sum(crowd.done.values()), sum(crowd.failed.values())
        if failed > done // 1000:
            told = "\n".join(f"{count} times {what}" for what, count in crowd.failed.most_common(10))
            raise Failure(f"{failed} of {done} clients were not served well", told + "\n" + crowd.first_failures[0])
        lost = long_call.sent - long_call.received
        if long_call.failure or lost > long_call.sent // 1000:
            raise Failure(f"the long call lost {lost} of {long_call.sent}, {long_call.failure}")
        return (
            f"{done} clients in {minutes:g} min, {failed} not served well; a call through it all lost {lost} of "
            f"{long_call.sent}; {level}; {empty}"
        )

    return body


def level_or_fail(samples):
    """Memory, descriptors, allocations and ports do not rise beyond what chance explains; in words."""
    told = []
    for name, unit, allowed in (
        ("memory", " KiB", lambda mean: 1024 + mean * 0.03),
        ("descriptors", "", lambda mean: 10 + mean * 0.3),
        ("allocations", "", lambda mean: 10 + mean * 0.3),
        ("ports used", "", lambda mean: 10 + mean * 0.3),
        ("connections", "", lambda mean: 10 + mean * 0.3),
    ):
        series = [(at, sample[name]) for at, sample in samples]
        mean, rise = statistics.mean(value for _, value in series), growth(series)
        if rise > allowed(mean):
            raise Failure(f"{name} rose by {rise:.0f}{unit} around {mean:.0f}{unit}")
        told.append(f"{name} {mean:.0f}{unit} {rise:+.0f}")
    return ", ".join(told)


def empty_or_fail(server, at_rest):
    """Nothing that a client held is there any more; in words."""
    began = time.monotonic()
    while True:
        held = {name: value for name, value in holdings().items() if value}
        # The page that is being read is a connection, and one or two that were may not be closed yet.
        left = descriptors(server) - at_rest
        if not held and left <= 1:
            return f"all gone {time.monotonic() - began:.0f} s after the last, memory {memory(server)} KiB"
        if time.monotonic() - began > DRAIN:
            raise Failure(f"{held or 'nothing'} and {left} descriptors are left {DRAIN} s after the last client")
        time.sleep(1)


def cases(minutes):
    return [Case("soak/churn", soak(minutes), hairpin_only=True)]
