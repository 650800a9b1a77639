/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hutong_abi.h - the only truth for every layout that two parties of Hutong share:
 * the segment (program <-> program), the end pool (program <-> its agent), the member
 * table (agent -> program) and the control messages (program <-> its agent).
 *
 * All integers are in the byte order of the host: everything here stays on one machine.
 * Every field that a peer may write is read once, bounded, and only then used
 * (architecture, decision 8).  Clause ids (M.., D..) are those of docs/method.md;
 * rule numbers are those of docs/switching.md.
 */
#ifndef HUTONG_ABI_H
#define HUTONG_ABI_H

#include <stdint.h>

#define HUT_ABI_VERSION 5u

/* Abstract Unix address (leading NUL) of a VM's agent; SOCK_SEQPACKET; private to a network namespace. */
#define HUT_AGENT_NAME "hutong-agent"

#define HUT_PAGE 4096u

/* ------------------------------------------------------------------------------------------
 * Segment: one connection's shared memory; a memfd sealed with SHRINK|GROW|SEAL.
 *
 *   0      +----------------------------+
 *          | struct hut_segment (1 page)|   header, then one hut_dir for each direction
 *   4096   +----------------------------+
 *          | ring of direction 0        |   ring_size bytes, a power of two
 *          | ring of direction 1        |
 *          | overflow of direction 0    |   over_size bytes, a power of two; touched only when
 *          | overflow of direction 1    |   a reader stays away (rule 9)
 *          +----------------------------+
 *
 * A byte of stream offset o lives in the ring at o & (ring_size - 1) while o < split, and in the
 * overflow at o & (over_size - 1) from split on.  The producer sets split = tail when the ring is
 * full and the reader idle, and takes it back (HUT_NO_SPLIT) only when head == tail, so that a
 * reader which loads tail (acquire) and then split always sees the split of the bytes before tail.
 */
#define HUT_SEG_MAGIC 0x31545548u /* "HUT1" */
#define HUT_NO_SPLIT UINT64_MAX

/*
 * A direction moves to the ring and back in numbered rounds (D3), counted from 1.  At most one round is under way:
 *
 *   consumer: turn = (r, OPEN), then cons_round = r      "armed": the producer may go to the ring (rule 4)
 *   producer: start = tail = S, then prod_round = r      bytes from S on are in the ring (rule 5)
 *   consumer: turn (r, OPEN, 0) -> (r, OPEN, 1)          has seen S: TCP's bytes past S are not next
 *   consumer: turn (r, OPEN) -> (r, STOPPED, c)          takes nothing at or after c (rule 7); may raise c to any tail
 *   producer: turn (r, STOPPED, c) -> (r, OWED, c)       accepts: what it has put at or after c it sends on TCP
 *   producer: turn (r, OPEN, 1) -> (r, ENDED, e)         or goes back by itself: nothing at or after e is in the ring
 *   producer: turn (r, OPEN, 0) -> (r, OWED, S)          the same before the consumer has seen S: all goes by TCP
 *   producer: prod_done = r                              it is on TCP again and owes nothing: round r + 1 may be armed
 *
 * One word says state and offset together and moves by compare-and-set only, so that each byte has one carrier.
 *
 *   63                             34 33 32 31                              0
 *   +--------------------------------+-----+--------------------------------+
 *   | round (compared, never counted)| how | low 32 bits of a stream offset |
 *   +--------------------------------+-----+--------------------------------+
 */
enum hut_turn {
	HUT_TURN_OPEN = 0,
	HUT_TURN_STOPPED = 1,
	HUT_TURN_ENDED = 2,
	HUT_TURN_OWED = 3,
};

#define HUT_ROUND_MASK 0x3fffffffu
#define HUT_TURN(round, how, offset) \
	((uint64_t)((round) & HUT_ROUND_MASK) << 34 | (uint64_t)(how) << 32 | (uint32_t)(offset))
#define HUT_TURN_STATE(turn) ((turn) >> 32) /* round and how, to be compared with HUT_STATE() */
#define HUT_STATE(round, how) ((uint64_t)((round) & HUT_ROUND_MASK) << 2 | (uint64_t)(how))

enum hut_prod_mark {
	HUT_MARK_HALF_CLOSE = 1, /* shutdown(SHUT_WR or SHUT_RDWR): the FIN that follows is no close (rule 16) */
	HUT_MARK_SHUT = 2,       /* set before the FIN: TCP will carry no more than what it has */
	/* Between hosts only, where the other end of the segment is an agent (rule 17): */
	HUT_MARK_BACK = 4,       /* program: asks to be stopped, since it cannot end a round by itself */
	HUT_MARK_END = 8,        /* agent: `tail` is final, and the other marks are the far program's last word */
	HUT_MARK_CUT = 16,       /* agent, with END: bytes are missing, the connection counts as reset */
	HUT_MARK_WISH = 64,      /* agent: the far program's bytes shall come by the ring: the reader may arm */
	HUT_MARK_AGREED = 32,    /* agent: the far program will send by TCP what a reader that has LEFT did not take */
};

enum hut_cons_mark {
	HUT_MARK_GONE = 1, /* nobody will read from this ring any more: closed, or shut for reading and writing */
	HUT_MARK_LEFT = 2, /* the descriptor went where the ring cannot be read (rule 8): bytes must travel by TCP */
	HUT_MARK_FIN = 4,  /* between hosts: the FIN has come, and END is waited for */
};

/*
 * One direction; four cache lines.  The first two are written with each call that moves bytes, and so hold nothing
 * else that the other side looks at with each call; the others change only now and then.
 *
 *   0   tail  8 start  16 split                     written by the producer
 *   64  head                                        written by the consumer
 *   128 cons_wait   consumer sets it before it sleeps, producer clears it and rings
 *   132 cons_mark  136 cons_round                   written by the consumer, looked at by a producer
 *   144 turn        compare-and-set by either; a new round is opened by the consumer
 *   192 prod_wait   producer sets it before it sleeps, consumer clears it and rings
 *   196 prod_mark  200 prod_round  204 prod_done    written by the producer, looked at by a consumer
 */
struct hut_dir {
	uint64_t tail;       /* bytes before this stream offset are valid */
	uint64_t start;      /* S, valid from prod_round = r on */
	uint64_t split;      /* see above */
	uint8_t pad0[40];
	uint64_t head;       /* bytes before this stream offset are consumed; below `start`: not come to the ring yet */
	uint8_t pad1[56];
	uint32_t cons_wait;
	uint32_t cons_mark;  /* enum hut_cons_mark bits */
	uint32_t cons_round; /* the last round that was armed */
	uint32_t pad2;
	uint64_t turn;       /* HUT_TURN(round, enum hut_turn, offset) */
	uint8_t pad3[40];
	uint32_t prod_wait;
	uint32_t prod_mark;  /* enum hut_prod_mark bits */
	uint32_t prod_round; /* the last round whose bytes went to the ring */
	uint32_t prod_done;  /* the last round that is over for the producer */
	uint8_t pad4[48];
};

struct hut_segment {
	uint32_t magic;   /* HUT_SEG_MAGIC */
	uint32_t version; /* HUT_ABI_VERSION */
	uint32_t ring_size;
	uint32_t over_size;
	uint8_t pad[112];
	struct hut_dir dir[2]; /* at 128; dir[i] is produced by end i */
};

/* ------------------------------------------------------------------------------------------
 * End pool: one memfd a process, sealed SHRINK|GROW|SEAL, made by the process and handed to its
 * agent with HUT_MSG_HELLO.  One slot for each connection that may move ("end page" of rule 2):
 * shared by the processes that hold this end and their agent.  Never seen by the peer, so the
 * cursors here are the trusted ones.  The agent writes the five
 * `agent_` words and, between hosts, what docs/segment-abi.md says.
 */
#define HUT_POOL_MAGIC 0x4c505548u /* "HUPL" */
#define HUT_POOL_SLOTS 16383u
#define HUT_END_SIZE 256u

enum hut_end_state {
	HUT_END_FREE = 0,
	HUT_END_CANDIDATE = 1, /* between members; too young to be moved (rule 6) */
	HUT_END_PENDING = 2,   /* registered with the agent; the peer's end is not known yet */
	HUT_END_CHANNEL = 3,   /* segment mapped; each direction says where it is */
	HUT_END_TCP = 4,       /* stays on TCP, see `reason` */
};

enum hut_path {
	HUT_PATH_TCP = 0,
	HUT_PATH_SWITCH = 1, /* receive only: TCP up to rx_start, then the ring */
	HUT_PATH_RING = 2,
	HUT_PATH_DRAIN = 3,  /* send only: [stop, tail) is still owed to TCP */
};

struct hut_end {
	uint32_t rx_lock;    /*   0 thread id of the holder, 0 when free */
	uint32_t state;      /*   4 enum hut_end_state */
	uint32_t owner_pid;  /*   8 the one process that uses the ring (rule 18) */
	uint32_t holders;    /*  12 processes that hold the descriptor */
	uint32_t reason;     /*  16 enum hut_reason: why on TCP */
	uint32_t rx_path;    /*  20 enum hut_path */
	uint32_t tx_path;    /*  24 enum hut_path */
	uint32_t agent_note; /*  28 counted up by the agent when a control message waits */
	uint64_t cookie;     /*  32 SO_COOKIE */
	uint64_t tcp_in;     /*  40 bytes moved by the kernel's TCP ... */
	uint64_t tcp_out;    /*  48 */
	uint64_t ring_in;    /*  56 ... and by the ring */
	uint64_t ring_out;   /*  64 */
	uint64_t rx_head;    /*  72 own cursor: stream offset of the next byte to take from the ring */
	uint64_t tx_tail;    /*  80 own cursor: stream offset of the next byte to put into the ring */
	uint64_t tx_head;    /*  88 last validated cursor of the peer's reader */
	uint64_t tx_split;   /*  96 own split */
	uint64_t rx_start;   /* 104 validated S of the peer */
	uint64_t rx_end;     /* 112 validated end of the peer, UINT64_MAX while none */
	uint32_t nonblock;   /* 120 O_NONBLOCK of the open file description */
	uint32_t flags;      /* 124 enum hut_end_flags */
	uint32_t inflight;   /* 128 raw TCP calls under way */
	uint32_t chan;       /* 132 own channel number */
	uint32_t fd;         /* 136 descriptor number in the owner, for display */
	uint32_t raw_waits;  /* 140 threads in a wait that cannot see the doorbell (rule 4b) */
	uint32_t tx_lock;    /* 144 like rx_lock; taken after it where both are */
	uint64_t tx_start;   /* 152 own S */
	uint32_t rx_round;   /* 160 last round that this end has armed */
	uint32_t tx_round;   /* 164 last round that this end has sent in, or has passed over */
	uint32_t agent_gone; /* 168 set by the agent: the peer's end is registered no more; a hint */
	uint32_t owner_gen;  /* 172 counted up when a forked child becomes the owner */
	uint32_t agent_stop; /* 176 set by the agent: go back to TCP for good, a reason */
	uint32_t bell_fd;    /* 180 the own doorbell in the owner: an agent that was restarted finds it here ... */
	uint32_t peer_bell_fd; /* 184 ... and the peer's */
	uint32_t agent_peer; /* 188 set by the agent: the domain that the segment is shared with; 0: none, or not told ... */
	uint32_t agent_self; /* 192 ... and the domain that this VM was then; 0: not told */
	uint8_t pad[60];
};

enum hut_end_flags {
	HUT_ENDF_ACTIVE = 1,  /* this end called connect() */
	HUT_ENDF_FIN = 2,     /* the peer's FIN was seen */
	HUT_ENDF_ERR = 4,     /* the connection was reset */
	HUT_ENDF_WRSHUT = 8,  /* this end shut its sending side */
	HUT_ENDF_RDSHUT = 16, /* this end shut its receiving side */
	HUT_ENDF_NEVER = 32,  /* must never move again */
	HUT_ENDF_PEERGONE = 64, /* FIN without a half-close mark: nobody reads our ring */
	HUT_ENDF_ARMED = 128,   /* this end has armed its receiving direction */
	HUT_ENDF_RDHUP = 256,   /* the FIN was seen while bytes still came by TCP */
	HUT_ENDF_STOPPED = 512, /* the round rx_round was stopped by us: what it still held comes by TCP */
	HUT_ENDF_POISONED = 1024, /* reset by us, see reason 21 */
	HUT_ENDF_HALF = 2048,   /* the FIN was a half-close: the peer may still read */
	HUT_ENDF_PAUSED = 4096, /* on TCP for the time being: switched off at run time */
	HUT_ENDF_HANDED = 8192, /* an image that is none of us holds the socket too, by exec: our close is not the last */
	HUT_ENDF_RESET = 16384, /* the peer died over bytes of ours: TCP would have been reset, the kernel knows of nothing */
	HUT_ENDF_REMOTE = 32768, /* the peer is on another host: an agent is at the other end of the segment */
	HUT_ENDF_EARLY = 65536,  /* TCP has come to its end, and nobody has said yet whether that is the stream's */
	HUT_ENDF_PAYER = 131072, /* under tx_lock: the agent sends what is owed; only the kernel knows how far it has come */
	HUT_ENDF_STORM = 262144, /* the peer has rung without end, and is not heard any more, see reason 30 */
};

/* A holder of tx_lock that is no thread of the program's: an agent, with a number of its own in the other bits. */
#define HUT_LOCK_AGENT 0x40000000u

struct hut_pool {
	uint32_t magic;   /* HUT_POOL_MAGIC */
	uint32_t version; /* HUT_ABI_VERSION */
	uint32_t slots;
	uint32_t used;    /* high-water mark: slots at or above it were never used */
	uint8_t pad[HUT_END_SIZE - 16];
	struct hut_end end[HUT_POOL_SLOTS];
};

/* ------------------------------------------------------------------------------------------
 * Member table: one memfd an agent; programs get a read-only descriptor.  A seqlock: `seq` is odd
 * while the agent writes; a reader that sees it odd or changed looks again.  Entries are sorted
 * by address (memcmp).
 */
#define HUT_MEMBERS_MAGIC 0x424d5548u /* "HUMB" */
#define HUT_MEMBERS_MAX 1024u

enum hut_member_flags {
	HUT_MEMBER_CORESIDENT = 1, /* listed by this VM's own host agent */
	HUT_MEMBER_SELF = 2,       /* this VM itself */
};

struct hut_member {
	uint8_t addr[16]; /* IPv6, or IPv4 as ::ffff:a.b.c.d */
	uint32_t flags;   /* enum hut_member_flags */
	uint32_t vm;      /* agent's own number for the VM, for display */
};

struct hut_members {
	uint32_t magic;       /*  0 HUT_MEMBERS_MAGIC */
	uint32_t version;     /*  4 HUT_ABI_VERSION */
	uint32_t seq;         /*  8 */
	uint32_t count;       /* 12 */
	uint32_t enabled;     /* 16 0: everything stays on TCP */
	uint32_t after_bytes; /* 20 rule 6 */
	uint32_t after_ms;    /* 24 rule 6 */
	uint32_t spin_us;     /* 28 longest spin before a sleep */
	uint32_t remote;      /* 32 1: connections to members on other hosts may be offered, too */
	uint8_t pad[28];
	struct hut_member member[HUT_MEMBERS_MAX]; /* 64 */
};

/* ------------------------------------------------------------------------------------------
 * Control messages between a program's shim and its VM's agent: one SEQPACKET record each,
 * always sizeof(struct hut_msg) bytes, descriptors as SCM_RIGHTS in the order given.
 *
 *   HELLO     shim -> agent  [pool memfd]               first message
 *   WELCOME   agent -> shim  [member table, read-only]  answer to HELLO; ref: what the agent puts into tx_lock
 *   REGISTER  shim -> agent  [own doorbell eventfd]     ref, fd, cookie, slot
 *   DECLINED  agent -> shim                             ref, reason
 *   CHANNEL   agent -> shim  [segment memfd, peer's doorbell eventfd]  ref, side, sizes, channel numbers
 *                            on Xen [gntalloc or gntdev device, event channel device]  and the port
 *   GONE      shim -> agent                             ref, reason: the registration ends
 *
 * After DECLINED or CHANNEL the agent counts up end[slot].agent_note and rings the shim's doorbell.
 */
enum hut_msg_type {
	HUT_MSG_HELLO = 1,
	HUT_MSG_WELCOME = 2,
	HUT_MSG_REGISTER = 3,
	HUT_MSG_DECLINED = 4,
	HUT_MSG_CHANNEL = 5,
	HUT_MSG_GONE = 6,
};

struct hut_msg {
	uint32_t type;      /*  0 enum hut_msg_type */
	uint32_t version;   /*  4 HUT_ABI_VERSION */
	uint32_t ref;       /*  8 the shim's own number for the connection, unique in this control connection */
	uint32_t fd;        /* 12 REGISTER: descriptor number of the TCP socket in the caller */
	uint64_t cookie;    /* 16 REGISTER: SO_COOKIE of that socket */
	uint32_t slot;      /* 24 REGISTER: index in the end pool */
	uint32_t reason;    /* 28 DECLINED, GONE: enum hut_reason */
	uint32_t side;      /* 32 CHANNEL: this end produces dir[side] */
	uint32_t ring_size; /* 36 CHANNEL */
	uint32_t over_size; /* 40 CHANNEL */
	uint32_t chan;      /* 44 CHANNEL: own channel number, 16-bit index | 16-bit generation << 16 */
	uint32_t peer_chan; /* 48 CHANNEL */
	uint8_t peer_mac[6]; /* 52 CHANNEL (M2.3) */
	uint16_t flags;     /* 58 CHANNEL: enum hut_msg_flags */
	uint32_t port;      /* 60 CHANNEL with HUT_MSGF_XEN: the event channel's port in this VM, never 0 */
};

enum hut_msg_flags {
	HUT_MSGF_REMOTE = 1, /* the peer is on another host, the other end of the segment is this VM's agent */
	HUT_MSGF_XEN = 2,    /* the segment is granted pages, the peer's doorbell an event channel (M5.3) */
};

/* Why a connection, or a part of its life, is on TCP.  Numbers are stable and documented in docs/operations.md. */
enum hut_reason {
	HUT_R_NONE = 0,
	HUT_R_OFF = 1,            /* switched off by the environment or the agent */
	HUT_R_NOT_MEMBER = 2,     /* the peer is outside the cluster */
	HUT_R_INTER_HOST = 3,     /* the peer is on another host */
	HUT_R_SAME_VM = 4,        /* both ends are in this VM */
	HUT_R_AGENT_DOWN = 5,     /* this VM's agent does not answer */
	HUT_R_PEER_SILENT = 6,    /* the peer's end is not registered: no shim there, or switched off */
	HUT_R_YOUNG = 7,          /* below the age and the bytes of rule 6 */
	HUT_R_COUNT = 8,          /* bytes moved that the shim did not see (rule 4a) */
	HUT_R_QUOTA = 9,          /* the VM's quota of channels or memory is used up */
	HUT_R_DESCRIPTORS = 10,   /* too few free descriptors (rule 15) */
	HUT_R_SEGMENT = 11,       /* the segment offered is not what it must be */
	HUT_R_POLICY = 12,        /* the administrator's policy */
	HUT_R_NOT_INTERCEPTED = 13, /* the program runs without the shim, or is static */
	HUT_R_STDIO = 14,         /* used by stdio or as descriptor 0-2 (rule 8) */
	HUT_R_EXEC = 15,          /* handed over by exec (rule 8) */
	HUT_R_PASSED = 16,        /* handed over by SCM_RIGHTS (rule 8) */
	HUT_R_SHARED = 17,        /* used by a second process (rule 8) */
	HUT_R_OPTION = 18,        /* an option or call that the ring cannot honour (rule 8) */
	HUT_R_IO_URING = 19,      /* the process has io_uring descriptors (rule 8) */
	HUT_R_PEER_STOP = 20,     /* the peer asked to go back to TCP */
	HUT_R_POISONED = 21,      /* the peer published an impossible cursor, or bytes on the wrong path */
	HUT_R_NOT_OWNER = 22,     /* the socket is not what the registration says, or its address is not this VM's */
	HUT_R_PEER_AGENT = 23,    /* the peer's agent does not answer */
	HUT_R_VERSION = 24,       /* the other side speaks another version */
	HUT_R_TUNNEL = 25,        /* the route leaves by a tunnel or an XFRM policy applies (rule 21) */
	HUT_R_XEN_PRIV = 26,      /* Xen devices need root (decision 14) */
	HUT_R_MEMORY = 27,        /* no memory for the segment */
	HUT_R_STATE = 28,         /* the socket is not an established TCP connection */
	HUT_R_PATH = 29,          /* between hosts: TCP is no slower for what is sent */
	HUT_R_STORM = 30,         /* on Xen: the peer rang again and again without any news */
	HUT_R_UNSEALED = 31,      /* between hosts: begun without authentication, which an agent wants now (D6) */
	HUT_R_WIRE = 32,          /* between hosts: no wire that both ends have answers (D5) */
};

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(struct hut_dir) == 256, "hut_dir");
_Static_assert(sizeof(struct hut_segment) == 640, "hut_segment");
_Static_assert(sizeof(struct hut_end) == HUT_END_SIZE, "hut_end");
_Static_assert(sizeof(struct hut_pool) == (HUT_POOL_SLOTS + 1) * HUT_END_SIZE, "hut_pool");
_Static_assert(sizeof(struct hut_member) == 24, "hut_member");
_Static_assert(sizeof(struct hut_msg) == 64, "hut_msg");
#endif

#endif /* HUTONG_ABI_H */
