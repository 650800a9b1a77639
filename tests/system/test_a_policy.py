# SPDX-License-Identifier: Apache-2.0
"""Policy and kill switch, as configured, at run time and by the program's environment; `why` and `check`."""

import json
import os

from hutonglab import agents
from support import BIN, PC1, VM1, VM2, VM3, Background, ClusterTest, conns, eventually, hutong, members, port, shell
from test_5_paths import on_ring

PYTHON = "/usr/bin/python3"

# Both ends of a connection that exchanges 100 kB, byte by byte the same both ways, each time that it is told to by a
# FIFO, and rests in between: the client in open(), the server in recv().
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
    n = 0
    while True:
        with open(sys.argv[3]) as f:
            if f.read() == "end":
                break
        block = bytes([n % 251]) * 100000
        s.sendall(block)
        if all_of(100000) != block:
            sys.exit("a wrong byte in block %d" % n)
        n += 1
        print("exchanged", n, flush=True)
"""


class Talk:
    """A connection between two programs that lives, and rests, as long as a test likes."""

    def __init__(self, test, sender=("run", "VM1"), receiver=("run", "VM2"), address=VM2.ipv4, env=None):
        self.port, self.exchanges = port(), 0
        self._fifo = test.file("fifo-%d" % self.port)
        os.mkfifo(self._fifo)
        self.server = Background(*receiver, "--", PYTHON, "-c", TALKER, "serve", self.port, env=env)
        test.addCleanup(self.server.__exit__)
        self.server.listening(self.port)
        self.client = Background(*sender, "--", PYTHON, "-c", TALKER, address, self.port, self._fifo, env=env)
        test.addCleanup(self.client.__exit__)
        self.exchange()

    def _say(self, word):
        def told():
            if not self.client.running():
                raise AssertionError("the client ended: " + self.client.errors())
            try:
                # Does not wait for a reader that never comes.
                fd = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return False
            os.write(fd, word.encode())
            os.close(fd)
            return True
        eventually(told, "the client listens")

    def exchange(self, times=1):
        for _ in range(times):
            self.exchanges += 1
            self._say("go")
            eventually(lambda: "exchanged %d\n" % self.exchanges in self.client.output() or not self.client.running(),
                       "exchange %d" % self.exchanges)

    def end(self):
        """Ends it; both programs must have seen what they should."""
        self.exchange()
        self._say("end")
        self.client.expect()
        self.server.expect()


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

    def shows(self, node, talk, path, why=None):
        """Exchanges until the node's agent shows the connection on that path, for that reason."""
        rows = []

        def shown():
            row = self.row(node, talk.port)
            rows[:] = [row]
            if row is not None and row["path"] == path and why in (None, row["why"]):
                return True
            talk.exchange()
            return False
        try:
            eventually(shown, "it", 20)
        except AssertionError:
            raise AssertionError("%s does not show it on %s because of %s: %s" % (node.name, path, why, rows)) from None

    def on_tcp(self, why="POLICY", env=None, node=VM1):
        """A connection that stays on TCP for that reason."""
        talk = Talk(self, env=env if env is not None else self.stats_env())
        self.shows(node, talk, "TCP", why)
        talk.exchange(3)
        self.shows(node, talk, "TCP", why)
        talk.end()
        self.assertEqual(self.ring_bytes(), 0)

    def on_ring(self, env=None):
        # An agent that has just been started again takes a moment for its first channel.
        on_ring(self, ("run", "VM2"), ("run", "VM1"), VM2.ipv4, env=env)

    def under_way(self):
        """A connection that both agents show on the ring."""
        talk = Talk(self)
        for vm in (VM1, VM2):
            self.shows(vm, talk, "RING")
        return talk

    def configured(self, setting):
        """VM1's agent starts anew with one setting more, until the test ends."""
        with open(agents.OVERRIDES, "a+", encoding="utf-8") as f:
            f.seek(0)
            before = f.read()
            f.write(setting + "\n")

        def back():
            with open(agents.OVERRIDES, "w", encoding="utf-8") as f:
                f.write(before)
            hutong("agent", "VM1", "restart")
        self.addCleanup(back)
        self.restart()

    def restart(self):
        hutong("agent", "VM1", "restart")
        eventually(lambda: members(VM1) == ["VM1", "VM2", "VM3"], "VM1 knows all members")


class PolicyTest(PolicyCase):
    def test_rules_of_the_agent(self):
        for change in ("exclude program=python3", "include program=nc", "deny net=10.77.0.0/24",
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
        shell(VM2, "hutong:policy deny program=python3")
        self.on_tcp(node=VM2)

    def test_a_new_rule_takes_a_live_connection_back(self):
        talk = self.under_way()
        change = json.loads(shell(VM1, "hutong:policy deny port=%d --json" % talk.port))
        self.assertEqual((change["told"], change["stopped"]), (1, 1))
        self.shows(VM1, talk, "TCP", "POLICY")
        self.shows(VM2, talk, "TCP")
        shell(VM1, "hutong:policy deny none")
        talk.exchange(3)
        self.assertEqual(self.row(VM1, talk.port)["path"], "TCP", "it is for good")
        talk.end()
        self.on_ring()

    def test_an_error_in_the_configuration_denies_everything(self):
        self.configured("hutong.policy.deny=prot=5")
        self.assertIn("'prot=5'", json.loads(shell(VM1, "hutong:policy --json"))["problem"])
        with open(agents.log_path(VM1), encoding="utf-8", errors="replace") as f:
            self.assertIn("hutong.policy.deny: 'prot=5'", f.read())
        self.on_tcp()

    def test_rules_of_the_configuration(self):
        self.configured("hutong.policy.include=program=nc; port=1")
        self.assertEqual(json.loads(shell(VM1, "hutong:policy --json"))["include"], "program=nc port=1")
        self.on_tcp()


class SwitchTest(PolicyCase):
    def test_off_takes_a_live_connection_back_and_on_lets_it_go(self):
        talk = self.under_way()
        change = json.loads(shell(VM1, "hutong:off --json"))
        self.assertEqual((change["enabled"], change["told"]), (False, 1))
        self.shows(VM1, talk, "TCP", "OFF")
        self.shows(VM2, talk, "TCP")
        talk.exchange(3)
        shell(VM1, "hutong:on")
        self.shows(VM1, talk, "RING")
        self.shows(VM2, talk, "RING")
        talk.end()
        self.on_ring()

    def test_off_wakes_programs_that_sleep(self):
        talk = self.under_way()
        # Nobody sends anything now; the server sleeps in recv.
        shell(VM2, "hutong:off")
        eventually(lambda: self.row(VM2, talk.port)["path"] == "TCP", "it is on TCP without a byte", 20)
        self.assertEqual(self.row(VM2, talk.port)["why"], "OFF")
        talk.exchange(2)
        before = self.row(VM2, talk.port)
        talk.exchange()
        after = self.row(VM2, talk.port)
        self.assertEqual(after["ringIn"], before["ringIn"])
        self.assertEqual(after["tcpIn"], before["tcpIn"] + 100000)
        shell(VM2, "hutong:on")
        talk.exchange(3)
        talk.end()

    def test_off_keeps_new_connections_on_tcp_even_after_a_restart(self):
        shell(VM1, "hutong:off")
        self.on_tcp("OFF")
        self.restart()
        self.assertFalse(json.loads(shell(VM1, "hutong:policy --json"))["enabled"])
        self.on_tcp("OFF")
        shell(VM1, "hutong:on")
        self.on_ring()

    def test_a_restarted_agent_switches_off_what_an_earlier_one_set_up(self):
        talk = self.under_way()
        hutong("agent", "VM1", "kill")
        hutong("agent", "VM1", "start")
        self.assertEqual(self.row(VM1, talk.port)["path"], "RING")
        shell(VM1, "hutong:off")
        self.shows(VM1, talk, "TCP", "OFF")
        talk.end()


class EnvironmentTest(PolicyCase):
    def test_include_and_exclude(self):
        for name, rules in (("HUTONG_EXCLUDE", "program=python3"), ("HUTONG_EXCLUDE", "net=10.77.0.0/24"),
                            ("HUTONG_INCLUDE", "program=nc;port=1"), ("HUTONG_INCLUDE", "net=fd77::/64")):
            with self.subTest(name + "=" + rules):
                self.on_tcp(env=self.stats_env(**{name: rules}))
        for name, rules in (("HUTONG_EXCLUDE", "program=nc"), ("HUTONG_INCLUDE", "net=10.77.0.0/24"),
                            ("HUTONG_INCLUDE", "program=nc;port=1-65535")):
            with self.subTest(name + "=" + rules):
                self.on_ring(env=self.stats_env(**{name: rules}))

    def test_an_error_is_said_once_and_keeps_all_on_tcp(self):
        talk = Talk(self, env=self.stats_env(HUTONG_INCLUDE="prot=5"))
        talk.exchange(3)
        talk.end()
        for program in (talk.client, talk.server):
            self.assertEqual(program.errors().count("HUTONG_INCLUDE: 'prot=5'"), 1, program.errors())
        self.assertEqual(self.ring_bytes(), 0)


class WhyTest(PolicyCase):
    def descriptor(self, pid, number):
        """The program's descriptor of its established connection with that port, found without our help."""
        ends, inodes = ":%04X" % number, set()
        for table in ("tcp", "tcp6"):
            with open("/proc/%d/net/%s" % (pid, table), encoding="ascii") as f:
                inodes |= {w[9] for w in map(str.split, f) if w[3] == "01" and (w[1] + w[2]).find(ends) >= 0}
        for fd in os.listdir("/proc/%d/fd" % pid):
            try:
                if os.readlink("/proc/%d/fd/%s" % (pid, fd)) in ["socket:[%s]" % inode for inode in inodes]:
                    return int(fd)
            except FileNotFoundError:
                continue
        raise AssertionError("process %d has no connection with port %d" % (pid, number))

    def test_an_accelerated_connection(self):
        talk = self.under_way()
        for program, vm in ((talk.client, "VM1"), (talk.server, "VM2")):
            fd = self.descriptor(program.pid, talk.port)
            done = hutong("why", program.pid, fd)
            self.assertIn("%s: python3 (process %d of user 0), descriptor %d" % (vm, program.pid, fd), done.stdout)
            self.assertIn("The connection is accelerated", done.stdout)
            info = json.loads(hutong("why", program.pid, fd, "--json").stdout)
            self.assertTrue(info["accelerated"] and info["shim"])
            self.assertEqual((info["reason"], info["path"], info["advice"]), (0, "RING", ""))
            self.assertGreater(info["ringIn"] + info["ringOut"], 0)
        talk.end()

    def test_connections_on_tcp(self):
        for sender, receiver, address, reason, env in (
                ("run", ("exec", "VM2"), VM2.ipv4, 6, {}), ("exec", ("run", "VM2"), VM2.ipv4, 13, {}),
                ("run", ("run", "VM3"), VM3.ipv4, 29, {}), ("run", ("exec", "PC1"), PC1.ipv4, 2, {}),
                ("run", ("run", "VM1"), VM1.ipv4, 4, {}), ("run", ("run", "VM2"), VM2.ipv4, 1, {"HUTONG_OFF": "1"}),
                ("run", ("run", "VM2"), VM2.ipv4, 12, {"HUTONG_EXCLUDE": "net=10.77.0.0/24,port=1-65535"})):
            with self.subTest(reason):
                talk = Talk(self, (sender, "VM1"), receiver, address, dict(os.environ, **env))
                fd = self.descriptor(talk.client.pid, talk.port)

                def answer(talk=talk, fd=fd, reason=reason):
                    talk.exchange()
                    done = hutong("why", talk.client.pid, fd, check=False)
                    self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                    return "reason %d:" % reason in done.stdout and done.stdout
                text = eventually(answer, "reason %d" % reason, 15)
                if env:
                    self.assertIn("environment", text)
                talk.end()

    def test_what_is_no_connection(self):
        number = port()
        with Background("run", "VM2", "--", BIN + "/xfer", "recv", number, 1, 1) as into:
            into.listening(number)
            done = hutong("why", into.pid, 0, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("not a TCP connection", done.stdout)
            low = [fd for fd in os.listdir("/proc/%d/fd" % into.pid) if int(fd) < 10]
            found = [hutong("why", into.pid, fd, check=False).stdout for fd in low]
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
        for words, reason in (((PC1.ipv4,), 2), (("192.0.2.1",), 2), (("VM1", "--from", "VM1"), 4)):
            with self.subTest(words):
                info = self.answer(*words, status=1)
                self.assertEqual(info["views"][info["from"]]["reason"], reason)

    def test_on_another_host(self):
        for words in (("VM3",), (VM3.ipv6,), ("VM1", "--from", "VM3")):
            with self.subTest(words):
                self.answer(*words, status=0)
        self.assertIn("light protocol", json.dumps(self.answer("VM3", status=0)))

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
