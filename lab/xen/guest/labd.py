# SPDX-License-Identifier: Apache-2.0
"""
The lab's command server, in dom0 and in every domU. dom0's is reached from outside through a virtio port and passes on
what is for a domU, over the bridge. Lines of JSON:

    {"id": 1, "node": "VM1", "sh": "uname -r", "seconds": 20}     to here; no node, or dom0's own name: dom0 itself
    {"id": 1, "out": "6.1.0\\n"}                                   from here, any number of times
    {"id": 1, "status": 0}                                        the last one; -1: it could not be done, or took too long

Whoever reaches this server is root in its domain: it belongs in a lab and nowhere else.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

PORT = 7400
SERIAL = "/dev/vport0p1"


def run(text, seconds, tell):
    """Runs a shell command; tells its output as it comes. Returns its exit status."""
    try:
        process = subprocess.Popen(["/bin/bash", "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as e:
        tell(str(e) + "\n")
        return -1
    deadline, out = time.monotonic() + seconds, process.stdout.fileno()
    try:
        while True:
            left = deadline - time.monotonic()
            ready = select.select([out], [], [], max(0, min(left, 0.5)))[0]
            part = os.read(out, 65536) if ready else None
            if part:
                tell(part.decode(errors="replace"))
            elif part == b"" or (not ready and process.poll() is not None):
                # A daemon that the command left behind may hold the pipe: the command's end counts.
                return process.wait(max(0.1, left))
            if left <= 0:
                return -1
    except subprocess.TimeoutExpired:
        return -1
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def pass_on(request, answer):
    """Has a domU's server do it, and repeats its answers."""
    number = int(request["node"][2:])
    try:
        with socket.create_connection(("10.77.0.%d" % number, PORT), timeout=5) as s:
            s.settimeout(request.get("seconds", 60) + 10)
            s.sendall((json.dumps({k: v for k, v in request.items() if k != "node"}) + "\n").encode())
            for line in s.makefile():
                message = json.loads(line)
                answer(message)
                if "status" in message:
                    return
    except (OSError, ValueError) as e:
        answer({"id": request["id"], "out": "%s: %s\n" % (request["node"], e)})
    answer({"id": request["id"], "status": -1})


def serve(request, answer):
    """Does what one request says."""
    if str(request.get("node", "")).startswith("VM"):
        pass_on(request, answer)
        return
    status = run(request["sh"], request.get("seconds", 60), lambda text: answer({"id": request["id"], "out": text}))
    answer({"id": request["id"], "status": status})


def lines_of(read, write):
    """Serves requests from one stream; each in a thread of its own."""
    lock, rest = threading.Lock(), b""

    def answer(message):
        with lock:
            write((json.dumps(message) + "\n").encode())

    while True:
        part = read()
        if not part:
            return
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            try:
                request = json.loads(line)
            except ValueError:
                continue
            threading.Thread(target=serve, args=(request, answer), daemon=True).start()


def domu():
    """Serves TCP connections."""
    server = socket.create_server(("", PORT), backlog=32)
    while True:
        client = server.accept()[0]
        threading.Thread(target=lines_of, args=(lambda c=client: c.recv(65536), client.sendall), daemon=True).start()


def dom0():
    """Serves the virtio port, which reads as ended while nobody outside has it open."""
    fd = os.open(SERIAL, os.O_RDWR)

    def write(data):
        while data:
            data = data[os.write(fd, data):]

    def read():
        while True:
            part = os.read(fd, 65536)
            if part:
                return part
            time.sleep(0.05)

    lines_of(read, write)


if __name__ == "__main__":
    (dom0 if sys.argv[1] == "dom0" else domu)()
