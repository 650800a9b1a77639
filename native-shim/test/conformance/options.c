/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - cases about options, names and state. */
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/stat.h>

#include "harness.h"

static void get(int fd, const char *what, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);
	int r = getsockopt(fd, level, name, &v, &len);

	note(" %s=%d/%s:%d:%u", what, r, err(r), v, len);
}

static void set(int fd, const char *what, int level, int name, int v)
{
	noted(what, setsockopt(fd, level, name, &v, sizeof(v)));
}

static void talk_a(int fd)
{
	wr(fd, "ping");
	rd(fd, 4, MSG_WAITALL);
}

static void talk_b(int fd)
{
	rd(fd, 4, MSG_WAITALL);
	wr(fd, "pong");
	rd(fd, 1, 0);
}

static void a_options(int fd)
{
	get(fd, "type", SOL_SOCKET, SO_TYPE);
	get(fd, "domain", SOL_SOCKET, SO_DOMAIN);
	get(fd, "protocol", SOL_SOCKET, SO_PROTOCOL);
	get(fd, "acceptconn", SOL_SOCKET, SO_ACCEPTCONN);
	get(fd, "error", SOL_SOCKET, SO_ERROR);
	get(fd, "nodelay", IPPROTO_TCP, TCP_NODELAY);
	set(fd, "nodelay", IPPROTO_TCP, TCP_NODELAY, 0);
	get(fd, "nodelay", IPPROTO_TCP, TCP_NODELAY);
	set(fd, "keepalive", SOL_SOCKET, SO_KEEPALIVE, 1);
	set(fd, "keepidle", IPPROTO_TCP, TCP_KEEPIDLE, 100);
	set(fd, "keepintvl", IPPROTO_TCP, TCP_KEEPINTVL, 10);
	set(fd, "keepcnt", IPPROTO_TCP, TCP_KEEPCNT, 3);
	get(fd, "keepalive", SOL_SOCKET, SO_KEEPALIVE);
	get(fd, "keepidle", IPPROTO_TCP, TCP_KEEPIDLE);
	set(fd, "user_timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, 20000);
	get(fd, "user_timeout", IPPROTO_TCP, TCP_USER_TIMEOUT);
	set(fd, "quickack", IPPROTO_TCP, TCP_QUICKACK, 1);
	set(fd, "reuseaddr", SOL_SOCKET, SO_REUSEADDR, 0);
	get(fd, "reuseaddr", SOL_SOCKET, SO_REUSEADDR);
	set(fd, "priority", SOL_SOCKET, SO_PRIORITY, 3);
	get(fd, "maxseg", IPPROTO_TCP, TCP_MAXSEG);
	set(fd, "unknown", SOL_SOCKET, 9999, 1);
	get(fd, "unknown", IPPROTO_TCP, 9999);
	talk_a(fd);
}

static void b_options(int fd)
{
	talk_b(fd);
}

static void a_buffers(int fd)
{
	static const int sizes[] = { 4096, 65536, 150000, 1 << 30 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		set(fd, "sndbuf", SOL_SOCKET, SO_SNDBUF, sizes[i]);
		get(fd, "sndbuf", SOL_SOCKET, SO_SNDBUF);
		set(fd, "rcvbuf", SOL_SOCKET, SO_RCVBUF, sizes[i]);
		get(fd, "rcvbuf", SOL_SOCKET, SO_RCVBUF);
	}
	note(" put=%zu", put(fd, 0, 2000000));
	note(" got=%zu", take(fd, 0, 2000000));
}

static void b_buffers(int fd)
{
	note(" got=%zu", take(fd, 0, 2000000));
	note(" put=%zu", put(fd, 0, 2000000));
}

/* The way of Open MPI's handshake: get, set, wait in vain, put back. */
static void a_rcvtimeo_saved(int fd)
{
	struct timeval old = { 9, 9 }, tv = { 0, 30000 };
	socklen_t len = sizeof(old);

	noted("get", getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &old, &len));
	note(":%ld.%ld", (long)old.tv_sec, (long)old.tv_usec);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	rd(fd, 1, 0);
	len = sizeof(tv);
	getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &len);
	note(" now=%d", tv.tv_sec == 0 && tv.tv_usec >= 20000 && tv.tv_usec <= 40000);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &old, sizeof(old));
	tv = (struct timeval){ 0, 2000000 };
	noted("odd", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	tv = (struct timeval){ -1, 0 };
	noted("negative", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	noted("short", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, 3));
	rd(fd, 4, 0);
	go(TO_B);
}

static void b_rcvtimeo_saved(int fd)
{
	await(TO_B);
	rd(fd, 1, 0);
}

static void name_of(const char *what, int r, const struct sockaddr_storage *ss, socklen_t len)
{
	char text[64] = "?";

	if (ss->ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)ss)->sin_addr, text, sizeof(text));
	else
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)ss)->sin6_addr, text, sizeof(text));
	note(" %s=%d:%d:%s:%u", what, r, ss->ss_family, text, len);
}

static void a_names(int fd)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in *in = (void *)&ss;
	uint16_t ports[2];
	socklen_t len = sizeof(ss);
	int r = getsockname(fd, (struct sockaddr *)&ss, &len);

	name_of("own", r, &ss, len);
	ports[0] = in->sin_port;
	len = sizeof(ss);
	r = getpeername(fd, (struct sockaddr *)&ss, &len);
	name_of("peer", r, &ss, len);
	ports[1] = in->sin_port;
	len = 4;
	noted("short", getpeername(fd, (struct sockaddr *)&ss, &len));
	note(":%u", len);
	note(" sent=%zd", send(fd, ports, sizeof(ports), MSG_NOSIGNAL));
	rd(fd, 1, 0);
	len = sizeof(ss);
	noted("peer_gone", getpeername(fd, (struct sockaddr *)&ss, &len));
}

static void b_names(int fd)
{
	struct sockaddr_storage ss;
	struct sockaddr_in *in = (void *)&ss;
	uint16_t ports[2];
	socklen_t len = sizeof(ss);
	bool same_ports = recv(fd, ports, sizeof(ports), MSG_WAITALL) == sizeof(ports);

	getsockname(fd, (struct sockaddr *)&ss, &len);
	same_ports = same_ports && in->sin_port == ports[1];
	len = sizeof(ss);
	getpeername(fd, (struct sockaddr *)&ss, &len);
	note(" ports=%d", same_ports && in->sin_port == ports[0]);
}

static void info_state(int fd)
{
	struct tcp_info ti = { 0 };
	socklen_t len = sizeof(ti);
	int r = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len);

	note(" info=%d:%d", r, ti.tcpi_state);
}

static void a_tcp_info(int fd)
{
	info_state(fd);
	go(TO_B);
	until_state(fd, CLOSE_WAIT);
	info_state(fd);
	shutdown(fd, SHUT_WR);
	until_state(fd, CLOSED);
	info_state(fd);
	soerr(fd);
}

static void b_tcp_info(int fd)
{
	await(TO_B);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

/* Between hosts only TCP can keep it, and the connection goes back there; with 0 nothing is to be kept. */
static void a_user_timeout(int fd)
{
	get(fd, "timeout", IPPROTO_TCP, TCP_USER_TIMEOUT);
	set(fd, "none", IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
	talk_a(fd);
	set(fd, "timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, 60000);
	get(fd, "timeout", IPPROTO_TCP, TCP_USER_TIMEOUT);
	noted("short", setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, "", 1));
	set(fd, "negative", IPPROTO_TCP, TCP_USER_TIMEOUT, -1);
	talk_a(fd);
}

static void b_user_timeout(int fd)
{
	rd(fd, 4, MSG_WAITALL);
	wr(fd, "pong");
	talk_b(fd);
}

/* Errors that the connection survives may come then. */
static void a_recverr(int fd)
{
	get(fd, "recverr", IPPROTO_IP, IP_RECVERR);
	set(fd, "recverr", IPPROTO_IP, IP_RECVERR, 1);
	go(TO_B);
	until_queued(fd, 3);
	rd(fd, 10, 0);
	wr(fd, "ok");
	until_ended(fd);
	soerr(fd);
	rd(fd, 1, 0);
}

static void b_recverr(int fd)
{
	await(TO_B);
	wr(fd, "abc");
	rd(fd, 2, MSG_WAITALL);
	linger_of(fd, 1, 0);
	close(fd);
}

static void a_rcvlowat(int fd)
{
	get(fd, "lowat", SOL_SOCKET, SO_RCVLOWAT);
	set(fd, "lowat", SOL_SOCKET, SO_RCVLOWAT, 5);
	go(TO_B);
	until_queued(fd, 3);
	pl(fd, POLLIN, 20);
	go(TO_B);
	pl(fd, POLLIN, 2000);
	rd(fd, 10, 0);
	get(fd, "lowat", SOL_SOCKET, SO_RCVLOWAT);
	wr(fd, "ok");
}

static void b_rcvlowat(int fd)
{
	await(TO_B);
	wr(fd, "abc");
	await(TO_B);
	wr(fd, "def");
	rd(fd, 2, MSG_WAITALL);
}

/* SO_PEEK_OFF makes peeks walk on; the shim declines such a connection. */
static void a_peek_off(int fd)
{
	set(fd, "peek_off", SOL_SOCKET, SO_PEEK_OFF, 0);
	go(TO_B);
	until_queued(fd, 6);
	rd(fd, 2, MSG_PEEK);
	rd(fd, 2, MSG_PEEK);
	rd(fd, 3, 0);
	rd(fd, 2, MSG_PEEK);
	rd(fd, 3, 0);
	wr(fd, "ok");
}

static void b_peek_off(int fd)
{
	await(TO_B);
	wr(fd, "abcdef");
	rd(fd, 2, MSG_WAITALL);
}

/* Unknown flags are ignored by F_SETFL (MPICH sets some); those that can be set are got back. */
static void a_setfl(int fd)
{
	note(" getfl=%x", (unsigned int)fcntl(fd, F_GETFL));
	noted("setfl", fcntl(fd, F_SETFL, SO_REUSEADDR));
	note(" getfl=%x", (unsigned int)fcntl(fd, F_GETFL));
	noted("setfl", fcntl(fd, F_SETFL, 0x40000000 | O_APPEND | O_NONBLOCK));
	note(" getfl=%x", (unsigned int)fcntl(fd, F_GETFL));
	rd(fd, 1, 0);
	noted("setfl", fcntl(fd, F_SETFL, O_DIRECT));
	noted("setfl", fcntl(fd, F_SETFL, 0));
	note(" getfd=%d", fcntl(fd, F_GETFD));
	noted("setfd", fcntl(fd, F_SETFD, FD_CLOEXEC));
	note(" getfd=%d", fcntl(fd, F_GETFD));
	noted("unknown", fcntl(fd, 7777, 0));
	noted("dupfd", fcntl(fd, F_DUPFD, -1));
	noted("pipe_sz", fcntl(fd, F_GETPIPE_SZ));
	noted("lock", fcntl(fd, F_SETLK, NULL));
	noted("lseek", lseek(fd, 0, SEEK_CUR));
	talk_a(fd);
}

static void b_setfl(int fd)
{
	talk_b(fd);
}

static void a_async(int fd)
{
	handle(SIGIO, SA_RESTART);
	noted("setown", fcntl(fd, F_SETOWN, getpid()));
	noted("setfl", fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC));
	go(TO_B);
	for (int i = 0; i < 2000 && !signals; i++)
		ms(1);
	note(" signals=%d", signals > 0);
	rd(fd, 4, 0);
	wr(fd, "ok");
}

static void b_async(int fd)
{
	await(TO_B);
	wr(fd, "data");
	rd(fd, 2, MSG_WAITALL);
}

static void a_outq(int fd)
{
	int n = -1;

	wr(fd, "12345");
	go(TO_B);
	await(TO_A);
	for (int i = 0; i < 2000 && (ioctl(fd, SIOCOUTQ, &n) || n); i++)
		ms(1);
	note(" outq=%d", n);
	noted("tiocoutq", ioctl(fd, TIOCOUTQ, &n));
	note(":%d", n);
	noted("unsent", ioctl(fd, SIOCOUTQNSD, &n));
	note(":%d", n);
	noted("atmark", ioctl(fd, SIOCATMARK, &n));
	note(":%d", n);
	noted("tty", ioctl(fd, TCGETS, &n));
	noted("null", ioctl(fd, FIONREAD, NULL));
}

static void b_outq(int fd)
{
	await(TO_B);
	rd(fd, 5, MSG_WAITALL);
	go(TO_A);
	rd(fd, 1, 0);
}

static void a_cork(int fd)
{
	set(fd, "cork", IPPROTO_TCP, TCP_CORK, 1);
	wr(fd, "ab");
	wr(fd, "cd");
	set(fd, "cork", IPPROTO_TCP, TCP_CORK, 0);
	rd(fd, 2, MSG_WAITALL);
	wrf(fd, "more", MSG_MORE | MSG_NOSIGNAL);
	wr(fd, "less");
	rd(fd, 2, MSG_WAITALL);
}

static void b_cork(int fd)
{
	rd(fd, 4, MSG_WAITALL);
	wr(fd, "ok");
	rd(fd, 8, MSG_WAITALL);
	wr(fd, "ok");
	rd(fd, 1, 0);
}

/* What hands the stream to the kernel (TCP_ULP, TCP_REPAIR) takes the connection back to TCP first. */
static void a_ulp(int fd)
{
	noted("ulp", setsockopt(fd, IPPROTO_TCP, TCP_ULP, "nosuch", 6));
	set(fd, "repair", IPPROTO_TCP, TCP_REPAIR, 99);
	talk_a(fd);
}

static void b_ulp(int fd)
{
	talk_b(fd);
}

static void a_zerocopy(int fd)
{
	struct iovec v = { "zero", 4 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	char control[256];

	set(fd, "zerocopy", SOL_SOCKET, SO_ZEROCOPY, 1);
	get(fd, "zerocopy", SOL_SOCKET, SO_ZEROCOPY);
	noted("sendmsg", sendmsg(fd, &m, MSG_ZEROCOPY | MSG_NOSIGNAL));
	pl(fd, POLLERR, 3000);
	m = (struct msghdr){ .msg_control = control, .msg_controllen = sizeof(control) };
	noted("errqueue", recvmsg(fd, &m, MSG_ERRQUEUE));
	note(" control=%d flags=%x", m.msg_controllen > 0, (unsigned int)m.msg_flags);
	talk_a(fd);
}

static void b_zerocopy(int fd)
{
	rd(fd, 4, MSG_WAITALL);
	talk_b(fd);
}

static void a_fstat(int fd)
{
	struct stat st;

	noted("fstat", fstat(fd, &st));
	note(" socket=%d", S_ISSOCK(st.st_mode));
	noted("isatty", isatty(fd));
	noted("fsync", fsync(fd));
	noted("ftruncate", ftruncate(fd, 0));
	talk_a(fd);
}

static void b_fstat(int fd)
{
	talk_b(fd);
}

/* The lowest free number is what a program gets, and no foreign descriptor is where it can see one (rule 15). */
static void a_lowest(int fd)
{
	int first = open("/dev/null", O_RDONLY), second = dup(first), bad = 0, ep;

	note(" next=%d", second - first);
	close(first);
	note(" again=%d", open("/dev/null", O_RDONLY) == first);
	ep = epoll_create1(0);
	note(" ep=%d", ep - second);
	for (int i = ep + 1; i < ep + 200; i++)
		bad += fcntl(i, F_GETFD) >= 0;
	note(" foreign=%d", bad);
	talk_a(fd);
}

static void b_lowest(int fd)
{
	talk_b(fd);
}

static const struct test_case cases[] = {
	CASE(options, "8", WARM),
	CASE(buffers, "9", WARM),
	CASE(rcvtimeo_saved, "11,14", WARM),
	CASE(names, "20", WARM),
	CASE(tcp_info, "16", WARM),
	CASE(user_timeout, "8", WARM),
	CASE(recverr, "8,16", WARM),
	CASE(rcvlowat, "8,7", WARM),
	CASE(peek_off, "8,7", WARM),
	CASE(setfl, "8", WARM),
	CASE(async, "8,7", WARM),
	CASE_F(outq, "5", WARM, NOT_FAR),
	CASE(cork, "5", WARM),
	CASE(ulp, "8,7", WARM),
	CASE(zerocopy, "8", WARM),
	CASE(fstat, "8", WARM),
	CASE(lowest, "15", WARM),
};
GROUP(options);
