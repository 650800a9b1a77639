/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Echo on libevent's bufferevents.
 *   evecho server PORT CONNECTIONS                      echoes; after each end of stream answers its sum, 8 bytes
 *   evecho client ADDRESS PORT CONNECTIONS BYTES SEED   checks every byte and the sums
 * Both end with the line: connections=N bytes=N sum=...
 */
#include "pattern.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum { MOST = 1000, AHEAD = 128 << 10 };

struct stream {
	struct bufferevent *bev;
	struct pattern out, in, sizes;
	uint64_t left, expected, sum;
	unsigned char answer[8];
	unsigned answered;
	int ended; /* ours: everything is written and the socket half-closed */
};

static struct event_base *base;
static long connections, open_now, accepted;
static uint64_t total_bytes, total_sum;

static void fail(const char *what)
{
	fprintf(stderr, "evecho: %s\n", what);
	exit(1);
}

static void done(struct stream *s)
{
	total_sum += s->sum;
	bufferevent_free(s->bev);
	free(s);
	if (--open_now == 0 && accepted == connections)
		event_base_loopbreak(base);
}

/* ---- server ---------------------------------------------------------------------------------- */

static void echo(struct bufferevent *bev, void *arg)
{
	struct stream *s = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	size_t bytes = evbuffer_get_length(in);
	s->sum = sum_of(s->sum, evbuffer_pullup(in, -1), bytes);
	total_bytes += bytes;
	/* The very buffers that were read are written: no copy. */
	evbuffer_add_buffer(bufferevent_get_output(bev), in);
}

static void all_echoed(struct bufferevent *bev, void *arg)
{
	if (evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		done(arg);
}

static void server_event(struct bufferevent *bev, short what, void *arg)
{
	struct stream *s = arg;
	unsigned char answer[8];
	if ((what & BEV_EVENT_EOF) == 0)
		fail(evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
	echo(bev, arg);
	for (unsigned i = 0; i < 8; i++)
		answer[i] = (unsigned char)(s->sum >> (8 * i));
	bufferevent_setcb(bev, NULL, all_echoed, server_event, s);
	bufferevent_write(bev, answer, sizeof answer);
}

static void accepted_one(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int length, void *arg)
{
	(void)from, (void)length, (void)arg;
	struct stream *s = calloc(1, sizeof *s);
	s->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	s->sum = SUM_START;
	bufferevent_setcb(s->bev, echo, NULL, server_event, s);
	bufferevent_enable(s->bev, EV_READ | EV_WRITE);
	open_now++;
	if (++accepted == connections)
		evconnlistener_disable(listener);
}

/* ---- client ---------------------------------------------------------------------------------- */

static void send_more(struct bufferevent *bev, void *arg)
{
	struct stream *s = arg;
	struct evbuffer *out = bufferevent_get_output(bev);
	unsigned char piece[1 << 17];
	while (s->left > 0 && evbuffer_get_length(out) < AHEAD) {
		size_t bytes = piece_of(&s->sizes, s->left);
		for (size_t i = 0; i < bytes; i++)
			piece[i] = pattern_next(&s->out);
		s->sum = sum_of(s->sum, piece, bytes);
		s->left -= bytes;
		evbuffer_add(out, piece, bytes);
	}
	if (s->left == 0 && evbuffer_get_length(out) == 0 && !s->ended) {
		s->ended = 1;
		if (shutdown(bufferevent_getfd(bev), SHUT_WR) != 0)
			fail("shutdown");
	}
}

static void check(struct bufferevent *bev, void *arg)
{
	struct stream *s = arg;
	unsigned char got[1 << 16];
	size_t bytes;
	while ((bytes = bufferevent_read(bev, got, sizeof got)) > 0) {
		for (size_t i = 0; i < bytes; i++) {
			if (s->expected == 0) {
				if (s->answered == sizeof s->answer)
					fail("more bytes than were sent");
				s->answer[s->answered++] = got[i];
			} else if (got[i] != pattern_next(&s->in)) {
				fail("a wrong byte");
			} else {
				s->expected--;
				total_bytes++;
			}
		}
	}
}

static void client_event(struct bufferevent *bev, short what, void *arg)
{
	struct stream *s = arg;
	if (what & BEV_EVENT_CONNECTED) {
		send_more(bev, arg);
		return;
	}
	if ((what & BEV_EVENT_EOF) == 0)
		fail(evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
	check(bev, arg);
	if (s->expected != 0 || s->answered != sizeof s->answer)
		fail("the end came early");
	for (unsigned i = 0; i < 8; i++)
		if (s->answer[i] != (unsigned char)(s->sum >> (8 * i)))
			fail("the server's sum is another one");
	done(s);
}

static void connect_all(const char *address, int port, uint64_t bytes, uint64_t seed)
{
	char text[128];
	struct sockaddr_storage to;
	int length = sizeof to;
	snprintf(text, sizeof text, strchr(address, ':') ? "[%s]:%d" : "%s:%d", address, port);
	if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&to, &length) != 0)
		fail("no such address");
	for (; accepted < connections; accepted++, open_now++) {
		struct stream *s = calloc(1, sizeof *s);
		unsigned number = (unsigned)accepted;
		s->out = s->in = pattern_of(seed, number);
		s->sizes = pattern_of(~seed, number);
		s->left = s->expected = length_of(bytes, number);
		s->sum = SUM_START;
		s->bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
		bufferevent_setcb(s->bev, check, send_more, client_event, s);
		bufferevent_enable(s->bev, EV_READ | EV_WRITE);
		if (bufferevent_socket_connect(s->bev, (struct sockaddr *)&to, length) != 0)
			fail("connect");
	}
}

int main(int argc, char **argv)
{
	int serves = argc == 4 && strcmp(argv[1], "server") == 0, asks = argc == 7 && strcmp(argv[1], "client") == 0;
	if (!serves && !asks) {
		fprintf(stderr, "usage: evecho server PORT CONNECTIONS | evecho client ADDRESS PORT CONNECTIONS BYTES SEED\n");
		return 2;
	}
	int port = (int)number(argv[serves ? 2 : 3], 65535);
	connections = number(argv[serves ? 3 : 4], MOST);
	base = event_base_new();
	struct evconnlistener *listener = NULL;
	if (serves) {
		struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
		listener = evconnlistener_new_bind(base, accepted_one, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 512,
						   (struct sockaddr *)&any, sizeof any);
		if (listener == NULL)
			fail("listen");
	} else {
		connect_all(argv[2], port, (uint64_t)number(argv[5], 1 << 30), (uint64_t)number(argv[6], INT32_MAX));
	}
	event_base_dispatch(base);
	printf("connections=%ld bytes=%" PRIu64 " sum=%016" PRIx64 "\n", accepted, total_bytes, total_sum);
	if (listener != NULL)
		evconnlistener_free(listener);
	event_base_free(base);
	return 0;
}
