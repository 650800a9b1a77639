/* SPDX-License-Identifier: Apache-2.0 */
/*
 * domains.c - the hypervisor's own list of domains, by libxenctrl, which is loaded when it is first asked for.
 *
 * The library's name carries Xen's version, since its structures differ from one to the next.  Of struct xc_domaininfo
 * two fields are used, which all of them have at the start; domains are asked for one at a time into more room than any
 * of them takes.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "hutong_xen.h"

#define EXPORT __attribute__((visibility("default")))
#define INFO_ROOM 1024
#define FLAGS_AT 4
#define FLAG_DYING 1u

static const char *const names[] = {
	"libxenctrl.so.4.20", "libxenctrl.so.4.19", "libxenctrl.so.4.18", "libxenctrl.so.4.17",
	"libxenctrl.so.4.16", "libxenctrl.so.4.14", "libxenctrl.so",
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int (*get_info)(void *handle, uint32_t first, unsigned int max, void *info);
static void *handle;

/* lock held; 0 or -errno */
static int open_control(void)
{
	void *(*open_interface)(void *logger, void *dombuild_logger, unsigned int flags);
	void *library = NULL;

	if (handle)
		return 0;
	if (access("/dev/xen/hypercall", R_OK | W_OK) && access("/dev/xen/privcmd", R_OK | W_OK))
		return -errno; /* the library would complain */
	for (size_t i = 0; !library && i < sizeof(names) / sizeof(*names); i++)
		library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return -ENOSYS;
	*(void **)&open_interface = dlsym(library, "xc_interface_open");
	*(void **)&get_info = dlsym(library, "xc_domain_getinfolist");
	errno = 0;
	if (open_interface && get_info)
		handle = open_interface(NULL, NULL, 0);
	if (handle)
		return 0;
	dlclose(library);
	return errno ? -errno : -ENOSYS;
}

/* lock held: the first domain whose id is not below `from`; 1, 0 when there is none, or -errno */
static int next_domain(uint32_t from, uint32_t *domid, uint32_t *flags)
{
	_Alignas(16) unsigned char info[INFO_ROOM] = { 0 };
	uint16_t id;
	int n = get_info(handle, from, 1, info);

	if (n <= 0)
		return n < 0 && errno ? -errno : n;
	memcpy(&id, info, sizeof(id));
	memcpy(flags, info + FLAGS_AT, sizeof(*flags));
	*domid = id;
	return id >= from ? 1 : -EPROTO;
}

EXPORT int hutong_xen_domains(uint32_t *domids, uint32_t max)
{
	uint32_t from = 0, domid, flags, count = 0;
	int rc;

	if (!domids && max)
		return -EINVAL;
	pthread_mutex_lock(&lock);
	rc = open_control();
	while (rc >= 0 && count < max && (rc = next_domain(from, &domid, &flags)) == 1) {
		if (!(flags & FLAG_DYING))
			domids[count++] = domid;
		from = domid + 1;
	}
	pthread_mutex_unlock(&lock);
	return rc < 0 ? rc : (int)count;
}
