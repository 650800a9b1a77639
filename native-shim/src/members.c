/* SPDX-License-Identifier: Apache-2.0 */
/* members.c - the agent's table of members, mapped read-only: who is a neighbour, and the settings for programs. */
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "real.h"

/* Without a table: when a connection has become old or busy enough to ask the agent for one, which says what is right. */
#define ASK_MS 20
#define ASK_BYTES (64u << 10)

static const struct hut_members *members;

bool members_take(int fd)
{
	struct stat st;
	int seals = REAL(fcntl)(fd, F_GET_SEALS);
	void *m;

	if (fstat(fd, &st) || st.st_size < (off_t)sizeof(struct hut_members) || seals < 0 || !(seals & F_SEAL_SHRINK))
		return false;
	m = mmap(NULL, sizeof(*members), PROT_READ, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		return false;
	if (((struct hut_members *)m)->magic != HUT_MEMBERS_MAGIC ||
	    ((struct hut_members *)m)->version != HUT_ABI_VERSION) {
		munmap(m, sizeof(*members));
		return false;
	}
	/* A second table takes the first one's place, so that a reader never loses its mapping. */
	if (members)
		return mremap(m, sizeof(*members), sizeof(*members), MREMAP_MAYMOVE | MREMAP_FIXED, (void *)members) !=
		       MAP_FAILED;
	members = m;
	return true;
}

static bool to_v6(const struct sockaddr *sa, uint8_t out[16])
{
	if (sa->sa_family == AF_INET6) {
		memcpy(out, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
		return true;
	}
	if (sa->sa_family != AF_INET)
		return false;
	memset(out, 0, 10);
	out[10] = out[11] = 0xff;
	memcpy(out + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
	return true;
}

static bool is_loopback(const uint8_t a[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	static const uint8_t one[16] = { [15] = 1 };

	return memcmp(a, one, 16) == 0 || (memcmp(a, mapped, 12) == 0 && a[12] == 127);
}

static uint32_t lookup(const struct hut_members *t, const uint8_t a[16], bool *found)
{
	uint32_t lo = 0, hi = LOAD(&t->count);

	*found = false;
	if (hi > HUT_MEMBERS_MAX)
		return 0;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		int d = memcmp(t->member[mid].addr, a, 16);

		if (d == 0) {
			*found = true;
			return LOAD(&t->member[mid].flags);
		}
		if (d < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

enum member_kind control_member(const struct sockaddr *sa, bool ask)
{
	const struct hut_members *t;
	uint8_t a[16];
	uint32_t flags;
	bool found;

	if (!sa || !to_v6(sa, a) || is_loopback(a))
		return MEMBER_NONE;
	if (!ask && control_untried())
		return MEMBER_UNKNOWN;
	if (!control_ready())
		return control_session() ? MEMBER_UNKNOWN : MEMBER_NONE;
	t = members;
	for (int tries = 0; tries < 1000; tries++) {
		/* Acquire/acquire around the look-up: the reader's side of a seqlock. */
		uint32_t seq = LOAD_ACQ(&t->seq);

		if (seq & 1)
			continue;
		flags = lookup(t, a, &found);
		atomic_thread_fence(memory_order_acquire);
		if (LOAD(&t->seq) != seq)
			continue;
		if (!found)
			return MEMBER_NONE;
		if (flags & HUT_MEMBER_SELF)
			return MEMBER_SELF;
		return flags & HUT_MEMBER_CORESIDENT ? MEMBER_NEAR : MEMBER_REMOTE;
	}
	return MEMBER_NONE; /* an agent that died while it wrote */
}

bool control_enabled(void)
{
	return !members || LOAD(&members->enabled);
}

bool control_remote(void)
{
	return members && LOAD(&members->remote);
}

uint32_t control_after_bytes(void)
{
	return members ? LOAD(&members->after_bytes) : ASK_BYTES;
}

uint64_t control_after_ns(void)
{
	return (members ? LOAD(&members->after_ms) : ASK_MS) * NS_PER_MS;
}

uint64_t control_spin_ns(void)
{
	return (members ? LOAD(&members->spin_us) : 50) * 1000ull;
}
