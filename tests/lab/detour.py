"""The slow way of a bad line: whatever comes to the interface `detour` goes back to it a little later.

nftables sends some packets here; those that went straight on pass them meanwhile, which is reordering. A kernel with
netem has it built in, but many are without, and without nftables' queue as well. Runs in the line's namespace:

    detour.py LEAST MOST     milliseconds
"""

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
# More than this many packets under way are lost, as on any line.
ROOM = 1000


def main(least, most):
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"detour", IFF_TUN | IFF_NO_PI))
    waiting = []
    while True:
        patience = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        if select.select([tun], [], [], patience)[0]:
            packet = os.read(tun, 65536)
            if len(waiting) < ROOM:
                heapq.heappush(waiting, (time.monotonic() + random.uniform(least, most) / 1000, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(tun, heapq.heappop(waiting)[1])


main(float(sys.argv[1]), float(sys.argv[2]))
