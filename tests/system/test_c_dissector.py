# SPDX-License-Identifier: Apache-2.0
"""The Wireshark dissector of the light protocol: tshark must show what docs/protocol.md says the bytes mean."""

import os
import struct
import subprocess
import tempfile
import unittest

from support import REPO

SCRIPT = os.path.join(REPO, "bundles/hutong.transport/wireshark/hutong.lua")
ETHER_TYPE, PORT = 0x88B5, 7414
REQUEST, CONTROL = 1, 2
FIELDS = ("sum", "seq", "idx", "len", "ackseq", "ackidx", "flags", "chan")


def crc32c(data):
    """CRC32C, bit by bit: slow, and independent of any table."""
    c = 0xFFFFFFFF
    for b in data:
        c ^= b
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    return c ^ 0xFFFFFFFF


def datagram(seq, idx, ackseq, ackidx, flags, chan, data=b"", spoil=0):
    """(bytes, the eight fields) of a datagram; `spoil` is xored into H-sum."""
    rest = struct.pack("!7I", seq, idx, len(data), ackseq, ackidx, flags, chan)
    total = crc32c(bytes(4) + rest + data) ^ spoil
    return struct.pack("!I", total) + rest + data, (total, seq, idx, len(data), ackseq, ackidx, flags, chan)


def item(kind, value):
    return struct.pack("!HH", kind, len(value)) + value


#: Every item, and the fields that must be shown for it.
ITEMS = (
    (item(0, bytes(6)), {}),
    (item(1, struct.pack("!QQ", 1 << 40, 3 << 40)), {"consumed": 1 << 40, "room": 3 << 40}),
    (item(2, struct.pack("!HHHHH", 200, 0, 2, 17, 1)), {"missing.seen": 200, "missing.first": "0,17", "missing.count": "2,1"}),
    (item(3, struct.pack("!I", 71)), {"number": 71}),
    (item(4, struct.pack("!I", 72)), {"number": 72}),
    (item(5, struct.pack("!Q", 5 << 33)), {"offset": 5 << 33}),
    (item(6, struct.pack("!Q", 6 << 33)), {"offset": 6 << 33}),
    (item(7, struct.pack("!I", 73)), {"number": 73}),
    (item(8, struct.pack("!II", 74, 1500)), {"number": 74, "size": 1500}),
    (item(9, struct.pack("!IIIHHQQQ", 9, 0xABCD0012, 77, 64, 1, 10, 11, 12)),
     {"resume.epoch": 9, "resume.chan": 0xABCD0012, "resume.seq": 77, "resume.window": 64, "resume.answer": 1,
      "resume.wanted": 10, "consumed": 11, "room": 12}),
)
NAMES = ("PAD", "CREDIT", "MISSING", "ASK", "ECHO", "END", "END_ACK", "PROBE", "PROBE_ANSWER", "RESUME")


def ethernet(ether_type, payload):
    frame = bytes.fromhex("027700000003" "027700000001") + struct.pack("!H", ether_type) + payload
    return frame + bytes(max(0, 60 - len(frame)))


def udp(payload):
    head = struct.pack("!HHHH", PORT, PORT, 8 + len(payload), 0)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 1, 0, 64, 17, 0, bytes((10, 77, 0, 1)),
                     bytes((10, 77, 0, 3)))
    return ethernet(0x0800, ip + head + payload)


def write_pcap(path, frames):
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, frame in enumerate(frames):
            f.write(struct.pack("<IIII", number, 0, len(frame), len(frame)) + frame)


class DissectorTest(unittest.TestCase):
    def show(self, payloads, wrap, *names):
        """The named fields of each datagram, as tshark tells them."""
        with tempfile.TemporaryDirectory(prefix="hutong-test-") as folder:
            path = os.path.join(folder, "light.pcap")
            write_pcap(path, [wrap(p) for p in payloads])
            line = ["tshark", "-X", "lua_script:" + SCRIPT, "-d", "udp.port==%d,hutong" % PORT, "-r", path, "-T", "fields",
                    "-E", "separator=|"]
            for name in names:
                line += ["-e", name]
            done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False,
                                  env=dict(os.environ, HOME=folder))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("Lua: ", done.stderr)
        rows = [text.split("|") for text in done.stdout.splitlines()]
        self.assertEqual(len(rows), len(payloads), done.stdout + done.stderr)
        return rows

    def both(self, payloads, *names):
        """The same on Ethernet and on UDP."""
        found = []
        for what, wrap in (("Ethernet", lambda p: ethernet(ETHER_TYPE, p)), ("UDP", udp)):
            with self.subTest(what):
                found.append((what, self.show(payloads, wrap, *names)))
        self.assertEqual(len(found), 2)
        return found

    def test_the_eight_fields(self):
        made = [datagram(0xFFFFFFFE, 0x80000000, 7, 0xFFFFFFFF, REQUEST, 0xBEEF0102, b"some bytes of a stream" * 60),
                datagram(1, 2, 3, 4, 0, 0x00010000, b"x"),
                datagram(5, 6, 7, 8, REQUEST | CONTROL, 0xFFFFFFFF)]
        for what, rows in self.both([m[0] for m in made], "_ws.col.Protocol", *("hutong." + n for n in FIELDS)):
            for row, (_, fields) in zip(rows, made):
                self.assertEqual(row[0], "HUTONG", what)
                self.assertEqual([int(value, 0) for value in row[1:]], list(fields), what)

    def test_flags_and_channel_taken_apart(self):
        made = [datagram(1, 2, 3, 4, flags, 0xBEEF0102, b"abc")[0] for flags in (0, REQUEST)]
        for _, rows in self.both(made, "hutong.flags.request", "hutong.flags.control", "hutong.chan.generation",
                                 "hutong.chan.index", "hutong.data"):
            for row, request in zip(rows, (0, 1)):
                self.assertEqual([int(v in ("1", "True")) for v in row[:2]], [request, 0])
                self.assertEqual((int(row[2], 0), int(row[3], 0), row[4].replace(":", "")), (0xBEEF, 0x0102, "616263"))

    def test_every_item(self):
        made = [datagram(1, 2, 3, 4, CONTROL, 0x00010002, data)[0] for data, _ in ITEMS]
        names = sorted({name for _, shown in ITEMS for name in shown})
        columns = ("hutong.item", "hutong.malformed", *("hutong." + n for n in names))
        for what, rows in self.both(made, *columns):
            for kind, (row, (_, shown)) in enumerate(zip(rows, ITEMS)):
                self.assertEqual((row[0], row[1]), (str(kind), ""), (what, NAMES[kind]))
                for name, value in zip(names, row[2:]):
                    wanted = shown.get(name, "")
                    found = int(value, 0) if isinstance(wanted, int) and value else value
                    self.assertEqual(found, wanted, (what, NAMES[kind], name))

    def test_several_items_are_named_in_the_row(self):
        made = [datagram(1, 2, 3, 4, CONTROL, 0x00010002, b"".join(data for data, _ in ITEMS[1:6]))[0]]
        for _, rows in self.both(made, "hutong.item", "_ws.col.Info"):
            self.assertEqual(rows[0][0], "1,2,3,4,5")
            self.assertIn("CREDIT MISSING ASK ECHO END,", rows[0][1])

    def test_what_is_wrong_is_marked(self):
        made = [datagram(1, 2, 3, 4, 0, 5, b"right")[0], datagram(1, 2, 3, 4, 0, 5, b"wrong", spoil=1)[0],
                datagram(1, 2, 3, 4, CONTROL, 5, item(3, b"123"))[0], datagram(1, 2, 3, 4, CONTROL, 5, b"\0\1\0\x10")[0],
                datagram(1, 2, 3, 4, 0, 5, bytes(100))[0][:60]]
        words = ("", "H-sum is wrong", "value too short", "item cut short", "H-len is more than there is")
        for what, rows in self.both(made, "_ws.expert.message"):
            for (row, word) in zip(rows, words):
                self.assertEqual(row[0], word, what)

    def test_a_mac_and_filling_are_not_data(self):
        made = [datagram(1, 2, 3, 4, 0, 5, b"d" * 40)[0] + bytes(range(16))]
        for _, rows in self.both(made, "hutong.data", "hutong.mac", "hutong.malformed"):
            self.assertEqual([v.replace(":", "") for v in rows[0]], ["64" * 40, bytes(range(16)).hex(), ""])
