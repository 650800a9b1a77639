# SPDX-License-Identifier: Apache-2.0
"""
Two ends of a connection that come to an end in a certain way, after both have moved bytes for a while; each prints
what it saw. Usage: endings.py server|client CASE ADDRESS PORT
"""

import os
import random
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

PIECE = 65536
WARM = 100
BULK = 24 << 20
PATTERN = random.Random(77).randbytes((1 << 20) + 4099)
TWICE = PATTERN + PATTERN[:PIECE]


def pattern(at, size):
    start = at % len(PATTERN)
    return TWICE[start:start + size]


class End:
    """One end, which knows how far each direction is, and checks every byte."""

    def __init__(self, sock):
        self.sock, self.out, self.into = sock, 0, 0

    def send(self, total):
        """Sends so many bytes; returns 'sent' or the error."""
        end = self.out + total
        try:
            while self.out < end:
                self.out += self.sock.send(pattern(self.out, min(PIECE, end - self.out)))
        except OSError as e:
            return type(e).__name__
        return "sent"

    def receive(self, total=None):
        """Receives so many bytes, or all; returns what ended it: 'enough', 'end', or the error."""
        end = None if total is None else self.into + total
        try:
            while end is None or self.into < end:
                data = self.sock.recv(PIECE if end is None else min(PIECE, end - self.into))
                if not data:
                    return "end"
                if data != pattern(self.into, len(data)):
                    return "WRONG BYTES at %d" % self.into
                self.into += len(data)
        except OSError as e:
            return type(e).__name__
        return "enough"

    def warm(self, first):
        """A conversation that is long enough for both directions to leave TCP."""
        for _ in range(WARM):
            for turn in (first, not first):
                said = self.send(PIECE) if turn else self.receive(PIECE)
                assert said in ("sent", "enough"), said
            time.sleep(0.002)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def readable(self, more=1):
        """Waits until so many bytes can be read."""
        while True:
            select.select([self.sock], [], [])
            if len(self.sock.recv(more, socket.MSG_PEEK)) >= more:
                return
            time.sleep(0.01)


def die():
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def until_error(end):
    """Sends without end; the first error."""
    while True:
        said = end.send(PIECE)
        if said != "sent":
            return said


def half_close_client(end):
    print(end.send(BULK))
    end.sock.shutdown(socket.SHUT_WR)
    print(end.receive(), end.into)


def half_close_server(end):
    print(end.receive(), end.into)
    print(end.send(BULK))


def crossing_client(end):
    # Both directions are full when the first one ends.
    other = threading.Thread(target=lambda: (end.send(BULK), end.sock.shutdown(socket.SHUT_WR)))
    other.start()
    time.sleep(0.5)
    print(end.receive(), end.into)
    other.join()
    print(end.out)


crossing_server = crossing_client


def close_client(end):
    print(end.send(BULK))


def close_server(end):
    time.sleep(0.5)
    print(end.receive(), end.into)


def exiting_client(end):
    # A thread is still sending when the process ends; what was taken before has to arrive, and then a clean end.
    threading.Thread(target=until_error, args=(end,), daemon=True).start()
    time.sleep(0.5)
    sys.stdout.flush()
    os._exit(0)


def exiting_server(end):
    said = "enough"
    while said == "enough":
        said = end.receive(1 << 20)
        time.sleep(0.005)
    print(said, end.into > WARM * PIECE)


def reset_client(end):
    # All has been read when the reset comes.
    print(end.send(1 << 20), end.receive(1))
    end.reset()


def reset_server(end):
    print(end.receive(1 << 20), end.send(1))
    print(end.receive(), end.send(1))


def answer_then_reset_client(end):
    # Time enough for the answer to arrive before the reset: it must be readable, and then the reset be seen.
    print(end.send(1000))
    print(end.receive(5), end.receive())


def answer_then_reset_server(end):
    end.readable(1000)
    print(end.receive(10), end.send(5))
    time.sleep(0.5)
    end.reset()


def reset_behind_answer_client(end):
    answer_then_reset_client(end)


def reset_behind_answer_server(end):
    end.readable(1000)
    print(end.receive(10), end.send(5))
    end.reset()


def reset_under_way_client(end):
    print(end.send(BULK))
    end.reset()


def reset_under_way_server(end):
    time.sleep(0.3)
    print(end.receive())


def reset_sleeper_client(end):
    time.sleep(0.5)
    end.reset()


def reset_sleeper_server(end):
    print(end.receive())


def unread_client(end):
    end.readable(1000)
    end.sock.close()


def unread_server(end):
    print(end.send(1000))
    print(end.receive())


def unread_much_client(end):
    end.readable(1000)
    end.sock.close()


def unread_much_server(end):
    # Which of the two depends on when the reset comes.
    print(until_error(end) in ("ConnectionResetError", "BrokenPipeError"))


def flag(port):
    """A file by which one program tells the other something past the connection."""
    return os.path.join(tempfile.gettempdir(), "hutong-endings-%d" % port)


def computing_client(end):
    # More than the far ring has room for, then no call at all on which anything could be done for the connection.
    print(end.send(3000000))
    said, deadline = "too late", time.monotonic() + 20
    while time.monotonic() < deadline and said != "in time":
        said = "in time" if os.path.exists(flag(end.sock.getpeername()[1])) else said
    print(said)


def computing_server(end):
    end.readable()
    time.sleep(0.3)
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    # The connection is not this process' own: it goes back to TCP at the first read.
    path = flag(end.sock.getsockname()[1])
    print(end.receive(3000000))
    with open(path, "w", encoding="ascii"):
        pass
    print(end.receive())
    os.unlink(path)
    sys.stdout.flush()
    os._exit(0)


def killed_sender_client(end):
    end.send(BULK)
    die()


def killed_sender_server(end):
    time.sleep(0.3)
    print(end.receive())


def killed_quiet_sender_client(end):
    end.send(1 << 20)
    time.sleep(0.5)
    die()


def killed_quiet_sender_server(end):
    print(end.receive(), end.into)


def killed_receiver_client(end):
    print(until_error(end) in ("ConnectionResetError", "BrokenPipeError"))


def killed_receiver_server(end):
    end.receive(BULK)
    die()


def main(role, case, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        if role == "server":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.listen()
            peer, _ = sock.accept()
        else:
            sock.connect((address, port))
            peer = sock
        with peer:
            end = End(peer)
            end.warm(role == "client")
            globals()["%s_%s" % (case, role)](end)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
