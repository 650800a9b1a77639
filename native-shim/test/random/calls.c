/* SPDX-License-Identifier: Apache-2.0 */
/* calls.c - one call that sends, or one that receives; what comes back is checked. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "random.h"

#define MESSAGES 5
#define CANARY 0xa5

/* Any of the connection's descriptors. */
int any_fd(const struct conn *c, int dir, uint32_t arg)
{
	/* With two threads the reader alone has the second one. */
	if (c->may_block && dir == OUT)
		return c->fd;
	return c->alias >= 0 && (arg & 1) ? c->alias : c->fd;
}

/* Splits n bytes at buf into o->parts parts, some of them empty. */
static int split(const struct op *o, uint8_t *buf, size_t n, struct iovec *v)
{
	struct rng r = { o->arg };
	size_t at = 0;

	for (int i = 0; i < o->parts; i++) {
		size_t left = n - at, len = i == o->parts - 1 ? left : rng_next(&r) % 5 == 0 ? 0 : rng_next(&r) % (left + 1);

		v[i] = (struct iovec){ buf + at, len };
		at += len;
	}
	return o->parts;
}

/* Several messages over the same bytes. */
static unsigned int split_messages(const struct op *o, uint8_t *buf, size_t n, struct mmsghdr *m,
				   struct iovec v[MESSAGES][MAX_PARTS])
{
	struct rng r = { o->arg ^ 0x5555 };
	unsigned int count = 1 + (unsigned int)(rng_next(&r) % MESSAGES);
	size_t at = 0;

	if (count > n)
		count = (unsigned int)n;
	for (unsigned int i = 0; i < count; i++) {
		size_t left = n - at, len = left / (count - i);

		memset(&m[i], 0, sizeof(m[i]));
		m[i].msg_hdr.msg_iov = v[i];
		m[i].msg_hdr.msg_iovlen = (size_t)split(o, buf + at, len, v[i]);
		at += len;
	}
	return count;
}

static ssize_t send_file(struct conn *c, const struct op *o, int fd, size_t n)
{
	off_t at = o->arg & 0xfff, before = at;
	bool by_offset = o->arg & 0x1000;
	ssize_t r;

	if (c->file < 0)
		c->file = memfd_create("random-file", MFD_CLOEXEC);
	if (c->file < 0 || ftruncate(c->file, 0) || pwrite(c->file, c->buf_out, n, at) != (ssize_t)n)
		fail(c, "file for sendfile: %s", strerror(errno));
	if (!by_offset && lseek(c->file, at, SEEK_SET) != at)
		fail(c, "lseek: %s", strerror(errno));
	r = sendfile(fd, c->file, by_offset ? &at : NULL, n);
	int err = errno;

	if (!by_offset)
		at = lseek(c->file, 0, SEEK_CUR);
	if (at != before + (r > 0 ? r : 0))
		fail(c, "sendfile gave %zd and moved the file's offset by %lld", r, (long long)(at - before));
	errno = err;
	return r;
}

static ssize_t send_messages(struct conn *c, const struct op *o, int fd, size_t n, int flags)
{
	struct iovec v[MESSAGES][MAX_PARTS];
	struct mmsghdr m[MESSAGES];
	unsigned int count = split_messages(o, c->buf_out, n, m, v);
	int r = sendmmsg(fd, m, count, flags);
	ssize_t total = 0;

	for (int i = 0; i < r; i++) {
		size_t want = 0;

		for (size_t k = 0; k < m[i].msg_hdr.msg_iovlen; k++)
			want += m[i].msg_hdr.msg_iov[k].iov_len;
		if (m[i].msg_len > want || (m[i].msg_len < want && i != r - 1))
			fail(c, "sendmmsg: message %d of %d moved %u of %zu", i, r, m[i].msg_len, want);
		total += m[i].msg_len;
	}
	return r <= 0 ? r : total;
}

static ssize_t send_one(struct conn *c, const struct op *o, int fd, size_t n, int flags)
{
	struct iovec v[MAX_PARTS];
	struct msghdr m = { .msg_iov = v };

	switch (o->call) {
	case C_WRITE:
		return write(fd, c->buf_out, n);
	case C_WRITEV:
		return writev(fd, v, split(o, c->buf_out, n, v));
	case C_SENDMSG:
		m.msg_iovlen = (size_t)split(o, c->buf_out, n, v);
		return sendmsg(fd, &m, flags);
	case C_SENDTO:
		return sendto(fd, c->buf_out, n, flags, NULL, 0);
	case C_SENDMMSG:
		return send_messages(c, o, fd, n, flags);
	case C_SENDFILE:
		return send_file(c, o, fd, n);
	default:
		return send(fd, c->buf_out, n, flags);
	}
}

static bool takes_flags(int call)
{
	return call != C_WRITE && call != C_WRITEV && call != C_SENDFILE && call != C_READ && call != C_READV;
}

/* What makes a call end early, though it may block. */
static bool may_fall_short(const struct conn *c, int dir, bool nowait)
{
	return nowait || c->nonblock || c->plan.toggles || c->timed[dir == OUT] || c->plan.signals;
}

static void shut(struct conn *c)
{
	if (atomic_exchange(&c->shut, true))
		return;
	atomic_store(&c->out->shut, 1);
	/* With both ends reached a close says the same. */
	if (c->plan.direct_close && (c->plan.late_shut ? my_role == SERVER : c->in_done))
		return;
	doing(c, OUT, "shutdown");
	if (shutdown(any_fd(c, OUT, c->n_out), SHUT_WR))
		fail(c, "shutdown: %s", strerror(errno));
}

/*
 * All is sent.  Most connections are shut only when all has come as well: with one side shut they would not go to the
 * ring any more.
 */
void finish_out(struct conn *c)
{
	if (c->out_done)
		return;
	atomic_store(&c->sent_all, true);
	if (!c->plan.late_shut || atomic_load(&c->in->got) == c->plan.total[!my_role])
		shut(c);
	c->out_done = true;
}

enum step do_send(struct conn *c)
{
	struct op o = gen_op(c, OUT);
	uint64_t left = c->plan.total[my_role] - c->sent;
	size_t n = o.size < left ? o.size : left;
	int flags = MSG_NOSIGNAL | (o.more ? MSG_MORE : 0), err;
	ssize_t r;

	if (c->out_done)
		return STEP_DONE;
	if (!left) {
		finish_out(c);
		return STEP_DONE;
	}
	check_alive();
	c->n_out++;
	script_begin(c, OUT, &o);
	extra_before(c, OUT, &o);
	if (!c->may_block && !c->nonblock) {
		if (!takes_flags(o.call))
			o.call = C_SEND;
		o.dontwait = true;
	}
	o.dontwait &= takes_flags(o.call);
	if (o.dontwait)
		flags |= MSG_DONTWAIT;
	gen_bytes(c, 1, c->sent, c->buf_out, n);
	atomic_store(&c->out->tried, c->sent + n);
	doing(c, OUT, "%s %zu%s", kind_name(o.call), n, c->nonblock || o.dontwait ? " nowait" : "");
	r = send_one(c, &o, any_fd(c, OUT, o.arg >> 8), n, flags);
	err = errno;
	atomic_fetch_add(&sh->made[my_role][o.call], 1);
	script_note(c, OUT, c->n_out - 1, &o, r, r < 0 ? err : 0);
	if (r < 0 && err == EAGAIN) {
		if (!may_fall_short(c, OUT, o.dontwait))
			fail(c, "%s: EAGAIN though it may block", kind_name(o.call));
		c->short_out = true;
		return STEP_NONE;
	}
	if (r < 0 && err == EINTR) {
		if (!c->plan.signals)
			fail(c, "%s: EINTR without a signal", kind_name(o.call));
		c->short_out = false;
		return STEP_MOVED;
	}
	if (r <= 0 || (size_t)r > n)
		fail(c, "%s of %zu gave %zd: %s", kind_name(o.call), n, r, strerror(err));
	if ((size_t)r < n && !may_fall_short(c, OUT, o.dontwait))
		fail(c, "%s of %zu may block and came short: %zd", kind_name(o.call), n, r);
	c->short_out = (size_t)r < n;
	c->sent += (uint64_t)r;
	atomic_store(&c->out->sent, c->sent);
	if (c->sent == c->plan.total[my_role]) {
		finish_out(c);
		return STEP_DONE;
	}
	return STEP_MOVED;
}

/* ---- receive ---- */

static ssize_t recv_messages(struct conn *c, const struct op *o, int fd, size_t n, int flags)
{
	struct iovec v[MESSAGES][MAX_PARTS];
	struct mmsghdr m[MESSAGES];
	unsigned int count = split_messages(o, c->buf_in, n, m, v);
	int r = recvmmsg(fd, m, count, flags | MSG_WAITFORONE, NULL);
	size_t total = 0, at = 0;

	for (int i = 0; i < r; i++) {
		size_t room = 0;

		for (size_t k = 0; k < m[i].msg_hdr.msg_iovlen; k++)
			room += m[i].msg_hdr.msg_iov[k].iov_len;
		if (m[i].msg_len > room)
			fail(c, "recvmmsg: message %d of %d has %u bytes for %zu", i, r, m[i].msg_len, room);
		/* A message that is not full is followed by more when they came in between. */
		memmove(c->buf_in + total, c->buf_in + at, m[i].msg_len);
		total += m[i].msg_len;
		at += room;
	}
	return r <= 0 ? r : (ssize_t)total;
}

static ssize_t recv_one(struct conn *c, const struct op *o, int fd, size_t n, int flags)
{
	struct iovec v[MAX_PARTS];
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char control[64];
	struct msghdr m = { .msg_iov = v };
	ssize_t r;

	switch (o->call) {
	case C_READ:
		return read(fd, c->buf_in, n);
	case C_READV:
		return readv(fd, v, split(o, c->buf_in, n, v));
	case C_RECVMSG:
		m.msg_iovlen = (size_t)split(o, c->buf_in, n, v);
		if (o->arg & 0x2000) {
			m.msg_name = &from;
			m.msg_namelen = len;
			m.msg_control = control;
			m.msg_controllen = sizeof(control);
		}
		r = recvmsg(fd, &m, flags);
		if (r >= 0 && (m.msg_controllen || m.msg_namelen || (m.msg_flags & ~MSG_CMSG_CLOEXEC)))
			fail(c, "recvmsg: control %zu name %u flags %x", m.msg_controllen, m.msg_namelen,
			     (unsigned int)m.msg_flags);
		return r;
	case C_RECVFROM:
		return o->arg & 0x2000 ? recvfrom(fd, c->buf_in, n, flags, (struct sockaddr *)&from, &len) :
					 recvfrom(fd, c->buf_in, n, flags, NULL, NULL);
	case C_RECVMMSG:
		return recv_messages(c, o, fd, n, flags);
	default:
		return recv(fd, c->buf_in, n, flags);
	}
}

void check(const struct conn *c, const char *what, size_t asked, size_t n)
{
	uint8_t want[4096];

	for (size_t at = 0; at < n; at += sizeof(want)) {
		size_t part = n - at < sizeof(want) ? n - at : sizeof(want);

		gen_bytes(c, 0, c->got + at, want, part);
		if (!memcmp(want, c->buf_in + at, part))
			continue;
		for (size_t i = 0; i < part; i++)
			if (want[i] != c->buf_in[at + i])
				fail(c, "%s of %zu gave %zu: byte %zu, offset %llu, is %02x and should be %02x", what, asked,
				     n, at + i, (unsigned long long)(c->got + at + i), c->buf_in[at + i], want[i]);
	}
}

void came(struct conn *c, size_t n)
{
	uint64_t total = c->plan.total[!my_role], tried = atomic_load(&c->in->tried);

	c->got += n;
	if (c->got > total || c->got > tried)
		fail(c, "too many bytes: %llu of %llu, of which %llu were sent", (unsigned long long)c->got,
		     (unsigned long long)total, (unsigned long long)tried);
	atomic_store(&c->in->got, c->got);
	if (c->got == total && atomic_load(&c->sent_all))
		shut(c);
	atomic_fetch_add_explicit(&sh->bytes[my_role], n, memory_order_relaxed);
}

static enum step at_end(struct conn *c, const struct op *o)
{
	uint64_t total = c->plan.total[!my_role];

	if (c->got != total || !atomic_load(&c->in->shut))
		fail(c, "%s: end of file at %llu of %llu, peer has %s", kind_name(o->call), (unsigned long long)c->got,
		     (unsigned long long)total, atomic_load(&c->in->shut) ? "shut" : "not shut");
	extra_eof(c, o->arg);
	c->in_done = true;
	atomic_store(&c->in->eof, 1);
	return STEP_DONE;
}

enum step do_recv(struct conn *c, bool told)
{
	struct op o = gen_op(c, IN);
	uint64_t left = c->plan.total[!my_role] - c->got;
	size_t n = o.size;
	int flags = 0, err;
	ssize_t r;

	if (c->in_done)
		return STEP_DONE;
	told |= c->hup; /* all that there will be is there */
	check_alive();
	c->n_in++;
	script_begin(c, IN, &o);
	extra_before(c, IN, &o);
	c->short_in = false;
	if (extra_reads(c, &o, &told)) {
		script_note(c, IN, c->n_in - 1, &o, 0, 0);
		return STEP_MOVED;
	}
	if (!takes_flags(o.call))
		o.dontwait = o.waitall = o.trunc = false;
	if (o.call == C_RECVMMSG)
		o.trunc = false;
	/* A call that waits for all must not be a message of several, nor wait for what never comes. */
	if (o.waitall && c->may_block && n > left)
		n = left ? left : 1;
	if (o.waitall && !c->may_block && !c->nonblock)
		o.dontwait = true;
	if (!told && !c->may_block && !c->nonblock) {
		if (!takes_flags(o.call))
			o.call = C_RECV;
		o.dontwait = true;
	}
	flags |= (o.dontwait ? MSG_DONTWAIT : 0) | (o.waitall ? MSG_WAITALL : 0) | (o.trunc ? MSG_TRUNC : 0);
	c->buf_in[n] = CANARY;
	doing(c, IN, "%s %zu%s%s%s", kind_name(o.call), n, c->nonblock || o.dontwait ? " nowait" : "",
	      o.waitall ? " all" : "", told ? " told" : "");
	r = recv_one(c, &o, any_fd(c, IN, o.arg >> 8), n, flags);
	err = errno;
	atomic_fetch_add(&sh->made[my_role][o.call], 1);
	script_note(c, IN, c->n_in - 1, &o, r, r < 0 ? err : 0);
	if (c->buf_in[n] != CANARY)
		fail(c, "%s of %zu gave %zd and wrote behind the buffer", kind_name(o.call), n, r);
	if (r < 0 && err == EAGAIN) {
		if (told)
			fail(c, "%s: EAGAIN after a report that there is something", kind_name(o.call));
		if (!may_fall_short(c, IN, o.dontwait))
			fail(c, "%s: EAGAIN though it may block", kind_name(o.call));
		c->short_in = true;
		return STEP_NONE;
	}
	if (r < 0 && err == EINTR) {
		if (!c->plan.signals)
			fail(c, "%s: EINTR without a signal", kind_name(o.call));
		c->short_in = false;
		return STEP_MOVED;
	}
	if (r < 0 || (size_t)r > n)
		fail(c, "%s of %zu gave %zd: %s", kind_name(o.call), n, r, strerror(err));
	if (r == 0)
		return at_end(c, &o);
	if (o.waitall && (size_t)r < n && (uint64_t)r < left && o.call != C_RECVMMSG &&
	    !may_fall_short(c, IN, o.dontwait))
		fail(c, "%s of %zu with MSG_WAITALL came short: %zd", kind_name(o.call), n, r);
	/* Of several messages a short one may have been followed by new bytes. */
	c->short_in = (size_t)r < n && o.call != C_RECVMMSG;
	if (!o.trunc)
		check(c, kind_name(o.call), n, (size_t)r);
	came(c, (size_t)r);
	return STEP_MOVED;
}
