"""Runs the loads of compare.sh and prints what they found. Not to be called by itself."""

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SERVER_CORE, LOAD_CORE = 0, 1
USER, PASSWORD, REALM = "bench", "a password for measuring", "bench"
NAMES = {"hairpin": "hairpin", "coturn": "coturn", "fast": "coturn, fastest mode"}
TITLE = {
    "saturated": "saturated, client to peer, ChannelData",
    "video": "video: bursts of 8 x 1200 B",
    "to-client": "peer to client, 100,000 a second",
    "send": "saturated, Send indications",
    "paced": "50,000 a second, one packet at a time",
    "clients-200": "200 clients, 40,000 a second, one at a time",
    "clients-2000": "2,000 clients, 40,000 a second, one at a time",
    "relay-to-relay": "relay to relay, 60,000 a second",
    "churn": "an Allocate with its authentication",
    "binding": "Binding, 60,000 a second",
    "tcp": "TCP clients, 1200 B, 30,000 a second",
    "tls": "TLS clients, 1200 B, 30,000 a second",
}
# Scenario: transport, arguments, at most so much of coturn's time, and of its fastest mode's.
ROWS = {
    "saturated": ("udp", ["-s", "saturated"], 0.62, 0.70),
    "video": ("udp", ["-s", "video"], 0.35, 0.42),
    "to-client": ("udp", ["-s", "to-client"], 0.60, 0.80),
    "send": ("udp", ["-s", "send"], 0.62, 0.75),
    "paced": ("udp", ["-s", "paced"], 0.75, 0.75),
    "clients-200": ("udp", ["-s", "many", "--clients", "200"], 0.80, None),
    "clients-2000": ("udp", ["-s", "many", "--clients", "2000"], 0.80, None),
    "relay-to-relay": ("udp", ["-s", "relay-to-relay"], 0.40, None),
    "churn": ("udp", ["-s", "churn"], 0.40, None),
    "binding": ("udp", ["-s", "binding"], 0.60, None),
    "tcp": ("tcp", ["-s", "stream"], 0.70, None),
    "tls": ("tls", ["-s", "stream"], 0.70, None),
}
EXTRA = ("idle", "hold", "start")


def many():
    """20,000 allocations, or as many as there are descriptors for: each takes one in the server and one in the load."""
    return min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 300)


def arguments():
    parser = argparse.ArgumentParser(prog="benches/compare.sh")
    parser.add_argument("--quick", action="store_true", help="3 pairs of 1.5 s instead of 5 of 4 s")
    parser.add_argument("--pairs", type=int, help="how often each server is measured")
    parser.add_argument("--seconds", type=float, help="how long each time")
    parser.add_argument("--only", help="some of: " + ",".join([*ROWS, *EXTRA]))
    parser.add_argument("--json", help="write every load's report to this file")
    args = parser.parse_args()
    args.pairs = args.pairs or (3 if args.quick else 5)
    args.seconds = args.seconds or (1.5 if args.quick else 4)
    args.warm_up = 0.4 if args.quick else 1
    args.only = args.only.split(",") if args.only else [*ROWS, *EXTRA]
    for name in args.only:
        if name not in ROWS and name not in EXTRA:
            parser.error(f"there is no scenario {name}")
    return args


def first_in_line():
    """Other work on this machine is to wait while something is measured, as far as we may ask for that."""
    for path, value in (("/proc/self/autogroup", "-15"),):
        try:
            with open(path, "w") as file:
                file.write(value)
        except OSError:
            print("the processor is shared with other work: run this as root", file=sys.stderr)
    try:
        os.nice(-15)
    except OSError:
        pass


class Failed(Exception):
    """A server that does not start, or a load that does not run."""


class Server:
    """A server on the server's core, with four relay addresses of its own: ports that were just released are not used again at once."""

    def __init__(self, kind, number, folder):
        self.kind, self.port, self.tls_port = kind, 13478 + 10 * number, 15349 + 10 * number
        relays = [f"127.0.{number + 1}.{host}" for host in (1, 2, 3, 4)]
        command = self.hairpin(folder, relays) if kind == "hairpin" else self.coturn(folder, relays)
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=open(os.path.join(folder, f"{kind}.log"), "wb"),
            preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
        )
        try:
            self.start_time = self.wait_for_answer()
            self.wait_until_idle()
        except BaseException:
            self.stop()
            raise

    def hairpin(self, folder, relays):
        listeners = [("udp", self.port), ("tcp", self.port), ("tls", self.tls_port)]
        text = "[server]\nworkers = 1\n"
        for transport, port in listeners:
            text += f'[[listener]]\ntransport = "{transport}"\naddress = "127.0.0.1:{port}"\n'
        text += '[[tls.certificate]]\ncertificate = "certificate"\nkey = "key"\n'
        for relay in relays:
            text += f'[[relay.address]]\naddress = "{relay}"\n'
        text += f'[auth]\nrealm = "{REALM}"\n'
        text += f'[[auth.user]]\nname = "{USER}"\npassword = "{PASSWORD}"\n'
        text += '[peers]\nallow = ["127.0.0.0/8"]\n'
        # One user from one network is all there is; coturn bounds neither unless it is told to.
        text += "[limits]\nallocations_per_user = 0\nallocations_per_source = 0\nquarantine_per_user = 100\n"
        text += "new_peers_per_second = 0\n"
        text += '[strangers]\nanswers_burst = "0B"\nanswers_total = "0B"\n'
        text += '[log]\nlevel = "error"\n[metrics]\naddress = ""\n'
        path = os.path.join(folder, "hairpin.toml")
        with open(path, "w") as file:
            file.write(text)
        return [os.environ["HAIRPIN"], "run", "-c", path]

    def coturn(self, folder, relays):
        command = [os.environ["TURNSERVER"], "-n", "--lt-cred-mech", f"--user={USER}:{PASSWORD}"]
        command += [f"--realm={REALM}", "--listening-ip=127.0.0.1", "--allow-loopback-peers"]
        command += [f"--listening-port={self.port}", f"--tls-listening-port={self.tls_port}"]
        command += [f"--relay-ip={relay}" for relay in relays]
        command += ["--relay-threads=1", "--log-file=/dev/null", "--no-stdout-log"]
        command += [f"--cert={folder}/certificate", f"--pkey={folder}/key"]
        command += [f"--pidfile={folder}/{self.kind}.pid"]
        if self.kind == "fast":
            command += ["--multiplex-peer", "--udp-gso"]
        return command

    def wait_for_answer(self):
        """Asks until a Binding request is answered; seconds since the start."""
        request = bytes.fromhex("000100002112a442") + os.urandom(12)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(0.002)
            asker.connect(("127.0.0.1", self.port))
            while time.monotonic() < self.started + 30:
                if self.process.poll() is not None:
                    break
                try:
                    asker.send(request)
                    asker.recv(1000)
                    return time.monotonic() - self.started
                except OSError:
                    time.sleep(0.001)
        raise Failed(f"{self.kind} does not start: {self.process.args}")

    def wait_until_idle(self):
        """Lets what a server does behind its first answer pass."""
        before = self.cpu()
        for _ in range(200):
            time.sleep(0.1)
            now = self.cpu()
            if now - before < 0.002:
                return
            before = now

    def cpu(self):
        total = 0
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                with open(f"/proc/{self.process.pid}/task/{thread}/schedstat") as file:
                    total += int(file.read().split()[0])
            except FileNotFoundError:
                pass
        return total / 1e9

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            line = next(line for line in file if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def url(self, transport):
        if transport == "tls":
            return f"turns:127.0.0.1:{self.tls_port}"
        return f"turn:127.0.0.1:{self.port}?transport={transport}"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def load(server, transport, arguments, args, folder, seconds=None):
    """One load; its report."""
    command = [os.environ["HAIRPIN"], "bench", server.url(transport), *arguments]
    command += ["--json", "--pid", str(server.process.pid), "-u", USER, "-p", PASSWORD]
    command += ["--duration", f"{int((seconds or args.seconds) * 1000)}ms"]
    command += ["--warm-up", f"{int(args.warm_up * 1000)}ms"]
    if transport == "tls":
        command += ["--ca", os.path.join(folder, "certificate")]
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=120,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}),
    )
    if done.returncode != 0:
        raise Failed(f"{server.kind}: {' '.join(command)}\n{done.stderr}")
    report = json.loads(done.stdout)
    report["kind"] = server.kind
    if args.json:
        with open(args.json, "a") as file:
            file.write(json.dumps(report) + "\n")
    return report


def certificate(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        + ["-keyout", f"{folder}/key", "-out", f"{folder}/certificate", "-days", "2"]
        + ["-subj", "/CN=hairpin bench", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
        check=True,
        capture_output=True,
    )


def median(values):
    return statistics.median(values)


def spread(values, digits=2):
    """A median with the least and the most."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def verdict(value, bar, at_most=True):
    if bar is None:
        return ""
    return "yes" if (value <= bar if at_most else value >= bar) else "**no**"


def cost(report):
    return report["server_process"]["cpu_us_per_delivered"] or float("nan")


def alternate(name, args, folder):
    """Reports of one scenario by kind of server, each list in the order of the pairs."""
    transport, arguments, _, fast_bar = ROWS[name]
    kinds = ["hairpin", "coturn"] + (["fast"] if fast_bar is not None else [])
    servers = []
    reports = {kind: [] for kind in kinds}
    try:
        for number, kind in enumerate(kinds):
            servers.append(Server(kind, number, folder))
        for pair in range(args.pairs):
            for server in servers:
                report = load(server, transport, arguments, args, folder)
                reports[server.kind].append(report)
                print(
                    f"  {name} {pair + 1}/{args.pairs} {server.kind}: {cost(report):.2f} us, "
                    f"{report['delivered_per_second']:.0f} a second, {report['lost']} lost",
                    file=sys.stderr,
                )
    finally:
        for server in servers:
            server.stop()
    return reports


def ratios(reports, other, value):
    return [value(a) / value(b) for a, b in zip(reports["hairpin"], reports[other])]


def costs_table(found):
    print("## Server CPU for each delivered packet\n")
    print("Microseconds, medians; ratios are hairpin's to coturn's within a pair: median (least–most).\n")
    print("| scenario | hairpin | coturn | fastest mode | to coturn | bar | to fastest mode | bar | reached |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, reports in found.items():
        _, _, bar, fast_bar = ROWS[name]
        middle = {kind: f"{median([cost(r) for r in list]):.2f}" for kind, list in reports.items()}
        to_coturn = ratios(reports, "coturn", cost)
        cells = [TITLE[name], middle["hairpin"], middle["coturn"], middle.get("fast", "")]
        cells += [spread(to_coturn), f"{bar:.2f}"]
        reached = [verdict(median(to_coturn), bar)]
        if "fast" in reports:
            to_fast = ratios(reports, "fast", cost)
            cells += [spread(to_fast), f"{fast_bar:.2f}"]
            reached.append(verdict(median(to_fast), fast_bar))
        else:
            cells += ["", ""]
        cells.append("**no**" if "**no**" in reached else "yes")
        print("| " + " | ".join(cells) + " |")
    print()


def delivery_table(found):
    print("## Delivery\n")
    print("| scenario | server | delivered a second | lost | reordered | p50 us | p99 us | p99.9 us | load's CPU, us |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, reports in found.items():
        for kind, list in reports.items():
            sent = sum(r["sent"] for r in list)
            lost = sum(r["lost"] for r in list) * 100 / max(sent, 1)
            delays = [f"{median([r['delay_us'][p] for r in list]):.0f}" for p in ("p50", "p99", "p99_9")]
            cells = [TITLE[name], NAMES[kind], f"{median([r['delivered_per_second'] for r in list]):,.0f}"]
            cells += [f"{lost:.3f} %", str(sum(r["reordered"] for r in list)), *delays]
            cells.append(f"{median([r['own_process']['worked_us_per_delivered'] or 0 for r in list]):.2f}")
            print("| " + " | ".join(cells) + " |")
    print()


def beside_table(rows):
    print("## Beside\n")
    print("| what | hairpin | coturn | bar | reached |")
    print("|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def delivery_bars(found):
    rows = []
    speed = lambda report: report["delivered_per_second"]
    for name, bar in (("saturated", 1.2), ("send", 1.2), ("video", 2.0)):
        if name in found:
            faster = ratios(found[name], "coturn", speed)
            rows.append(
                [f"delivered a second, ratio: {TITLE[name]}", spread(faster), "1", f"at least {bar}"]
                + [verdict(median(faster), bar, at_most=False)]
            )
    if "paced" in found:
        p99 = {kind: [r["delay_us"]["p99"] for r in list] for kind, list in found["paced"].items()}
        more = [a - b for a, b in zip(p99["hairpin"], p99["coturn"])]
        rows.append(
            ["p99 delay at 50,000 a second, us", f"{median(p99['hairpin']):.0f}", f"{median(p99['coturn']):.0f}"]
            + ["at most coturn's + 500", verdict(median(more), 500)]
        )
    if found:
        count = lambda kind: sum(r["reordered"] for reports in found.values() for r in reports.get(kind, []))
        rows.append(["packets reordered in all runs", str(count("hairpin")), str(count("coturn")), "0"])
        rows[-1].append(verdict(count("hairpin"), 0))
    return rows


def idle_rows(args, folder):
    """What idle allocations add to the cost of the busy ones."""
    found = {}
    for number, kind in enumerate(("hairpin", "coturn")):
        server = Server(kind, number, folder)
        try:
            found[kind] = []
            for _ in range(max(args.pairs // 2, 2)):
                alone, beside = (
                    load(server, "udp", ["-s", "paced", "--idle", idle], args, folder)
                    for idle in ("0", str(many()))
                )
                found[kind].append(cost(beside) / cost(alone))
                print(f"  idle {kind}: {cost(alone):.2f} us, {cost(beside):.2f} us", file=sys.stderr)
        finally:
            server.stop()
    row = [
        f"CPU a packet beside {many():,} idle allocations, ratio to without",
        spread(found["hairpin"]),
        spread(found["coturn"]),
        "at most 1.20",
        verdict(median(found["hairpin"]), 1.2),
    ]
    return [row]


def hold_rows(args, folder):
    """Memory and time for many allocations, in a fresh server."""
    memory, cpu = {}, {}
    for number, kind in enumerate(("hairpin", "coturn")):
        server = Server(kind, number, folder)
        try:
            report = load(server, "udp", ["-s", "hold", "--clients", str(many())], args, folder, 0.2)
            memory[kind] = report["server_process"]["memory_bytes_per_allocation"]
            cpu[kind] = report["setup"]["server_cpu_us_per_allocation"]
            print(f"  hold {kind}: {memory[kind]:.0f} bytes, {cpu[kind]:.0f} us", file=sys.stderr)
        finally:
            server.stop()
    return [
        [f"memory for an allocation with a permission and a channel, at {many():,}, bytes"]
        + [f"{memory['hairpin']:.0f}", f"{memory['coturn']:.0f}", "at most 2,560"]
        + [verdict(memory["hairpin"], 2560)],
        ["CPU to make such an allocation, us", f"{cpu['hairpin']:.0f}", f"{cpu['coturn']:.0f}", "", ""],
    ]


def start_rows(args, folder):
    resident, start = {}, {}
    for number, kind in enumerate(("hairpin", "coturn")):
        resident[kind], start[kind] = [], []
        for _ in range(args.pairs):
            server = Server(kind, number, folder)
            resident[kind].append(server.resident() / 1e6)
            start[kind].append(server.start_time * 1000)
            server.stop()
    return [
        ["resident memory when idle, MB", spread(resident["hairpin"], 1), spread(resident["coturn"], 1)]
        + ["at most 15", verdict(median(resident["hairpin"]), 15)],
        ["start to first answer, ms", spread(start["hairpin"], 0), spread(start["coturn"], 0)]
        + ["at most 100", verdict(median(start["hairpin"]), 100)],
    ]


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except OSError:
        return ""


def machine(args):
    with open("/proc/cpuinfo") as file:
        model = next((l.split(":")[1].strip() for l in file if l.startswith("model name")), "?")
    version = output_of(os.environ["HAIRPIN"], "--version")
    commit = output_of("git", "rev-parse", "--short", "HEAD")
    coturn = output_of(os.environ["TURNSERVER"], "--version").splitlines()
    print(f"- machine: {os.cpu_count()} cores, {model}; the server on core {SERVER_CORE}, the load on {LOAD_CORE}")
    print(f"- kernel: {platform.system()} {platform.release()}")
    print(f"- {version} ({commit}), one worker; coturn {coturn[-1] if coturn else '?'}, one relay thread")
    print(f"- {args.pairs} pairs of {args.seconds:g} s, {args.warm_up:g} s to warm up")
    print(f"- command: `benches/compare.sh {' '.join(sys.argv[1:])}`\n")


def main():
    args = arguments()
    if os.cpu_count() < 2:
        raise SystemExit("this takes two cores, one for the server and one for the load")
    first_in_line()
    folder = tempfile.mkdtemp(prefix="hairpin-compare-")
    try:
        certificate(folder)
        found, failed = {}, []
        for name in (name for name in ROWS if name in args.only):
            try:
                found[name] = alternate(name, args, folder)
            except Failed as error:
                failed.append(error)
        rows = delivery_bars(found)
        for name, extra in (("idle", idle_rows), ("hold", hold_rows), ("start", start_rows)):
            if name in args.only:
                try:
                    rows += extra(args, folder)
                except Failed as error:
                    failed.append(error)
        machine(args)
        if found:
            costs_table(found)
        beside_table(rows)
        if found:
            delivery_table(found)
        for error in failed:
            print(f"failed: {error}", file=sys.stderr)
        sys.exit(bool(failed))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
