/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hutong_xen.h - what the agents need of Xen: granted pages, event channels, the list of domains (M5.3, M4.1).
 *
 * Every call returns a result that is not negative, or -errno.  Where there is no Xen, no device or no library, that is
 * -ENOSYS, -ENOENT, -EACCES or the like: "not available", never a reason not to start.
 *
 * Memory and event channels are descriptors of the kernel's own devices, for they must be handed to programs, which
 * libxengnttab and libxenevtchn hide from their users.  Whoever holds such a descriptor, or has mapped it, holds the
 * resource: the kernel ends a grant when the last holder is gone, and puts that off as long as the peer has it mapped.
 * All descriptors are CLOEXEC, and the caller's.
 *
 * Threading: safe for use by several threads.
 */
#ifndef HUTONG_XEN_H
#define HUTONG_XEN_H

#include <stdint.h>

#define HUTONG_XEN_VERSION 1

/* Most pages in one go: a segment of 32 MiB. */
#define HUTONG_XEN_PAGES_MAX 8192u

/* HUTONG_XEN_VERSION of the library. */
int hutong_xen_version(void);

/*
 * Makes `count` zeroed pages that domain `domid` may map and write; `refs` gets their grant references.  Returns a
 * descriptor that maps them, in order, from offset 0.  -ENOSPC: the limit of gntalloc, or of the grant table, is reached.
 */
int hutong_xen_grant(uint32_t domid, uint32_t count, uint32_t *refs);

/*
 * Prepares the mapping of pages that domain `domid` has granted.  Returns a descriptor that maps them, in order, from
 * offset 0, once at a time; references that are none show only then.
 */
int hutong_xen_map(uint32_t domid, uint32_t count, const uint32_t *refs);

/* A new event channel that domain `domid` may bind; returns a descriptor that is non-blocking, `port` is its number here. */
int hutong_xen_event_new(uint32_t domid, uint32_t *port);

/* Binds the event channel that domain `domid` knows as `remote`; the rest as above. */
int hutong_xen_event_bind(uint32_t domid, uint32_t remote, uint32_t *port);

/* Rings the other end. */
int hutong_xen_event_ring(int fd, uint32_t port);

/*
 * The domains that the hypervisor has and that are not being destroyed, ascending, by libxenctrl: for domain 0 only.
 * Returns how many; at most `max` are written.
 */
int hutong_xen_domains(uint32_t *domids, uint32_t max);

#endif /* HUTONG_XEN_H */
