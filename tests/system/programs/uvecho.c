/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Echo on libuv's streams; the same as evecho.c otherwise.
 *   uvecho server PORT CONNECTIONS                      echoes; after each end of stream answers its sum, 8 bytes
 *   uvecho client ADDRESS PORT CONNECTIONS BYTES SEED   checks every byte and the sums
 * Both end with the line: connections=N bytes=N sum=...
 */
#include "pattern.h"

#include <inttypes.h>
#include <string.h>
#include <uv.h>

enum { MOST = 1000, AHEAD = 128 << 10 };

struct stream {
	uv_tcp_t tcp; /* first: the handle is the stream */
	uv_connect_t connect;
	uv_shutdown_t shutdown;
	struct pattern out, in, sizes;
	uint64_t left, expected, sum;
	unsigned char answer[8];
	unsigned answered;
	int ended;
};

/* A write with the bytes it owns. */
struct piece {
	uv_write_t request;
	struct stream *stream;
	size_t bytes;
	unsigned char data[];
};

static uv_loop_t *loop;
static uv_tcp_t listener;
static long connections, open_now, accepted;
static uint64_t total_bytes, total_sum;

static void fail(const char *what, int error)
{
	fprintf(stderr, "uvecho: %s%s%s\n", what, error < 0 ? ": " : "", error < 0 ? uv_strerror(error) : "");
	exit(1);
}

static void must(int result, const char *what)
{
	if (result < 0)
		fail(what, result);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	(void)handle;
	*buffer = uv_buf_init(malloc(suggested), (unsigned)suggested);
}

static void closed(uv_handle_t *handle)
{
	free(handle);
	if (--open_now == 0 && accepted == connections && uv_is_active((uv_handle_t *)&listener))
		uv_close((uv_handle_t *)&listener, NULL);
}

static void done(struct stream *s)
{
	total_sum += s->sum;
	uv_close((uv_handle_t *)&s->tcp, closed);
}

static void send_more(struct stream *s);

static void written(uv_write_t *request, int status)
{
	struct piece *p = (struct piece *)request;
	struct stream *s = p->stream;
	must(status, "write");
	free(p);
	if (s->expected > 0 || s->left > 0)
		send_more(s);
}

/* In two buffers, so that libuv has a vector to write; what fits is written at once. */
static void put(struct stream *s, struct piece *p)
{
	size_t half = p->bytes / 2;
	uv_buf_t both[2] = { uv_buf_init((char *)p->data, (unsigned)half),
			     uv_buf_init((char *)p->data + half, (unsigned)(p->bytes - half)) };
	p->stream = s;
	must(uv_write(&p->request, (uv_stream_t *)&s->tcp, both, 2, written), "write");
}

static struct piece *new_piece(size_t bytes)
{
	struct piece *p = malloc(sizeof *p + bytes);
	if (p == NULL)
		fail("no memory", 0);
	p->bytes = bytes;
	return p;
}

/* ---- server ---------------------------------------------------------------------------------- */

static void all_echoed(uv_shutdown_t *request, int status)
{
	must(status, "shutdown");
	done(request->data);
}

static void echo(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
	struct stream *s = (struct stream *)stream;
	if (count > 0) {
		struct piece *p = new_piece((size_t)count);
		memcpy(p->data, buffer->base, (size_t)count);
		s->sum = sum_of(s->sum, p->data, (size_t)count);
		total_bytes += (uint64_t)count;
		put(s, p);
	} else if (count == UV_EOF) {
		struct piece *p = new_piece(8);
		for (unsigned i = 0; i < 8; i++)
			p->data[i] = (unsigned char)(s->sum >> (8 * i));
		put(s, p);
		s->shutdown.data = s;
		must(uv_shutdown(&s->shutdown, stream, all_echoed), "shutdown");
	} else if (count < 0) {
		fail("read", (int)count);
	}
	free(buffer->base);
}

static void accepted_one(uv_stream_t *from, int status)
{
	must(status, "listen");
	struct stream *s = calloc(1, sizeof *s);
	s->sum = SUM_START;
	must(uv_tcp_init(loop, &s->tcp), "socket");
	must(uv_accept(from, (uv_stream_t *)&s->tcp), "accept");
	must(uv_read_start((uv_stream_t *)&s->tcp, allocate, echo), "read");
	open_now++;
	accepted++;
}

/* ---- client ---------------------------------------------------------------------------------- */

static void half_closed(uv_shutdown_t *request, int status)
{
	(void)request;
	must(status, "shutdown");
}

static void send_more(struct stream *s)
{
	while (s->left > 0 && uv_stream_get_write_queue_size((uv_stream_t *)&s->tcp) < AHEAD) {
		struct piece *p = new_piece(piece_of(&s->sizes, s->left));
		for (size_t i = 0; i < p->bytes; i++)
			p->data[i] = pattern_next(&s->out);
		s->sum = sum_of(s->sum, p->data, p->bytes);
		s->left -= p->bytes;
		uv_buf_t whole = uv_buf_init((char *)p->data, (unsigned)p->bytes);
		int at_once = uv_try_write((uv_stream_t *)&s->tcp, &whole, 1);
		if (at_once == (int)p->bytes) {
			free(p);
			continue;
		}
		if (at_once < 0 && at_once != UV_EAGAIN)
			fail("write", at_once);
		if (at_once > 0) {
			p->bytes -= (size_t)at_once;
			memmove(p->data, p->data + at_once, p->bytes);
		}
		put(s, p);
	}
	if (s->left == 0 && !s->ended) {
		s->ended = 1;
		must(uv_shutdown(&s->shutdown, (uv_stream_t *)&s->tcp, half_closed), "shutdown");
	}
}

static void check(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
	struct stream *s = (struct stream *)stream;
	for (ssize_t i = 0; i < count; i++) {
		unsigned char byte = (unsigned char)buffer->base[i];
		if (s->expected == 0) {
			if (s->answered == sizeof s->answer)
				fail("more bytes than were sent", 0);
			s->answer[s->answered++] = byte;
		} else if (byte != pattern_next(&s->in)) {
			fail("a wrong byte", 0);
		} else {
			s->expected--;
			total_bytes++;
		}
	}
	if (count == UV_EOF) {
		if (s->expected != 0 || s->answered != sizeof s->answer)
			fail("the end came early", 0);
		for (unsigned i = 0; i < 8; i++)
			if (s->answer[i] != (unsigned char)(s->sum >> (8 * i)))
				fail("the server's sum is another one", 0);
		done(s);
	} else if (count < 0) {
		fail("read", (int)count);
	}
	free(buffer->base);
}

static void connected(uv_connect_t *request, int status)
{
	must(status, "connect");
	struct stream *s = request->data;
	must(uv_read_start((uv_stream_t *)&s->tcp, allocate, check), "read");
	send_more(s);
}

static void connect_all(const char *address, int port, uint64_t bytes, uint64_t seed)
{
	struct sockaddr_storage to;
	if (uv_ip6_addr(address, port, (struct sockaddr_in6 *)&to) != 0)
		must(uv_ip4_addr(address, port, (struct sockaddr_in *)&to), address);
	for (; accepted < connections; accepted++, open_now++) {
		struct stream *s = calloc(1, sizeof *s);
		unsigned number = (unsigned)accepted;
		s->out = s->in = pattern_of(seed, number);
		s->sizes = pattern_of(~seed, number);
		s->left = s->expected = length_of(bytes, number);
		s->sum = SUM_START;
		s->connect.data = s;
		must(uv_tcp_init(loop, &s->tcp), "socket");
		must(uv_tcp_connect(&s->connect, &s->tcp, (struct sockaddr *)&to, connected), "connect");
	}
}

int main(int argc, char **argv)
{
	int serves = argc == 4 && strcmp(argv[1], "server") == 0, asks = argc == 7 && strcmp(argv[1], "client") == 0;
	if (!serves && !asks) {
		fprintf(stderr, "usage: uvecho server PORT CONNECTIONS | uvecho client ADDRESS PORT CONNECTIONS BYTES SEED\n");
		return 2;
	}
	int port = (int)number(argv[serves ? 2 : 3], 65535);
	connections = number(argv[serves ? 3 : 4], MOST);
	loop = uv_default_loop();
	if (serves) {
		struct sockaddr_in6 any;
		must(uv_ip6_addr("::", port, &any), "address");
		must(uv_tcp_init(loop, &listener), "socket");
		must(uv_tcp_bind(&listener, (struct sockaddr *)&any, 0), "bind");
		must(uv_listen((uv_stream_t *)&listener, 512, accepted_one), "listen");
	} else {
		connect_all(argv[2], port, (uint64_t)number(argv[5], 1 << 30), (uint64_t)number(argv[6], INT32_MAX));
	}
	must(uv_run(loop, UV_RUN_DEFAULT), "run");
	printf("connections=%ld bytes=%" PRIu64 " sum=%016" PRIx64 "\n", accepted, total_bytes, total_sum);
	return uv_loop_close(loop) == 0 ? 0 : 1;
}
