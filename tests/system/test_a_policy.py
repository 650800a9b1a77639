# SPDX-License-Identifier: Apache-2.0
"""Policy and kill switch, as configured, at run time and by the program's environment; `why` and `check`."""

import json
import os

from hutonglab import agents
from support import BIN, PC1, VM1, VM2, VM3, Background, ClusterTest, conns, eventually, hutong, members, port, shell
from test_5_paths import transfer

MIB, RATE, SEED = 64, 16, 77

# Both ends of an idle connection: each line on standard input is one exchange of 100 kB, or the end of the input.
TALKER = """
import socket, sys
def all_of(n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            sys.exit("cut off after %d bytes" % len(data))
        data += part
    return data
if sys.argv[1] == "serve":
    with socket.create_server(("", int(sys.argv[2]))) as l:
        s, _ = l.accept()
    while True:
        first = s.recv(1)
        if not first:
            break
        s.sendall(first + all_of(99999))
else:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    for n in range(10 ** 6):
        block = bytes([n % 251]) * 100000
        s.sendall(block)
        if all_of(100000) != block:
            sys.exit("a wrong byte in block %d" % n)
        print(n, flush=True)
        if n >= 5:
            open(sys.argv[3]).close()  # a FIFO: waits until the test opens its other end
            if n >= 10:
                break
"""


class PolicyCase(ClusterTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.reset)

    def reset(self):
        for vm in (VM1, VM2):
            hutong("agent", vm.name, "start", check=False)
            shell(vm, "hutong:policy reset")

    def row(self, node, number):
        """The connection with that port at either end, as the node's agent shows it."""
        ends = ":%d" % number
        return next((c for c in conns(node) if c["local"].endswith(ends) or c["remote"].endswith(ends)), None)

    def shows(self, node, number, path, why=None):
        """Waits until the node's agent shows the connection on that path, for that reason."""
        def shown():
            row = self.row(node, number)
            return row is not None and row["path"] == path and (why is None or row["why"] == why)
        eventually(shown, "%s shows port %d on %s because of %s: %s" % (node.name, number, path, why,
                                                                        self.row(node, number)), 20)

    def on_tcp(self, why="POLICY", env=None, node=VM1):
        """A transfer that stays on TCP for that reason."""
        transfer(self, ("run", "VM2"), ("run", "VM1"), VM2.ipv4, mib=16, rate=4, env=env,
                 during=lambda number: self.shows(node, number, "TCP", why))
        self.assertEqual(self.ring_bytes(), 0)

    def on_ring(self, env=None):
        transfer(self, ("run", "VM2"), ("run", "VM1"), VM2.ipv4, env=env)
        self.assertGreater(self.ring_bytes(), 1 << 20)

    def under_way(self):
        """A transfer from VM1 to VM2, seen on the ring: (port, receiver, sender) in the background."""
        number, env = port(), self.stats_env()
        into = Background("run", "VM2", "--", BIN + "/xfer", "recv", number, MIB, SEED, env=env)
        self.addCleanup(into.__exit__)
        into.listening(number)
        out = Background("run", "VM1", "--", BIN + "/xfer", "send", VM2.ipv4, number, MIB, SEED, RATE, env=env)
        self.addCleanup(out.__exit__)
        for vm in (VM1, VM2):
            self.shows(vm, number, "RING")
        return number, into, out


class PolicyTest(PolicyCase):
    def test_rules_of_the_agent(self):
        for change in ("exclude program=xfer", "include program=nc", "deny net=10.77.0.0/24",
                       "deny port=1-65535,uid=0"):
            with self.subTest(change):
                shell(VM1, "hutong:policy " + change)
                self.on_tcp()
                shell(VM1, "hutong:policy reset")
        for change in ("exclude program=nc port=1", "include program=xfer,net=10.77.0.2", "deny net=fd77::/64"):
            with self.subTest(change):
                shell(VM1, "hutong:policy " + change)
                self.on_ring()
                shell(VM1, "hutong:policy reset")

    def test_either_end_may_be_against_it(self):
        shell(VM2, "hutong:policy deny program=xfer")
        self.on_tcp(node=VM2)

    def test_a_new_rule_takes_a_live_connection_back(self):
        number, into, out = self.under_way()
        change = json.loads(shell(VM1, "hutong:policy deny port=%d --json" % number))
        self.assertEqual((change["told"], change["stopped"]), (1, 1))
        self.shows(VM1, number, "TCP", "POLICY")
        self.shows(VM2, number, "TCP")
        shell(VM1, "hutong:policy deny none")
        self.assertEqual(self.row(VM1, number)["path"], "TCP", "it is for good")
        self.assertEqual(into.expect(), out.expect())
        self.on_ring()

    def test_an_error_in_the_configuration_denies_everything(self):
        with open(agents.OVERRIDES, "a+", encoding="utf-8") as f:
            f.seek(0)
            before = f.read()
            f.write("hutong.policy.deny=prot=5\n")
        try:
            hutong("agent", "VM1", "restart")
            eventually(lambda: members(VM1) == ["VM1", "VM2", "VM3"], "VM1 knows all members")
            self.assertIn("'prot=5'", json.loads(shell(VM1, "hutong:policy --json"))["problem"])
            with open(agents.log_path(VM1), encoding="utf-8", errors="replace") as f:
                self.assertIn("hutong.policy.deny: 'prot=5'", f.read())
            self.on_tcp()
        finally:
            with open(agents.OVERRIDES, "w", encoding="utf-8") as f:
                f.write(before)
            hutong("agent", "VM1", "restart")

    def test_rules_of_the_configuration(self):
        with open(agents.OVERRIDES, "a+", encoding="utf-8") as f:
            f.seek(0)
            before = f.read()
            f.write("hutong.policy.include=program=nc; port=1\n")
        try:
            hutong("agent", "VM1", "restart")
            eventually(lambda: members(VM1) == ["VM1", "VM2", "VM3"], "VM1 knows all members")
            self.assertEqual(json.loads(shell(VM1, "hutong:policy --json"))["include"], "program=nc port=1")
            self.on_tcp()
        finally:
            with open(agents.OVERRIDES, "w", encoding="utf-8") as f:
                f.write(before)
            hutong("agent", "VM1", "restart")


class SwitchTest(PolicyCase):
    def test_off_takes_a_live_transfer_back_and_on_lets_it_go(self):
        number, into, out = self.under_way()
        change = json.loads(shell(VM1, "hutong:off --json"))
        self.assertEqual((change["enabled"], change["told"]), (False, 1))
        self.shows(VM1, number, "TCP", "OFF")
        self.shows(VM2, number, "TCP")
        shell(VM1, "hutong:on")
        self.assertEqual(into.expect(), out.expect())
        self.on_ring()

    def test_off_wakes_programs_that_sleep(self):
        number, fifo = port(), self.file("fifo")
        os.mkfifo(fifo)
        with Background("run", "VM2", "--", "/usr/bin/python3", "-c", TALKER, "serve", number) as server:
            server.listening(number)
            with Background("run", "VM1", "--", "/usr/bin/python3", "-c", TALKER, VM2.ipv4, number, fifo) as client:
                def go_on(n):
                    with open(fifo, "w", encoding="ascii"):
                        pass
                    eventually(lambda: "\n%d\n" % n in client.output(), "exchange %d" % n)
                eventually(lambda: "\n5\n" in client.output(), "some exchanges: " + client.errors())
                self.shows(VM1, number, "RING")
                # Nobody sends anything now; the server sleeps in recv.
                shell(VM2, "hutong:off")
                self.shows(VM2, number, "TCP", "OFF")
                go_on(6)
                before = self.row(VM2, number)
                go_on(7)
                after = self.row(VM2, number)
                self.assertEqual(after["ringIn"], before["ringIn"])
                self.assertEqual(after["tcpIn"], before["tcpIn"] + 100000)
                shell(VM2, "hutong:on")
                for n in (8, 9, 10):
                    go_on(n)
                go_on_end = open(fifo, "w", encoding="ascii")
                go_on_end.close()
                client.expect()
                server.expect()

    def test_off_keeps_new_connections_on_tcp_even_after_a_restart(self):
        shell(VM1, "hutong:off")
        self.on_tcp("OFF")
        hutong("agent", "VM1", "restart")
        eventually(lambda: members(VM1) == ["VM1", "VM2", "VM3"], "VM1 knows all members")
        self.assertFalse(json.loads(shell(VM1, "hutong:policy --json"))["enabled"])
        self.on_tcp("OFF")
        shell(VM1, "hutong:on")
        self.on_ring()

    def test_a_restarted_agent_switches_off_what_an_earlier_one_set_up(self):
        number, into, out = self.under_way()
        hutong("agent", "VM1", "kill")
        hutong("agent", "VM1", "start")
        shell(VM1, "hutong:off")
        self.shows(VM1, number, "TCP", "OFF")
        self.assertEqual(into.expect(), out.expect())


class EnvironmentTest(PolicyCase):
    def test_include_and_exclude(self):
        for name, rules in (("HUTONG_EXCLUDE", "program=xfer"), ("HUTONG_EXCLUDE", "net=10.77.0.0/24"),
                            ("HUTONG_INCLUDE", "program=nc;port=1"), ("HUTONG_INCLUDE", "net=fd77::/64")):
            with self.subTest(name + "=" + rules):
                self.on_tcp(env=self.stats_env(**{name: rules}))
        for name, rules in (("HUTONG_EXCLUDE", "program=nc"), ("HUTONG_INCLUDE", "net=10.77.0.0/24"),
                            ("HUTONG_INCLUDE", "program=nc;port=1-65535")):
            with self.subTest(name + "=" + rules):
                self.on_ring(env=self.stats_env(**{name: rules}))

    def test_an_error_is_said_once_and_keeps_all_on_tcp(self):
        number = port()
        env = self.stats_env(HUTONG_INCLUDE="prot=5")
        with Background("run", "VM2", "--", BIN + "/xfer", "recv", number, 64, SEED, env=env) as into:
            into.listening(number)
            with Background("run", "VM1", "--", BIN + "/xfer", "send", VM2.ipv4, number, 64, SEED, env=env) as out:
                out.expect()
                self.assertEqual(out.errors().count("HUTONG_INCLUDE: 'prot=5'"), 1, out.errors())
            into.expect()
        self.assertEqual(self.ring_bytes(), 0)


class WhyTest(PolicyCase):
    def descriptor(self, pid, number):
        """The program's descriptor of its connection with that port."""
        for fd in sorted(os.listdir("/proc/%d/fd" % pid), key=int):
            done = hutong("why", pid, fd, "--json", check=False)
            if done.returncode in (0, 1) and done.stdout:
                info = json.loads(done.stdout)
                if str(info["remote"]).endswith(":%d" % number) or str(info["local"]).endswith(":%d" % number):
                    if info["remote"] is not None:
                        return int(fd)
        raise AssertionError("process %d has no connection with port %d" % (pid, number))

    def test_an_accelerated_connection(self):
        number, into, out = self.under_way()
        for program, vm in ((out, "VM1"), (into, "VM2")):
            fd = self.descriptor(program.pid, number)
            done = hutong("why", program.pid, fd)
            self.assertIn("%s: xfer (process %d of user 0), descriptor %d" % (vm, program.pid, fd), done.stdout)
            self.assertIn("The connection is accelerated", done.stdout)
            info = json.loads(hutong("why", program.pid, fd, "--json").stdout)
            self.assertTrue(info["accelerated"] and info["shim"])
            self.assertEqual((info["reason"], info["path"], info["advice"]), (0, "RING", ""))
            self.assertGreater(info["ringIn"] + info["ringOut"], 0)
        into.expect()
        out.expect()

    def test_connections_on_tcp(self):
        for sender, receiver, address, reason, env in (
                ("run", ("exec", "VM2"), VM2.ipv4, 6, {}), ("exec", ("run", "VM2"), VM2.ipv4, 13, {}),
                ("run", ("run", "VM3"), VM3.ipv4, 3, {}), ("run", ("exec", "PC1"), PC1.ipv4, 2, {}),
                ("run", ("run", "VM1"), VM1.ipv4, 4, {}), ("run", ("run", "VM2"), VM2.ipv4, 1, {"HUTONG_OFF": "1"}),
                ("run", ("run", "VM2"), VM2.ipv4, 12, {"HUTONG_EXCLUDE": "net=10.77.0.2,port=1-65535"})):
            number = port()
            with self.subTest(reason), Background(*receiver, "--", BIN + "/xfer", "recv", number, 16, SEED) as into:
                into.listening(number)
                with Background(sender, "VM1", "--", BIN + "/xfer", "send", address, number, 16, SEED, 4,
                                env=dict(os.environ, **env)) as out:
                    def connected():
                        return self.row(VM1, number) is not None
                    eventually(connected, "a connection")
                    fd = self.descriptor(out.pid, number)

                    def answer():
                        done = hutong("why", out.pid, fd, check=False)
                        self.assertEqual(done.returncode, 1, done.stderr)
                        return "reason %d:" % reason in done.stdout and done.stdout
                    text = eventually(answer, "reason %d" % reason, 15)
                    for name in env:
                        self.assertIn("environment", text)
                    out.expect()
                into.expect()

    def test_what_is_no_connection(self):
        number = port()
        with Background("run", "VM2", "--", BIN + "/xfer", "recv", number, 1, SEED) as into:
            into.listening(number)
            done = hutong("why", into.pid, 0, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("not a TCP connection", done.stdout)
            found = [hutong("why", into.pid, fd, check=False).stdout for fd in os.listdir("/proc/%d/fd" % into.pid)]
            self.assertTrue(any("it is a listener" in text for text in found), found)
            done = hutong("why", into.pid, 999, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("no descriptor 999", done.stderr)
        done = hutong("why", os.getpid(), 0, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("outside the cluster", done.stderr)
        done = hutong("why", 999999999, 0, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no process", done.stderr)
        with Background("exec", "PC1", "--", "sleep", "100") as program:
            def on_host():
                done = hutong("why", program.pid, 0, check=False)
                return done.returncode == 1 and "on host PC1" in done.stderr
            eventually(on_host, "it is on the host")


class CheckTest(PolicyCase):
    def answer(self, *words, status):
        done = hutong("check", *words, "--json", check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        info = json.loads(done.stdout)
        self.assertEqual(info["accelerated"], status == 0)
        return info

    def test_a_neighbour(self):
        for words in (("VM2",), ("vm2",), (VM2.ipv4,), (VM2.ipv6,), ("VM1", "--from", "VM2")):
            with self.subTest(words):
                info = self.answer(*words, status=0)
                self.assertEqual(sorted(info["views"]), ["VM1", "VM2"])
        self.assertIn("would be accelerated", hutong("check", "VM2").stdout)
        self.on_ring()

    def test_who_is_no_neighbour(self):
        for words, reason in ((("VM3",), 3), ((PC1.ipv4,), 2), (("192.0.2.1",), 2), (("VM1", "--from", "VM1"), 4),
                              (("VM1", "--from", "VM3"), 3)):
            with self.subTest(words):
                info = self.answer(*words, status=1)
                self.assertEqual(info["views"][info["from"]]["reason"], reason)

    def test_policy_and_switch_of_either_end(self):
        shell(VM2, "hutong:policy deny net=" + VM1.ipv4)
        info = self.answer("VM2", status=1)
        self.assertEqual([info["views"][name]["reason"] for name in ("VM1", "VM2")], [0, 12])
        text = hutong("check", "VM2", check=False).stdout
        self.assertIn("deny rule net=" + VM1.ipv4, text)
        shell(VM2, "hutong:policy deny none")
        shell(VM1, "hutong:policy exclude program=nc")
        self.assertIn("exclude rule program=nc", self.answer("VM2", status=0)["views"]["VM1"]["summary"])
        shell(VM1, "hutong:off")
        self.assertEqual(self.answer("VM2", status=1)["views"]["VM1"]["reason"], 1)

    def test_an_agent_that_is_away(self):
        hutong("agent", "VM2", "kill")
        info = self.answer("VM2", status=1)
        self.assertIn("does not answer", info["views"]["VM2"]["summary"])
        eventually(lambda: self.answer("VM2", status=1)["views"]["VM1"]["reason"] in (2, 23), "VM1 notices", 15)
        hutong("agent", "VM2", "start")
        eventually(lambda: hutong("check", "VM2", check=False).returncode == 0, "all is well again", 30)

    def test_a_tunnel_on_the_way(self):
        hutong("exec", "VM1", "--", "ip", "tuntap", "add", "dev", "tun7", "mode", "tun")
        try:
            hutong("exec", "VM1", "--", "ip", "link", "set", "tun7", "up")
            hutong("exec", "VM1", "--", "ip", "route", "add", VM2.ipv4 + "/32", "dev", "tun7")
            self.assertEqual(self.answer(VM2.ipv4, status=1)["views"]["VM1"]["reason"], 25)
        finally:
            hutong("exec", "VM1", "--", "ip", "link", "del", "tun7")
        self.answer(VM2.ipv4, status=0)
