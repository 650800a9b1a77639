/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flip.c - libflip.so, a defect on purpose: preloaded before the shim it changes one bit of what every 50th readv() on a
 * socket brings.  The random driver must see it, and shrink the run to one that still uses readv().
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define EVERY 50

ssize_t readv(int fd, const struct iovec *iov, int n)
{
	static ssize_t (*real)(int, const struct iovec *, int);
	static _Atomic int calls;
	int type;
	socklen_t len = sizeof(type);

	if (!real)
		real = dlsym(RTLD_NEXT, "readv");
	ssize_t got = real(fd, iov, n);

	if (got <= 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) || ++calls % EVERY)
		return got;
	while (!iov->iov_len)
		iov++;
	*(uint8_t *)iov->iov_base ^= 1;
	return got;
}
