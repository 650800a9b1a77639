/* SPDX-License-Identifier: Apache-2.0 */
// mtep ADDR PORT MODE : 4 worker threads on one epoll set; MODE lt|et|oneshot; 16 clients ping-pong random sizes with checksum, clients reconnect
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static int ep,mode;static struct sockaddr_in sa;
static double now(void){struct timespec t;clock_gettime(1,&t);return t.tv_sec+t.tv_nsec/1e9;}
struct cs{int fd;pthread_mutex_t m;unsigned char buf[65536];size_t have,at;int dead;};
static void pump(struct cs*s){for(;;){if(s->at<s->have){ssize_t w=send(s->fd,s->buf+s->at,s->have-s->at,MSG_NOSIGNAL|MSG_DONTWAIT);if(w<0){if(errno==EAGAIN)return;s->dead=1;return;}s->at+=w;continue;}
 s->at=s->have=0;ssize_t r=recv(s->fd,s->buf,sizeof s->buf,MSG_DONTWAIT);if(r>0){s->have=r;continue;}if(r<0&&errno==EAGAIN)return;s->dead=1;return;}}
static void*wk(void*x){struct epoll_event e[8];for(;;){int n=epoll_wait(ep,e,8,-1);for(int i=0;i<n;i++){struct cs*s=e[i].data.ptr;pthread_mutex_lock(&s->m);if(!s->dead){pump(s);if(s->dead){epoll_ctl(ep,EPOLL_CTL_DEL,s->fd,e);close(s->fd);}else{uint32_t w=s->at<s->have?EPOLLOUT:EPOLLIN;if(mode==2){struct epoll_event q={.events=w|EPOLLONESHOT,.data.ptr=s};epoll_ctl(ep,EPOLL_CTL_MOD,s->fd,&q);}else if(mode==0){struct epoll_event q={.events=w,.data.ptr=s};epoll_ctl(ep,EPOLL_CTL_MOD,s->fd,&q);}}}pthread_mutex_unlock(&s->m);}}return 0;}
static long rounds,fail;static void*cl(void*x){unsigned seed=(long)x;double t0=now();unsigned char*b=malloc(2000000),*c=malloc(2000000);while(now()-t0<8){int s=socket(AF_INET,SOCK_STREAM,0);if(connect(s,(void*)&sa,sizeof sa)){perror("connect");break;}struct timeval tv={4,0};setsockopt(s,SOL_SOCKET,SO_RCVTIMEO,&tv,sizeof tv);
 for(int k=0;k<60;k++){size_t n=rand_r(&seed)%10?rand_r(&seed)%3000+1:rand_r(&seed)%300000+1;for(size_t i=0;i<n;i++)b[i]=rand_r(&seed);size_t d=0;
  size_t sent=0;while(d<n){if(sent<n){ssize_t w=send(s,b+sent,n-sent>50000?50000:n-sent,MSG_NOSIGNAL|MSG_DONTWAIT);if(w>0)sent+=w;}ssize_t r=recv(s,c+d,n-d,sent<n?MSG_DONTWAIT:0);if(r>0)d+=r;else if(r==0||(errno!=EAGAIN||sent==n)){printf("client: %zd %s after %zu of %zu\n",r,strerror(errno),d,n);__sync_fetch_and_add(&fail,1);break;}}
  if(d<n)break;if(memcmp(b,c,n)){printf("CORRUPT\n");__sync_fetch_and_add(&fail,1);}__sync_fetch_and_add(&rounds,1);if(rand_r(&seed)%20==0)usleep(1000);}close(s);}return 0;}
int main(int c,char**v){sa=(struct sockaddr_in){.sin_family=AF_INET,.sin_port=htons(atoi(v[2]))};inet_pton(AF_INET,v[1],&sa.sin_addr);mode=!strcmp(v[3],"et")?1:!strcmp(v[3],"oneshot")?2:0;
 int L=socket(AF_INET,SOCK_STREAM,0),one=1;setsockopt(L,SOL_SOCKET,SO_REUSEADDR,&one,4);bind(L,(void*)&sa,sizeof sa);listen(L,50);setvbuf(stdout,0,_IONBF,0);alarm(20);
 if(fork()==0){alarm(20);pthread_t t[16];for(long i=0;i<16;i++)pthread_create(t+i,0,cl,(void*)i+7);for(int i=0;i<16;i++)pthread_join(t[i],0);printf("%s rounds %ld fail %ld\n",v[3],rounds,fail);exit(0);}
 ep=epoll_create1(0);pthread_t t;for(int i=0;i<4;i++)pthread_create(&t,0,wk,0);struct pollfd p={L,POLLIN,0};double t0=now();
 while(now()-t0<10){if(poll(&p,1,500)!=1)continue;int a=accept(L,0,0);struct cs*s=calloc(1,sizeof*s);s->fd=a;pthread_mutex_init(&s->m,0);struct epoll_event q={.events=mode==1?EPOLLIN|EPOLLOUT|EPOLLET:mode==2?EPOLLIN|EPOLLONESHOT:EPOLLIN,.data.ptr=s};epoll_ctl(ep,EPOLL_CTL_ADD,a,&q);}wait(0);_exit(0);}
