/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A wire with faults: carries frames between two interfaces of its network namespace, and loses, doubles, reorders and
 * corrupts some of them.
 *   faults FIRST SECOND COUNTS SEED DROP DUP REORDER CORRUPT      chances in millionths; COUNTS is a file
 *
 * Faults strike the light protocol (EtherType 0x88B5), IPv4 and IPv6. ARP, neighbour discovery and the hosts' list of
 * VMs (0x88B6) always pass: without them nothing would be left to test. Corruption flips one bit of the payload of a
 * light datagram, on Ethernet or UDP, and of nothing else: those have a checksum of their own, while the kernel may
 * have been told that a TCP checksum was verified.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	BATCH = 64,
	FRAME = 9216 + 18,
	LIGHT = 0x88B5,
	LIGHT_PORT = 7414,
	HELD = 64,         /* frames that wait for others to pass them */
	MOST_PASSING = 8,
	HOLD_NS = 2000000, /* and at most this long */
	BUFFER = 8 << 20
};

struct held {
	unsigned char data[FRAME];
	size_t length;
	int passing; /* 0: free */
	uint64_t until;
};

struct way {
	int from, to;
	struct held held[HELD];
	unsigned waiting;
	uint64_t seen, sent, drop, dup, reorder, corrupt, lost;
};

static struct way ways[2];
static unsigned char frames[BATCH][FRAME];
static uint32_t chance_drop, chance_dup, chance_reorder, chance_corrupt;
static uint64_t state;
static volatile sig_atomic_t stopping;

static void die(const char *what)
{
	fprintf(stderr, "faults: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

/* splitmix64: one seed, one row of decisions. */
static uint64_t random64(void)
{
	uint64_t z = state += 0x9E3779B97F4A7C15u;
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

static int happens(uint32_t millionths)
{
	return random64() % 1000000u < millionths;
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int open_on(const char *name)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), one = 1, bytes = BUFFER;
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct packet_mreq all = { .mr_type = PACKET_MR_PROMISC };
	if (fd < 0)
		die("socket");
	at.sll_ifindex = all.mr_ifindex = (int)if_nametoindex(name);
	if (at.sll_ifindex == 0)
		die(name);
	if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) != 0)
		die("PACKET_IGNORE_OUTGOING");
	if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) != 0)
		die("PACKET_ADD_MEMBERSHIP");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0)
		die("SO_RCVBUFFORCE");
	if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0)
		die("bind");
	return fd;
}

static unsigned u16(const unsigned char *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* Whether faults may strike the frame; *payload is where a light datagram begins, 0 if it is none. */
static int is_target(const unsigned char *f, size_t length, size_t *payload)
{
	size_t udp = 0;
	*payload = 0;
	if (length < ETH_HLEN)
		return 0;
	switch (u16(f + 12)) {
	case LIGHT:
		*payload = ETH_HLEN;
		return 1;
	case ETH_P_IP:
		if (length >= ETH_HLEN + 20 && f[ETH_HLEN + 9] == IPPROTO_UDP)
			udp = ETH_HLEN + (f[ETH_HLEN] & 15u) * 4;
		break;
	case ETH_P_IPV6:
		if (length < ETH_HLEN + 40 || f[ETH_HLEN + 6] == IPPROTO_ICMPV6 || f[ETH_HLEN + 6] == 0)
			return 0;
		if (f[ETH_HLEN + 6] == IPPROTO_UDP)
			udp = ETH_HLEN + 40;
		break;
	default:
		return 0;
	}
	if (udp != 0 && length > udp + 8 && (u16(f + udp) == LIGHT_PORT || u16(f + udp + 2) == LIGHT_PORT))
		*payload = udp + 8;
	return 1;
}

static void put(struct way *w, const unsigned char *data, size_t length)
{
	while (send(w->to, data, length, 0) < 0) {
		if (errno == EINTR && !stopping)
			continue;
		if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR && errno != ENETDOWN && errno != ENXIO && errno != EMSGSIZE)
			die("send");
		w->lost++; /* as a wire that was pulled */
		return;
	}
	w->sent++;
}

/* Lets go of the frames that enough others have passed, or that have waited long enough. */
static void release(struct way *w, int passed, uint64_t now)
{
	for (unsigned i = 0; w->waiting > 0 && i < HELD; i++) {
		struct held *h = &w->held[i];
		if (h->passing == 0)
			continue;
		h->passing -= passed;
		if (h->passing <= 0 || now >= h->until) {
			h->passing = 0;
			w->waiting--;
			put(w, h->data, h->length);
		}
	}
}

static int hold(struct way *w, const unsigned char *data, size_t length, uint64_t now)
{
	for (unsigned i = 0; i < HELD; i++) {
		struct held *h = &w->held[i];
		if (h->passing != 0)
			continue;
		memcpy(h->data, data, length);
		h->length = length;
		h->passing = 1 + (int)(random64() % MOST_PASSING);
		h->until = now + HOLD_NS;
		w->waiting++;
		return 1;
	}
	return 0;
}

static void carry(struct way *w, unsigned char *data, size_t length, uint64_t now)
{
	size_t payload;
	w->seen++;
	if (is_target(data, length, &payload)) {
		if (happens(chance_drop)) {
			w->drop++;
			return;
		}
		if (payload != 0 && payload < length && happens(chance_corrupt)) {
			w->corrupt++;
			data[payload + random64() % (length - payload)] ^= (unsigned char)(1u << random64() % 8);
		}
		if (happens(chance_dup)) {
			w->dup++;
			put(w, data, length);
		}
		if (happens(chance_reorder) && hold(w, data, length, now)) {
			w->reorder++;
			return;
		}
	}
	put(w, data, length);
	release(w, 1, now);
}

static int take(struct way *w)
{
	static struct mmsghdr messages[BATCH];
	static struct iovec parts[BATCH];
	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){ frames[i], FRAME };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	int n = recvmmsg(w->from, messages, BATCH, MSG_DONTWAIT, NULL);
	if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENETDOWN)
		die("recvmmsg");
	uint64_t now = now_ns();
	for (int i = 0; i < n; i++) {
		if (messages[i].msg_hdr.msg_flags & MSG_TRUNC)
			w->lost++; /* a merged frame: segmentation was left on */
		else
			carry(w, frames[i], messages[i].msg_len, now);
	}
	release(w, 0, now);
	return n;
}

static void write_counts(int fd)
{
	char text[1024];
	int length = 0;
	for (int i = 0; i < 2; i++) {
		struct way *w = &ways[i];
		struct tpacket_stats kernel;
		socklen_t size = sizeof kernel;
		if (getsockopt(w->from, SOL_PACKET, PACKET_STATISTICS, &kernel, &size) == 0)
			w->lost += kernel.tp_drops;
		length += snprintf(text + length, sizeof text - (size_t)length,
		                   "seen=%llu sent=%llu drop=%llu dup=%llu reorder=%llu corrupt=%llu lost=%llu\n",
		                   (unsigned long long)w->seen, (unsigned long long)w->sent, (unsigned long long)w->drop,
		                   (unsigned long long)w->dup, (unsigned long long)w->reorder, (unsigned long long)w->corrupt,
		                   (unsigned long long)w->lost);
	}
	if (pwrite(fd, text, (size_t)length, 0) != length)
		die("counts");
}

static uint32_t chance(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);
	if (*text == '\0' || *end != '\0' || value > 1000000) {
		fprintf(stderr, "faults: a chance is 0 to 1000000 millionths, not '%s'\n", text);
		exit(2);
	}
	return (uint32_t)value;
}

int main(int argc, char **argv)
{
	if (argc != 9) {
		fprintf(stderr, "usage: faults FIRST SECOND COUNTS SEED DROP DUP REORDER CORRUPT\n");
		return 2;
	}
	state = strtoull(argv[4], NULL, 10);
	chance_drop = chance(argv[5]);
	chance_dup = chance(argv[6]);
	chance_reorder = chance(argv[7]);
	chance_corrupt = chance(argv[8]);
	int first = open_on(argv[1]), second = open_on(argv[2]);
	ways[0].from = ways[1].to = first;
	ways[0].to = ways[1].from = second;
	struct sigaction action = { .sa_handler = on_signal };
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	int counts = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (counts < 0)
		die(argv[3]);
	write_counts(counts); /* it is there: we are ready */
	uint64_t told = now_ns(), changed = 0;
	while (!stopping) {
		struct pollfd fds[2] = { { .fd = first, .events = POLLIN }, { .fd = second, .events = POLLIN } };
		int wait_ms = ways[0].waiting + ways[1].waiting > 0 ? 1 : changed ? 100 : -1;
		if (poll(fds, 2, wait_ms) < 0 && errno != EINTR)
			die("poll");
		for (int i = 0; i < 2; i++)
			changed += take(&ways[i]) > 0;
		uint64_t now = now_ns();
		if (changed && now - told > 100000000u) {
			write_counts(counts);
			told = now;
			changed = 0;
		}
	}
	write_counts(counts);
	return 0;
}
