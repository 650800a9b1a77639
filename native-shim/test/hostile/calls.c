/* SPDX-License-Identifier: Apache-2.0 */
/* calls.c - what the victim's program does: real calls by the interposed names, and the steps that other calls make. */
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hostile.h"

#define LONGEST 20000u

static uint8_t *area[3];

static const char *const names[CALLS] = {
	"recv", "recv PEEK", "readv", "recv, blocking", "recv WAITALL, blocking", "recv PEEK WAITALL, blocking",
	"recv TRUNC", "send", "writev", "send, blocking", "poll 0", "poll 50 ms", "poll for ever", "select 0",
	"epoll_ctl", "epoll_wait 0", "epoll_wait 50 ms", "epoll_wait for ever", "ioctl SIOCINQ", "conn_stop", "conn_pause",
	"conn_resume", "conn_leave", "shutdown WR", "shutdown RD", "shutdown RDWR", "close", "conn_progress",
	"conn_check_socket", "recv of nothing", "ioctl SIOCOUTQ", "read", "recvmsg", "poll of two",
};

const char *call_name(unsigned int a)
{
	return names[a % CALLS];
}

void call_buffers(void)
{
	for (int i = 0; i < 3; i++)
		area[i] = malloc(LONGEST);
}

/* Ends with its area: AddressSanitizer sees the first byte too many. */
static uint8_t *buffer(int i, size_t len)
{
	return area[i] + LONGEST - len;
}

static void parts(struct iovec *v, uint32_t len, uint8_t c)
{
	size_t first = len / (1 + c % 5), second = (len - first) / (1 + c / 8 % 3), third = len - first - second;

	v[0] = (struct iovec){ buffer(0, first), first };
	v[1] = (struct iovec){ buffer(1, second), second };
	v[2] = (struct iovec){ buffer(2, third), third };
}

static void received(const char *what, ssize_t n, size_t asked, bool takes)
{
	int err = errno;

	if (n > (ssize_t)asked || n < -1)
		violation("%s of %zu gives %zd", what, asked, n);
	if (n < 0 && err != EAGAIN && err != ECONNRESET && err != EPIPE && !(err == ENOTCONN && ksock[0].unconnected))
		violation("%s: error %d", what, err);
	if (n > 0 && takes)
		taken += (uint64_t)n;
}

static void sent(const char *what, ssize_t n, size_t asked)
{
	int err = errno;

	if (n > (ssize_t)asked || n < -1 || n == 0)
		violation("%s of %zu gives %zd", what, asked, n);
	if (n < 0 && err != EAGAIN && err != ECONNRESET && err != EPIPE)
		violation("%s: error %d", what, err);
	if (n > 0)
		given += (uint64_t)n;
}

static void readiness(const char *what, int n, int most, short got, short want)
{
	if (n < 0 || n > most)
		violation("%s gives %d, error %d", what, n, errno);
	if (got & ~(want | POLLERR | POLLHUP))
		violation("%s: asked for %x, told of %x", what, want, got);
}

static void polls(const char *what, const struct step *s, int timeout)
{
	static const short wants[8] = { POLLIN, POLLOUT, POLLIN | POLLOUT, POLLIN | POLLRDHUP, POLLRDHUP, POLLPRI | POLLIN,
					POLLIN | POLLRDNORM, POLLOUT | POLLWRNORM };
	struct pollfd p = { .fd = VICTIM_FD, .events = wants[s->c % 8] };
	int n = poll(&p, 1, timeout);

	readiness(what, n, 1, p.revents, p.events);
	if (timeout < 0 && n != 1)
		violation("%s comes back with nothing", what);
}

static void polls_two(const char *what)
{
	struct pollfd p[2] = { { .fd = VICTIM_FD, .events = POLLIN }, { .fd = OTHER_FD, .events = POLLIN } };
	int n = poll(p, 2, 0);

	readiness(what, n, 2, p[0].revents, POLLIN);
	if (n < 1 || p[1].revents != POLLIN) /* it has three bytes, whatever happens here */
		violation("%s: the other connection's bytes are not told of", what);
}

static void selects(const char *what)
{
	struct timeval zero = { 0, 0 };
	fd_set r, w;
	int n;

	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(VICTIM_FD, &r);
	FD_SET(VICTIM_FD, &w);
	n = select(VICTIM_FD + 1, &r, &w, NULL, &zero);
	readiness(what, n, 2, 0, 0);
}

static void changes_set(const struct step *s)
{
	static const uint32_t events[4] = { EPOLLIN, EPOLLIN | EPOLLET, EPOLLIN | EPOLLOUT | EPOLLET,
					    EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLONESHOT };
	struct epoll_event ev = { .events = events[s->c % 4], .data.u64 = 42 };

	if (victim->regs && s->c / 4 % 4 == 0)
		epoll_ctl(EPOLL_FD, EPOLL_CTL_DEL, VICTIM_FD, &ev);
	else if (!atomic_load(&victim->plain))
		epoll_ctl(EPOLL_FD, victim->regs ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, VICTIM_FD, &ev);
}

static void waits_set(const char *what, int timeout)
{
	struct epoll_event *ev = (void *)buffer(0, 2 * sizeof(*ev));
	int n;

	if (!victim->regs || (timeout < 0 && (victim->regs->disabled || !(victim->regs->events & EPOLLIN) ||
					      (victim->regs->events & EPOLLET))))
		timeout = 0; /* an edge that was told of comes no more */
	n = epoll_wait(EPOLL_FD, ev, 2, timeout);
	if (n < 0 || n > 1 || (n && ev->data.u64 != 42))
		violation("%s gives %d, error %d, data %llx", what, n, errno, n > 0 ? (unsigned long long)ev->data.u64 : 0);
}

static void counts(const char *what, unsigned long req)
{
	int n = -1;

	if (ioctl(VICTIM_FD, req, &n) || n < 0 || n > (int)(SMALL + OVER + 2 * INQ_MAX))
		violation("%s gives %d", what, n);
}

static void handles(const struct step *s)
{
	uint8_t a = s->a % CALLS;

	if (table_peek(VICTIM_FD) != victim || conn_state(victim) != HUT_END_CHANNEL)
		return;
	if (a == 19)
		conn_stop(victim, VICTIM_FD, HUT_R_OPTION);
	else if (a == 20)
		conn_pause(victim, VICTIM_FD, HUT_R_OFF);
	else if (a == 21)
		conn_resume(victim);
	else if (a == 22)
		conn_leave(victim, VICTIM_FD, HUT_R_PASSED);
	else if (a == 27)
		conn_progress(victim, VICTIM_FD);
	else
		conn_check_socket(victim, VICTIM_FD);
}

void call_run(const struct step *s)
{
	uint8_t a = s->a % CALLS;
	uint32_t len = 1 + (s->v - 1) % LONGEST;
	const char *what = names[a];
	struct iovec iov[3];
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 3 };

	if (table_peek(VICTIM_FD) != victim && a > 9)
		return; /* closed, or plain TCP: libc's own */
	kernel_begin_call(s->c % 4, s->c & 4);
	switch (a) {
	case 0:
	case 1:
		received(what, recv(VICTIM_FD, buffer(0, len), len, MSG_DONTWAIT | (a ? MSG_PEEK : 0)), len, !a);
		break;
	case 2:
		parts(iov, len, s->c);
		received(what, readv(VICTIM_FD, iov, 3), len, true);
		break;
	case 3:
	case 4:
	case 5:
		STORE(&victim_end->nonblock, 0);
		received(what, recv(VICTIM_FD, buffer(0, len), len, (a > 3 ? MSG_WAITALL : 0) | (a > 4 ? MSG_PEEK : 0)), len,
			 a < 5);
		if (a < 5 && errno == EAGAIN)
			errno = 0;
		STORE(&victim_end->nonblock, 1);
		break;
	case 6:
		if (atomic_load(&victim->plain))
			break; /* the kernel's own, then */
		received(what, recv(VICTIM_FD, buffer(0, 1), 1, MSG_TRUNC | MSG_DONTWAIT), len, true);
		break;
	case 7:
		sent(what, send(VICTIM_FD, buffer(0, len), len, MSG_DONTWAIT | MSG_NOSIGNAL), len);
		break;
	case 8:
		parts(iov, len, s->c);
		sent(what, writev(VICTIM_FD, iov, 3), len);
		break;
	case 9:
		STORE(&victim_end->nonblock, 0);
		sent(what, send(VICTIM_FD, buffer(0, len), len, MSG_NOSIGNAL), len);
		STORE(&victim_end->nonblock, 1);
		break;
	case 10:
	case 11:
	case 12:
		polls(what, s, a == 10 ? 0 : a == 11 ? 50 : -1);
		break;
	case 13:
		selects(what);
		break;
	case 14:
		changes_set(s);
		break;
	case 15:
	case 16:
	case 17:
		waits_set(what, a == 15 ? 0 : a == 16 ? 50 : -1);
		break;
	case 18:
		counts(what, SIOCINQ);
		break;
	case 23:
	case 24:
	case 25:
		shutdown(VICTIM_FD, a == 23 ? SHUT_WR : a == 24 ? SHUT_RD : SHUT_RDWR);
		break;
	case 26:
		close(VICTIM_FD);
		break;
	case 29: {
		char none;
		ssize_t n = recv(VICTIM_FD, &none, 0, MSG_DONTWAIT);

		received(what, n, 0, false);
		break;
	}
	case 30:
		counts(what, SIOCOUTQ);
		break;
	case 31:
		received(what, read(VICTIM_FD, buffer(0, len), len), len, true);
		break;
	case 32:
		parts(iov, len, s->c);
		received(what, recvmsg(VICTIM_FD, &m, MSG_DONTWAIT), len, true);
		break;
	case 33:
		polls_two(what);
		break;
	default:
		handles(s);
		break;
	}
}
