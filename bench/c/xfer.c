/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One long stream whose bytes both ends can compute: every byte is checked where it arrives.
 *   xfer send ADDRESS PORT MIB SEED [RATE [FILE]]   RATE: MiB a second at most, 0 (default) for no limit
 *   xfer recv PORT MIB SEED                         serves one sender; MIB 0: however much it sends
 * With FILE the sender goes on after MIB until there is a file of that name.
 * The sender half-closes and waits for the receiver's checksum, which both print: bytes=N fnv=...
 */
#include "net.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 128 << 10, WORDS = CHUNK / 8, MOST_MIB = 1 << 20, MOST_LATE_NS = 200000000 };

static uint64_t chunk[WORDS], got[WORDS];

/* xorshift64: the next chunk of the stream; the seed is never 0. */
static uint64_t generate(uint64_t state)
{
	for (size_t i = 0; i < WORDS; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		chunk[i] = state;
	}
	return state;
}

static uint64_t checksum(uint64_t hash, const uint64_t *words)
{
	for (size_t i = 0; i < WORDS; i++)
		hash = (hash ^ words[i]) * UINT64_C(1099511628211);
	return hash;
}

static const uint64_t fnv_start = UINT64_C(14695981039346656037);

static const char at_end[] = "the end";

/* The next whole chunk; what an error or an end leaves of one is looked at, too. */
static size_t read_chunk(int fd, const char **end)
{
	size_t have = 0;
	ssize_t n;

	while (have < CHUNK && ((n = read(fd, (char *)got + have, CHUNK - have)) > 0 || (n < 0 && errno == EINTR)))
		have += n > 0 ? (size_t)n : 0;
	*end = have == CHUNK ? NULL : n == 0 ? at_end : strerror(errno);
	return have;
}

/* As many chunks, or, with 0, all that come until the end of the stream. */
static int receive(const char *port, uint64_t chunks, uint64_t seed)
{
	int listener = listen_on(port), fd = accept_from(listener);
	uint64_t state = seed, hash = fnv_start, i = 0;
	for (; chunks == 0 || i < chunks; i++) {
		state = generate(state);
		const char *end;
		size_t have = read_chunk(fd, &end);
		if (chunks == 0 && have == 0 && end == at_end)
			break;
		if (have != CHUNK || memcmp(got, chunk, CHUNK) != 0) {
			size_t at = 0;
			while (at < have && ((char *)got)[at] == ((char *)chunk)[at])
				at++;
			fprintf(stderr, "xfer: %s at byte %" PRIu64 "\n", at < have ? "a wrong byte" : end, i * CHUNK + at);
			return 1;
		}
		hash = checksum(hash, got);
	}
	if (read_full(fd, got, 1) != 0) {
		fprintf(stderr, "xfer: more bytes than were sent\n");
		return 1;
	}
	write_full(fd, &hash, sizeof hash);
	close(fd);
	printf("bytes=%" PRIu64 " fnv=%016" PRIx64 "\n", i * CHUNK, hash);
	return 0;
}

static int send_all(const char *address, const char *port, uint64_t chunks, uint64_t seed, uint64_t rate,
		    const char *file)
{
	int fd = connect_to(address, port);
	uint64_t state = seed, hash = fnv_start, answer, from = now_ns(), i = 0;
	for (; i < chunks || (file != NULL && access(file, F_OK) != 0); i++) {
		state = generate(state);
		write_full(fd, chunk, CHUNK);
		hash = checksum(hash, chunk);
		if (rate != 0) {
			uint64_t due = from + (i + 1) * (uint64_t)CHUNK * 1000 / (rate << 20) * 1000000u, now = now_ns();
			if (now < due)
				usleep((useconds_t)((due - now) / 1000));
			else if (now - due > MOST_LATE_NS) /* after a stall: not all at once what that has cost */
				from += now - due;
		}
	}
	if (shutdown(fd, SHUT_WR) != 0)
		die("shutdown");
	if (read_full(fd, &answer, sizeof answer) != sizeof answer || answer != hash) {
		fprintf(stderr, "xfer: the receiver saw something else\n");
		return 1;
	}
	close(fd);
	printf("bytes=%" PRIu64 " fnv=%016" PRIx64 "\n", i * CHUNK, hash);
	return 0;
}

static uint64_t number_or_0(const char *text, long most)
{
	return strcmp(text, "0") == 0 ? 0 : (uint64_t)number(text, most);
}

int main(int argc, char **argv)
{
	uint64_t per_mib = (1 << 20) / CHUNK;
	if (argc >= 6 && argc <= 8 && strcmp(argv[1], "send") == 0)
		return send_all(argv[2], argv[3], (uint64_t)number(argv[4], MOST_MIB) * per_mib,
				(uint64_t)number(argv[5], INT32_MAX), argc > 6 ? number_or_0(argv[6], MOST_MIB) : 0,
				argc > 7 ? argv[7] : NULL);
	if (argc == 5 && strcmp(argv[1], "recv") == 0)
		return receive(argv[2], number_or_0(argv[3], MOST_MIB) * per_mib, (uint64_t)number(argv[4], INT32_MAX));
	fprintf(stderr, "usage: xfer send ADDRESS PORT MIB SEED [RATE [FILE]] | xfer recv PORT MIB SEED\n");
	return 2;
}
