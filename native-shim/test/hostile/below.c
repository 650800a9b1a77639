/* SPDX-License-Identifier: Apache-2.0 */
/*
 * below.c - how the shim's calls reach kernel.c: clock_gettime() and sched_yield() are wrapped by the linker, and the
 * entries of the shim's table of libc's functions, syscall() among them, are replaced.  Descriptors that are not of this test go on to
 * the real ones.
 */
#include <linux/aio_abi.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "hostile.h"

static struct real libc;

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __real_sched_yield(void);
int __wrap_sched_yield(void);

/* ---- libc's functions below the shim ---- */

static ssize_t f_recvmsg(int fd, struct msghdr *m, int flags)
{
	struct ksock *k = sock_of(fd);
	ssize_t n;

	if (!k)
		return libc.recvmsg(fd, m, flags);
	while ((n = k_recv(k, m->msg_iov, m->msg_iovlen, flags & MSG_PEEK)) < 0 && errno == EAGAIN &&
	       !(flags & MSG_DONTWAIT) && !LOAD(&victim_end->nonblock)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		k_sleep(&p, 1, NULL);
	}
	return n;
}

static ssize_t f_sendmsg(int fd, const struct msghdr *m, int flags)
{
	struct ksock *k = sock_of(fd);
	ssize_t n;

	if (!k)
		return libc.sendmsg(fd, m, flags);
	while ((n = k_send(k, m->msg_iov, m->msg_iovlen)) < 0 && errno == EAGAIN && !(flags & MSG_DONTWAIT) &&
	       !LOAD(&victim_end->nonblock)) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };

		k_sleep(&p, 1, NULL);
	}
	return n;
}

static ssize_t f_recv(int fd, void *buf, size_t len, int flags)
{
	struct iovec iov = { buf, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	return sock_of(fd) ? f_recvmsg(fd, &m, flags) : libc.recv(fd, buf, len, flags);
}

static ssize_t f_read(int fd, void *buf, size_t len)
{
	return sock_of(fd) ? f_recv(fd, buf, len, 0) : libc.read(fd, buf, len);
}

static ssize_t f_readv(int fd, const struct iovec *iov, int n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };

	return sock_of(fd) ? f_recvmsg(fd, &m, 0) : libc.readv(fd, iov, n);
}

static ssize_t f_send(int fd, const void *buf, size_t len, int flags)
{
	struct iovec iov = { (void *)buf, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	return sock_of(fd) ? f_sendmsg(fd, &m, flags) : libc.send(fd, buf, len, flags);
}

static ssize_t f_write(int fd, const void *buf, size_t len)
{
	return sock_of(fd) ? f_send(fd, buf, len, 0) : libc.write(fd, buf, len);
}

static ssize_t f_writev(int fd, const struct iovec *iov, int n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };

	return sock_of(fd) ? f_sendmsg(fd, &m, 0) : libc.writev(fd, iov, n);
}

static int f_shutdown(int fd, int how)
{
	return sock_of(fd) ? k_shutdown(sock_of(fd), how) : libc.shutdown(fd, how);
}

static int f_close(int fd)
{
	return sock_of(fd) ? 0 : libc.close(fd);
}

static int f_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	return sock_of(fd) ? k_option(sock_of(fd), level, name, val, len) : libc.getsockopt(fd, level, name, val, len);
}

static int f_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	return sock_of(fd) ? 0 : libc.setsockopt(fd, level, name, val, len);
}

static int f_ioctl(int fd, unsigned long req, ...)
{
	struct ksock *k = sock_of(fd);
	va_list ap;
	void *arg;

	va_start(ap, req);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!k)
		return libc.ioctl(fd, req, arg);
	if (req == SIOCINQ)
		*(int *)arg = (int)k->inq;
	else if (req == SIOCOUTQ)
		*(int *)arg = (int)k->outq;
	return 0;
}

static int f_epoll_pwait(int epfd, struct epoll_event *ev, int max, int timeout, const sigset_t *mask)
{
	return epfd == EPOLL_FD ? k_epoll_wait(ev, max, timeout) : libc.epoll_pwait(epfd, ev, max, timeout, mask);
}

static int f_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	return epfd == EPOLL_FD ? k_epoll_ctl(op, fd, ev) : libc.epoll_ctl(epfd, op, fd, ev);
}

static int f_ppoll(struct pollfd *p, nfds_t n, const struct timespec *ts, const sigset_t *mask)
{
	return kernel_live ? libc.ppoll(p, n, ts, mask) : k_sleep(p, n, ts);
}

static int f_poll(struct pollfd *p, nfds_t n, int ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	return kernel_live ? libc.poll(p, n, ms) : k_sleep(p, n, ms < 0 ? NULL : &ts);
}

/* ---- system calls ---- */

static long submit(const long *a)
{
	const struct iocb *request = *(struct iocb **)a[2];

	k_ring((int)request->aio_resfd);
	return 1;
}

static long f_syscall(long nr, ...)
{
	va_list ap;
	long a[6];

	va_start(ap, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (!kernel_live) {
		struct ksock *k = sock_of((int)a[0]);
		struct iovec piece = { (void *)a[1], (size_t)a[2] }; /* of the calls that have just one */
		struct msghdr one = { .msg_iov = &piece, .msg_iovlen = 1 };

		switch (nr) {
		case SYS_recvmsg:
			if (k)
				return f_recvmsg((int)a[0], (void *)a[1], (int)a[2] | MSG_DONTWAIT);
			break;
		case SYS_sendmsg:
			if (k)
				return f_sendmsg((int)a[0], (void *)a[1], (int)a[2] | MSG_DONTWAIT);
			break;
		case SYS_recvfrom:
			if (k)
				return f_recvmsg((int)a[0], &one, (int)a[3] | MSG_DONTWAIT);
			break;
		case SYS_sendto:
			if (k)
				return f_sendmsg((int)a[0], &one, (int)a[3] | MSG_DONTWAIT);
			break;
		case SYS_connect: /* AF_UNSPEC: the socket is reset */
			if (k) {
				k->dead = k->unconnected = k->changed = true;
				k->inq = k->outq = 0;
				return 0;
			}
			break;
		case SYS_ppoll:
			return k_sleep((void *)a[0], (nfds_t)a[1], (void *)a[2]);
		case SYS_epoll_pwait2: {
			const struct timespec *ts = (void *)a[3];

			return f_epoll_pwait((int)a[0], (void *)a[1], (int)a[2], ts ? (int)(ts->tv_sec * 1000) + 1 : -1, NULL);
		}
		case SYS_io_setup:
			*(aio_context_t *)a[1] = 1;
			return 0;
		case SYS_io_submit:
			return submit(a);
		case SYS_io_getevents:
		case SYS_io_destroy:
			return 0;
		case SYS_preadv2:
			if (a[0] == BELL_FD)
				k_drain();
			return 8;
		case SYS_getpid:
			return hut_pid ? hut_pid : (libc.syscall)(nr);
		default:
			break;
		}
	}
	return (libc.syscall)(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	if (kernel_live)
		return __real_clock_gettime(id, ts);
	vnow += 25000; /* a look takes its time, so that whoever waits for a moment sees it come */
	ts->tv_sec = (time_t)(vnow / 1000000000ull);
	ts->tv_nsec = (long)(vnow % 1000000000ull);
	return 0;
}

int __wrap_sched_yield(void)
{
	return kernel_live ? __real_sched_yield() : 0;
}

void kernel_init(void)
{
	real_init();
	libc = real;
#define FAKE(name) real.name = f_##name
	FAKE(syscall);
	FAKE(recvmsg);
	FAKE(sendmsg);
	FAKE(recv);
	FAKE(read);
	FAKE(readv);
	FAKE(send);
	FAKE(write);
	FAKE(writev);
	FAKE(shutdown);
	FAKE(close);
	FAKE(getsockopt);
	FAKE(setsockopt);
	FAKE(ioctl);
	FAKE(ppoll);
	FAKE(poll);
	FAKE(epoll_ctl);
	FAKE(epoll_pwait);
#undef FAKE
}
