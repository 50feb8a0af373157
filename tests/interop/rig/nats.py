"""What a home's NAT can be: nftables rules for each behaviour that RFC 4787 tells apart.

CLIENT is the client's address, PUBLIC the NAT's own, OTHER that of the other home's NAT.
"""

# Ports are kept where they are free, for all destinations.
_KEEPS_PORTS = """
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "public" masquerade
    }
"""


def _answers_only(leaving=""):
    """Only answers come in, to what was let out: all of it, or what nftables' expression `leaving` matches."""
    return """
table ip filter {
    chain forward {
        type filter hook forward priority filter; policy drop
        ct state established,related accept
        iifname "lan" oifname "public" LEAVING accept
    }
    chain input {
        type filter hook input priority filter; policy drop
        iifname { "lo", "lan" } accept
        ct state established,related accept
    }
}
""".replace("LEAVING", leaving)


NONE = "flush ruleset\n"

# No address is changed; with this on the client's own machine, only answers come in.
FIREWALL = (
    NONE
    + """
table ip filter {
    chain input {
        type filter hook input priority filter; policy drop
        iifname "lo" accept
        ct state established,related accept
    }
}
"""
)

FULL_CONE = (
    NONE
    + """
table ip nat {
    chain prerouting {
        type nat hook prerouting priority dstnat
        iifname "public" meta l4proto udp dnat to CLIENT
    }
"""
    + _KEEPS_PORTS
    + "}\n"
)

# The client's packets to the public address turn around, with the public address as their source.
FULL_CONE_WITH_HAIRPINNING = (
    NONE
    + """
table ip nat {
    chain prerouting {
        type nat hook prerouting priority dstnat
        ip daddr PUBLIC meta l4proto udp dnat to CLIENT
    }
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "public" masquerade
        oifname "lan" ct status dnat ip saddr CLIENT snat to PUBLIC
    }
}
"""
)

# Each port of the client remembers which addresses it sent to, and those get in from any of their ports. What comes
# before that is dropped: a connection that the NAT took for its own would hide the client from that port for good.
ADDRESS_RESTRICTED = (
    NONE
    + """
table ip nat {
    set contacted {
        type ipv4_addr . inet_service
        flags dynamic, timeout
        timeout 5m
        size 65535
    }
    chain remember {
        type filter hook forward priority filter
        oifname "public" meta l4proto udp update @contacted { ip daddr . udp sport }
    }
    chain prerouting {
        type nat hook prerouting priority dstnat
        iifname "public" ip saddr . udp dport @contacted dnat to CLIENT
    }
    chain input {
        type filter hook input priority filter
        iifname "public" meta l4proto udp ct state new drop
    }
"""
    + _KEEPS_PORTS
    + "}\n"
)

PORT_RESTRICTED = NONE + "table ip nat {" + _KEEPS_PORTS + "}\n" + _answers_only()

# Another port for each destination address, the same for all of its ports.
ADDRESS_DEPENDENT_MAPPING = (
    NONE
    + """
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "public" meta l4proto udp snat to PUBLIC : jhash ip daddr . udp sport mod 20000 seed 7 offset 20000
    }
}
"""
    + _answers_only()
)

SYMMETRIC = (
    NONE
    + """
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "public" masquerade random,fully-random
    }
}
"""
    + _answers_only()
)

# No UDP gets out; as with most firewalls, it is lost without a word.
NO_UDP = NONE + "table ip nat {" + _KEEPS_PORTS + "}\n" + _answers_only("meta l4proto != udp")

# Nothing gets out but TCP to port 443.
ONLY_443 = NONE + "table ip nat {" + _KEEPS_PORTS + "}\n" + _answers_only("tcp dport 443")
