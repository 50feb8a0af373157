"""A certificate for the server under test, signed by an authority made for the run (openssl)."""

import ipaddress
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .process import Failure, require


@dataclass
class Certificate:
    """Paths of PEM files: the authority that clients are to trust, the server's chain, and its key."""

    authority: Path
    chain: Path
    key: Path


def make(folder, names):
    """A certificate for these names and addresses. Elliptic keys, as public authorities hand them out today."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    made = Certificate(folder / "authority.pem", folder / "chain.pem", folder / "key.pem")
    alternatives = ",".join(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names)
    common = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7", "-x509"]
    authority_key = folder / "authority-key.pem"
    openssl("req", *common, "-subj", "/CN=interop authority", "-keyout", authority_key, "-out", made.authority)
    openssl(
        "req", *common, "-subj", f"/CN={names[0]}", "-keyout", made.key, "-out", made.chain,
        "-CA", made.authority, "-CAkey", authority_key,
        "-addext", f"subjectAltName={alternatives}",
        "-addext", "basicConstraints=critical,CA:FALSE",
        "-addext", "extendedKeyUsage=serverAuth",
    )
    return made


def is_address(name):
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def openssl(*words):
    command = [require("openssl", "openssl"), *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"openssl {words[0]}: exit status {done.returncode}", done.stderr)
