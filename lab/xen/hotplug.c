/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hotplug.c - does in dom0 what Xen's block and vif-bridge scripts do, for the lab's plain cases: a block device as it is,
 * an interface into a bridge.  The scripts start dozens of processes, which takes 20 to 50 s a guest under emulation.
 *
 * Called by the toolstack as "lab-block add" and "lab-vif online"; XENBUS_PATH names the backend's directory.
 */
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <xenstore.h>

static struct xs_handle *store;
static const char *home;

static char *get(const char *key)
{
	char path[512];
	unsigned int length;

	snprintf(path, sizeof(path), "%s/%s", home, key);
	return xs_read(store, XBT_NULL, path, &length);
}

static bool put(const char *key, const char *value)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", home, key);
	return xs_write(store, XBT_NULL, path, value, (unsigned int)strlen(value));
}

static bool block(void)
{
	const char *device = get("params");
	struct stat st;
	char number[32];

	if (!device || stat(device, &st) || !S_ISBLK(st.st_mode))
		return false;
	snprintf(number, sizeof(number), "%x:%x", major(st.st_rdev), minor(st.st_rdev));
	return put("physical-device", number);
}

static bool interface(void)
{
	static const unsigned char backend_mac[] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff };
	const char *vif = getenv("vif"), *bridge = get("bridge");
	struct ifreq port = { 0 }, to = { 0 };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	if (s < 0 || !vif || !bridge || strlen(vif) >= IFNAMSIZ || strlen(bridge) >= IFNAMSIZ)
		return false;
	strcpy(port.ifr_name, vif);
	strcpy(to.ifr_name, bridge);
	port.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(port.ifr_hwaddr.sa_data, backend_mac, sizeof(backend_mac));
	if (ioctl(s, SIOCSIFHWADDR, &port) || ioctl(s, SIOCGIFINDEX, &port))
		return false;
	to.ifr_ifindex = port.ifr_ifindex;
	if (ioctl(s, SIOCBRADDIF, &to) || ioctl(s, SIOCGIFFLAGS, &port))
		return false;
	port.ifr_flags |= IFF_UP;
	return ioctl(s, SIOCSIFFLAGS, &port) == 0;
}

int main(int argc, char **argv)
{
	bool is_block = strstr(argv[0], "block");

	home = getenv("XENBUS_PATH");
	store = xs_open(0);
	if (argc < 2 || !home || !store)
		return 1;
	if (strcmp(argv[1], "add") && strcmp(argv[1], "online"))
		return 0; /* what goes away needs nothing of us */
	if (is_block ? !block() : !interface()) {
		put("hotplug-error", is_block ? "no block device" : "no interface or bridge");
		put("hotplug-status", "error");
		return 1;
	}
	return !put("hotplug-status", "connected");
}
