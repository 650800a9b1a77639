/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edges.c - the corners of the socket contract, as traces that must be the same on TCP and accelerated.
 *
 * usage: edges ADDR PORT [CASE]   without CASE: runs all, each in fresh processes, and prints one trace a case.
 * In each case "a" accepts and "b" connects; both first exchange single bytes for some 60 ms, so that a connection
 * that can be accelerated is.  The numbers in [] are the rules of switching.md that a case is about.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *address;
static int port;
static char trace[4096];
static size_t traced;
static int sync_a[2], sync_b[2]; /* pipes: "the other may go on" */

static void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(trace + traced, sizeof(trace) - traced, fmt, ap);
	va_end(ap);
	if (n > 0 && traced + (size_t)n < sizeof(trace))
		traced += (size_t)n;
}

static const char *err(ssize_t r)
{
	return r < 0 ? strerrorname_np(errno) : "-";
}

static void ms(int n)
{
	nanosleep(&(struct timespec){ n / 1000, (n % 1000) * 1000000l }, NULL);
}

static void go(int *pipe)
{
	if (write(pipe[1], "x", 1) != 1)
		abort();
}

static void await(int *pipe)
{
	char c;

	if (read(pipe[0], &c, 1) != 1)
		exit(3);
}

static void rd(int fd, size_t n, int flags)
{
	static char buf[1 << 20];
	ssize_t r = recv(fd, buf, n < sizeof(buf) ? n : sizeof(buf), flags);

	note(" recv(%zu,%x)=%zd/%s", n, flags, r, err(r));
	for (ssize_t i = 0; i < r; i++)
		if (buf[i] < ' ')
			buf[i] = '~';
	if (r > 0 && r <= 8)
		note(":%.*s", (int)r, buf);
}

static void wr(int fd, const char *s)
{
	ssize_t r = send(fd, s, strlen(s), MSG_NOSIGNAL);

	note(" send(%zu)=%zd/%s", strlen(s), r, err(r));
}

static void pl(int fd, short want, int timeout)
{
	struct pollfd p = { fd, want, 0 };
	int r = poll(&p, 1, timeout);

	note(" poll(%x)=%d:%x", want, r, p.revents);
}

static void ew(int ep, int timeout)
{
	struct epoll_event got[4];
	int n = epoll_wait(ep, got, 4, timeout);

	note(" epoll=%d", n);
	for (int i = 0; i < n; i++)
		note(":%llu:%x", (unsigned long long)got[i].data.u64, got[i].events);
}

static int soerr(int fd)
{
	int e = -1;
	socklen_t l = sizeof(e);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &l);
	return e;
}

static void nonblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static size_t put(int fd, size_t n)
{
	static char buf[65536];
	size_t done = 0;

	while (done < n) {
		ssize_t r = send(fd, buf, n - done < sizeof(buf) ? n - done : sizeof(buf), MSG_NOSIGNAL);

		if (r <= 0)
			break;
		done += (size_t)r;
	}
	return done;
}

static size_t take(int fd, size_t n)
{
	static char buf[65536];
	size_t done = 0;

	while (done < n) {
		ssize_t r = recv(fd, buf, n - done < sizeof(buf) ? n - done : sizeof(buf), 0);

		if (r <= 0)
			break;
		done += (size_t)r;
	}
	return done;
}

/* ---- cases: X(name, code of a, code of b) ---- */

#include <sys/sendfile.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <netinet/tcp.h>
/* --- attacks --- */
static double cpu(void){struct timespec t;clock_gettime(CLOCK_PROCESS_CPUTIME_ID,&t);return t.tv_sec+t.tv_nsec/1e9;}
static size_t putn(int fd,size_t n){return put(fd,n);}
static void flush_trace(void){fputs(trace,stdout);fputs("\n",stdout);fflush(stdout);}
static void on_alarm(int s){(void)s;char b[200];int n=snprintf(b,200," TIMEOUT cpu=%s\n",cpu()>1?"BUSY":"idle");(void)!write(1,trace,traced);(void)!write(1,b,n);_exit(7);}
/* 1: peer half-closes, then resets, while we send a lot */
static void a_half_rst(int fd){size_t n=put(fd,40000000);note(" put_all=%d err=%s",n==40000000,err(-1));}
static void b_half_rst(int fd){shutdown(fd,SHUT_WR);ms(30);take(fd,100000);ms(30);close(fd);ms(300);}
static void a_half_kill(int fd){size_t n=put(fd,40000000);note(" put_all=%d err=%s",n==40000000,err(-1));}
static void b_half_kill(int fd){shutdown(fd,SHUT_WR);ms(30);take(fd,100000);ms(30);flush_trace();raise(SIGKILL);}
static void a_half_closeclean(int fd){await(sync_a);ms(50);ssize_t r;int i;for(i=0;i<1000;i++){r=send(fd,"0123456789",10,MSG_NOSIGNAL);if(r<0)break;ms(2);}note(" failed=%d err=%s",r<0,err(r));}
static void b_half_closeclean(int fd){shutdown(fd,SHUT_WR);ms(30);close(fd);go(sync_a);ms(500);}
/* 2: unread ring, then the reader forks, writer gone or busy */
static void a_fork_after_exit(int fd){await(sync_a);ms(60);pid_t p=fork();if(p==0){rd(fd,5,MSG_WAITALL);rd(fd,1,0);flush_trace();_exit(0);}close(fd);waitpid(p,NULL,0);}
static void b_fork_after_exit(int fd){wr(fd,"hello");close(fd);go(sync_a);}
static void a_fdopen_after_exit(int fd){await(sync_a);ms(60);FILE*f=fdopen(fd,"r");char l[20]="";char*r=fgets(l,20,f);note(" gets=%s",r?"line":"EOF");}
static void b_fdopen_after_exit(int fd){wr(fd,"hello\n");close(fd);go(sync_a);}
static void a_exec_after_exit(int fd){await(sync_a);ms(60);flush_trace();dup2(fd,0);execlp("cat","cat",NULL);}
static void b_exec_after_exit(int fd){wr(fd,"hello\n");close(fd);go(sync_a);}
static void a_fork_peer_busy(int fd){await(sync_a);ms(60);pid_t p=fork();if(p==0){struct timespec t0,t1;clock_gettime(1,&t0);rd(fd,5,MSG_WAITALL);clock_gettime(1,&t1);note(" %s",t1.tv_sec-t0.tv_sec>=2?"LATE":"at once");flush_trace();_exit(0);}close(fd);waitpid(p,NULL,0);}
static void b_fork_peer_busy(int fd){wr(fd,"hello");go(sync_a);ms(4000);close(fd);}
static void a_trunc_after_exit(int fd){await(sync_a);ms(60);char b[10];ssize_t r=recv(fd,b,5,MSG_TRUNC);note(" trunc=%zd/%s",r,err(r));}
static void b_trunc_after_exit(int fd){wr(fd,"hello");close(fd);go(sync_a);}
/* dprintf */
static void a_dprintf(int fd){rd(fd,3,MSG_WAITALL);rd(fd,6,MSG_WAITALL);rd(fd,3,MSG_WAITALL);rd(fd,1,0);}
static void b_dprintf(int fd){wr(fd,"abc");dprintf(fd,"n=%d\n",1234);ms(20);wr(fd,"xyz");ms(50);}
/* zero length */
static void a_zero(int fd){char b[1];ssize_t r=read(fd,b,0);note(" read0=%zd",r);r=write(fd,b,0);note(" write0=%zd",r);r=send(fd,b,0,MSG_NOSIGNAL);note(" send0=%zd",r);go(sync_b);}
static void b_zero(int fd){await(sync_b);wr(fd,"x");rd(fd,1,MSG_DONTWAIT);}
/* EFAULT */
static void a_efault(int fd){await(sync_a);ms(20);ssize_t r=read(fd,(void*)8,3);note(" read=%zd/%s",r,err(r));r=write(fd,(void*)8,3);note(" write=%zd/%s",r,err(r));struct iovec v={(void*)8,3};r=readv(fd,&v,1);note(" readv=%zd/%s",r,err(r));r=writev(fd,(void*)8,2);note(" writev=%zd/%s",r,err(r));}
static void b_efault(int fd){wr(fd,"abc");go(sync_a);ms(50);}
/* PEEK|WAITALL + FIN / timeout */
static void a_peekall_fin(int fd){rd(fd,10,MSG_PEEK|MSG_WAITALL);rd(fd,10,0);rd(fd,10,0);}
static void b_peekall_fin(int fd){wr(fd,"abc");ms(20);close(fd);}
static void a_peekall_timeo(int fd){struct timeval tv={0,100000};setsockopt(fd,SOL_SOCKET,SO_RCVTIMEO,&tv,sizeof tv);await(sync_a);ms(10);rd(fd,10,MSG_PEEK|MSG_WAITALL);}
static void b_peekall_timeo(int fd){wr(fd,"abc");go(sync_a);ms(6000);}
/* siginterrupt */
static volatile int sigs;static void onsig(int s){(void)s;sigs++;}
static void a_siginterrupt(int fd){signal(SIGUSR1,onsig);siginterrupt(SIGUSR1,1);pid_t me=getpid();if(fork()==0){ms(200);kill(me,SIGUSR1);_exit(0);}rd(fd,1,0);note(" sigs=%d",sigs);}
static void b_siginterrupt(int fd){ms(1500);wr(fd,"z");ms(20);}
static void a_mixed_sig(int fd){struct sigaction sa={.sa_handler=onsig,.sa_flags=SA_RESTART},sb={.sa_handler=onsig};sigaction(SIGUSR1,&sa,NULL);sigaction(SIGUSR2,&sb,NULL);pid_t me=getpid();if(fork()==0){ms(200);kill(me,SIGUSR1);_exit(0);}rd(fd,1,0);note(" sigs=%d",sigs);}
static void b_mixed_sig(int fd){ms(600);wr(fd,"z");ms(20);}
/* overflow full; reader takes some and waits for word that the write is done */
static void a_partial_reader(int fd){size_t n=put(fd,5500000);note(" put=%zu",n);go(sync_b);ms(100);}
static void b_partial_reader(int fd){ms(500);note(" got=%zu",take(fd,2500000));await(sync_b);note(" rest=%zu",take(fd,3000000));}
/* shutdown RDWR by peer with unread */
static void a_shut_rdwr(int fd){wr(fd,"unread");go(sync_b);await(sync_a);ms(20);rd(fd,1,0);rd(fd,1,0);}
static void b_shut_rdwr(int fd){await(sync_b);ms(20);shutdown(fd,SHUT_RDWR);go(sync_a);ms(100);}
/* debt: DRAIN while we wait in recv */
static void a_debt(int fd){note(" put=%zu",put(fd,3000000));go(sync_b);rd(fd,2,MSG_WAITALL);}
static void b_debt(int fd){await(sync_b);int small=65536;setsockopt(fd,SOL_SOCKET,SO_RCVBUF,&small,sizeof small);pid_t p=fork();if(p==0){alarm(15);size_t n=0;while(n<3000000){size_t k=take(fd,100000);if(!k)break;n+=k;ms(2);}note(" got=%zu",n);wr(fd,"ok");flush_trace();_exit(0);}close(fd);waitpid(p,NULL,0);}
/* epoll maxevents 1 starvation */
static void a_ep_max1(int fd){int p[2];if(pipe(p))return;int ep=epoll_create1(0);struct epoll_event e={.events=EPOLLOUT,.data.u64=1};epoll_ctl(ep,EPOLL_CTL_ADD,fd,&e);e.events=EPOLLIN;e.data.u64=2;epoll_ctl(ep,EPOLL_CTL_ADD,p[0],&e);(void)!write(p[1],"x",1);int seen=0;for(int i=0;i<10000&&!seen;i++){struct epoll_event g;if(epoll_wait(ep,&g,1,-1)==1&&g.data.u64==2)seen=1;}note(" pipe_seen=%d",seen);}
static void b_ep_max1(int fd){rd(fd,1,0);}
/* poll()/outer epoll on an epoll fd, inner epoll_wait(0) */
static void nested(int fd,int outer){int ep=epoll_create1(0);struct epoll_event e={.events=EPOLLIN,.data.u64=1},g;epoll_ctl(ep,EPOLL_CTL_ADD,fd,&e);int o=-1;if(outer){o=epoll_create1(0);e.data.u64=7;epoll_ctl(o,EPOLL_CTL_ADD,ep,&e);}
 int got=0,lost=0;char c;for(int i=0;i<20;i++){go(sync_b);struct pollfd pf={ep,POLLIN,0};int r=outer?epoll_wait(o,&g,1,500):poll(&pf,1,500);if(r!=1)lost++;while((r=epoll_wait(ep,&g,1,0))==1){if(recv(fd,&c,1,MSG_DONTWAIT)==1)got++;else break;}}
 note(" got=%d lost=%d",got,lost);}
static void a_nested_poll(int fd){nested(fd,0);}
static void b_nested_poll(int fd){for(int i=0;i<20;i++){await(sync_b);ms(10);if(send(fd,"x",1,0)!=1)break;}ms(600);}
static void a_nested_ep(int fd){nested(fd,1);}
static void b_nested_ep(int fd){b_nested_poll(fd);}
static void a_nested_lt(int fd){int ep=epoll_create1(0);struct epoll_event e={.events=EPOLLIN,.data.u64=1},g;epoll_ctl(ep,EPOLL_CTL_ADD,fd,&e);go(sync_b);ms(50);struct pollfd pf={ep,POLLIN,0};int r=poll(&pf,1,500);note(" p=%d",r);r=epoll_wait(ep,&g,1,0);note(" e=%d",r);char c;r=recv(fd,&c,1,0);note(" r=%d",r);r=poll(&pf,1,500);note(" still=%d",r);}
static void b_nested_lt(int fd){await(sync_b);wr(fd,"xyz");ms(1500);}
/* worker blocked in epoll_wait on a set with only an eventfd; another adds an accelerated connection */
static int wep;static void *worker(void *arg){int fd=*(int*)arg;struct epoll_event g;for(int i=0;i<3;i++){int r=epoll_wait(wep,&g,1,1500);note(" r=%d data=%s",r,r!=1?"-":g.data.u64==42?"ours":g.data.u64==43?"evfd":"GARBAGE");if(r!=1||g.data.u64!=42)break;char c;recv(fd,&c,1,0);}return NULL;}
static void a_worker(int fd){pthread_t t;wep=epoll_create1(0);int ev=eventfd(0,0);struct epoll_event e={.events=EPOLLIN,.data.u64=43};epoll_ctl(wep,EPOLL_CTL_ADD,ev,&e);pthread_create(&t,NULL,worker,&fd);ms(50);e.events=EPOLLIN;e.data.u64=42;epoll_ctl(wep,EPOLL_CTL_ADD,fd,&e);ms(50);go(sync_b);pthread_join(t,NULL);}
static void b_worker(int fd){await(sync_b);wr(fd,"xyz");ms(2000);}
/* EPOLLEXCLUSIVE, registered before the switch: own warm-up is over, so ring already; see attack2 */
/* child closes the connection's fd only; epoll set shared */
static void a_childclose(int fd){int ep=epoll_create1(0);struct epoll_event e={.events=EPOLLIN,.data.u64=1},g;epoll_ctl(ep,EPOLL_CTL_ADD,fd,&e);epoll_wait(ep,&g,1,50);pid_t p=fork();if(p==0){close(fd);ms(20);_exit(0);}waitpid(p,NULL,0);go(sync_b);int r=epoll_wait(ep,&g,1,2000);note(" r=%d",r);r=epoll_wait(ep,&g,1,0);note(" r=%d",r);rd(fd,3,0);}
static void b_childclose(int fd){await(sync_b);ms(100);wr(fd,"xyz");ms(100);}
/* _Fork */
static void a_Fork(int fd){pid_t p=_Fork();if(p==0){char b[8];ssize_t r=send(fd,"child",5,0);r=r;(void)b;_exit(0);}waitpid(p,NULL,0);wr(fd,"parent");go(sync_b);rd(fd,3,0);}
static void b_Fork(int fd){await(sync_b);char b[20]="";take(fd,0);ssize_t r=recv(fd,b,11,MSG_WAITALL);note(" %zd:%.11s",r,b);wr(fd,"fin");ms(20);}
/* preadv2 / pwritev2 */
static void a_pwritev2(int fd){rd(fd,3,MSG_WAITALL);rd(fd,6,MSG_WAITALL);}
static void b_pwritev2(int fd){wr(fd,"abc");struct iovec v={"qwerty",6};ssize_t r=pwritev2(fd,&v,1,-1,0);note(" pw=%zd/%s",r,err(r));ms(50);}
/* readv with 20 iovecs */
static void a_readv20(int fd){await(sync_a);ms(30);char b[40];struct iovec v[20];for(int i=0;i<20;i++)v[i]=(struct iovec){b+i,1};ssize_t r=readv(fd,v,20);note(" readv=%zd",r);}
static void b_readv20(int fd){wr(fd,"0123456789012345678901234567890");go(sync_a);ms(100);}
/* many-iovec write, > ring */
static void a_writev1024(int fd){static char big[1024*5000];struct iovec v[1024];for(int i=0;i<1024;i++)v[i]=(struct iovec){big+i*5000,5000};for(size_t i=0;i<sizeof big;i++)big[i]=(char)(i*7+i/251);ssize_t r=writev(fd,v,1024);note(" w=%zd",r);ms(100);}
static void b_writev1024(int fd){static char big[1024*5000];size_t d=0;while(d<sizeof big){ssize_t r=recv(fd,big+d,sizeof big-d,0);if(r<=0)break;d+=r;}size_t bad=0;for(size_t i=0;i<d;i++)bad+=big[i]!=(char)(i*7+i/251);note(" got=%zu bad=%zu",d,bad);}
/* poll 0 with stale array */
static void a_stale(int fd){int ev=eventfd(0,EFD_NONBLOCK);struct pollfd p[2]={{fd,POLLIN,0},{ev,POLLIN,0}};int bad=0;for(int i=0;i<200;i++){poll(p,2,0);eventfd_write(ev,1);if(poll(p,2,0)!=1)bad++;eventfd_t v;eventfd_read(ev,&v);}note(" bad=%s",bad?"some":"0");}
static void b_stale(int fd){rd(fd,1,0);}
/* dup'd fd in other thread; close wakes? select with bad fd */
static void a_selbad(int fd){fd_set r;FD_ZERO(&r);FD_SET(fd,&r);FD_SET(900,&r);struct timeval tv={0,50000};int n=select(901,&r,NULL,NULL,&tv);note(" sel=%d/%s",n,err(n));struct timeval neg={-1,0};n=select(fd+1,&r,NULL,NULL,&neg);note(" neg=%d/%s",n,err(n));struct pollfd p={fd,POLLIN,0};struct timespec tn={-1,0};n=ppoll(&p,1,&tn,NULL);note(" ppollneg=%d/%s",n,err(n));struct epoll_event e;n=epoll_wait(fd,&e,1,0);note(" epw=%d/%s",n,err(n));}
static void b_selbad(int fd){rd(fd,1,0);}
/* listener's SO_RCVTIMEO: via special listen in attack2 */
/* shutdown RD local */
static void a_shut_rd(int fd){await(sync_a);ms(20);shutdown(fd,SHUT_RD);rd(fd,10,0);rd(fd,10,0);pl(fd,POLLIN|POLLRDHUP|POLLOUT,0);wr(fd,"x");}
static void b_shut_rd(int fd){wr(fd,"abc");go(sync_a);rd(fd,1,0);ms(20);wr(fd,"d");ms(20);wr(fd,"e");}
/* exits */
static void a_exit_inflight(int fd){size_t n=take(fd,10000000);note(" got=%zu",n);rd(fd,1,0);}
static void b_exit_inflight(int fd){size_t n=put(fd,3000000);note(" put=%zu",n);flush_trace();_exit(0);}
/* sendfile offsets */
static void a_sendfile(int fd){FILE*f=tmpfile();char b[100000];memset(b,'q',sizeof b);for(int i=0;i<50;i++)fwrite(b,1,sizeof b,f);fflush(f);nonblock(fd);off_t o=0;size_t t=0;ssize_t r;int in=fileno(f);lseek(in,0,SEEK_SET);while(t<5000000){r=t<2000000?sendfile(fd,in,NULL,1000000):sendfile(fd,in,(o=o?o:2000000,lseek(in,0,SEEK_CUR),&o),1000000);if(r<0){struct pollfd p={fd,POLLOUT,0};poll(&p,1,1000);continue;}if(!r)break;t+=r;if(t>=2000000&&!o)o=t;}note(" sent=%zu",t);(void)o;r=sendfile(fd,-1,NULL,10);note(" bad=%zd/%s",r,err(r));int pp[2];if(!pipe(pp)){(void)!write(pp[1],"zz",2);r=sendfile(fd,pp[0],NULL,2);note(" pipe=%zd/%s",r,err(r));}}
static void b_sendfile(int fd){ms(100);size_t n=take(fd,5000000);note(" got=%zu",n);}
static void a_recvmmsg(int fd){struct mmsghdr m[3];char b[3][4];struct iovec v[3];memset(m,0,sizeof m);for(int i=0;i<3;i++){v[i]=(struct iovec){b[i],2};m[i].msg_hdr.msg_iov=&v[i];m[i].msg_hdr.msg_iovlen=1;}int r=recvmmsg(fd,m,3,0,NULL);note(" r=%d",r);}
static void b_recvmmsg(int fd){wr(fd,"ab");ms(50);wr(fd,"cd");ms(50);wr(fd,"ef");ms(50);}
/* idle CPU: peer half closed, we poll forever */
static void a_posix_spawn(int fd){int r=system("true");note(" sys=%d",r);wr(fd,"s");rd(fd,1,0);}
static void b_posix_spawn(int fd){rd(fd,1,0);wr(fd,"t");ms(20);}
/* signal handler closes fds while main opens */
static volatile int hfd=-1,hn;static void onprof(int s){(void)s;int e=errno;int d=dup(hfd);if(d>=0)close(d);hn++;errno=e;}
static void a_sigreent(int fd){hfd=fd;struct sigaction sa={.sa_handler=onprof,.sa_flags=SA_RESTART};sigaction(SIGUSR1,&sa,NULL);pid_t me=getpid();pid_t k=fork();if(k==0){for(int i=0;i<40000;i++)kill(me,SIGUSR1);_exit(0);}for(int i=0;i<100000;i++){int s=socket(AF_INET,SOCK_STREAM,0);close(s);int d=dup(fd);close(d);}kill(k,SIGKILL);note(" done");}
static void b_sigreent(int fd){rd(fd,1,0);}
static void a_debt2(int fd){int small=16384;setsockopt(fd,SOL_SOCKET,SO_SNDBUF,&small,sizeof small);note(" put=%zu",put(fd,1000000>>0));go(sync_b);rd(fd,2,MSG_WAITALL);}
static void b_debt2(int fd){int small=16384;setsockopt(fd,SOL_SOCKET,SO_RCVBUF,&small,sizeof small);await(sync_b);pid_t p=fork();if(p==0){size_t n=take(fd,1000000);note(" got=%zu",n);wr(fd,"ok");flush_trace();_exit(0);}close(fd);waitpid(p,NULL,0);}
static void a_childclose2(int fd){struct epoll_event e={.events=EPOLLIN,.data.u64=1},g;int ep=epoll_create1(0);epoll_ctl(ep,EPOLL_CTL_ADD,fd,&e);go(sync_b);int r=epoll_wait(ep,&g,1,1000);rd(fd,1,0);r=epoll_wait(ep,&g,1,50);note(" idle=%d",r);pid_t p=fork();if(p==0){close(fd);ms(20);_exit(0);}waitpid(p,NULL,0);go(sync_b);r=epoll_wait(ep,&g,1,2000);note(" r=%d",r);rd(fd,3,MSG_DONTWAIT);}
static void b_childclose2(int fd){await(sync_b);wr(fd,"1");await(sync_b);ms(100);wr(fd,"xyz");ms(2500);}
static void a_Fork2(int fd){pid_t p=_Fork();if(p==0){for(int i=0;i<20000;i++)send(fd,"cccccccccc",10,0);_exit(0);}for(int i=0;i<20000;i++)send(fd,"pppppppppp",10,0);waitpid(p,NULL,0);shutdown(fd,SHUT_WR);rd(fd,1,0);}
static void b_Fork2(int fd){static char b[500000];size_t d=0;ssize_t r;while((r=recv(fd,b+d,sizeof b-d,0))>0)d+=r;size_t bad=0,cc=0,pp=0;for(size_t i=0;i<d;i++){cc+=b[i]=='c';pp+=b[i]=='p';bad+=b[i]!='c'&&b[i]!='p';}note(" c=%zu p=%zu other=%zu",cc,pp,bad);}
static void a_linger_close(int fd){struct linger l={1,3};setsockopt(fd,SOL_SOCKET,SO_LINGER,&l,sizeof l);wr(fd,"abc");struct timespec t0,t1;clock_gettime(1,&t0);close(fd);clock_gettime(1,&t1);note(" %s",t1.tv_sec-t0.tv_sec>=2?"SLOW":"fast");}
static void b_linger_close(int fd){ms(5000);}
static void a_sh_close(int fd){char b[4];for(int i=0;i<3;i++)rd(fd,1,0);}
static void b_sh_close(int fd){wr(fd,"ab");shutdown(fd,SHUT_WR);close(fd);}
static int cwp[2];static void*blk(void*a){int fd=*(int*)a;rd(fd,1,0);return 0;}
static void a_close_blocked(int fd){pthread_t t;int f=fd;pthread_create(&t,0,blk,&f);ms(50);close(fd);go(sync_b);pthread_join(t,0);}
static void b_close_blocked(int fd){await(sync_b);ms(100);wr(fd,"z");ms(50);}
static void a_close10(int fd){int small=16384;setsockopt(fd,SOL_SOCKET,SO_SNDBUF,&small,sizeof small);int n=0;nonblock(fd);size_t t=0;ssize_t r;char z[10000];alarm(40);for(int i=0;i<100&&t<200000;i++){r=send(fd,z,sizeof z,MSG_NOSIGNAL);if(r>0)t+=r;}note(" put=%zu",t);go(sync_b);await(sync_a);struct pollfd p={fd,POLLIN,0};poll(&p,1,0);struct timespec t0,t1;clock_gettime(1,&t0);close(fd);clock_gettime(1,&t1);note(" close took %d s",(int)(t1.tv_sec-t0.tv_sec));}
static void b_close10(int fd){alarm(40);int small=8192;setsockopt(fd,SOL_SOCKET,SO_RCVBUF,&small,sizeof small);await(sync_b);pid_t p=fork();if(p==0){char c;ssize_t k=recv(fd,&c,1,MSG_DONTWAIT);go(sync_a);ms(13000);size_t n=take(fd,1000000)+(k>0);note(" got=%zu",n);flush_trace();_exit(0);}close(fd);waitpid(p,NULL,0);}
static void onprof2(int s){(void)s;int e=errno;int d=socket(AF_INET,SOCK_STREAM,0);if(d>=0)close(d);errno=e;hn++;}
static void a_sigreent2(int fd){struct sigaction sa={.sa_handler=onprof2,.sa_flags=SA_RESTART};sigaction(SIGUSR1,&sa,NULL);pid_t me=getpid(),k[2];for(int j=0;j<2;j++){k[j]=fork();if(k[j]==0){for(;;)kill(me,SIGUSR1);}}struct timespec t0,t1;clock_gettime(1,&t0);do{int s=socket(AF_INET,SOCK_STREAM,0);close(s);clock_gettime(1,&t1);}while(t1.tv_sec-t0.tv_sec<6);for(int j=0;j<2;j++)kill(k[j],SIGKILL);note(" done");fprintf(stderr,"%d handlers\n",hn);}
static void b_sigreent2(int fd){rd(fd,1,0);}
static void a_exit_debt(int fd){note(" put=%zu",put(fd,100000));go(sync_b);await(sync_a);flush_trace();_exit(0);}
static void b_exit_debt(int fd){await(sync_b);pid_t p=fork();if(p==0){char c;ssize_t k=recv(fd,&c,1,MSG_DONTWAIT);go(sync_a);ms(100);note(" got=%zu",take(fd,100000)+(k>0));flush_trace();_exit(0);}close(fd);waitpid(p,NULL,0);}
#define CASES(X) \
X(close10) X(sigreent2) X(exit_debt)
static const struct {
	const char *name;
	void (*a)(int), (*b)(int);
} cases[] = {
#define X(n) { #n, a_##n, b_##n },
	CASES(X)
#undef X
};

static struct sockaddr_storage where(socklen_t *len)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in *in = (void *)&ss;
	struct sockaddr_in6 *in6 = (void *)&ss;

	if (inet_pton(AF_INET, address, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		*len = sizeof(*in);
	} else {
		inet_pton(AF_INET6, address, &in6->sin6_addr);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		*len = sizeof(*in6);
	}
	return ss;
}

static void warm_up(int fd, bool first)
{
	char c = 'w';

	for (int i = 0; i < 20; i++) {
		if (first ? send(fd, &c, 1, 0) != 1 || recv(fd, &c, 1, 0) != 1 :
			    recv(fd, &c, 1, 0) != 1 || send(fd, &c, 1, 0) != 1)
			exit(4);
		if (first)
			ms(3);
	}
}

static void run_side(size_t k, bool a, int listener)
{
	socklen_t len;
	struct sockaddr_storage ss = where(&len);
	int fd;

	signal(SIGALRM,on_alarm);alarm(8);
	if (a) {
		fd = accept(listener, NULL, NULL);
		close(listener);
	} else {
		close(listener);
		fd = socket(ss.ss_family, SOCK_STREAM, 0);
		if (connect(fd, (struct sockaddr *)&ss, len))
			exit(5);
	}
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	warm_up(fd, !a);
	note("%s.%c:", cases[k].name, a ? 'a' : 'b');
	(a ? cases[k].a : cases[k].b)(fd);
	note("\n");
	fputs(trace, stdout);
	exit(0);
}

static void run_case(size_t k)
{
	socklen_t len;
	struct sockaddr_storage ss = where(&len);
	int one = 1, status, listener = socket(ss.ss_family, SOCK_STREAM, 0);
	FILE *out[2];
	pid_t p[2];

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&ss, len) || listen(listener, 4) || pipe(sync_a) || pipe(sync_b))
		exit(6);
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		out[i] = tmpfile();
		p[i] = fork();
		if (p[i] == 0) {
			dup2(fileno(out[i]), 1);
			run_side(k, i == 0, listener);
		}
	}
	close(listener);
	for (int i = 0; i < 2; i++) {
		char line[4096];

		waitpid(p[i], &status, 0);
		rewind(out[i]);
		size_t n = fread(line, 1, sizeof(line) - 1, out[i]);

		line[n] = 0;
		printf("%s", line);
		if (n && line[n - 1] != '\n')
			puts("");
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			printf("%s.%c.status: %x\n", cases[k].name, 'a' + i, status);
		fclose(out[i]);
	}
	for (int i = 0; i < 2; i++) {
		close(sync_a[i]);
		close(sync_b[i]);
	}
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	address = argv[1];
	port = atoi(argv[2]);
	signal(SIGPIPE, SIG_IGN);
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++)
		if (argc < 4 || !strcmp(argv[3], cases[k].name))
			run_case(k);
	return 0;
}
