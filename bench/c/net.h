/* SPDX-License-Identifier: Apache-2.0 */
/* Blocking TCP sockets without fuss: every error ends the program with a message. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include <stddef.h>
#include <stdint.h>

/* Ends the program: "program: what: strerror(errno)". */
void die(const char *what) __attribute__((noreturn));

/* A positive number from the command line, at most `most`; ends the program when it is none. */
long number(const char *text, long most);

/* A socket that listens on the port, for IPv4 and IPv6. */
int listen_on(const char *port);

/* The next connection of a listener, TCP_NODELAY set. */
int accept_from(int listener);

/* A connection to the numeric address and port, TCP_NODELAY set. */
int connect_to(const char *address, const char *port);

/* Reads exactly `bytes`, or fewer at end of stream; returns how many. */
size_t read_full(int fd, void *data, size_t bytes);

/* Writes all of it. */
void write_full(int fd, const void *data, size_t bytes);

/* Monotonic time in nanoseconds. */
uint64_t now_ns(void);

#endif /* BENCH_NET_H */
