/* SPDX-License-Identifier: Apache-2.0 */
// szero ADDR PORT: the client has never sent a byte when its direction goes to the ring (S = 0), then its forked child STOPs while the server owes bytes
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static void ms(int n){nanosleep(&(struct timespec){n/1000,(n%1000)*1000000l},NULL);}
int main(int c,char**v){struct sockaddr_in sa={.sin_family=AF_INET,.sin_port=htons(atoi(v[2]))};inet_pton(AF_INET,v[1],&sa.sin_addr);
 int L=socket(AF_INET,SOCK_STREAM,0),one=1;int small=8192;setsockopt(L,SOL_SOCKET,SO_REUSEADDR,&one,4);bind(L,(void*)&sa,sizeof sa);listen(L,5);setvbuf(stdout,0,_IONBF,0);alarm(10);static char z[200000];
 if(fork()==0){int s=socket(AF_INET,SOCK_STREAM,0);setsockopt(s,SOL_SOCKET,SO_RCVBUF,&small,4);connect(s,(void*)&sa,sizeof sa);char b[10];for(int i=0;i<15;i++){recv(s,b,1,0);ms(5);struct pollfd p={s,POLLOUT,0};poll(&p,1,0);}
  ms(200); // server has filled the ring
  if(fork()==0){for(int i=0;i<5;i++){ssize_t r=send(s,"hello",5,MSG_NOSIGNAL);if(r<0)printf("child send: %s\n",strerror(errno));ms(50);}ms(300);size_t t=0;ssize_t r;static char q[10000];while((r=recv(s,q,sizeof q,0))>0)t+=r;printf("client got %zu then %s\n",t,r<0?strerror(errno):"EOF");_exit(0);}
  close(s);wait(0);_exit(0);}
 int a=accept(L,0,0);setsockopt(a,SOL_SOCKET,SO_SNDBUF,&small,4);for(int i=0;i<15;i++){send(a,"x",1,0);ms(6);}
 fcntl(a,F_SETFL,O_NONBLOCK);size_t t=0;ssize_t r;for(int i=0;i<100&&t<150000;i++){r=send(a,z,10000,MSG_NOSIGNAL);if(r>0)t+=r;}
 char b[100];size_t in=0;for(int i=0;i<60;i++){r=recv(a,b,5,0);if(r>0)in+=r;else if(r==0||errno!=EAGAIN){printf("server recv: %zd %s\n",r,strerror(errno));break;}ms(10);}
 printf("server sent %zu, got %zu\n",t,in);close(a);wait(0);}
