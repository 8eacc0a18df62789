/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * shapes.h - every layout that Python sees too. engines/bpf/shapes.py is generated from these.
 *
 * Keys are in network order, values in host order, padding is named. Addresses are 16 bytes,
 * IPv4 as ::ffff:a.b.c.d. A change here is a change of SHAPES_VERSION, but for what is never pinned.
 */
#pragma once

#include <linux/types.h>

enum limits {
	SHAPES_VERSION = 4,
	MAX_SERVICES = 4096,
	MAX_REALS = 16384,
	MAX_CHUNKS = 32768,
	MEMBERS_PER_CHUNK = 26, /* a chunk is 256 bytes */
	WAYS = 8,
	RING_PART = 120,   /* places of a ring in one chunk */
	RING_BUCKETS = 256, /* of sh and dh */
	MAGLEV_PLACES = 4093, /* of mh: the kernel's default, so that both directors agree */
	NOBODY = 0xffff,   /* in a ring */
	QUIESCENT = 0x4000, /* with a real server in a ring: its weight is 0 */
	XDP_PLACES = 256,
	TABLES = 2,	       /* of connections: while one grows out of the other there are two */
	FIRST_BUCKETS = 16384, /* x 8 slots x 64 bytes = 8 MiB: a table with few flows is fast if small */
	FILTER_WORDS = 1024,   /* 2^16 bits */
	SEGMENTS = 16,	       /* of a sweep, counted each for itself */
};

struct address {
	union {
		__be32 word[4];
		__u64 half[2];
	};
};

/*
 * What names a virtual service: an address, a port (0: every one) and a protocol; or a mark, and
 * then the address is that of nobody in its family, and protocol and port are 0.
 */
struct service_key {
	struct address vip;
	__be16 port;
	__u8 protocol;
	__u8 reserved;
	__u32 mark;
};

struct totals {
	__u64 connections;
	__u64 in_packets;
	__u64 out_packets;
	__u64 in_bytes; /* IP packet lengths, as in IPVS */
	__u64 out_bytes;
};

enum slot_state { SLOT_FREE, SLOT_USED, SLOT_LEAVING };

/* The kernel's numbers (spec ipvs 0). The flags of schedulers differ in meaning. */
enum service_flags {
	SERVICE_PERSISTENT = 0x1,
	SERVICE_ONE_PACKET = 0x4,
	SCHED_FALLBACK = 0x8,
	SCHED_PORT = 0x10,
	SCHED_FLAG_3 = 0x20,
};

struct service {
	__u64 list;	/* first chunk of the list in force, 0: no servers. One 8-byte store swaps it */
	__u64 position; /* of rr and wrr, see turns.h; only the programs write it */
	struct service_key key;
	__u32 state; /* enum slot_state */
	__u32 flags; /* enum service_flags */
	__u32 timeout; /* of new persistence templates, clock units */
	__u32 epoch;   /* another one for every scheduler that it has had: whose caches are valid */
	struct address mask; /* what of a client's address makes its network */
	struct totals departed; /* of real servers that are no longer in the list */
	struct totals zero;	/* what `ipvsadm -Z` subtracts */
};

/*
 * A service's real servers in list order (the most recently added first), published as a whole.
 * The chunks of one list are consecutive. What is kept of the whole list counts in the first.
 */
struct member {
	__u32 real; /* index into reals */
	__u32 weight;
};

enum scheduler {
	SCHED_RR,
	SCHED_WRR,
	SCHED_LC,
	SCHED_WLC,
	SCHED_SED,
	SCHED_NQ,
	SCHED_FO,
	SCHED_OVF,
	SCHED_TWOS,
	SCHED_LBLC,
	SCHED_LBLCR,
	SCHED_SH,
	SCHED_DH,
	SCHED_MH,
	SCHED_NONE,
};

struct chunk {
	__u64 best;	/* version << 32 | index of the best member, see least.h */
	__u32 version;	/* moves on with the counts of its members */
	__u32 heaviest; /* the highest weight among its members */
	struct member member[MEMBERS_PER_CHUNK];
	__u32 count; /* members of the whole list */
	__u32 scheduler;
	__u32 divisor;	    /* wrr: greatest common divisor of the weights */
	__u32 max_weight;   /* wrr: the highest current weight, max - (divisor - 1) */
	__u32 start_index;  /* where rr and wrr go on after this list was published: last + 1 */
	__u32 start_weight; /* wrr: current weight at that moment */
	__u32 watched;	    /* 1: every change of a member's counts moves its chunk's version */
	__u32 limited;	    /* 1: a member has an upper threshold, so it may be overloaded */
};

/*
 * The ring of sh, dh and mh follows the chunks of its list, in chunks of its own. These keep best
 * and version from the lists before: a slow program may still write there.
 */
struct ring_part {
	__u64 kept[2];
	__u16 real[RING_PART]; /* index into reals and perhaps QUIESCENT, or NOBODY */
};

/* The kernel's numbers of forwarding methods. */
enum method { METHOD_MASQ, METHOD_LOCAL, METHOD_IPIP, METHOD_GATE };

/* hop_interface of a real server that is this machine. */
#define HOP_HERE 0xffffffffU

struct real {
	struct address address;
	__be16 port;
	__u8 method;
	__u8 state;    /* enum slot_state; LEAVING: deleted, connections may still name it */
	__u32 service; /* index into services */
	__u64 left_at_ns; /* CLOCK_MONOTONIC when it became LEAVING */
	struct address tunnel_source;
	/* The way to it, found and refreshed by the programs themselves (hop.h). */
	struct address hop_address; /* the neighbour: the real server or a gateway */
	__u32 hop_interface;	    /* 0: no route known */
	__u32 hop_mtu;		    /* 0: not known */
	__u32 hop_checked;	    /* when, in clock units; 0: never */
	__u32 local;		    /* 1: user space saw that the address is this machine's */
	__u64 hop_mac;	  /* six bytes, bit 63 set when valid: xdp only */
	__u64 hop_own_mac; /* of the interface */
	__u32 weight; /* as in the list */
	__u32 last_weight; /* the latest that was not 0: mh's ring is made by it */
	__u32 upper; /* thresholds; 0: none */
	__u32 lower;
	__u32 generation; /* another one for every real server that was in this place */
	__u32 reserved;
	struct service_key service_key; /* by which a deleted one is found again */
	struct totals base;		/* real_totals when the slot got this real server */
	struct totals zero;		/* what `ipvsadm -Z` subtracts */
};

/*
 * How busy a real server is, by its index into reals. Apart from struct real, packed: a scheduler
 * may have to look at all of them.
 */
struct real_counts {
	__u64 counts; /* active << 32 | inactive: one atomic add moves both */
	__u32 persistent; /* templates that lead to it */
	__u16 chunk;	  /* whose version a change of the counts moves; 0: nobody keeps a result */
	__u8 limited;	  /* 1: it has an upper threshold */
	__u8 overloaded;  /* 1: no new connections; the programs set it, an edit may clear it */
};

struct connection {
	__u64 control; /* see connections.h */
	__u64 word;    /* of slot 0: the bucket's lock; else of persistence.h */
	struct address client;
	struct address vip;
	__be16 client_port;
	__be16 vip_port;
	__u8 protocol;
	__u8 is_template;
	__u8 reserved[2];
	__u32 real;
	__u32 way_back; /* of replies, see hop.h */
};

struct bucket {
	struct connection slot[WAYS];
};

enum tcp_state {
	TCP_NONE,
	TCP_ESTABLISHED,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_SYNACK,
	TCP_STATES,
};

enum sctp_state {
	SCTP_NONE,
	SCTP_INIT1,
	SCTP_INIT,
	SCTP_COOKIE_SENT,
	SCTP_COOKIE_REPLIED,
	SCTP_COOKIE_WAIT,
	SCTP_COOKIE,
	SCTP_COOKIE_ECHOED,
	SCTP_ESTABLISHED,
	SCTP_SHUTDOWN_SENT,
	SCTP_SHUTDOWN_RECEIVED,
	SCTP_SHUTDOWN_ACK_SENT,
	SCTP_REJECTED,
	SCTP_CLOSED,
	SCTP_STATES,
};

/* Which kinds of services there are, so that nobody looks for others: settings.kinds. */
enum kinds { HAS_MARKS = 1, HAS_EVERY_PORT = 2, HAS_FTP = 4 };

enum door { DOOR_TC, DOOR_XDP, DOORS };

/* One value for the whole data plane. Python writes it before the doors open, and when told. */
struct settings {
	__u64 hash_key[4];  /* secret, made at load; [3] is odd */
	__u32 tables;	    /* which are searched: bits 0 and 1; where new ones go: from bit 8 */
	__u32 buckets[TABLES];
	__u32 clock_shift;  /* a clock unit is so many jiffies, as a power of two: 320 to 640 ms */
	__u32 kinds;	    /* of services, enum kinds */
	__u32 hop_lifetime; /* clock units between two looks at a real server's route */
	__u32 udp_timeout;  /* clock units */
	__u32 shapes_version;
	__u32 hz;	    /* jiffies a second */
	__u32 writing;	    /* 1 while a writer is at work; still 1 afterwards: it was killed */
	__u64 build;	    /* first 8 bytes of the programs' SHA-256 */
	__u64 netns_cookie; /* whose table this is; inode numbers are reused */
	__u32 tcp_timeout[16]; /* by enum tcp_state; sixteen, so that a masked index needs no test */
	__u32 sctp_timeout[16];
	/* the kernel's sysctls, by their names; periods in seconds */
	__u32 conn_reuse_mode;
	__u32 expire_nodest_conn;
	__u32 expire_quiescent_template;
	__u32 lblc_expiration;
	__u32 lblcr_expiration;
	__u32 run_estimation;
	__u32 secure_tcp;
	__u32 sloppy_tcp;
	__u32 sloppy_sctp;
	__u32 cpus;	     /* that per-CPU values have a copy for */
	__u32 limit;	     /* connections that the table grows for: it then has twice as many slots */
	__u32 reals_used;    /* slots that were ever in use */
	__u32 services_used;
	__u32 next_chunk;    /* where the search for free chunks goes on */
};

/* The MAC of an interface with an xdp door, in the place `interface` % XDP_PLACES. */
struct own_mac {
	__u64 mac; /* as in struct real: bit 63 set */
	__u32 interface;
	__u32 is_device; /* 1: behind it is a device, which can send back what it received */
};

/* What happened at a door, per CPU. Names are shown to people as they stand here. */
struct door_counters {
	__u64 masq;
	__u64 gate;
	__u64 ipip;
	__u64 local;
	__u64 replies;		/* of masq, rewritten to come from the VIP; of this machine */
	__u64 new_connections;
	__u64 new_templates;
	__u64 handed_over;	/* xdp only: left to the tc door */
	__u64 no_real_server;	/* refused with ICMP port unreachable */
	__u64 real_server_gone; /* its real server was deleted: dropped silently, as IPVS does */
	__u64 no_route;
	__u64 too_big;	   /* answered with ICMP fragmentation needed */
	__u64 ttl_exceeded;
	__u64 table_full;	  /* dropped: every place was held by an established connection */
	__u64 table_busy;	  /* dropped: other CPUs held the bucket */
	__u64 evicted_inactive;	  /* ended for a new connection: the oldest inactive one */
	__u64 evicted_half_open;  /* the same, there being no inactive one */
	__u64 errors; /* a helper refused */
};

/* The addresses of services and real servers, hashed (filter.h). Bits are set before they count. */
struct address_filter {
	__u64 word[FILTER_WORDS];
};

/* The way of a check along the data path. Never pinned: it ends with the daemon that checks. */
struct check_path {
	struct address vip;
	struct address real;
	__u32 method; /* enum method: gate or ipip */
	__u32 reserved;
};

/* Per second, scaled as in the kernel: 2^10, bytes 2^5 (spec ipvs 7). */
struct rates {
	__u64 connections;
	__u64 in_packets;
	__u64 out_packets;
	__u64 in_bytes;
	__u64 out_bytes;
};

/* Of a real server or a service, every two seconds. The sweeper writes it, or who makes one. */
struct estimate {
	struct totals now; /* of a service: what its real servers added since it was made */
	struct totals last; /* two seconds before */
	struct rates rates;
};

/* What the sweeper tells at each tick. Only it writes here, but for a table that is being made. */
struct sweeper_report {
	__u64 ticks;
	__u64 clock_jiffies; /* the two clocks at the last tick */
	__u64 clock_ns;	     /* CLOCK_MONOTONIC */
	__u64 expired;
	__u64 failures; /* of re-arming */
	__u64 spent_ns;	  /* in all ticks together */
	__u64 estimate_round; /* two seconds each */
	__u64 estimate_cursor;
	__u64 longest_ns; /* in one tick: for so long nothing else ran on that CPU */
	__u64 rounds[TABLES];	      /* whole sweeps since loading */
	__u64 cursor[TABLES];	      /* next bucket */
	__u64 counted[TABLES];	      /* in this segment so far */
	__u32 segment[TABLES * SEGMENTS]; /* what each held when it was last swept */
};
