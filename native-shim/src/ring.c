/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.c - the byte rings of a segment: cursors, copies and fences; no allocation, and no system call but for new pages.
 *
 * Everything that the peer may write is loaded once, checked against the private sizes and the trusted cursors of the
 * end page, and only then used (decision 8).  Data is copied first and published by one release store afterwards, so
 * that a process killed half-way leaves nothing torn.
 */
#include <string.h>

#include "shim.h"

/* Where offset `off` lives, and how many bytes are contiguous there. */
static uint8_t *place(const struct ring *r, uint64_t off, uint64_t split, size_t *len)
{
	size_t room;

	if (off < split) {
		size_t at = off & (r->small_size - 1);

		room = r->small_size - at;
		if (split - off < room)
			room = split - off;
		if (*len > room)
			*len = room;
		return r->small + at;
	}
	size_t at = off & (r->over_size - 1);

	room = r->over_size - at;
	if (*len > room)
		*len = room;
	return r->over + at;
}

static void have_pages(struct ring *r, uint64_t off, uint64_t split, size_t len, bool write)
{
	bool small = off < split;
	struct paging *p = small ? &r->small_pages : &r->over_pages;

	if (UNLIKELY(off + len > p->to))
		pages_get(p, small ? r->small : r->over, small ? r->small_size : r->over_size, off, len, write);
}

/*
 * Bytes that may be put now.  Once the stream has gone over to the overflow area it comes back to the small ring,
 * which stays in the cache, as soon as the reader has taken everything; until then more than what is there goes to
 * the overflow only for a reader that stays away or takes little (`reader_slow`).
 */
ssize_t ring_space(const struct ring *r, struct hut_end *end, bool reader_slow)
{
	uint64_t tail = end->tx_tail;
	/* Acquire: the reader's loads of the bytes before `head` are over before we write over them. */
	uint64_t head = LOAD_ACQ(&r->dir->head);

	if (head < end->tx_start)
		head = end->tx_start; /* the reader has not come to this round yet */
	if (head > tail || head < end->tx_head)
		return RING_POISON;
	end->tx_head = head;
	if (end->tx_split == HUT_NO_SPLIT) {
		uint64_t used = tail - head;

		if (used < r->small_size)
			return (ssize_t)(r->small_size - used);
		if (!reader_slow)
			return 0;
		end->tx_split = tail;
		STORE(&r->dir->split, tail);
		return r->over_size;
	}
	if (head == tail) {
		end->tx_split = HUT_NO_SPLIT;
		/* Ordered before the bytes that depend on it by the release store of the next tail. */
		STORE(&r->dir->split, HUT_NO_SPLIT);
		return r->small_size;
	}
	if (!reader_slow)
		return 0;
	uint64_t from = head > end->tx_split ? head : end->tx_split;

	return (ssize_t)(r->over_size - (tail - from));
}

/* Room in the overflow area that is worth waking a writer for. */
uint32_t ring_worth(const struct ring *r)
{
	return r->small_size < r->over_size / 2 ? r->small_size : r->over_size / 2;
}

/*
 * Small pieces: the lines that the next one will fill are asked back from the reader's core now, so that they come
 * while the program does something else.  It is only a hint, wherever the next piece goes.
 */
#define SOON_MOST 4096u

#if defined(__x86_64__)
__attribute__((target("prfchw"))) /* any x86-64 processor takes the instruction, if only as none */
#endif
void ring_soon(const struct ring *r, const struct hut_end *end, size_t len)
{
	size_t at = end->tx_tail & (r->small_size - 1);

	if (len > SOON_MOST || end->tx_split != HUT_NO_SPLIT)
		return;
	for (size_t i = 0; i < len && at + i < r->small_size; i += 64)
		__builtin_prefetch(r->small + at + i, 1);
}

/* Copies len bytes, which ring_space() has granted, behind the tail; not visible before ring_publish(). */
void ring_put(struct ring *r, struct hut_end *end, const uint8_t *src, size_t len)
{
	while (len) {
		size_t part = len;
		uint8_t *dst = place(r, end->tx_tail, end->tx_split, &part);

		have_pages(r, end->tx_tail, end->tx_split, part, true);
		copy_in(&r->copying, dst, src, part);
		end->tx_tail += part;
		src += part;
		len -= part;
	}
}

/* Shows the reader all that was put.  True: the reader sleeps and must be rung. */
bool ring_publish(const struct ring *r, struct hut_end *end)
{
	/* Release: the bytes (and split) before the cursor. */
	STORE_REL(&r->dir->tail, end->tx_tail);
	/* Orders our cursor before the look at the flag; pairs with the fence in conn_arm_waits() (rule 13). */
	FULL_FENCE();
	if (LIKELY(!LOAD(&r->dir->cons_wait)))
		return false;
	return __atomic_exchange_n(&r->dir->cons_wait, 0, __ATOMIC_ACQ_REL) != 0;
}

/* Bytes that can be taken now. */
ssize_t ring_avail(const struct ring *r, const struct hut_end *end)
{
	/* Acquire: pairs with the release in ring_publish(), so the bytes before tail are there. */
	uint64_t tail = LOAD_ACQ(&r->dir->tail);
	uint64_t head = end->rx_head;

	if (tail < head || tail - head > (uint64_t)r->small_size + r->over_size)
		return RING_POISON;
	if (end->rx_end != HUT_NO_SPLIT && tail < end->rx_end)
		return RING_POISON; /* it was there when the end was noted */
	if (tail > end->rx_end)
		tail = end->rx_end;
	return tail < head ? RING_POISON : (ssize_t)(tail - head);
}

/*
 * ring_avail() for a reader that holds rx_lock: while `enough` bytes are known to be there the shared line, which the
 * writer is about to write again, is left alone.  What was seen stays true: the tail only grows, and the split of the
 * bytes before it changes only after they were all taken.
 */
ssize_t ring_ahead(struct ring *r, const struct hut_end *end, size_t enough)
{
	uint64_t head = end->rx_head;
	ssize_t n, known = r->tail_seen > head && end->rx_end == HUT_NO_SPLIT ? (ssize_t)(r->tail_seen - head) : 0;

	if (known && (size_t)known >= enough)
		return known;
	n = ring_avail(r, end);
	if (n < known)
		return RING_POISON; /* a tail that went back */
	if (n > 0) {
		/* After the tail, by the acquire in ring_avail(). */
		r->split_seen = LOAD(&r->dir->split);
		STORE_REL(&r->tail_seen, head + (uint64_t)n);
	}
	return n;
}

/* Without a lock: by what was seen last there is something. */
bool ring_some(const struct ring *r, const struct hut_end *end)
{
	return LOAD_ACQ(&r->tail_seen) > LOAD(&end->rx_head) && LOAD(&end->rx_end) == HUT_NO_SPLIT;
}

/* Copies len bytes from `skip` bytes behind the head on; ring_avail() has shown skip + len bytes. */
void ring_peek(struct ring *r, const struct hut_end *end, uint64_t skip, uint8_t *dst, size_t len)
{
	uint64_t off = end->rx_head + skip;
	uint64_t split = off + len <= r->tail_seen ? r->split_seen : LOAD(&r->dir->split);

	while (len) {
		size_t part = len;
		const uint8_t *src = place(r, off, split, &part);

		have_pages(r, off, split, part, false);
		memcpy(dst, src, part);
		off += part;
		dst += part;
		len -= part;
	}
}

/* Gives the first len bytes' room back.  True: the writer sleeps and there is room worth waking it for. */
bool ring_take(const struct ring *r, struct hut_end *end, size_t len)
{
	end->rx_head += len;
	/* Release: our copies out are done before the room is given back. */
	STORE_REL(&r->dir->head, end->rx_head);
	/* Orders our cursor before the look at the flag; pairs with the fence in conn_arm_waits(). */
	FULL_FENCE();
	if (LIKELY(!LOAD(&r->dir->prod_wait)))
		return false;
	uint64_t left = LOAD(&r->dir->tail) - end->rx_head;

	/* Not yet worth a wake-up, the writer would come back at once: below half of the ring, or a ring's worth. */
	if (left > (LOAD(&r->dir->split) == HUT_NO_SPLIT ? r->small_size / 2 : r->over_size - ring_worth(r)))
		return false;
	return __atomic_exchange_n(&r->dir->prod_wait, 0, __ATOMIC_ACQ_REL) != 0;
}
