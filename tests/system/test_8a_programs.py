# SPDX-License-Identifier: Apache-2.0
"""Programs of the distribution, unchanged, by IPv4 and IPv6: accelerated they do and say what they do and say on TCP."""

import json
import os
import re
import signal
import unittest

from pairs import PROGRAMS, PairTest, digest, make_data
from support import REPO, VM1

PYTHON = "/usr/bin/python3"


class Iperf3Test(PairTest):
    def case(self, *options):
        def run(way):
            number = self.port()
            server = way.start(way.peer, "iperf3", "-s", "-1", "-p", number, listens=number)
            client = way.start(VM1, "iperf3", "-c", way.address, "-p", number, "-t", 1, "--json", *options)
            report = json.loads(way.finish(client))
            way.finish(server)
            self.assertNotIn("error", report)
            end = report["end"]
            for name in ("", "_bidir_reverse") if "--bidir" in options else ("",):
                self.assertGreater(end["sum_received" + name]["bytes"], 1 << 20)
                self.assertLessEqual(end["sum_received" + name]["bytes"], end["sum_sent" + name]["bytes"])
            return sorted(end), len(end["streams"])
        self.twice(run, "iperf3")

    def test_forward(self):
        self.case()

    def test_reverse(self):
        self.case("-R")

    def test_four_streams(self):
        self.case("-P", "4")

    def test_both_directions_at_once(self):
        self.case("--bidir")

    def test_sendfile_and_small_blocks(self):
        self.case("-Z", "-l", "3000")


class SockperfTest(PairTest):
    """IPv4 only: Debian's sockperf (3.7) takes no IPv6 address."""

    # Left alone it ends with an error when round trips take less than 1.667 us on average, since it has kept room for
    # no more of them (MPS_MAX_PP in its source): see docs/known-limits.md.
    SLOWLY = ("--mps", "200000")

    def case(self, kind, *options):
        def run(way):
            number = self.port()
            server = way.start(way.peer, "sockperf", "server", "--tcp", "-i", way.address, "-p", number, listens=number)
            client = way.start(VM1, "sockperf", kind, "--tcp", "-i", way.address, "-p", number, "-t", 1, *options)
            said = way.finish(client)
            status, _ = way.stop(server, signal.SIGINT)
            for word in ("error", "Error", "ERROR", "failed"):
                self.assertNotIn(word, said)
            lost = re.findall(r"# (?:dropped|duplicated|out-of-order) messages = (\d+)", said)
            return status, lost
        self.twice(run, "sockperf", versions=(4,))

    def test_ping_pong(self):
        self.case("ping-pong", *self.SLOWLY, "-m", "64", "--data-integrity")

    def test_ping_pong_without_blocking(self):
        self.case("ping-pong", *self.SLOWLY, "-m", "1000", "--nonblocked")

    def test_throughput(self):
        self.case("throughput", "-m", "1400")


class NetcatTest(PairTest):
    SIZE = 64 << 20

    def test_a_file_there(self):
        def run(way):
            number = self.port()
            make_data(way.file("data"), self.SIZE)
            server = way.shell(way.peer, "exec nc -%d -l %d > %s" % (way.version, number, way.file("got")),
                               listens=number)
            way.finish(way.shell(VM1, "exec nc -N %s %d < %s" % (way.address, number, way.file("data"))))
            way.finish(server)
            self.assertEqual(digest(way.file("got")), digest(way.file("data")))
        self.twice(run, "nc")

    def test_a_file_back(self):
        def run(way):
            number = self.port()
            make_data(way.file("data"), self.SIZE)
            server = way.shell(way.peer, "exec nc -%d -N -l %d < %s" % (way.version, number, way.file("data")),
                               listens=number)
            way.finish(way.shell(VM1, "exec nc -d %s %d > %s" % (way.address, number, way.file("got"))))
            way.finish(server)
            self.assertEqual(digest(way.file("got")), digest(way.file("data")))
        self.twice(run, "nc")

    def test_an_answer_after_the_half_close(self):
        def run(way):
            number = self.port()
            make_data(way.file("question"), self.SIZE)
            server = way.start(way.peer, "socat", "TCP%d-LISTEN:%d,reuseaddr" % (way.version, number), "EXEC:sha256sum",
                               listens=number)
            answer = way.finish(way.shell(VM1, "exec nc -N %s %d < %s" % (way.address, number, way.file("question"))))
            way.finish(server)
            self.assertEqual(answer.split()[0], digest(way.file("question")))
            return answer
        self.twice(run, "nc", "socat")


class SocatTest(PairTest):
    def test_a_file_each_way_at_once(self):
        def run(way):
            number = self.port()
            for name, size in (("a", 24 << 20), ("b", 12345678)):
                make_data(way.file(name), size)
            line = "exec socat -t 30 - %s < $F/%s > $F/got-%s"
            server = way.shell(way.peer, line % ("TCP%d-LISTEN:%d,reuseaddr" % (way.version, number), "a", "b"),
                               listens=number, F=way.folder)
            way.finish(way.shell(VM1, line % ("TCP:%s:%d" % (way.host, number), "b", "a"), F=way.folder))
            way.finish(server)
            for name in ("a", "b"):
                self.assertEqual(digest(way.file("got-" + name)), digest(way.file(name)))
        self.twice(run, "socat")

    def test_a_program_behind_a_forking_server(self):
        def run(way):
            number = self.port()
            make_data(way.file("data"), 16 << 20)
            server = way.start(way.peer, "socat", "TCP%d-LISTEN:%d,fork,reuseaddr" % (way.version, number),
                               "EXEC:sha256sum", listens=number)
            answers = [way.finish(way.shell(VM1, "exec socat -t 30 - TCP:%s:%d < %s"
                                            % (way.host, number, way.file("data")))) for _ in range(3)]
            status, _ = way.stop(server)
            self.assertEqual([a.split()[0] for a in answers], [digest(way.file("data"))] * 3)
            return status, answers
        self.twice(run, "socat")


class InetdTest(PairTest):
    """inetd puts an accepted socket onto descriptors 0 to 2 of a new program."""

    SIZE = 64 << 20

    def inetd(self, way, number, *service):
        with open(way.file("inetd.conf"), "w", encoding="ascii") as f:
            f.write("%d stream tcp%s %s\n" % (number, "6" if way.version == 6 else "", " ".join(map(str, service))))
        return way.start(way.peer, "/usr/sbin/inetd", "-i", "-E", way.file("inetd.conf"), listens=number)

    def client(self, way, number):
        return way.shell(VM1, "exec nc -N %s %d < %s > %s"
                         % (way.address, number, way.file("data"), way.file("got")))

    def test_cat(self):
        def run(way):
            number = self.port()
            make_data(way.file("data"), 16 << 20)
            server = self.inetd(way, number, "nowait", "root", "/bin/cat", "cat")
            for _ in range(3):
                way.finish(self.client(way, number))
                self.assertEqual(digest(way.file("got")), digest(way.file("data")))
            return way.stop(server)
        # A socket that is a standard stream stays on TCP: stdio's own calls cannot be seen (rule 8).
        self.twice(run)

    def test_netcat_hands_on(self):
        def run(way):
            number, back = self.port(), self.port()
            make_data(way.file("data"), self.SIZE)
            home = VM1.ipv4 if way.version == 4 else VM1.ipv6
            server = self.inetd(way, number, "nowait", "root", "/usr/bin/nc", "nc", "-N", home, back)
            last = way.shell(VM1, "exec nc -%d -l %d > %s" % (way.version, back, way.file("arrived")),
                             listens=back)
            way.finish(self.client(way, number))
            way.finish(last)
            self.assertEqual(digest(way.file("arrived")), digest(way.file("data")))
            return way.stop(server)
        # The second leg is an ordinary connection, on a descriptor above 2.
        self.twice(run, "nc")

    def test_a_service_that_accepts_by_itself(self):
        def run(way):
            number = self.port()
            make_data(way.file("data"), self.SIZE)
            with open(way.file("service.py"), "w", encoding="ascii") as f:
                f.write("import os, shutil, socket\n"
                        "peer = socket.socket(fileno=0).accept()[0]\n"
                        "with peer.makefile('rwb') as f:\n"
                        "    data = f.read()\n"
                        "    f.write(data)\n")
            server = self.inetd(way, number, "wait", "root", PYTHON, "python3", way.file("service.py"))
            for _ in range(2):
                way.finish(self.client(way, number))
                self.assertEqual(digest(way.file("got")), digest(way.file("data")))
            return way.stop(server)
        self.twice(run, "python3", "nc")


class HttpTest(PairTest):
    def server(self, way, number, *options):
        bind = "0.0.0.0" if way.version == 4 else "::"
        return way.start(way.peer, PYTHON, "-m", "http.server", number, "-b", bind, "-d", way.file("www"), *options,
                         listens=number)

    def curl(self, way, *arguments):
        return way.finish(way.start(VM1, "curl", "-sS", "--fail", *arguments))

    def test_large_file(self):
        def run(way):
            number = self.port()
            os.mkdir(way.file("www"))
            make_data(way.file("www/data"), 48 << 20)
            server = self.server(way, number)
            for _ in range(2):
                self.curl(way, "-o", way.file("got"), "http://%s:%d/data" % (way.host, number))
                self.assertEqual(digest(way.file("got")), digest(way.file("www/data")))
                os.unlink(way.file("got"))
            return way.stop(server, signal.SIGINT)
        self.twice(run, "curl", "python3")

    def test_many_small_files_on_one_connection(self):
        def run(way):
            number = self.port()
            os.mkdir(way.file("www"))
            for i in range(200):
                make_data(way.file("www/f%d" % i), i * i)
            server = self.server(way, number, "-p", "HTTP/1.1")
            said = self.curl(way, "-o", way.file("got-#1"), "--create-dirs", "-w", "%{http_code} %{num_connects}\n",
                             "http://%s:%d/f[0-199]" % (way.host, number))
            for i in range(200):
                self.assertEqual(digest(way.file("got-%d" % i)), digest(way.file("www/f%d" % i)))
            return way.stop(server, signal.SIGINT), said
        self.twice(run, "curl", "python3")

    def test_ranges_and_uploads(self):
        def run(way):
            number = self.port()
            os.mkdir(way.file("www"))
            make_data(way.file("www/data"), 16 << 20)
            with open(way.file("www/data"), "rb") as f:
                whole = f.read()
            server = way.start(way.peer, PYTHON, REPO + "/tests/system/programs/ranges.py", number, way.file("www"),
                               listens=number)
            url = "http://%s:%d/" % (way.host, number)
            for first, last in ((0, 0), (1, 3 << 20), (5 << 20, (16 << 20) - 1), (12345, 65536), (777, 9 << 20)):
                self.curl(way, "-r", "%d-%d" % (first, last), "-o", way.file("got"), url + "data")
                with open(way.file("got"), "rb") as f:
                    self.assertEqual(f.read(), whole[first:last + 1])
            self.curl(way, "-T", way.file("www/data"), url + "put")
            # From a pipe the length is unknown: chunked.
            way.finish(way.shell(VM1, "cat %s | curl -sS --fail -T - %sput-chunked"
                                 % (way.file("www/data"), url)))
            for name in ("put", "put-chunked"):
                self.assertEqual(digest(way.file("www/" + name)), digest(way.file("www/data")))
            return way.stop(server)
        self.twice(run, "curl")


class OpensslTest(PairTest):
    def test_https(self):
        def run(way):
            number = self.port()
            make_data(way.file("data"), 16 << 20)
            way.finish(way.shell(way.peer, "cd $F; openssl req -x509 -newkey ec -pkeyopt"
                                 " ec_paramgen_curve:prime256v1 -nodes -subj /CN=VM2 -keyout key -out cert 2> /dev/null", F=way.folder))
            server = way.shell(way.peer, "cd $F; exec openssl s_server -quiet -accept $P -cert cert -key key -WWW",
                               listens=number, F=way.folder, P=str(number))
            for _ in range(2):
                way.finish(way.start(VM1, "curl", "-sS", "--cacert", way.file("cert"), "--connect-to",
                                     "VM2:%d:%s:%d" % (number, way.host, number), "-o", way.file("got"),
                                     "https://VM2:%d/data" % number))
                self.assertEqual(digest(way.file("got")), digest(way.file("data")))
            way.finish(way.shell(VM1, "printf 'GET /data HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -no_ssl3"
                                 " -verify_quiet -CAfile $F/cert -connect $TO > $F/answer",
                                 F=way.folder, TO="%s:%d" % (way.host, number)))
            with open(way.file("answer"), "rb") as f:
                with open(way.file("body"), "wb") as body:
                    body.write(f.read().split(b"\r\n\r\n", 1)[1])
            self.assertEqual(digest(way.file("body")), digest(way.file("data")))
            return way.stop(server)
        self.twice(run, "curl", "openssl")


class RsyncTest(PairTest):
    """A daemon that forks, and programs that share one socket between two processes."""

    def test_push_and_pull(self):
        def run(way):
            number = self.port()
            for folder in ("from", "from/sub", "served"):
                os.mkdir(way.file(folder))
            for i in range(60):
                make_data(way.file("from/%s%d" % ("sub/" if i % 3 else "", i)), i * i * 500)
            with open(way.file("rsyncd.conf"), "w", encoding="ascii") as f:
                f.write("use chroot = no\nuid = root\nlog file = %s\npid file = %s\n[served]\npath = %s\n"
                        "read only = no\n" % (way.file("log"), way.file("pid"), way.file("served")))
            server = way.start(way.peer, "rsync", "--daemon", "--no-detach", "--port", number, "--config",
                               way.file("rsyncd.conf"), listens=number)
            url = "rsync://%s:%d/served/" % (way.host, number)
            sync = ("rsync", "-a", "--checksum", "--delete")
            way.finish(way.start(VM1, *sync, way.file("from") + "/", url))
            self.assertEqual(digest(way.file("served")), digest(way.file("from")))
            # The second time differences are looked for, and only they travel.
            make_data(way.file("from/sub/58"), 1 << 20, seed=7)
            os.unlink(way.file("from/57"))
            way.finish(way.start(VM1, *sync, "--no-whole-file", way.file("from") + "/", url))
            self.assertEqual(digest(way.file("served")), digest(way.file("from")))
            way.finish(way.start(VM1, *sync, url, way.file("back") + "/"))
            self.assertEqual(digest(way.file("back")), digest(way.file("from")))
            status, _ = way.stop(server)
            return status
        self.twice(run)


class RedisTest(PairTest):
    def server(self, way, number):
        # The server's program, under its own name: the package redis-server only adds a link and a service.
        os.symlink("/usr/bin/redis-check-rdb", way.file("redis-server"))
        bind = "0.0.0.0" if way.version == 4 else "::"
        return way.start(way.peer, way.file("redis-server"), "--port", number, "--save", "", "--appendonly", "no",
                         "--bind", bind, "--protected-mode", "no", "--dir", way.folder, "--enable-debug-command", "yes",
                         listens=number)

    def test_mass_insertion_and_reading_back(self):
        def run(way):
            number = self.port()
            server = self.server(way, number)
            cli = "redis-cli -h %s -p %d" % (way.address, number)
            with open(way.file("sets"), "w", encoding="ascii") as f:
                for i in range(20000):
                    value = "%d " % i * (i % 97 + 1)
                    f.write("*3\r\n$3\r\nSET\r\n$%d\r\nkey%d\r\n$%d\r\n%s\r\n"
                            % (len("key%d" % i), i, len(value), value))
            with open(way.file("gets"), "w", encoding="ascii") as f:
                f.writelines("GET key%d\n" % i for i in range(0, 20000, 10))
            found = [way.finish(way.shell(VM1, "exec %s --pipe < %s" % (cli, way.file("sets"))))]
            found.append(way.finish(way.shell(VM1, cli + " debug digest")))
            values = way.finish(way.shell(VM1, "exec %s < %s" % (cli, way.file("gets"))))
            self.assertEqual(values, "".join("%s\n" % ("%d " % i * (i % 97 + 1)) for i in range(0, 20000, 10)))
            status, _ = way.stop(server)
            return status, [re.sub(r"-\w+ random-?\w*", "", text) for text in found]
        self.twice(run, "redis-cli", "redis-server")

    def test_benchmark(self):
        def run(way):
            number = self.port()
            server = self.server(way, number)
            said = way.finish(way.start(VM1, "redis-benchmark", "-h", way.address, "-p", number, "-c", 50, "-n", 20000,
                                        "-P", 8, "-d", 1000, "-t", "set,get,incr,lpush,lrange_100", "--csv"))
            status, _ = way.stop(server)
            return status, [line.split(",")[0] for line in said.splitlines()]
        self.twice(run, "redis-benchmark", "redis-server")


class JavaTest(PairTest):
    JAVA = ("java", "-Xmx256m", "-cp", PROGRAMS)

    def test_a_selector_and_a_hundred_clients(self):
        def run(way):
            number = self.port()
            server = way.start(way.peer, *self.JAVA, "NioEcho", "server", number, 100, listens=number)
            client = way.start(VM1, *self.JAVA, "NioEcho", "client", way.address, number, 100, 500000, 41)
            said = way.finish(client)
            self.assertEqual(way.finish(server), said)
            return said
        self.twice(run, "java")

    def test_blocking_sockets_and_close_from_another_thread(self):
        def run(way):
            number = self.port()
            server = way.start(way.peer, *self.JAVA, "ClassicSockets", "server", number, 12, listens=number)
            said = way.finish(way.start(VM1, *self.JAVA, "ClassicSockets", "client", way.address, number, 42))
            return said, way.finish(server)
        self.twice(run, "java")


class EventLibraryTest(PairTest):
    CONNECTIONS, BYTES, SEED = 100, 200000, 43

    def case(self, program, other=None, **variables):
        def run(way):
            number = self.port()
            server = way.start(way.peer, PROGRAMS + "/" + program, "server", number, self.CONNECTIONS, listens=number,
                               **variables)
            client = way.start(VM1, PROGRAMS + "/" + (other or program), "client", way.address, number,
                               self.CONNECTIONS, self.BYTES, self.SEED, **variables)
            said = way.finish(client)
            self.assertEqual(way.finish(server), said)
            return said
        self.twice(run, program, other or program)

    def test_libevent(self):
        self.case("evecho")

    def test_libevent_on_poll(self):
        self.case("evecho", EVENT_NOEPOLL="1")

    def test_libevent_on_select(self):
        self.case("evecho", EVENT_NOEPOLL="1", EVENT_NOPOLL="1")

    def test_libevent_with_its_change_list(self):
        self.case("evecho", EVENT_EPOLL_USE_CHANGELIST="1")

    def test_libuv(self):
        self.case("uvecho")

    def test_libuv_client_of_a_libevent_server(self):
        self.case("evecho", "uvecho")


if __name__ == "__main__":
    unittest.main()
