/* SPDX-License-Identifier: Apache-2.0 */
/* io.h - what recv.c and send.c share and nobody else needs: places in iovecs, and how a call begins and ends. */
#ifndef HUTONG_IO_H
#define HUTONG_IO_H

#include "shim.h"

#define CHUNK 65536u
#define IOV_STACK 16
#define IO_MOST 0x7ffff000u /* what one call moves at most, see write(2) */
#define CHECK_NS (8 * NS_PER_MS)

/* What a single try may give beside what the call itself would. */
#define IO_POISONED (-2) /* the peer published nonsense */
#define IO_AGAIN (-3)    /* the path has changed: look again */

/* A place in an iovec array. */
struct cursor {
	const struct iovec *iov;
	size_t left; /* entries */
	size_t at;   /* bytes of the first entry that are done */
};

size_t io_total(const struct msghdr *m);
void io_advance(struct cursor *k, size_t n);
size_t io_slice(const struct cursor *k, size_t limit, struct iovec *out, size_t max);
bool io_blocks(const struct conn *c, int flags);
uint64_t io_deadline(uint64_t timeo);
bool io_bad_address(const struct msghdr *m);
void io_parts(const struct cursor *k, size_t limit, size_t total, struct iovec *few, struct msghdr *m, bool *all);
#define TOGETHER 512
void io_put_together(const struct conn *c, struct msghdr *m, struct iovec *one, char *together);
ssize_t io_raw_send(int fd, const struct msghdr *m, int flags);
ssize_t io_raw_recv(int fd, const struct msghdr *m, int flags);
bool io_early_begin(struct conn *c);
void io_early_end(struct conn *c);
bool io_send_file(struct conn *c, int fd, int in, off_t *offset, size_t count, ssize_t *n);

#define BINS 64
#define BIN_SIZE (256u << 10) /* so that all are more than can wait on both paths: a peek cannot go on where it ended */
size_t io_bins(struct iovec *iov, size_t len);
ssize_t recv_plainly(struct conn *c, int fd, const struct cursor *k, struct msghdr *whole, size_t done, size_t want,
		     int flags, bool slept, uint64_t deadline, struct waiting *w, bool *kernels);
ssize_t recv_look(struct conn *c, int fd, int flags);
ssize_t recv_nothing(struct conn *c, int fd, bool blocks);
ssize_t recv_discard(struct conn *c, int fd, size_t want, int flags);

ssize_t io_finish(struct conn *c, size_t done, ssize_t n);
void io_told(struct conn *c, int fd, int error);
void io_put_back(struct conn *c, int error); /* errno of a call that came short; told by the next one */
bool io_error_waits(struct conn *c, int fd, short want);

/* A plain socket in a call that has begun before it was one. */
struct plain {
	struct conn *c;
	struct waiting *w; /* of the call */
	int fd;            /* a number of ours, once the call sleeps */
};
int io_plain_fd(const struct conn *c, int fd, const struct waiting *w);
int io_plain_own(struct plain *s, short want);
bool io_wait_plainly(struct plain *s, short want, ssize_t n, uint64_t deadline, bool restarts);
void io_raise_sigpipe(void);
bool io_resolve(struct conn *c, int *fd);

/* A connection that is (or was just) between members; others go straight to libc. */
static inline struct conn *tracked(int fd)
{
	struct conn *c;

	if (LIKELY(!table_peek(fd)))
		return NULL;
	c = conn_get(fd);
	if (c && !c->end) {
		conn_put(c);
		return NULL;
	}
	return c;
}

/* Also when the thread is cancelled. */
static inline void unpin(struct conn **c)
{
	int saved = errno;

	if (*c)
		conn_put(*c);
	errno = saved;
}
#define PINNED __attribute__((cleanup(unpin)))


#endif /* HUTONG_IO_H */
