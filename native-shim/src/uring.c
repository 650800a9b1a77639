/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uring.c - does this process have descriptors whose calls go past us?  Then it is declined (rule 8): io_uring's, and
 * epoll sets that we have not seen made, which a program uses by system calls of its own, though it may read and write by
 * libc's (Rust's rustix under std).
 */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "real.h"

#define SOON_NS (20 * NS_PER_MS)
#define LOOK_AGAIN_NS (1000 * NS_PER_MS) /* so that the price does not grow with the connections of a process */

/* As the kernel's getdents64() has it. */
struct entry {
	uint64_t inode;
	int64_t next;
	unsigned short length;
	unsigned char type;
	char name[];
};

static bool is(int dir, const char *name, const char *target)
{
	char link[32];
	long len = (long)strlen(target);

	return syscall(SYS_readlinkat, dir, name, link, sizeof(link)) == len && !memcmp(link, target, (size_t)len);
}

#define RING (-2)
#define NONE (-1)

/* RING, or the number of a strange epoll set, or NONE. */
static int any_in(int dir)
{
	_Alignas(8) char buf[2048];
	int strange = NONE;
	long n;

	while ((n = syscall(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n;) {
			const struct entry *e = (const void *)(buf + at);

			at += e->length;
			if (e->name[0] == '.')
				continue;
			if (is(dir, e->name, "anon_inode:[io_uring]"))
				return RING;
			if (strange == NONE && is(dir, e->name, "anon_inode:[eventpoll]") && !epset_get(atoi(e->name)))
				strange = atoi(e->name);
		}
	}
	return strange;
}

enum going_past uring_in_use(void)
{
	static _Atomic uint64_t looked_ns;
	static _Atomic int found = NOTHING_PAST, strange = NONE;
	uint64_t now = now_coarse_ns(), last = atomic_load(&looked_ns);
	int saved = errno, seen;
	long dir;

	if (last && now - last < (atomic_load(&found) == MAY_GO_PAST ? SOON_NS : LOOK_AGAIN_NS))
		return (enum going_past)atomic_load(&found);
	dir = syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0) { /* without /proc nothing can be known; the counts still tell of bytes before the switch */
		seen = any_in((int)dir);
		sys_close((int)dir);
		/* One that another thread just makes, or closes, is strange for a moment, too. */
		atomic_store(&found, seen == NONE ? NOTHING_PAST :
				     seen == RING || seen == atomic_exchange(&strange, seen) ? GOES_PAST : MAY_GO_PAST);
	}
	atomic_store(&looked_ns, now);
	errno = saved;
	return (enum going_past)atomic_load(&found);
}
