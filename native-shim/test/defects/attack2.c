/* SPDX-License-Identifier: Apache-2.0 */
// attack2 CASE ADDR PORT : server (accept) forks client; special set-ups
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
static void ms(int n){nanosleep(&(struct timespec){n/1000,(n%1000)*1000000l},NULL);}
static struct sockaddr_in sa; static int L;
static int cli(void){int s=socket(AF_INET,SOCK_STREAM,0);if(connect(s,(void*)&sa,sizeof sa)){perror("connect");exit(1);}return s;}
static void warm(int fd,int first){char c='w';for(int i=0;i<20;i++){if(first){send(fd,&c,1,0);recv(fd,&c,1,0);ms(3);}else{recv(fd,&c,1,0);send(fd,&c,1,0);}}}
static double now(void){struct timespec t;clock_gettime(1,&t);return t.tv_sec+t.tv_nsec/1e9;}
static double cpu(void){struct timespec t;clock_gettime(CLOCK_PROCESS_CPUTIME_ID,&t);return t.tv_sec+t.tv_nsec/1e9;}
int main(int c,char**v){
 sa.sin_family=AF_INET;sa.sin_port=htons(atoi(v[3]));inet_pton(AF_INET,v[2],&sa.sin_addr);
 L=socket(AF_INET,SOCK_STREAM,0);int one=1;setsockopt(L,SOL_SOCKET,SO_REUSEADDR,&one,sizeof one);
 if(!strcmp(v[1],"rcvtimeo")){struct timeval tv={0,300000};setsockopt(L,SOL_SOCKET,SO_RCVTIMEO,&tv,sizeof tv);}
 if(bind(L,(void*)&sa,sizeof sa)||listen(L,500)){perror("bind");return 1;}
 setvbuf(stdout,NULL,_IONBF,0); alarm(15);
 if(!strcmp(v[1],"rcvtimeo")){ // accepted socket inherits the listener's time-out
  if(fork()==0){int s=cli();ms(5000);_exit(0);}
  int a=accept(L,0,0);char b;double t=now();ssize_t r=recv(a,&b,1,0);printf("recv=%zd errno=%d after %.1f\n",r,r<0?errno:0,now()-t);
 } else if(!strcmp(v[1],"exclusive")){
  if(fork()==0){int s=cli();warm(s,1);ms(200);send(s,"z",1,0);ms(2500);_exit(0);}
  int a=accept(L,0,0);int ep=epoll_create1(0);struct epoll_event e={.events=EPOLLIN|EPOLLEXCLUSIVE,.data.u64=1};epoll_ctl(ep,EPOLL_CTL_ADD,a,&e);
  warm(a,0);int r=epoll_wait(ep,&e,1,2000);printf("epoll=%d\n",r);
 } else if(!strcmp(v[1],"readv_et")){ // >16 iovecs, edge-triggered, young connection: short read means drained
  int p[2];pipe(p);
  if(fork()==0){int s=cli();char b[64];memset(b,'q',64);send(s,b,64,0);ms(3000);_exit(0);}
  int a=accept(L,0,0);fcntl(a,F_SETFL,O_NONBLOCK);ms(50);char b[64];struct iovec w[64];for(int i=0;i<64;i++)w[i]=(struct iovec){b+i,1};
  ssize_t r=readv(a,w,64);printf("readv=%zd of 64\n",r);
 } else if(!strcmp(v[1],"pendfork")){ // fork between REGISTER and CHANNEL
  int p[2];pipe(p);
  if(fork()==0){int s=cli();char ch;send(s,"a",1,0);recv(s,&ch,1,0);read(p[0],&ch,1);/* now register */ for(int i=0;i<10;i++){send(s,"x",1,0);ms(30);}ms(1000);_exit(0);}
  int a=accept(L,0,0);char ch;recv(a,&ch,1,0);ms(40);send(a,"b",1,0);/* PENDING */
  int q[2];pipe(q);pid_t k=fork();if(k==0){read(q[0],&ch,1);ssize_t r=send(a,"child",5,0);_exit(r==5?0:1);}
  write(p[1],"g",1);ms(200);char bb[100];for(int i=0;i<5;i++){recv(a,bb,100,MSG_DONTWAIT);ms(20);} // parent takes CHANNEL
  write(q[1],"g",1);int st;waitpid(k,&st,0);printf("child %s %d\n",WIFSIGNALED(st)?"KILLED by signal":"exit",WIFSIGNALED(st)?WTERMSIG(st):WEXITSTATUS(st));
 } else if(!strcmp(v[1],"nofile")){ // RLIMIT_NOFILE 256, 240 descriptors wanted
  struct rlimit rl={256,256};int n=atoi(v[4]);
  if(fork()==0){int s[1000];for(int i=0;i<n;i++){s[i]=cli();send(s[i],"a",1,0);}ms(60);for(int j=0;j<40;j++){for(int i=0;i<n;i++)send(s[i],"b",1,0);ms(20);char t[10];for(int i=0;i<n;i++)recv(s[i],t,10,MSG_DONTWAIT);}ms(500);_exit(0);}
  setrlimit(RLIMIT_NOFILE,&rl);int s[1000];for(int i=0;i<n;i++)s[i]=accept(L,0,0);
  for(int j=0;j<20;j++){ms(30);char t[100];for(int i=0;i<n;i++){recv(s[i],t,100,MSG_DONTWAIT);send(s[i],"c",1,0);}}
  int ok=0;while(n+ok<245&&open("/dev/null",0)>=0)ok++;printf("connections %d, then opened %d (errno %d)\n",n,ok,errno);
 } else if(!strcmp(v[1],"cwait")){ // CLOSE_WAIT/young conn idle: wake-ups while idle
  if(fork()==0){int s=cli();shutdown(s,SHUT_WR);ms(4000);_exit(0);}
  int a=accept(L,0,0);struct pollfd p={a,0,0};struct rusage r0,r1;getrusage(RUSAGE_SELF,&r0);poll(&p,1,2000);getrusage(RUSAGE_SELF,&r1);printf("switches in 2 s idle: %ld\n",r1.ru_nvcsw-r0.ru_nvcsw);
 } else if(!strcmp(v[1],"reuse")){ // thread blocked in recv; other thread shuts + closes and accepts the next with the same number
  int rounds=100,broken=0,same=0; 
  if(fork()==0){for(int i=0;i<rounds;i++){int s=cli();warm(s,1);int t=cli();send(t,"data",4,0);char b[10];ssize_t r=recv(t,b,2,0);if(r!=2)printf("client: second connection broken r=%zd errno=%d\n",r,errno);close(t);close(s);}_exit(0);}
  for(int i=0;i<rounds;i++){int a=accept(L,0,0);warm(a,0);ms(5);pthread_t th;extern void*rdr(void*);pthread_create(&th,0,rdr,&a);ms(1);int old=a;struct pollfd lp={L,POLLIN,0};poll(&lp,1,1000);ms(1);shutdown(old,SHUT_RDWR);close(old);int b=accept(L,0,0);same+=b==old;char x[4];ms(2);ssize_t r=recv(b,x,4,MSG_WAITALL);if(r!=4){broken++;}send(b,"ok",2,MSG_NOSIGNAL);pthread_join(th,0);close(b);}
  printf("same number %d, broken %d of %d\n",same,broken,rounds);
 } else if(!strcmp(v[1],"hotmany")){ // n connections, all active; server in one epoll
  int n=atoi(v[4]);if(fork()==0){alarm(60);int*s=calloc(n,4);for(int i=0;i<n;i++)s[i]=cli();double t=now();long ops=0;char ch;while(now()-t<5){for(int i=0;i<n;i++)send(s[i],"a",1,0);for(int i=0;i<n;i++)recv(s[i],&ch,1,0);ops+=n;}printf("echo/s %ld\n",(long)(ops/(now()-t)));_exit(0);}
  alarm(60);int ep=epoll_create1(0);struct epoll_event e[256];e[0].events=EPOLLIN;int left=n;for(int i=0;i<n;i++){int a=accept(L,0,0);e[0].data.fd=a;e[0].events=EPOLLIN;epoll_ctl(ep,EPOLL_CTL_ADD,a,e);}
  while(left){int k=epoll_wait(ep,e,256,-1);for(int i=0;i<k;i++){char b[10];ssize_t r=recv(e[i].data.fd,b,10,MSG_DONTWAIT);if(r>0)send(e[i].data.fd,b,r,0);else if(r==0||errno!=EAGAIN){close(e[i].data.fd);left--;}}}
  printf("server cpu %.2f\n",cpu());
 }
 fflush(stdout);while(wait(NULL)>0);return 0;}
void*rdr(void*p){int fd=*(int*)p;char b[100];ssize_t r=recv(fd,b,100,0);if(r>0)printf("  old reader got %zd bytes of the new connection\n",r);return 0;}
