/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edges.c - the corners of the socket contract, as traces that must be the same on TCP and accelerated.
 *
 * usage: edges ADDR PORT [CASE]   without CASE: runs all, each in fresh processes, and prints one trace a case.
 * In each case "a" accepts and "b" connects; both first exchange single bytes for some 60 ms, so that a connection
 * that can be accelerated is.  The numbers in [] are the rules of switching.md that a case is about.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *address;
static int port;
static char trace[4096];
static size_t traced;
static int sync_a[2], sync_b[2]; /* pipes: "the other may go on" */

static void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(trace + traced, sizeof(trace) - traced, fmt, ap);
	va_end(ap);
	if (n > 0 && traced + (size_t)n < sizeof(trace))
		traced += (size_t)n;
}

static const char *err(ssize_t r)
{
	return r < 0 ? strerrorname_np(errno) : "-";
}

static void ms(int n)
{
	nanosleep(&(struct timespec){ n / 1000, (n % 1000) * 1000000l }, NULL);
}

static void go(int *pipe)
{
	if (write(pipe[1], "x", 1) != 1)
		abort();
}

static void await(int *pipe)
{
	char c;

	if (read(pipe[0], &c, 1) != 1)
		exit(3);
}

static void rd(int fd, size_t n, int flags)
{
	static char buf[1 << 20];
	ssize_t r = recv(fd, buf, n < sizeof(buf) ? n : sizeof(buf), flags);

	note(" recv(%zu,%x)=%zd/%s", n, flags, r, err(r));
	for (ssize_t i = 0; i < r; i++)
		if (buf[i] < ' ')
			buf[i] = '~';
	if (r > 0 && r <= 8)
		note(":%.*s", (int)r, buf);
}

static void wr(int fd, const char *s)
{
	ssize_t r = send(fd, s, strlen(s), MSG_NOSIGNAL);

	note(" send(%zu)=%zd/%s", strlen(s), r, err(r));
}

static void pl(int fd, short want, int timeout)
{
	struct pollfd p = { fd, want, 0 };
	int r = poll(&p, 1, timeout);

	note(" poll(%x)=%d:%x", want, r, p.revents);
}

static void ew(int ep, int timeout)
{
	struct epoll_event got[4];
	int n = epoll_wait(ep, got, 4, timeout);

	note(" epoll=%d", n);
	for (int i = 0; i < n; i++)
		note(":%llu:%x", (unsigned long long)got[i].data.u64, got[i].events);
}

static int soerr(int fd)
{
	int e = -1;
	socklen_t l = sizeof(e);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &l);
	return e;
}

static void nonblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static size_t put(int fd, size_t n)
{
	static char buf[65536];
	size_t done = 0;

	while (done < n) {
		ssize_t r = send(fd, buf, n - done < sizeof(buf) ? n - done : sizeof(buf), MSG_NOSIGNAL);

		if (r <= 0)
			break;
		done += (size_t)r;
	}
	return done;
}

static size_t take(int fd, size_t n)
{
	static char buf[65536];
	size_t done = 0;

	while (done < n) {
		ssize_t r = recv(fd, buf, n - done < sizeof(buf) ? n - done : sizeof(buf), 0);

		if (r <= 0)
			break;
		done += (size_t)r;
	}
	return done;
}

/* ---- cases: X(name, code of a, code of b) ---- */

static void a_eof(int fd) { rd(fd, 10, 0); rd(fd, 10, 0); rd(fd, 10, 0); }
static void b_eof(int fd) { wr(fd, "bye"); close(fd); }

static void a_eof_poll(int fd) { await(sync_a); ms(20); pl(fd, POLLIN | POLLRDHUP, 1000); rd(fd, 2, 0); pl(fd, POLLIN | POLLRDHUP, 1000); rd(fd, 10, 0); pl(fd, POLLIN | POLLOUT | POLLRDHUP, 0); }
static void b_eof_poll(int fd) { wr(fd, "bye"); close(fd); go(sync_a); }

static void a_half(int fd) { rd(fd, 10, 0); rd(fd, 10, 0); wr(fd, "after"); ms(10); wr(fd, "more"); close(fd); } /* [16] */
static void b_half(int fd) { wr(fd, "x"); shutdown(fd, SHUT_WR); note(" take=%zu", take(fd, 9)); rd(fd, 1, 0); wr(fd, "z"); }

static void a_write_after_close(int fd) { await(sync_a); ms(20); wr(fd, "1"); ms(20); wr(fd, "2"); wr(fd, "3"); rd(fd, 1, 0); note(" err=%d", soerr(fd)); }
static void b_write_after_close(int fd) { close(fd); go(sync_a); }

static void a_unread_reset(int fd) { wr(fd, "unread"); go(sync_b); await(sync_a); ms(20); rd(fd, 10, 0); rd(fd, 10, 0); } /* [16] */
static void b_unread_reset(int fd) { await(sync_b); ms(5); close(fd); go(sync_a); }

static void a_linger0(int fd) { await(sync_a); ms(20); pl(fd, POLLIN | POLLOUT | POLLRDHUP, 0); rd(fd, 10, 0); rd(fd, 10, 0); wr(fd, "x"); }
static void b_linger0(int fd) { struct linger l = { 1, 0 }; setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)); close(fd); go(sync_a); }

static void a_kill(int fd) { note(" got=%zu", take(fd, 100000)); rd(fd, 1, 0); ms(20); wr(fd, "1"); ms(20); wr(fd, "2"); }
static void b_kill(int fd) { note(" put=%zu", put(fd, 100000)); fputs(trace, stdout); fflush(stdout); raise(SIGKILL); }

static void a_kill_unread(int fd) { wr(fd, "unread"); go(sync_b); await(sync_a); ms(30); rd(fd, 10, 0); rd(fd, 10, 0); }
static void b_kill_unread(int fd) { (void)fd; await(sync_b); ms(5); fputs(trace, stdout); fflush(stdout); go(sync_a); raise(SIGKILL); }

static void a_peek(int fd) { await(sync_a); rd(fd, 3, MSG_PEEK); rd(fd, 10, MSG_PEEK); int n = 0; ioctl(fd, FIONREAD, &n); note(" fionread=%d", n); rd(fd, 2, 0); rd(fd, 10, MSG_PEEK); rd(fd, 10, 0); rd(fd, 10, MSG_DONTWAIT); rd(fd, 1, MSG_PEEK | MSG_DONTWAIT); } /* [5] */
static void b_peek(int fd) { wr(fd, "abcdefg"); go(sync_a); ms(30); }

static void a_waitall(int fd) { rd(fd, 6, MSG_WAITALL); rd(fd, 6, MSG_WAITALL); }
static void b_waitall(int fd) { wr(fd, "ab"); ms(20); wr(fd, "cd"); ms(20); wr(fd, "efgh"); ms(20); close(fd); }

static void a_timeo(int fd) { struct timeval tv = { 0, 50000 }; setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)); rd(fd, 5, 0); go(sync_b); rd(fd, 5, 0); tv.tv_usec = 0; setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)); rd(fd, 5, 0); }
static void b_timeo(int fd) { await(sync_b); wr(fd, "now"); ms(100); wr(fd, "late"); ms(20); }

static void a_both_write(int fd) { note(" put=%zu", put(fd, 3000000)); note(" got=%zu", take(fd, 3000000)); } /* [9] */
static void b_both_write(int fd) { note(" put=%zu", put(fd, 3000000)); note(" got=%zu", take(fd, 3000000)); }

static void a_sleeping_reader(int fd) { note(" put=%zu", put(fd, 2500000)); go(sync_b); await(sync_a); } /* [9] */
static void b_sleeping_reader(int fd) { await(sync_b); note(" got=%zu", take(fd, 2500000)); go(sync_a); }

static void a_dup(int fd) { int d = dup(fd); close(fd); rd(d, 3, 0); int e = fcntl(d, F_DUPFD_CLOEXEC, 50); note(" num=%d", e >= 50); close(d); rd(e, 3, 0); wr(e, "yes"); close(e); }
static void b_dup(int fd) { wr(fd, "one"); ms(10); wr(fd, "two"); rd(fd, 3, 0); rd(fd, 3, 0); }

static void a_dup2_over(int fd) { int sv[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, sv); close(sv[1]); rd(fd, 3, 0); dup2(sv[0], fd); rd(fd, 3, 0); close(fd); close(sv[0]); } /* the JVM's way to close */
static void b_dup2_over(int fd) { wr(fd, "one"); rd(fd, 3, 0); }

static void a_stdio(int fd) { wr(fd, "raw"); FILE *f = fdopen(dup(fd), "r+"); char line[20] = ""; note(" gets=%.5s", fgets(line, 20, f)); fprintf(f, "line\n"); fflush(f); note(" gets=%.5s", fgets(line, 20, f)); fclose(f); } /* [8] */
static void b_stdio(int fd) { wr(fd, "hello\n"); rd(fd, 3, MSG_WAITALL); rd(fd, 5, MSG_WAITALL); wr(fd, "again\n"); rd(fd, 1, 0); }

static void a_exec(int fd) { wr(fd, "pre"); if (fork() == 0) { dup2(fd, 0); dup2(fd, 1); execlp("cat", "cat", NULL); _exit(9); } close(fd); wait(NULL); } /* inetd [8, 10, 18] */
static void b_exec(int fd) { rd(fd, 3, MSG_WAITALL); wr(fd, "echo me"); rd(fd, 7, MSG_WAITALL); shutdown(fd, SHUT_WR); rd(fd, 1, 0); }

static void a_fork_child(int fd) { wr(fd, "p"); pid_t p = fork(); if (p == 0) { rd(fd, 3, MSG_WAITALL); wr(fd, "child"); _exit(0); } close(fd); waitpid(p, NULL, 0); } /* [18] */
static void b_fork_child(int fd) { rd(fd, 1, 0); ms(10); wr(fd, "abc"); rd(fd, 5, MSG_WAITALL); rd(fd, 1, 0); }

static void a_fork_both(int fd) { pid_t p = fork(); if (p == 0) { wr(fd, "child"); _exit(0); } waitpid(p, NULL, 0); wr(fd, "parent"); rd(fd, 3, 0); } /* [18] */
static void b_fork_both(int fd) { rd(fd, 5, MSG_WAITALL); rd(fd, 6, MSG_WAITALL); wr(fd, "fin"); }

static void a_child_closes_all(int fd) { wr(fd, "1"); pid_t p = fork(); if (p == 0) { for (int i = 3; i < 20000; i++) close(i); execl("/bin/true", "true", NULL); _exit(9); } waitpid(p, NULL, 0); wr(fd, "2"); rd(fd, 2, MSG_WAITALL); } /* [18] */
static void b_child_closes_all(int fd) { rd(fd, 1, 0); rd(fd, 1, 0); wr(fd, "ok"); rd(fd, 1, 0); }

static void a_vfork(int fd) { wr(fd, "1"); pid_t p = vfork(); if (p == 0) { close(fd); close(0); execl("/bin/true", "true", NULL); _exit(9); } waitpid(p, NULL, 0); wr(fd, "2"); rd(fd, 2, MSG_WAITALL); } /* [18] */
static void b_vfork(int fd) { rd(fd, 1, 0); rd(fd, 1, 0); wr(fd, "ok"); rd(fd, 1, 0); }

static void a_pass(int fd) /* SCM_RIGHTS [8] */
{
	int sv[2];

	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	wr(fd, "pre");
	pid_t p = fork();
	char b = 'x', cbuf[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &b, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = cbuf, .msg_controllen = sizeof(cbuf) };

	if (p == 0) {
		close(fd);
		if (recvmsg(sv[1], &m, 0) != 1)
			_exit(8);
		int got;

		memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(got));
		wr(got, "passed");
		_exit(0);
	}
	struct cmsghdr *cm = CMSG_FIRSTHDR(&m);

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd, sizeof(fd));
	note(" sendmsg=%zd", sendmsg(sv[0], &m, 0));
	waitpid(p, NULL, 0);
	wr(fd, "own");
}
static void b_pass(int fd) { rd(fd, 3, MSG_WAITALL); rd(fd, 6, MSG_WAITALL); rd(fd, 3, MSG_WAITALL); }

static void a_nonblock(int fd) { nonblock(fd); rd(fd, 1, 0); go(sync_b); pl(fd, POLLIN, 2000); rd(fd, 5, 0); rd(fd, 5, 0); pl(fd, POLLIN, 30); pl(fd, POLLOUT, 0); }
static void b_nonblock(int fd) { await(sync_b); ms(10); wr(fd, "data"); ms(60); }

static void a_epoll_mixed(int fd)
{
	int ep = epoll_create1(0), pp[2];
	struct epoll_event ev = { EPOLLIN, { .u64 = 111 } };

	if (pipe(pp))
		return;
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	ev.data.u64 = 222;
	epoll_ctl(ep, EPOLL_CTL_ADD, pp[0], &ev);
	ew(ep, 10);
	go(sync_b);
	ew(ep, 2000);
	rd(fd, 9, 0);
	if (write(pp[1], "p", 1) == 1)
		ew(ep, 2000);
	int r = epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);

	note(" add=%d/%s", r, err(r));
	note(" del=%d", epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	r = epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev);

	note(" mod=%d/%s", r, err(r));
	go(sync_b);
	ms(30);
	ew(ep, 0);
	rd(fd, 9, 0);
	close(ep);
}
static void b_epoll_mixed(int fd) { await(sync_b); ms(10); wr(fd, "data"); await(sync_b); wr(fd, "rest"); ms(60); }

static void a_edge(int fd) /* [5, 12] */
{
	int ep = epoll_create1(0);
	struct epoll_event ev = { EPOLLIN | EPOLLOUT | EPOLLET, { .u64 = 7 } };

	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	ew(ep, 500);
	ew(ep, 20);
	go(sync_b);
	ew(ep, 2000);
	ew(ep, 20);
	rd(fd, 2, 0);
	ew(ep, 20);
	go(sync_b);
	ew(ep, 2000);
	rd(fd, 20, 0);
	go(sync_b);
	ew(ep, 2000);
	rd(fd, 20, 0);
	close(ep);
}
static void b_edge(int fd) { await(sync_b); ms(5); wr(fd, "data"); await(sync_b); ms(5); wr(fd, "more"); await(sync_b); ms(5); shutdown(fd, SHUT_WR); ms(50); }

static void a_oneshot(int fd) /* [12] */
{
	int ep = epoll_create1(0);
	struct epoll_event ev = { EPOLLIN | EPOLLONESHOT, { .u64 = 7 } };

	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	go(sync_b);
	ew(ep, 2000);
	ew(ep, 20);
	epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev);
	ew(ep, 2000);
	rd(fd, 9, 0);
	epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev);
	ew(ep, 20);
	close(ep);
}
static void b_oneshot(int fd) { await(sync_b); ms(5); wr(fd, "data"); ms(80); }

static volatile int signals;
static void on_signal(int s) { (void)s; signals++; }

static void signal_case(int fd, int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };

	sigaction(SIGALRM, &sa, NULL);
	ualarm(20000, 0);
	rd(fd, 5, 0);
	note(" signals=%d", signals);
}
static void a_restart(int fd) { signal_case(fd, SA_RESTART); } /* [14] */
static void b_restart(int fd) { ms(60); wr(fd, "data"); ms(10); }
static void a_eintr(int fd) { signal_case(fd, 0); rd(fd, 5, 0); }
static void b_eintr(int fd) { ms(60); wr(fd, "data"); ms(10); }

static void *closer(void *arg) { ms(30); shutdown(*(int *)arg, SHUT_RDWR); return NULL; }
static void a_shutdown_wakes(int fd) { pthread_t t; pthread_create(&t, NULL, closer, &fd); rd(fd, 5, 0); pthread_join(t, NULL); wr(fd, "x"); pl(fd, POLLIN | POLLOUT, 0); } /* [11] */
static void b_shutdown_wakes(int fd) { rd(fd, 5, 0); }

static void a_sigpipe(int fd) { signal(SIGPIPE, on_signal); await(sync_a); ms(20); ssize_t r = write(fd, "1", 1); note(" w=%zd/%s", r, err(r)); ms(20); r = write(fd, "2", 1); note(" w=%zd/%s sig=%d", r, err(r), signals); }
static void b_sigpipe(int fd) { close(fd); go(sync_a); }

static void *late_reader(void *arg) { rd(*(int *)arg, 4, 0); return NULL; }
static void a_two_waits(int fd) { pthread_t t; pthread_create(&t, NULL, late_reader, &fd); ms(10); size_t n = put(fd, 6000000); pthread_join(t, NULL); note(" put=%zu", n); } /* [13] */
static void b_two_waits(int fd) { ms(60); note(" got=%zu", take(fd, 6000000)); wr(fd, "done"); ms(20); }

static void a_oob(int fd) { rd(fd, 3, MSG_WAITALL); ms(30); rd(fd, 1, MSG_OOB); rd(fd, 3, MSG_WAITALL); }
static void b_oob(int fd) { wr(fd, "abc"); ssize_t r = send(fd, "!", 1, MSG_OOB); note(" oob=%zd/%s", r, err(r)); ms(10); wr(fd, "def"); ms(50); }

static void a_simple_close(int fd) { ms(20); rd(fd, 1, 0); }
static void b_simple_close(int fd) { shutdown(fd, SHUT_RDWR); close(fd); }

static void a_outq(int fd) { int n = -1; wr(fd, "12345"); ms(5); go(sync_b); await(sync_a); ioctl(fd, TIOCOUTQ, &n); note(" outq_after=%d", n); }
static void b_outq(int fd) { await(sync_b); rd(fd, 5, MSG_WAITALL); ms(20); go(sync_a); rd(fd, 1, 0); }

#define CASES(X)                                                                                                       \
	X(eof) X(eof_poll) X(half) X(write_after_close) X(unread_reset) X(linger0) X(kill) X(kill_unread) X(peek)      \
	X(waitall) X(timeo) X(both_write) X(sleeping_reader) X(dup) X(dup2_over) X(stdio) X(exec) X(fork_child)        \
	X(fork_both) X(child_closes_all) X(vfork) X(pass) X(nonblock) X(epoll_mixed) X(edge) X(oneshot) X(restart)     \
	X(eintr) X(shutdown_wakes) X(sigpipe) X(two_waits) X(oob) X(simple_close) X(outq)

static const struct {
	const char *name;
	void (*a)(int), (*b)(int);
} cases[] = {
#define X(n) { #n, a_##n, b_##n },
	CASES(X)
#undef X
};

static struct sockaddr_storage where(socklen_t *len)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in *in = (void *)&ss;
	struct sockaddr_in6 *in6 = (void *)&ss;

	if (inet_pton(AF_INET, address, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		*len = sizeof(*in);
	} else {
		inet_pton(AF_INET6, address, &in6->sin6_addr);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		*len = sizeof(*in6);
	}
	return ss;
}

static void warm_up(int fd, bool first)
{
	char c = 'w';

	for (int i = 0; i < 20; i++) {
		if (first ? send(fd, &c, 1, 0) != 1 || recv(fd, &c, 1, 0) != 1 :
			    recv(fd, &c, 1, 0) != 1 || send(fd, &c, 1, 0) != 1)
			exit(4);
		if (first)
			ms(3);
	}
}

static void run_side(size_t k, bool a, int listener)
{
	socklen_t len;
	struct sockaddr_storage ss = where(&len);
	int fd;

	alarm(20);
	if (a) {
		fd = accept(listener, NULL, NULL);
		close(listener);
	} else {
		close(listener);
		fd = socket(ss.ss_family, SOCK_STREAM, 0);
		if (connect(fd, (struct sockaddr *)&ss, len))
			exit(5);
	}
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	warm_up(fd, !a);
	note("%s.%c:", cases[k].name, a ? 'a' : 'b');
	(a ? cases[k].a : cases[k].b)(fd);
	note("\n");
	fputs(trace, stdout);
	exit(0);
}

static void run_case(size_t k)
{
	socklen_t len;
	struct sockaddr_storage ss = where(&len);
	int one = 1, status, listener = socket(ss.ss_family, SOCK_STREAM, 0);
	FILE *out[2];
	pid_t p[2];

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&ss, len) || listen(listener, 4) || pipe(sync_a) || pipe(sync_b))
		exit(6);
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		out[i] = tmpfile();
		p[i] = fork();
		if (p[i] == 0) {
			dup2(fileno(out[i]), 1);
			run_side(k, i == 0, listener);
		}
	}
	close(listener);
	for (int i = 0; i < 2; i++) {
		char line[4096];

		waitpid(p[i], &status, 0);
		rewind(out[i]);
		size_t n = fread(line, 1, sizeof(line) - 1, out[i]);

		line[n] = 0;
		printf("%s", line);
		if (n && line[n - 1] != '\n')
			puts("");
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			printf("%s.%c.status: %x\n", cases[k].name, 'a' + i, status);
		fclose(out[i]);
	}
	for (int i = 0; i < 2; i++) {
		close(sync_a[i]);
		close(sync_b[i]);
	}
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	address = argv[1];
	port = atoi(argv[2]);
	signal(SIGPIPE, SIG_IGN);
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++)
		if (argc < 4 || !strcmp(argv[3], cases[k].name))
			run_case(k);
	return 0;
}
