#!/usr/bin/env bash
# Compares hairpin with coturn, side by side on this machine, and prints tables in Markdown.
#
#     benches/compare.sh              everything, about 25 minutes
#     benches/compare.sh --quick      fewer and shorter runs, about 6 minutes
#     benches/compare.sh --only saturated,video
#     benches/compare.sh --help       all options
#
# HAIRPIN     the hairpin to measure; by default it is built
# TURNSERVER  the coturn to measure; by default the one in target/coturn, built from the checkout COTURN names, or else
#             the one in PATH
#
# Server and load each take one core, and neither may be given away to others meanwhile: run it as root, on a machine
# that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

# build_coturn DIRECTORY: builds coturn from a checkout, as its packages are built; says where it is.
build_coturn() {
    local into=target/coturn
    echo "building coturn from $1" >&2
    mkdir -p "$into"
    if ! { cmake -S "$1" -B "$into" -DCMAKE_BUILD_TYPE=Release &&
        cmake --build "$into" --parallel --target turnserver; } >"$into.log" 2>&1; then
        tail -n 20 "$into.log" >&2
        echo "coturn cannot be built; it needs cmake, libevent-dev, libssl-dev and libmicrohttpd-dev" >&2
        return 1
    fi
    echo "$into/bin/turnserver"
}

if [[ " $* " != *" --help "* ]]; then
    if [[ -z ${HAIRPIN:-} ]]; then
        cargo build --quiet --release --locked
        HAIRPIN=target/release/hairpin
    fi
    if [[ -z ${TURNSERVER:-} ]]; then
        if [[ -n ${COTURN:-} ]]; then
            TURNSERVER=$(build_coturn "$COTURN")
        elif [[ -x target/coturn/bin/turnserver ]]; then
            TURNSERVER=target/coturn/bin/turnserver
        else
            TURNSERVER=$(command -v turnserver || true)
        fi
    fi
    if [[ -z $TURNSERVER ]]; then
        echo "there is no coturn: set TURNSERVER to its turnserver, or COTURN to a checkout of it" >&2
        exit 1
    fi
    # Every allocation takes a descriptor in the server and one in the load.
    { ulimit -n 50000 || ulimit -n "$(ulimit -Hn)"; } 2>/dev/null
fi
export HAIRPIN TURNSERVER
# In a session of its own, since the system shares the processor between sessions first, and only then by nice values.
exec setsid --wait python3 benches/compare.py "$@"
