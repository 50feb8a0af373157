"""`openssl s_client`, a TLS client that speaks no STUN: versions, names, ALPN and the certificate."""

import re

from rig import process
from rig.process import Failure
from rig.suite import Case


def handshake(server, *flags, port=None):
    """Makes a connection and ends it: (exit status, output)."""
    client = process.require("openssl", "openssl")
    where = f"{server.site.listen[0]}:{port or server.site.tls_port}"
    trust = ["-CAfile", server.certificate.authority, "-verify_return_error"]
    # Standard input ends at once, and with it the connection.
    return process.run([client, "s_client", "-connect", where, *trust, *flags], server.case_log, patience=15)


def works(*flags, expect=(), port=None):
    """A case body: the handshake works, and what is printed of it matches each of these patterns."""

    def body(server):
        status, output = handshake(server, *flags, port=port)
        missing = [pattern for pattern in ("Verification: OK", *expect) if not re.search(pattern, output)]
        if status != 0 or missing:
            raise Failure(f"exit status {status}, without {missing}", output)
        return re.search(r"New, \S+ Cipher is \S+", output)[0]

    return body


def refused(*flags):
    """A case body: the server refuses with an alert."""

    def body(server):
        status, output = handshake(server, *flags)
        if status == 0 or not re.search(r"SSL alert number \d+", output):
            raise Failure(f"exit status {status}", output)
        return re.search(r"SSL alert number \d+", output)[0]

    return body


# What RFC 8489, section 6.2.3, names is for RSA keys; this is its like for the run's elliptic key.
CIPHER = "ECDHE-ECDSA-AES128-GCM-SHA256"
OLD = ["-cipher", "DEFAULT@SECLEVEL=0"]

CASES = [
    # coturn 4.6.1 refuses it here.
    Case("openssl/tls-1.3", works("-tls1_3", expect=[r"New, TLSv1\.3"]), hairpin_only=True),
    Case("openssl/tls-1.2", works("-tls1_2", "-cipher", CIPHER, expect=[r"New, TLSv1\.2", CIPHER])),
    Case("openssl/tls-1.1-refused", refused("-tls1_1", *OLD)),
    Case("openssl/tls-1.0-refused", refused("-tls1", *OLD)),
    Case("openssl/verified-name", works("-verify_hostname", "localhost", "-servername", "localhost")),
    Case("openssl/alpn-turn", works("-alpn", "stun.turn", expect=["ALPN protocol: stun.turn"]), hairpin_only=True),
    Case(
        "openssl/alpn-discovery",
        works("-alpn", "h2,stun.nat-discovery", expect=["ALPN protocol: stun.nat-discovery"]),
        hairpin_only=True,
    ),
    Case("openssl/alpn-unknown", works("-alpn", "h2,http/1.1", expect=["No ALPN negotiated"])),
    Case("openssl/dtls-1.2", works("-dtls1_2", "-cipher", CIPHER, expect=["DTLSv1.2", CIPHER])),
    Case("openssl/dtls-1.0-refused", refused("-dtls1", *OLD), hairpin_only=True),
    Case("openssl/dtls-rsa-refused", refused("-dtls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")),
    Case("openssl/auto-port", works("-tls1_3", port=443), hairpin_only=True),
]
