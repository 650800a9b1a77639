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

static bool any_in(int dir)
{
	_Alignas(8) char buf[2048];
	long n;

	while ((n = syscall(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n;) {
			const struct entry *e = (const void *)(buf + at);

			at += e->length;
			if (e->name[0] == '.')
				continue;
			if (is(dir, e->name, "anon_inode:[io_uring]") ||
			    (is(dir, e->name, "anon_inode:[eventpoll]") && !epset_get(atoi(e->name))))
				return true;
		}
	}
	return false;
}

bool uring_in_use(void)
{
	static _Atomic uint64_t looked_ns;
	static _Atomic bool found;
	uint64_t now = now_coarse_ns(), last = atomic_load(&looked_ns);
	int saved = errno;
	long dir;

	if (last && now - last < LOOK_AGAIN_NS)
		return atomic_load(&found);
	dir = syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0) { /* without /proc nothing can be known; the counts still tell of bytes before the switch */
		atomic_store(&found, any_in((int)dir));
		sys_close((int)dir);
	}
	atomic_store(&looked_ns, now);
	errno = saved;
	return atomic_load(&found);
}
