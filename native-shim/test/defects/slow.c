/* SPDX-License-Identifier: Apache-2.0 */
// second preload: widens the window between a call's conn_progress() and its TCP recvmsg(); gcc -shared -fPIC
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <sys/socket.h>
ssize_t recvmsg(int fd, struct msghdr *m, int f){static ssize_t(*r)(int,struct msghdr*,int);if(!r)r=dlsym(RTLD_NEXT,"recvmsg");
 const char*e=getenv("SLOW");if(e&&(f&MSG_DONTWAIT)&&m->msg_iov->iov_len==777){struct timespec t={0,atoi(e)*1000000};nanosleep(&t,0);}return r(fd,m,f);}
