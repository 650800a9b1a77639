# SPDX-License-Identifier: Apache-2.0
"""The embedded XenStore: Debian's own tools see each host's tree; a VM stays in its own domain (M1.4)."""

import errno
import os
import socket
import struct
import subprocess

from hutonglab import agents
from support import PC1, PC2, VM1, VM2, VM3, ClusterTest, eventually

XS_WRITE, XS_READ, XS_ERROR = 11, 2, 16


def tool(node, name, *arguments):
    """One of the package xenstore-utils, speaking as the node."""
    env = dict(os.environ, XENSTORED_PATH=agents.xenstore_socket(node))
    return subprocess.run([name, *arguments], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=30, check=False)


def request(node, kind, payload):
    """One request on the wire, as the node: (type, body) of the answer."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(15)
        s.connect(agents.xenstore_socket(node))
        s.sendall(struct.pack("<IIII", kind, 1, 0, len(payload)) + payload)
        with s.makefile("rb") as f:
            answer = struct.unpack("<IIII", f.read(16))
            return answer[0], f.read(answer[3])


class XenStoreTest(ClusterTest):
    def test_xenstore_ls_shows_each_hosts_tree(self):
        def tree(host, *wanted):
            listing = tool(host, "xenstore-ls", "-f", "/local/domain").stdout
            return listing if all(w in listing for w in wanted) else None
        one = eventually(lambda: tree(PC1, VM1.mac, VM2.mac), "both VMs of PC1 have published", 20)
        self.assertIn('/local/domain/1/name = "VM1"', one)
        self.assertIn('/local/domain/2/name = "VM2"', one)
        self.assertIn(VM1.ipv4, one)
        self.assertIn(VM1.ipv6, one)
        self.assertNotIn("VM3", one)
        two = eventually(lambda: tree(PC2, VM3.mac), "VM3 has published", 20)
        self.assertIn('/local/domain/1/name = "VM3"', two)
        self.assertNotIn(VM1.mac, two)

    def test_outside_its_domain_a_vm_gets_eacces(self):
        for path in ("/local/domain/2/data/x", "/local/domain/2/name", "/local/domain/1/name", "/tool/x", "/x",
                     "/local/domain/0/x"):
            with self.subTest(path):
                kind, body = request(VM1, XS_WRITE, path.encode() + b"\0mine")
                self.assertEqual((kind, body), (XS_ERROR, b"EACCES\0"))
                self.assertNotEqual(tool(VM1, "xenstore-write", path, "mine").returncode, 0)
                self.assertNotEqual(tool(PC1, "xenstore-read", path).stdout.strip(), "mine")

    def test_outside_its_domain_a_vm_cannot_read(self):
        kind, body = request(VM1, XS_READ, b"/local/domain/2/name\0")
        self.assertEqual((kind, body), (XS_ERROR, errno.errorcode[errno.EACCES].encode() + b"\0"))
        self.assertNotEqual(tool(VM1, "xenstore-ls", "/local/domain").returncode, 0)

    def test_below_its_own_data_a_vm_may_write(self):
        self.assertEqual(tool(VM1, "xenstore-write", "data/test/deep", "value").returncode, 0)
        self.assertEqual(tool(PC1, "xenstore-read", "/local/domain/1/data/test/deep").stdout, "value\n")
        self.assertEqual(tool(VM1, "xenstore-rm", "data/test").returncode, 0)
        self.assertNotEqual(tool(PC1, "xenstore-read", "/local/domain/1/data/test/deep").returncode, 0)

    def test_a_watch_fires(self):
        env = dict(os.environ, XENSTORED_PATH=agents.xenstore_socket(PC1))
        with subprocess.Popen(["xenstore-watch", "-n", "2", "/local/domain/2/data/seen"], env=env, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as watcher:
            # A watch fires once when it is set; the second event is ours.
            self.assertIn("seen", watcher.stdout.readline())
            self.assertEqual(tool(VM2, "xenstore-write", "data/seen", "1").returncode, 0)
            self.assertIn("/local/domain/2/data/seen", watcher.stdout.readline())
            self.assertEqual(watcher.wait(15), 0)
        tool(VM2, "xenstore-rm", "data/seen")

    def test_garbage_on_the_wire_does_not_hurt_others(self):
        for junk in (b"\0" * 3, b"\xff" * 64, struct.pack("<IIII", XS_WRITE, 1, 0, 1 << 30), os.urandom(4096)):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(agents.xenstore_socket(VM1))
                s.sendall(junk)
        self.assertEqual(tool(PC1, "xenstore-read", "/local/domain/1/name").stdout, "VM1\n")
