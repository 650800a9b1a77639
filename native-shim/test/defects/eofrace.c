/* SPDX-License-Identifier: Apache-2.0 */
// eofrace ADDR PORT: client armed nothing but TCP; reader enters recv(777) on TCP; peer switches to ring, writes, closes inside the window
#include <arpa/inet.h>
#include <errno.h>
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
 int L=socket(AF_INET,SOCK_STREAM,0),one=1,p[2];setsockopt(L,SOL_SOCKET,SO_REUSEADDR,&one,4);bind(L,(void*)&sa,sizeof sa);listen(L,5);pipe(p);setvbuf(stdout,0,_IONBF,0);alarm(10);char b[1000],ch;
 if(fork()==0){ // writer
  int s=socket(AF_INET,SOCK_STREAM,0);connect(s,(void*)&sa,sizeof sa);send(s,"1",1,0);recv(s,b,1,0);ms(30);
  send(s,"2",1,0); // registers
    read(p[0],&ch,1);ms(50); // the reader has armed and is inside its recv
  ssize_t r=send(s,"DATA",4,0);printf("writer: send=%zd, close\n",r);close(s);_exit(0);}
 int a=accept(L,0,0);recv(a,b,1,0);send(a,"1",1,0);ms(30);recv(a,b,1,0);for(int i=0;i<4;i++){struct pollfd q={a,POLLIN,0};ms(15);poll(&q,1,0);}
 write(p[1],"g",1);ssize_t n,t=0;while((n=recv(a,b,777,0))>0)t+=n;printf("reader: %zd of 4 bytes, then %s\n",t,n?strerror(errno):"EOF");wait(0);}
