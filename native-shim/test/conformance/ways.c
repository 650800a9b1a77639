/* SPDX-License-Identifier: Apache-2.0 */
/* ways.c - the connections of a case, their way to the ring, and the agent on request. */
#include <linux/tcp.h>
#include <sys/syscall.h>

#include "inside.h"

const char *conf_where;
int conf_port;
int ask_agent[2], agent_answers[2];
_Atomic int *on_ring_count; /* two: yes and no */
bool never;                 /* the case's connections must stay on TCP: give them time enough not to */

/* ---- what the kernel alone says: by system calls that nothing can intercept ---- */

static struct tcp_info kernel(int fd)
{
	struct tcp_info ti = { 0 };
	socklen_t len = sizeof(ti);

	syscall(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, &ti, &len);
	return ti;
}

int tcp_state(int fd)
{
	return kernel(fd).tcpi_state;
}

/* ---- connections ---- */

static struct sockaddr_storage make_address(const char *text, socklen_t *len)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in *in = (void *)&ss;
	struct sockaddr_in6 *in6 = (void *)&ss;

	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)conf_port);
		*len = sizeof(*in);
	} else {
		inet_pton(AF_INET6, text, &in6->sin6_addr);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)conf_port);
		*len = sizeof(*in6);
	}
	return ss;
}

struct sockaddr_storage conf_address(socklen_t *len)
{
	return make_address(conf_where, len);
}

int listen_at(int n)
{
	socklen_t len;
	struct sockaddr_storage ss = other_address(n, &len);
	int one = 1, fd = socket(ss.ss_family, SOCK_STREAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	must(bind(fd, (struct sockaddr *)&ss, len) == 0 && listen(fd, 16) == 0, "listen");
	return fd;
}

int dial_to(int n, int from)
{
	socklen_t len;
	struct sockaddr_storage ss = other_address(from, &len);
	struct sockaddr_in *in = (void *)&ss; /* the port is at the same place in both families */
	int fd = socket(ss.ss_family, SOCK_STREAM, 0);

	in->sin_port = 0;
	must(!from || bind(fd, (struct sockaddr *)&ss, len) == 0, "bind");
	ss = other_address(n, &len);
	must(connect(fd, (struct sockaddr *)&ss, len) == 0, "connect");
	return fd;
}

/* 10.99.0.1, fd99::1 and ::ffff:10.99.0.1 all end in the digit that tells the addresses of the namespace apart. */
struct sockaddr_storage other_address(int n, socklen_t *len)
{
	char text[64];

	snprintf(text, sizeof(text), "%s", conf_where);
	text[strlen(text) - 1] = (char)('0' + n);
	return make_address(text, len);
}

int dial_start(bool nonblocking)
{
	socklen_t len;
	struct sockaddr_storage ss = conf_address(&len);
	int one = 1, fd = socket(ss.ss_family, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0), 0);

	if (connect(fd, (struct sockaddr *)&ss, len) && !(nonblocking && errno == EINPROGRESS)) {
		int e = errno;

		close(fd);
		errno = e;
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

int dial(void)
{
	int fd = dial_start(false);

	must(fd >= 0, "connect");
	return fd;
}

int pick(int listener)
{
	int one = 1, fd = accept(listener, NULL, NULL);

	must(fd >= 0, "accept");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static bool want_ring(void)
{
	return !never && getenv("CONF_RING");
}

static void on_ring(bool yes)
{
	on_ring_count[!yes]++;
}

#define ROUNDS (never ? 80 : 20)
#define MOST_ROUNDS 2500

void warm(int fd, bool first)
{
	char c = 'w';
	bool there = false;

	for (int i = 0; first && c != 'E'; i++) {
		struct tcp_info before = kernel(fd), after;

		c = (want_ring() ? there || i == MOST_ROUNDS : i == ROUNDS) ? 'E' : 'w';
		must(send(fd, &c, 1, MSG_NOSIGNAL) == 1, "warm-up send");
		must(recv(fd, &c, 1, 0) == 1, "warm-up recv");
		if (c == 'E') /* the other goes on already */
			break;
		after = kernel(fd);
		there = after.tcpi_bytes_sent == before.tcpi_bytes_sent &&
			after.tcpi_bytes_received == before.tcpi_bytes_received;
		if (!there)
			ms(want_ring() ? 2 : 1);
	}
	while (!first && c != 'E') {
		must(recv(fd, &c, 1, 0) == 1, "warm-up recv");
		must(send(fd, &c, 1, MSG_NOSIGNAL) == 1, "warm-up send");
	}
	if (first && !never)
		on_ring(there);
}

void cross(int fd)
{
	warm(fd, !conf_is_a);
}

/*
 * One way: single bytes until the kernel's count of sent bytes stands still, then the mark.  The receiver's own direction
 * may switch as well, or not.
 */
void push(int fd)
{
	bool there = false;
	char c;

	for (int i = 0;; i++) {
		uint64_t before = kernel(fd).tcpi_bytes_sent;

		c = (want_ring() ? there || i == MOST_ROUNDS : i == ROUNDS) ? 'E' : 'w';
		must(send(fd, &c, 1, MSG_NOSIGNAL) == 1, "push");
		if (c == 'E')
			break;
		ms(2);
		there = kernel(fd).tcpi_bytes_sent == before;
	}
	on_ring(there);
}

void pull(int fd)
{
	char c = 'w';

	while (c != 'E')
		must(recv(fd, &c, 1, 0) == 1, "pull");
}

static bool ask(char what)
{
	must(write(ask_agent[1], &what, 1) == 1 && read(agent_answers[0], &what, 1) == 1, "agent");
	return what == '+';
}

void agent_kill(void)
{
	must(ask('k'), "agent");
}

void agent_start(void)
{
	must(ask('s'), "agent");
}

void agent_start_late(void)
{
	must(ask('l'), "agent");
}

void agent_start_dying(int where)
{
	must(ask((char)('0' + where)), "agent");
}

bool agent_ends(void)
{
	if (!want_ring() || !getenv("CONF_FAR"))
		return false;
	must(ask('e'), "an agent that pays and dies");
	return true;
}

void agent_pause(void)
{
	must(ask('p'), "agent");
}

void agent_go_on(void)
{
	must(ask('g'), "agent");
}

void agent_switch(void)
{
	must(ask('o'), "agent");
}

bool agent_loses(void)
{
	if (!want_ring() || !getenv("CONF_FAR"))
		return false;
	must(ask('h'), "an agent that loses its lines");
	return true;
}

void agent_mark(void)
{
	must(ask('m'), "agent");
}

bool agent_as_marked(void)
{
	return ask('?');
}
