/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flip.c - libflip.so, a defect on purpose: preloaded before the shim it changes one bit of what each readv() on a socket
 * brings (each, so that a script that uses it fails whenever it is replayed).  The random driver must see it, and shrink
 * the run to one that still uses readv().
 */
#include <dlfcn.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

ssize_t readv(int fd, const struct iovec *iov, int n)
{
	static ssize_t (*real)(int, const struct iovec *, int);
	int type;
	socklen_t len = sizeof(type);

	if (!real)
		real = dlsym(RTLD_NEXT, "readv");
	ssize_t got = real(fd, iov, n);

	if (got <= 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len))
		return got;
	while (!iov->iov_len)
		iov++;
	*(uint8_t *)iov->iov_base ^= 1;
	return got;
}
