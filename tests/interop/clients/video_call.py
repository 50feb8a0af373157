"""The video call of examples/video-call: its room server, and members in headless Chromiums and a Firefox (browser/video_call.mjs)."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

from rig import internet, process
from rig.dialogue import Dialogue
from rig.process import Failure
from rig.server import PATIENCE_START, Server
from rig.suite import Case

from .browsers import BROWSER

PAGE = Path(__file__).resolve().parents[3] / "examples" / "video-call" / "page"
PAGE_PORT = 8080
# A way to the same server that can be cut.
FORWARDER_PORT = 8081

# For a home's NAT, in addition to what it is.
WITHOUT_UDP = """
table ip blocked {
    chain forward {
        type filter hook forward priority -10; policy accept
        meta l4proto udp drop
    }
}
"""
TO_THE_SERVER_ONLY = WITHOUT_UDP.replace("udp drop", "udp udp dport != 3478 udp sport != 3478 drop")


class RoomServer(Server):
    """The example as it comes: a room server with a hairpin for a trial, which is the server that answers STUN."""

    name = "video-call"

    def command(self):
        command = [self.hairpin, "--listen", f"0.0.0.0:{PAGE_PORT}"]
        for origin in (f"http://{self.site.listen[0]}:{PAGE_PORT}", f"http://localhost:{FORWARDER_PORT}"):
            command += ["--origin", origin]
        return command

    def configuration(self):
        return ""

    def start(self):
        if not self.hairpin.is_file():
            raise Failure(f"there is no {self.hairpin}: build it with `cargo build --example video-call`")
        super().start()
        deadline = time.monotonic() + PATIENCE_START
        with self.site.entered():
            while True:
                try:
                    socket.create_connection((self.site.listen[0], PAGE_PORT), timeout=1).close()
                    return
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise Failure(f"nobody serves the page: {error}", self.log_from(0)) from None
                    time.sleep(0.05)


class Members:
    """The browsers, which stay open from one case to the next."""

    def __init__(self, server):
        node = process.require("node", "nodejs")
        if not (BROWSER / "node_modules" / "playwright-core").is_dir():
            raise Failure("playwright-core is not installed: run tests/interop/install")
        home = server.workdir / "chromium-home"
        home.mkdir(exist_ok=True)
        log = server.workdir / "chromium.log"
        self._dialogue = Dialogue("chromium", [node, BROWSER / "video_call.mjs"], log, env={"HOME": str(home)})

    def do(self, action, **what):
        """Has it done; returns what the action returns."""
        self._dialogue.tell({"do": action, **what})
        answer = self._dialogue.hear(what.get("patience", 20000) / 1000 + 40)
        if "error" in answer:
            raise Failure(answer["error"])
        return answer["value"]

    def all_see(self, paths, patience=40000):
        """Waits until each sees each; paths: {frozenset of two names: kind}. Returns what they see, by name."""
        names = sorted({name for pair in paths for name in pair})
        seen = {}
        for name in names:
            kinds = {other: paths[frozenset((name, other))] for other in names if other != name}
            tiles = self.do("sees", name=name, kinds=kinds, patience=patience)
            seen[name] = {tile["name"]: tile for tile in tiles}
        return seen


def members(server):
    """The browsers of a server, started with the first case that asks."""
    if getattr(server, "members", None) is None:
        server.members = Members(server)
    return server.members


def pairs(**kinds):
    """{frozenset({"Ada", "Bo"}): "direct"} of Ada_Bo="direct"."""
    return {frozenset(pair.split("_")): kind for pair, kind in kinds.items()}


def in_words(seen):
    rates = [tile["down"] for tiles in seen.values() for tile in tiles.values()]
    paths = sorted(f"{name}-{other} {tile['path']}" for name, tiles in seen.items() for other, tile in tiles.items())
    return f"{', '.join(paths)}; {min(rates) // 1000} to {max(rates) // 1000} kbit/s received of each"


def mesh_of_three(server):
    """Three members, one through the relay only: each sees each, and is told the way it takes."""
    call = members(server)
    program = process.require("chromium", "chromium")
    call.do("forward", at=FORWARDER_PORT, host="127.0.0.1", port=PAGE_PORT)
    server.url = f"http://localhost:{FORWARDER_PORT}/#interop"
    server.program = program
    for name in ("Ada", "Bo", "Cem"):
        call.do("join", name=name, program=program, url=server.url, relayOnly=name == "Cem")
    return in_words(call.all_see(pairs(Ada_Bo="direct", Ada_Cem="relayed", Bo_Cem="relayed")))


def chat(server):
    """What one writes, the others read, directly and through the relay."""
    call = members(server)
    texts = {"Ada": "Hello from here <b>&amp;", "Cem": "And through the relay"}
    for name, text in texts.items():
        call.do("chat", name=name, text=text)
    for name, text in texts.items():
        for other in {"Ada", "Bo", "Cem"} - {name}:
            call.do("hears", name=other, **{"from": name}, text=text)
    return f"{len(texts)} messages, each read by two others as it was written"


def switches(server):
    """Camera and microphone go off and on by keyboard, and the others are shown that."""
    call = members(server)

    def shown(who, of):
        return call.do("evaluate", name=who, script=f"""(() => {{
            const tile = [...document.querySelectorAll(".tile[data-seat]")]
                .find((tile) => tile.querySelector(".name").textContent === {of!r});
            return [tile.classList.contains("dark"), !tile.querySelector(".muted").hidden];
        }})()""")

    def wait(what):
        deadline = time.monotonic() + 10
        while (seen := [shown("Bo", "Ada"), shown("Cem", "Ada")]) != [what, what]:
            if time.monotonic() > deadline:
                raise Failure(f"others are shown {seen} (camera off, muted), not {what}")
            time.sleep(0.1)

    call.do("evaluate", name="Ada", script="document.activeElement.blur()")
    for key, what in (("v", [True, False]), ("m", [True, True]), ("v", [False, True]), ("m", [False, False])):
        call.do("press", name="Ada", key=key)
        wait(what)
    call.all_see(pairs(Ada_Bo="direct", Ada_Cem="relayed", Bo_Cem="relayed"))
    return "camera off, muted, and both on again; the picture moves again"


def screen(server):
    """One shows a screen and stops, which takes an offer and answer each time, on calls that one of the others began."""
    call = members(server)
    count = """document.querySelectorAll(".tile.screen video").length
        && document.querySelector(".tile.screen video").getVideoPlaybackQuality().totalVideoFrames"""
    call.do("evaluate", name="Bo", script="document.activeElement.blur()")
    call.do("press", name="Bo", key="s")
    for name in ("Ada", "Cem"):
        call.do("until", name=name, script=f"{count} > 1")
    call.do("press", name="Bo", key="s")
    for name in ("Ada", "Bo", "Cem"):
        call.do("until", name=name, script="""document.querySelectorAll(".tile.screen").length === 0""")
    call.all_see(pairs(Ada_Bo="direct", Ada_Cem="relayed", Bo_Cem="relayed"))
    return "seen by both others, directly and through the relay, and gone again"


def signalling_cut(server):
    """The sockets to the room server break: sound and picture go on, seats are kept, and signalling works afterwards."""
    call = members(server)
    marks = {}
    for name in ("Ada", "Bo", "Cem"):
        marks[name] = call.do("evaluate", name=name, script="""(() => {
            for (const video of document.querySelectorAll(".tile[data-seat] video"))
                video.dataset.mark = "kept";
            return [...document.querySelectorAll(".tile[data-seat]")].map((tile) => tile.dataset.seat);
        })()""")
    before = call.all_see(pairs(Ada_Bo="direct", Ada_Cem="relayed", Bo_Cem="relayed"))
    started = time.monotonic()
    count = call.do("cut")
    for name in marks:
        call.do("status", name=name, includes="2 others are here")
    took = time.monotonic() - started
    after = call.all_see(pairs(Ada_Bo="direct", Ada_Cem="relayed", Bo_Cem="relayed"))
    for name, seats in marks.items():
        kept = call.do("evaluate", name=name, script="""
            [...document.querySelectorAll(".tile[data-seat]")].filter((tile) => tile.querySelector("[data-mark]"))
                .map((tile) => tile.dataset.seat)""")
        if kept != seats:
            raise Failure(f"{name} had calls with seats {seats}, and after the cut still has those with {kept}")
    frames = min(after[a][b]["frames"] - before[a][b]["frames"] for a in before for b in before[a])
    if frames <= 0:
        raise Failure("the pictures stood still")
    return f"{count} TCP ends cut, all three in their seats again after {took:.1f} s, no call made anew"


def relay_given_up(server):
    """The one that went through the relay gives that up: ICE restarts find the direct path, within the same calls. And
    once it wants the relay again, all its calls go through it."""
    call = members(server)
    call.do("relayOnly", name="Cem", on=False)
    seen = call.all_see(pairs(Ada_Bo="direct", Ada_Cem="direct", Bo_Cem="direct"))
    call.do("relayOnly", name="Cem", on=True)
    call.all_see(pairs(Ada_Bo="direct", Ada_Cem="relayed", Bo_Cem="relayed"))
    return in_words(seen) + "; and back through the relay"


def comes_back(server):
    """A browser is closed: the others see it go. It comes back, and everybody sees everybody."""
    call = members(server)
    complaints = call.do("close", name="Bo")
    started = time.monotonic()
    call.all_see(pairs(Ada_Cem="relayed"))
    gone = time.monotonic() - started
    if gone > 10:
        raise Failure(f"a closed browser was still shown after {gone:.0f} s")
    call.do("join", name="Bo", program=server.program, url=server.url)
    call.all_see(pairs(Ada_Bo="direct", Ada_Cem="relayed", Bo_Cem="relayed"))
    call.do("chat", name="Bo", text="Back again")
    call.do("hears", name="Cem", **{"from": "Bo"}, text="Back again")
    if complaints:
        raise Failure(f"its console said {complaints}")
    return f"gone after {gone:.1f} s, back in calls with both"


def firefox_among_three(server):
    """Firefox takes the place of one Chromium: both others see it and hear it, directly and through the relay."""
    call = members(server)
    call.do("close", name="Bo")
    call.all_see(pairs(Ada_Cem="relayed"))
    profile = server.workdir / "firefox-call"
    profile.mkdir(exist_ok=True)
    program = process.require("firefox-esr", "firefox-esr")
    call.do("join", name="Fox", program=program, profile=str(profile), url=server.url)
    # Where a check comes before the candidate it is from, Firefox takes the address for a NAT's, and goes on to.
    seen = call.all_see(pairs(Ada_Fox="direct|stun", Ada_Cem="relayed", Cem_Fox="relayed"))
    call.do("chat", name="Fox", text="From another hand's browser")
    for other in ("Ada", "Cem"):
        call.do("hears", name=other, **{"from": "Fox"}, text="From another hand's browser")
    call.do("chat", name="Cem", text="Heard")
    call.do("hears", name="Fox", **{"from": "Cem"}, text="Heard")
    if complaints := call.do("close", name="Fox"):
        raise Failure(f"its console said {complaints}")
    return in_words(seen)


def screenshot(server):
    """A picture of it for the documentation; and nothing was said on any console, a breach of the policy included."""
    call = members(server)
    path = server.workdir / "video-call.png"
    call.do("screenshot", name="Ada", path=str(path))
    size = path.stat().st_size
    if size > 300_000:
        raise Failure(f"the picture has {size} bytes")
    for name in ("Ada", "Bo", "Cem"):
        if complaints := call.do("complaints", name=name):
            raise Failure(f"{name}'s console said {complaints}")
    if server.pictures:
        shutil.copy(path, server.pictures / "video-call.png")
    return f"{size // 1000} kB, no complaint on any console"


def never_gives_up(server):
    """Where there is no path for long, the page goes on looking for one, and does so at once when the server is back."""
    node = process.require("node", "nodejs")
    # By its name a module, which it is in the page by how it is loaded.
    module = server.workdir / "peer.mjs"
    shutil.copy(PAGE / "peer.js", module)
    command = [node, "--no-warnings", BROWSER / "no_path.mjs", module]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if ran.returncode:
        raise Failure("the page's peer.js failed", ran.stderr)
    looked = json.loads(ran.stdout)
    if max(looked["without"]) < 540 or len(looked["without"]) > 16:
        raise Failure(f"in ten minutes without a path it looked at {looked['without']}")
    if not looked["reminded"] or looked["reminded"][0] > 1:
        raise Failure(f"with the server back it looked at {looked['reminded']}")
    if len(looked["held"]) != 1:
        raise Failure(f"with a path that held it looked at {looked['held']}")
    if looked["closed"]:
        raise Failure("it looks on after its end")
    return f"looked {len(looked['without'])} times in ten minutes, and {looked['reminded'][0]} s after the server was back"


CASES = [
    Case("call/never-gives-up", never_gives_up),
    Case("call/mesh-of-three", mesh_of_three),
    Case("call/chat", chat),
    Case("call/camera-and-microphone", switches),
    Case("call/screen", screen),
    Case("call/signalling-socket-cut", signalling_cut),
    Case("call/relay-given-up", relay_given_up),
    Case("call/leaves-and-comes-back", comes_back),
    Case("call/screenshot", screenshot),
    Case("call/firefox-among-three", firefox_among_three),
]


NAT_PAIRS = pairs(Ada_Bo="relayed", Ada_Cem="stun", Bo_Cem="relayed")


def behind_nats(server):
    """One behind a symmetric NAT, one without UDP, one on a public address: each pair takes the path that is left."""
    call = members(server)
    program = process.require("chromium", "chromium")
    site = server.site
    server.url = f"http://{site.listen[0]}:{PAGE_PORT}/#nats"
    site.homes["Bo"].firewall(internet.SYMMETRIC + WITHOUT_UDP)
    for name, namespace in site.places.items():
        script = server.workdir / f"chromium-{name}"
        script.write_text(f'#!/bin/sh\nexec {" ".join(namespace.prefix)} {program} "$@"\n')
        script.chmod(0o700)
        come(server, name)
    return in_words(call.all_see(NAT_PAIRS))


def come(server, name):
    """A browser in the member's own network."""
    program = str(server.workdir / f"chromium-{name}")
    members(server).do("join", name=name, program=program, url=server.url, trusted=server.url.split("/#")[0])


def comes_back_behind_nat(server):
    """The one without UDP closes the browser and comes back, and is read by both others."""
    call = members(server)
    call.do("close", name="Bo")
    started = time.monotonic()
    call.all_see(pairs(Ada_Cem="stun"))
    gone = time.monotonic() - started
    come(server, "Bo")
    seen = call.all_see(NAT_PAIRS)
    if "TCP" not in seen["Bo"]["Ada"]["path"]:
        raise Failure(f"without UDP, and yet the path is {seen['Bo']['Ada']['path']}")
    call.do("chat", name="Bo", text="Back again")
    for other in ("Ada", "Cem"):
        call.do("hears", name=other, **{"from": "Bo"}, text="Back again")
    return f"gone after {gone:.1f} s; then {in_words(seen)}"


def path_dies(server):
    """The direct path is blocked in the middle of the call: ICE is restarted and takes the relay, in the same call."""
    call = members(server)
    mark = """document.querySelectorAll(".tile[data-seat] video").forEach((video) => { video.dataset.mark = "kept"; })"""
    call.do("evaluate", name="Ada", script=mark)
    home = server.site.homes["Ada"]
    home.firewall(internet.SYMMETRIC + TO_THE_SERVER_ONLY)
    started = time.monotonic()
    try:
        call.all_see({**NAT_PAIRS, frozenset(("Ada", "Cem")): "relayed"}, 60000)
    finally:
        home.firewall(internet.SYMMETRIC)
    took = time.monotonic() - started
    kept = call.do("evaluate", name="Ada", script="""document.querySelectorAll(".tile[data-seat] [data-mark]").length""")
    if kept != 2:
        raise Failure(f"{kept} of 2 calls were kept")
    return f"through the relay after {took:.1f} s, in the same call"


NAT_CASES = [
    Case("nat/symmetric-and-without-udp", behind_nats),
    Case("nat/chat", chat),
    Case("nat/leaves-and-comes-back", comes_back_behind_nat),
    Case("nat/path-dies", path_dies),
]
