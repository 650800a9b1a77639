/* SPDX-License-Identifier: Apache-2.0 */
/* devices.c - grants and event channels by the kernel's devices. */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hutong_xen.h"

/* Which the headers expect of their includer. */
typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/evtchn.h>
#include <xen/gntalloc.h>
#include <xen/gntdev.h>

#define EXPORT __attribute__((visibility("default")))
#define DOMID_FIRST_RESERVED 0x7ff0u

static const char gntalloc[] = "/dev/xen/gntalloc";
static const char gntdev[] = "/dev/xen/gntdev";
static const char evtchn[] = "/dev/xen/evtchn";

static int fail(int fd)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	return -error;
}

/* A device opened and asked once; the descriptor, or -errno with nothing left open. */
static int ask(const char *device, int flags, unsigned long request, void *argument)
{
	int fd = open(device, O_RDWR | O_CLOEXEC | flags);

	if (fd < 0 || ioctl(fd, request, argument) < 0)
		return fail(fd);
	return fd;
}

EXPORT int hutong_xen_version(void)
{
	return HUTONG_XEN_VERSION;
}

static int bad_pages(uint32_t domid, uint32_t count, const uint32_t *refs)
{
	return !refs || !count || count > HUTONG_XEN_PAGES_MAX || domid >= DOMID_FIRST_RESERVED;
}

EXPORT int hutong_xen_grant(uint32_t domid, uint32_t count, uint32_t *refs)
{
	struct ioctl_gntalloc_alloc_gref *request;
	int fd;

	if (bad_pages(domid, count, refs))
		return -EINVAL;
	request = calloc(1, sizeof(*request) + count * sizeof(request->gref_ids[0]));
	if (!request)
		return -ENOMEM;
	request->domid = (uint16_t)domid;
	request->flags = GNTALLOC_FLAG_WRITABLE;
	request->count = count;
	fd = ask(gntalloc, 0, IOCTL_GNTALLOC_ALLOC_GREF, request);
	if (fd >= 0 && request->index != 0) { /* a fresh descriptor's first pages are at 0 */
		close(fd);
		fd = -EPROTO;
	}
	if (fd >= 0)
		memcpy(refs, request->gref_ids, count * sizeof(*refs));
	free(request);
	return fd;
}

EXPORT int hutong_xen_map(uint32_t domid, uint32_t count, const uint32_t *refs)
{
	struct ioctl_gntdev_map_grant_ref *request;
	int fd;

	if (bad_pages(domid, count, refs))
		return -EINVAL;
	request = calloc(1, sizeof(*request) + count * sizeof(request->refs[0]));
	if (!request)
		return -ENOMEM;
	request->count = count;
	for (uint32_t i = 0; i < count; i++) {
		request->refs[i].domid = domid;
		request->refs[i].ref = refs[i];
	}
	fd = ask(gntdev, 0, IOCTL_GNTDEV_MAP_GRANT_REF, request);
	if (fd >= 0 && request->index != 0) {
		close(fd);
		fd = -EPROTO;
	}
	free(request);
	return fd;
}

/* The ioctls that bind return the port. */
static int bind_port(unsigned long request, void *argument, uint32_t *port)
{
	int got, fd = open(evtchn, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	got = ioctl(fd, request, argument);
	if (got < 0)
		return fail(fd);
	*port = (uint32_t)got;
	return fd;
}

EXPORT int hutong_xen_event_new(uint32_t domid, uint32_t *port)
{
	struct ioctl_evtchn_bind_unbound_port request = { .remote_domain = domid };

	if (!port || domid >= DOMID_FIRST_RESERVED)
		return -EINVAL;
	return bind_port(IOCTL_EVTCHN_BIND_UNBOUND_PORT, &request, port);
}

EXPORT int hutong_xen_event_bind(uint32_t domid, uint32_t remote, uint32_t *port)
{
	struct ioctl_evtchn_bind_interdomain request = { .remote_domain = domid, .remote_port = remote };

	if (!port || domid >= DOMID_FIRST_RESERVED)
		return -EINVAL;
	return bind_port(IOCTL_EVTCHN_BIND_INTERDOMAIN, &request, port);
}

EXPORT int hutong_xen_event_ring(int fd, uint32_t port)
{
	struct ioctl_evtchn_notify request = { .port = port };

	return ioctl(fd, IOCTL_EVTCHN_NOTIFY, &request) < 0 ? -errno : 0;
}
