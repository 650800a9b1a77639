/* SPDX-License-Identifier: Apache-2.0 */
/*
 * real.h - libc's own functions, below the interposed ones.  Blocking calls go through these and not through bare
 * system calls, so that they stay cancellation points.
 */
#ifndef HUTONG_REAL_H
#define HUTONG_REAL_H

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/select.h>
#include <unistd.h>

#include "shim.h"

#define REAL_FUNCTIONS(X)                                                                                              \
	X(int, socket, (int, int, int))                                                                                \
	X(int, connect, (int, const struct sockaddr *, socklen_t))                                                     \
	X(int, listen, (int, int))                                                                                     \
	X(int, accept, (int, struct sockaddr *, socklen_t *))                                                          \
	X(int, accept4, (int, struct sockaddr *, socklen_t *, int))                                                    \
	X(int, shutdown, (int, int))                                                                                   \
	X(int, setsockopt, (int, int, int, const void *, socklen_t))                                                   \
	X(int, getsockopt, (int, int, int, void *, socklen_t *))                                                       \
	X(ssize_t, read, (int, void *, size_t))                                                                        \
	X(ssize_t, readv, (int, const struct iovec *, int))                                                            \
	X(ssize_t, recv, (int, void *, size_t, int))                                                                   \
	X(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *))                               \
	X(ssize_t, recvmsg, (int, struct msghdr *, int))                                                               \
	X(int, recvmmsg, (int, struct mmsghdr *, unsigned int, int, struct timespec *))                                \
	X(ssize_t, write, (int, const void *, size_t))                                                                 \
	X(ssize_t, writev, (int, const struct iovec *, int))                                                           \
	X(ssize_t, send, (int, const void *, size_t, int))                                                             \
	X(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t))                       \
	X(ssize_t, sendmsg, (int, const struct msghdr *, int))                                                         \
	X(int, sendmmsg, (int, struct mmsghdr *, unsigned int, int))                                                   \
	X(ssize_t, sendfile, (int, int, off_t *, size_t))                                                              \
	X(ssize_t, preadv2, (int, const struct iovec *, int, off_t, int))                                              \
	X(ssize_t, pwritev2, (int, const struct iovec *, int, off_t, int))                                             \
	X(int, vdprintf, (int, const char *, va_list))                                                                 \
	X(int, __vdprintf_chk, (int, int, const char *, va_list))                                                      \
	X(ssize_t, splice, (int, off64_t *, int, off64_t *, size_t, unsigned int))                                     \
	X(int, close, (int))                                                                                           \
	X(int, close_range, (unsigned int, unsigned int, int))                                                         \
	X(void, closefrom, (int))                                                                                      \
	X(int, dup, (int))                                                                                             \
	X(int, dup2, (int, int))                                                                                       \
	X(int, dup3, (int, int, int))                                                                                  \
	X(int, fcntl, (int, int, ...))                                                                                 \
	X(int, ioctl, (int, unsigned long, ...))                                                                       \
	X(int, poll, (struct pollfd *, nfds_t, int))                                                                   \
	X(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *))                            \
	X(int, select, (int, fd_set *, fd_set *, fd_set *, struct timeval *))                                          \
	X(int, pselect, (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *))                \
	X(int, epoll_create, (int))                                                                                    \
	X(int, epoll_create1, (int))                                                                                   \
	X(int, epoll_ctl, (int, int, int, struct epoll_event *))                                                       \
	X(int, epoll_wait, (int, struct epoll_event *, int, int))                                                      \
	X(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *))                                   \
	X(int, epoll_pwait2, (int, struct epoll_event *, int, const struct timespec *, const sigset_t *))              \
	X(int, sigaction, (int, const struct sigaction *, struct sigaction *))                                         \
	X(long, syscall, (long, ...))                                                                                  \
	X(int, fclose, (FILE *))                                                                                       \
	X(FILE *, fdopen, (int, const char *))                                                                         \
	X(int, execve, (const char *, char *const *, char *const *))                                                   \
	X(int, execvpe, (const char *, char *const *, char *const *))                                                  \
	X(int, fexecve, (int, char *const *, char *const *))                                                           \
	X(int, execveat, (int, const char *, char *const *, char *const *, int))

struct real {
#define X(ret, name, args) ret(*name) args;
	REAL_FUNCTIONS(X)
#undef X
};

extern struct real real;
void real_init(void);

/* libc's close() is a cancellation point, and locks may be held. */
void sys_close(int fd);

/* A short lock is held by somebody else.  To yield is not enough where its holder has a lower real-time priority. */
void give_way(unsigned int turns);

/* Looks without waiting, and without being a cancellation point. */
int poll_now(struct pollfd *p, nfds_t n);

/* Resolves on first use: other libraries' constructors may call us before our own has run. */
#define REAL(name) (UNLIKELY(!real.name) ? (real_init(), real.name) : real.name)

/* For what is called so seldom that looking it up each time does not matter. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The library's own bare calls, which must not come back to us. */
#define syscall(...) REAL(syscall)(__VA_ARGS__)

#endif /* HUTONG_REAL_H */
