/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * connections.pml - the protocol of the connection table, for Spin; test_model.py runs it.
 *
 * Says what bpf/connections.h and bpf/sweep.bpf.c do, one shared access a step, and tries every
 * order in which CPUs, sweeper and grower can come. Whoever changes a step there changes it here.
 * One step are also reads that the next CAS proves (real server, key, clock), and what is done to a
 * claimed slot before it is live: nobody can tell.
 * Left out: hashes (each key has a home bucket and one other), tags (all keys have the same one,
 * the worst case), states (ACTIVE stands for them: they lie in the same word).
 *
 * One scenario:   CLOCK      one table, both flows at one home; time passes, and a sweeper
 *                 DELETE     the same, and all is deleted whatever its time
 *                 STRANGER   the same, but the second CPU's flow is of the other home
 *                 GROW       one flow; the table grows, from table 0 to table 1; sweeper
 *                 SHRINK     grows, and goes back
 *                 TURN_BACK  begins to grow, and changes its mind
 *                 EVICT      one full table, two homes; sweeper
 * ALONE: tables that grow are empty at first. PACKETS, PACKETS_1, ROUNDS: how much each one does.
 * REUSE: a packet may also end the connection that it meets, to open it again.
 * STRAIGHT MODE_AGAIN: the other honest way to grow, without the first grace period.
 * ANY_MODE, OLD_MODE: create() asks one of the modes, and does not compare them. Honest too: the
 * waits see to it that no packet meets two modes that insert into two tables. Without the first
 * wait (STRAIGHT MODE_AGAIN), OLD_MODE is refuted.
 * PATIENT: locks are waited for without end, so that a deadlock shows.
 * A mutant leaves one rule out and Spin must refute it: the #ifdefs, each where its rule is.
 * WITNESS=n: Spin must find a way to that place, else the scenario proves nothing about it.
 */

#ifdef STRANGER
#define DELETE
#endif
#if defined(CLOCK) || defined(DELETE)
#define TABLE
#endif
#if defined(SHRINK) || defined(TURN_BACK)
#define GROW
#endif
#ifdef GROW
#define TABLES 2
#define WORKERS 3 /* two CPUs and the grower */
#else
#define TABLES 1
#define WORKERS 2
#endif
#ifndef PACKETS /* of each CPU */
#define PACKETS 1
#endif
#ifndef PACKETS_1 /* of the first */
#define PACKETS_1 PACKETS
#endif
#define PACKETS_OF(cpu) ((cpu) == 1 -> PACKETS_1 : PACKETS)
#define WAYS 1
#define BUCKETS 2 /* of each table */
#define SLOTS (TABLES * BUCKETS * WAYS)
#define NONE SLOTS
#define BUCKET(table, bucket) ((table) * BUCKETS + (bucket))
#define TABLE_OF(slot) ((slot) / (BUCKETS * WAYS))
#define TOUCH_TRIES 2
#define EVICT_TRIES 2

/* The control word: phase:2 | active:1 | away:1 | seen:2 | generation:3. Away: not in its home. */
#define FREE 0
#define CLAIMED 1
#define LIVE 2
#define PHASE(word) ((word) & 3)
#define ACTIVE 4
#define AWAY 8
#define SEEN_SHIFT 4
#define SEEN_MASK (3 << SEEN_SHIFT)
#define SEEN(word) (((word) >> SEEN_SHIFT) & 3)
#define ONE_GENERATION 64
#define GENERATION_MASK (7 << 6)

short control[SLOTS];
byte key_in[SLOTS]; /* HALF while plain stores fill it: then a comparison may say anything */
byte real_in[SLOTS];
#define HALF 255

/*
 * Of each home: version:5 | overflow:2 | lock:1. How many of its connections lie elsewhere, and
 * how often its insert lock was opened.
 */
#define LOCK 1
#define ONE_OVERFLOW 2
#define OVERFLOW(word) (((word) >> 1) & 3)
#define ONE_VERSION 8
#define SEARCH_AGAIN LOCK /* nothing remembered: no word to go on from is locked */
byte word[TABLES * BUCKETS];
#define HOME_WORD(table) word[BUCKET(table, HOME(key))]

short actives[6], inactives[6]; /* of each real server */
byte finished; /* workers; the sweeper ends after them */

#ifdef CLOCK
byte now = 1;
#else
#define now 1
#endif

/*
 * mode: which tables are searched and which is inserted into, one word, read when a packet begins
 * and again by create(): `mine`. `running`, how many operations began under each, is what RCU knows.
 */
#ifdef GROW
#define ONLY_0 0
#define BOTH_INTO_0 1
#define BOTH_INTO_1 2
#define ONLY_1 3
byte mode = ONLY_0;
byte running[4];
#define SEARCHES(m, table) ((table) -> (m) >= BOTH_INTO_0 : (m) <= BOTH_INTO_1)
#define INSERTS(m) ((m) >= BOTH_INTO_1)
#define IS_ONE_TABLE(m) ((m) == ONLY_0 || (m) == ONLY_1)
#define BEGIN began = mode; mine = mode; running[began]++
#define END running[began]--; began = 0; mine = 0
#define WITH_MODE byte began, mine;
#define READ_MODE mine = mode
#else
#define SEARCHES(m, table) ((table) == 0)
#define INSERTS(m) 0
#define BEGIN skip
#define END skip
#define WITH_MODE
#define READ_MODE skip
#endif
#define OTHER(table) (1 - (table))

/* Whether create() may go on from the word that find() remembered. */
#if !defined(GROW)
#define IS_SAME_TABLE true
#elif defined(TWO_TABLES)
#define IS_SAME_TABLE (mine == began)
#elif defined(ANY_MODE)
#define IS_SAME_TABLE IS_ONE_TABLE(mine)
#elif defined(OLD_MODE)
#define IS_SAME_TABLE IS_ONE_TABLE(began)
#else
#define IS_SAME_TABLE (mine == began && IS_ONE_TABLE(mine))
#endif
#ifdef LOCK_BIT_IGNORED
#define GOES_ON IS_SAME_TABLE
#else
#define GOES_ON (IS_SAME_TABLE && !(remembered & LOCK))
#endif

/* The tables whose home bucket an inserter locks, and in which order. */
#if defined(ONE_LOCK)
#define LOCKS(table) ((table) == INSERTS(mine))
#elif defined(OTHER_LOCK)
#define LOCKS(table) (SEARCHES(mine, table) && ((table) != INSERTS(mine) || !SEARCHES(mine, OTHER(table))))
#elif defined(NO_LOCK)
#define LOCKS(table) false
#else
#define LOCKS(table) SEARCHES(mine, table)
#endif
#ifdef INSERT_LOCK_FIRST
#define IN_ORDER(nr) ((nr) ^ INSERTS(mine))
#else
#define IN_ORDER(nr) (nr)
#endif

#if defined(EVICT)
#define HOME(key) ((key) & 1)
#elif defined(STRANGER)
#define HOME(key) ((key) == 3)
#else
#define HOME(key) 0
#endif
#ifdef GROW /* one flow: each CPU would choose another real server */
#define CHOICE(key, cpu) (cpu)
#define RIGHT(real, key) ((real) != 0)
#define REAL_BEFORE(key) 3
#else
#define CHOICE(key, cpu) (key)
#define RIGHT(real, key) ((real) == (key))
#define REAL_BEFORE(key) (key)
#endif

/* Places that Spin must find ways to. */
#define EXISTED 1
#define MET_AWAY 2
#define MET_IN_OTHER_TABLE 3
#define OVERTAKEN 4
#define DIED_UNDER_US 5
#define GAVE_UP 6
#define EVICTED 7
#define EVICTED_OF_ANOTHER_HOME 8
#define EVICTION_DEFEATED 9
#define SNATCHED 10
#define EXPIRED_IN_OTHER_TABLE 11
#define RENEWED 12
#define WENT_ON 13
#define WORD_HAD_MOVED 14
#define REOPENED 15
#ifdef WITNESS
#define REACHED(place, condition) assert((place) != WITNESS || !(condition))
#else
#define REACHED(place, condition) skip
#endif

#define AT (BUCKET(table, (HOME(key) + away) % BUCKETS) * WAYS + i)

/*
 * Slot `f` and the word `c` that it had, or NONE. Insert table first, home bucket first. The home's
 * word says whether anything of it lies elsewhere: the remembered one, if there is one.
 */
#define WORD_READ(again) (again || table != INSERTS(mine) -> HOME_WORD(table) : remembered)
inline search(again) {
	atomic { f = NONE; c = 0; table = INSERTS(mine); away = 0; i = 0 }
	do
	:: atomic { c == 0 && i < WAYS ->
		c = control[AT];
		if
		:: PHASE(c) != LIVE -> c = 0; i++
		:: else
		fi }
	:: atomic { c != 0 && f == NONE -> /* live: compare its key */
		if
		:: key_in[AT] == key || key_in[AT] == HALF -> f = AT
		:: key_in[AT] != key -> c = 0; i++
		fi }
	:: atomic { c == 0 && i == WAYS ->
		i = 0;
		if
		:: !away && OVERFLOW(WORD_READ(again)) -> away = 1
		:: else ->
			away = 0;
			if
			:: table == INSERTS(mine) && SEARCHES(mine, OTHER(table)) -> table = OTHER(table)
			:: else -> break
			fi
		fi }
	:: atomic { f != NONE -> break }
	od;
	atomic {
		REACHED(MET_AWAY, f != NONE && (c & AWAY));
		REACHED(MET_IN_OTHER_TABLE, f != NONE && TABLE_OF(f) != INSERTS(mine));
		table = 0; away = 0; i = 0
	}
}

/* find(): remembers the home's word before it searches there. */
inline find() {
#ifdef WORD_AFTER_SEARCH
	search(true);
	remembered = HOME_WORD(INSERTS(mine))
#else
	remembered = HOME_WORD(INSERTS(mine));
	search(false)
#endif
}

/* One u64 add moves both halves. Nobody is un-counted who was not counted before. */
inline count(server, by_active, by_inactive) {
	actives[server] = actives[server] + (by_active);
	inactives[server] = inactives[server] + (by_inactive);
	assert(actives[server] + inactives[server] >= 0)
}

/*
 * touch(): a packet meets the connection in slot `f` whose word was `c`: seen now, active or not.
 * f = NONE: it died under us. Otherwise `real` is right at the moment of the CAS.
 */
#define SAME_CONNECTION(a, b) ((((a) ^ (b)) & (GENERATION_MASK | 3)) == 0)
inline touch() {
	atomic {
		real = real_in[f];
		if
		:: wanted = ACTIVE
		:: wanted = 0
		fi;
		next = (c & ~(ACTIVE | SEEN_MASK)) | wanted | (now << SEEN_SHIFT)
	}
	do
	:: atomic { c != 0 ->
		old = control[f]; /* what the CAS returns, or the word read again when equal */
#ifdef NO_REREAD
		if
		:: next == c -> old = c
		:: else
		fi;
#endif
#ifdef TOUCH_BY_STORE
		old = c;
#endif
		if
		:: old == c && next != c -> control[f] = next
		:: else
		fi;
#if !defined(NO_REREAD) && !defined(TOUCH_BY_STORE)
		assert(!SAME_CONNECTION(old, c) || key_in[f] == key && real_in[f] == real);
#endif
		tries++;
		if
		:: old == c -> wanted = next ^ c; c = 0; break
		:: old != c && !SAME_CONNECTION(old, c) ->
			REACHED(DIED_UNDER_US, true);
			f = NONE;
			wanted = 0;
			c = 0;
			break
		:: old != c && SAME_CONNECTION(old, c) && tries == TOUCH_TRIES ->
			REACHED(OVERTAKEN, true); /* by other packets of its flow, which touched it */
			wanted = 0;
			c = 0;
			break
		:: else ->
#ifndef RETRY_WITH_ANOTHER_READ
			c = old;
			old = 0;
			next = (c & ~(ACTIVE | SEEN_MASK)) | wanted | (now << SEEN_SHIFT)
#endif
		fi }
#ifdef RETRY_WITH_ANOTHER_READ
		atomic {
			c = control[f];
			next = (c & ~(ACTIVE | SEEN_MASK)) | wanted | (now << SEEN_SHIFT)
		}
#endif
	od;
	atomic { /* only the winner counts */
		if
		:: (wanted & ACTIVE) && (next & ACTIVE) -> count(real, 1, -1)
		:: (wanted & ACTIVE) && !(next & ACTIVE) -> count(real, -1, 1)
		:: else
		fi;
		assert(f == NONE || RIGHT(real, key)); /* where the packet goes */
		real = 0; wanted = 0; tries = 0; next = 0; old = 0
	}
}

/* release(): ends the connection in slot `f` if its word is still `c`; then it is `won`. */
#define READ_WHOSE real = real_in[f]; home = BUCKET(TABLE_OF(f), HOME(key_in[f]))
inline release(by_store, allowed) {
#ifndef REAL_AFTER_RELEASE
	atomic { READ_WHOSE } /* before: afterwards the slot may be somebody else's */
#endif
	atomic {
		won = by_store || control[f] == c;
		assert(!won || (allowed));
		if
		:: won -> control[f] = c & GENERATION_MASK
		:: else -> real = 0; home = 0
		fi
	}
#ifdef REAL_AFTER_RELEASE
	atomic { READ_WHOSE }
#endif
	if
	:: atomic { won ->
		if
		:: c & ACTIVE -> count(real, -1, 0)
		:: else -> count(real, 0, -1)
		fi;
		if
		:: c & AWAY -> assert(OVERFLOW(word[home]) > 0); word[home] = word[home] - ONE_OVERFLOW
		:: else
		fi;
		real = 0;
		home = 0 }
	:: else
	fi
}

/* CLAIMED -> LIVE. At this moment its key lives nowhere else, and a searcher of today looks here. */
inline publish(slot) {
	d_step {
		assert(PHASE(control[slot]) == CLAIMED);
		control[slot] = control[slot] ^ CLAIMED ^ LIVE;
		old = 0;
		do
		:: old < SLOTS ->
			assert(old == slot || PHASE(control[old]) != LIVE || key_in[old] != key_in[slot]);
			old++
		:: else -> break
		od;
		old = 0;
		assert(SEARCHES(mode, TABLE_OF(slot)))
	}
}

/* place(): the first free slot of both buckets in the insert table; then it is `placed`. */
#define COUNT_NEW count(CHOICE(key, me), wanted != 0, wanted == 0)
#define COUNT_OVERFLOW \
	if \
	:: away -> HOME_WORD(table) = HOME_WORD(table) + ONE_OVERFLOW \
	:: else \
	fi
inline place() {
	atomic { table = INSERTS(mine); away = 0; i = 0; c = 0 }
	do
	:: atomic { next == 0 && i < WAYS ->
		c = control[AT];
		if
		:: PHASE(c) != FREE -> c = 0; i++
		:: else -> next = ((c + ONE_GENERATION) & GENERATION_MASK) | CLAIMED | (now << SEEN_SHIFT)
		fi }
	:: atomic { next != 0 ->
		won = control[AT] == c;
		if
		:: won ->
			REACHED(RENEWED, c & GENERATION_MASK);
			control[AT] = next | wanted | (away -> AWAY : 0);
			key_in[AT] = HALF
		:: else -> i++
		fi;
		c = 0;
		next = 0;
		if
		:: won -> break
		:: else
		fi }
	:: atomic { next == 0 && i == WAYS && !away -> i = 0; away = 1 }
	:: atomic { next == 0 && i == WAYS && away -> break }
	od;
	if
	:: atomic { won ->
		key_in[AT] = key; /* plain stores, and counting: nobody un-counts before it is live */
		real_in[AT] = CHOICE(key, me);
#ifndef COUNT_AFTER_PUBLISH
		COUNT_NEW;
#endif
#ifndef OVERFLOW_AFTER_PUBLISH
		COUNT_OVERFLOW;
#endif
		placed = true;
		won = false }
		publish(AT);
#ifdef COUNT_AFTER_PUBLISH
		atomic { COUNT_NEW }
#endif
#ifdef OVERFLOW_AFTER_PUBLISH
		COUNT_OVERFLOW
#endif
	:: else
	fi;
	atomic { table = 0; away = 0; i = 0 }
}

/*
 * evict(): ends the best victim of both buckets, whichever home it is of: an expired one, else an
 * inactive one, never an active one. No lock is held; its slot is then anybody's.
 */
#define MAY_BE_EVICTED !(control[f] & ACTIVE) || SEEN(control[f]) < now
inline evict() {
	atomic { table = INSERTS(mine); f = NONE; c = 0 }
	do
	:: atomic { i < WAYS ->
		old = control[AT];
		if
		:: PHASE(old) == LIVE && (f == NONE || SEEN(c) >= now) && (SEEN(old) < now ||
#ifdef EVICT_ACTIVE
			f == NONE) ->
#else
			f == NONE && !(old & ACTIVE)) ->
#endif
			f = AT; c = old
		:: else
		fi;
		i++;
		old = 0 }
	:: atomic { i == WAYS && !away -> away = 1; i = 0 }
	:: atomic { i == WAYS && away -> break }
	od;
	atomic { table = 0; away = 0; i = 0 }
	if
	:: f != NONE ->
#ifdef EVICT_BY_STORE
		release(true, MAY_BE_EVICTED);
#else
		release(false, MAY_BE_EVICTED);
#endif
		atomic {
			REACHED(EVICTED, won);
			REACHED(EVICTED_OF_ANOTHER_HOME, won && HOME(key_in[f]) != HOME(key));
			REACHED(EVICTION_DEFEATED, !won);
			evicted = won; f = NONE; won = false
		}
	:: else
	fi;
	c = 0
}

/*
 * create(): locks the home with one CAS if its word is still what find() remembered: then nobody
 * has inserted there since, and the key is nowhere. Else locks the home of every searched table,
 * and searches again.
 */
#define IS_LOCKED(table) (HOME_WORD(table) & LOCK)
inline open_lock(table) {
	assert(IS_LOCKED(table));
#ifdef VERSION_STAYS
	HOME_WORD(table) = HOME_WORD(table) - LOCK
#else
	HOME_WORD(table) = HOME_WORD(table) - LOCK + ONE_VERSION
#endif
}
inline create() {
#ifdef GROW
	READ_MODE;
#endif
	atomic {
		if
		:: GOES_ON && HOME_WORD(INSERTS(mine)) == remembered ->
			REACHED(WENT_ON, true);
			HOME_WORD(INSERTS(mine)) = remembered | LOCK;
			held = 1 << INSERTS(mine);
			goes_on = true
		:: GOES_ON && HOME_WORD(INSERTS(mine)) != remembered -> REACHED(WORD_HAD_MOVED, true)
		:: else
		fi;
		remembered = SEARCH_AGAIN
	}
	do
	:: atomic { goes_on || nr == TABLES -> nr = 0; break }
	:: atomic { !goes_on && nr < TABLES && !LOCKS(IN_ORDER(nr)) -> nr++ }
	:: atomic { !goes_on && nr < TABLES && LOCKS(IN_ORDER(nr)) && !IS_LOCKED(IN_ORDER(nr)) ->
		HOME_WORD(IN_ORDER(nr)) = HOME_WORD(IN_ORDER(nr)) | LOCK;
		held = held | (1 << IN_ORDER(nr));
		nr++ }
#ifndef PATIENT /* LOCK_TRIES are over: the packet is dropped */
	:: atomic { !goes_on && nr < TABLES && LOCKS(IN_ORDER(nr)) && IS_LOCKED(IN_ORDER(nr)) ->
		REACHED(GAVE_UP, true);
		gave_up = true;
		nr = 0;
		break }
#endif
	od;
#ifdef MODE_AGAIN
	if
	:: mode != mine -> gave_up = true
	:: else
	fi;
#endif
	if
	:: atomic { gave_up || goes_on -> f = NONE; c = 0 }
#ifdef NO_SEARCH_AGAIN
	:: atomic { !gave_up && !goes_on -> f = NONE; c = 0 }
#else
	:: !gave_up && !goes_on -> search(true)
#endif
	fi;
	if
	:: atomic { f == NONE && !gave_up ->
		if
		:: wanted = ACTIVE
		:: wanted = 0
		fi }
		place();
		atomic { is_full = !placed; wanted = 0; placed = false }
	:: atomic { f != NONE -> REACHED(EXISTED, true) }
	:: f == NONE && gave_up
	fi;
	do
	:: atomic { held & 1 -> open_lock(0); held = held ^ 1 }
	:: atomic { held & 2 -> open_lock(TABLES - 1); held = held ^ 2 }
	:: atomic { held == 0 -> gave_up = false; goes_on = false; break }
	od
}

proctype cpu(byte me) {
	WITH_MODE
	byte packets, key, f, table, i, tries, real, home, held, nr, remembered, evictions;
	short c, old, next, wanted;
	bit away, won, placed, evicted, gave_up, goes_on, is_full;

	do
	:: atomic { packets < PACKETS_OF(me) ->
		packets++;
		if
		:: key = 1
#ifdef TABLE /* the first key is key 1: the other way round is the same */
		:: me == 2 || packets > 1 -> key = 2
#endif
#ifdef STRANGER
		:: me == 2 -> key = 3
#endif
#ifdef EVICT
		:: me == 2 -> key = 2
		:: me == 1 -> key = 3
#endif
		fi;
		BEGIN
#if defined(GROW) || defined(WORD_AFTER_SEARCH)
		}
		find();
#else /* one step: what is before reads nothing shared */
		remembered = HOME_WORD(0) }
		search(false);
#endif
		if
		:: f != NONE -> /* the search ended there: if it dies under us, nothing is known of the rest */
			touch();
#ifndef WORD_AFTER_HIT
			if
			:: f == NONE -> remembered = SEARCH_AGAIN
			:: else
			fi
#endif
#ifdef REUSE /* a SYN on one that is over; it was nowhere else */
		:: f != NONE ->
			release(false, true);
			atomic {
				REACHED(REOPENED, won);
				if
				:: won -> f = NONE
				:: else
				fi;
				won = false;
				c = 0
			}
#endif
		:: else
		fi;
		if
		:: f == NONE -> /* a miss, or it died under us */
			do
			:: create();
#ifdef EVICT
			   if
			   :: is_full && evictions < EVICT_TRIES ->
				REACHED(SNATCHED, evicted);
				atomic { evictions++; is_full = false; evicted = false }
				evict()
			   :: else -> break
			   fi
#else
			   break
#endif
			od;
			atomic { evictions = 0; is_full = false; evicted = false }
			if
			:: f != NONE -> /* another CPU was first: its connection is met like any other */
#ifdef EXISTING_UNTOUCHED
				atomic { real = real_in[f]; assert(RIGHT(real, key)); real = 0; c = 0 }
#else
				touch()
#endif
			:: else
			fi
		:: else
		fi;
		atomic { END; f = 0; key = 0; c = 0; remembered = 0 }
	:: else -> break
	od;
	finished++
}

/* sweep_bucket() and delete: nobody waits for them, and they hold no lock. */
proctype sweeper() {
	WITH_MODE
	byte f, real, home, rounds;
	short c;
	bool won;

#ifdef EXPIRE_BY_STORE
#define BY_STORE true
#else
#define BY_STORE false
#endif
#ifdef GROW /* every connection may be idle, at any moment */
#define IDLE(slot) atomic { SEARCHES(mode, TABLE_OF(slot)) && PHASE(control[slot]) == LIVE -> BEGIN; f = slot; c = control[f] }
	do
	:: finished == WORKERS -> break
	:: if
	   :: IDLE(0)
	   :: IDLE(1)
	   :: IDLE(2)
	   :: IDLE(3)
	   fi;
	   release(BY_STORE, true);
	   atomic {
		REACHED(EXPIRED_IN_OTHER_TABLE, won && TABLE_OF(f) != INSERTS(mode));
		END;
		f = 0;
		c = 0;
		won = false
	   }
	od
#else
#ifdef DELETE /* whatever its time: the sweeper stands for somebody who deletes */
#define IS_OVER(word) true
#else
#define IS_OVER(word) SEEN(word) < now
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
	do
	:: rounds == ROUNDS -> break
	:: else ->
#ifdef CLOCK
		atomic { rounds++; now++ }
#else
		rounds++;
#endif
		do
		:: f == SLOTS -> break
		:: f < SLOTS ->
			c = control[f];
			if
			:: PHASE(c) == LIVE && IS_OVER(c) -> release(BY_STORE, true)
#ifdef DELETE /* or it is spared */
			:: PHASE(c) == LIVE -> skip
#endif
			:: else
			fi;
			atomic { f++; c = 0; won = false }
		od;
		f = 0
	od
#endif
}

#ifdef GROW
/*
 * The grower, in user space. A grace period lets every operation end that read an older mode; only
 * after it does a table that is seen empty stay empty.
 */
#define ALL_READ(m) (running[ONLY_0] + running[BOTH_INTO_0] + running[BOTH_INTO_1] + running[ONLY_1] == running[m])
inline until_empty(table) {
	i = 0;
	do
	:: i < BUCKETS * WAYS -> PHASE(control[table * BUCKETS * WAYS + i]) == FREE; i++
	:: else -> break
	od;
	i = 0
}
/* From one table to the next; modes by name, so that shrinking is growing the other way. */
inline move(both_into_old, both_into_new, only_new, old_table) {
#ifndef STRAIGHT
	mode = both_into_old;
#ifndef NO_GRACE
	ALL_READ(both_into_old);
#endif
#endif
	mode = both_into_new;
#ifdef EMPTY_BEFORE_GRACE
	until_empty(old_table);
#endif
#ifndef NO_SECOND_GRACE
	ALL_READ(both_into_new);
#endif
#if !defined(EMPTY_BEFORE_GRACE) && !defined(NO_EMPTY_WAIT)
	until_empty(old_table);
#endif
	mode = only_new;
	check_all_found();
#ifndef NO_LAST_GRACE
	ALL_READ(only_new);
#endif
	remove(old_table)
}
/* Its map goes. The next one in this place begins with other slots and words, all 0. */
inline remove(table) {
	d_step {
		i = 0;
		do
		:: i < BUCKETS ->
			assert(word[BUCKET(table, i)] % ONE_VERSION == 0);
			word[BUCKET(table, i)] = 0;
			i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < BUCKETS * WAYS ->
			assert(PHASE(control[table * BUCKETS * WAYS + i]) == FREE);
			control[table * BUCKETS * WAYS + i] = 0;
			i++
		:: else -> break
		od;
		i = 0
	}
}
inline check_all_found() {
	d_step {
		i = 0;
		do
		:: i < SLOTS -> assert(PHASE(control[i]) != LIVE || SEARCHES(mode, TABLE_OF(i))); i++
		:: else -> break
		od;
		i = 0
	}
}
proctype grower() {
	byte i;

#ifdef TURN_BACK
	mode = BOTH_INTO_0;
	ALL_READ(BOTH_INTO_0);
	mode = BOTH_INTO_1;
	move(BOTH_INTO_1, BOTH_INTO_0, ONLY_0, 1);
#else
	move(BOTH_INTO_0, BOTH_INTO_1, ONLY_1, 0);
#ifdef SHRINK
	move(BOTH_INTO_1, BOTH_INTO_0, ONLY_0, 1);
#endif
#endif
	finished++
}
#endif

/* A connection that was there before. */
inline fill(slot, key, bits) {
	control[slot] = LIVE | (bits) | (HOME(key) != slot -> AWAY : 0);
	key_in[slot] = key;
	real_in[slot] = REAL_BEFORE(key);
	if
	:: (bits) & ACTIVE -> actives[REAL_BEFORE(key)]++
	:: else -> inactives[REAL_BEFORE(key)]++
	fi;
	if
	:: HOME(key) != slot -> word[HOME(key)] = word[HOME(key)] + ONE_OVERFLOW
	:: else
	fi
}

init {
	byte i, server;
	short here_active, here_inactive;

	atomic {
#ifdef EVICT /* full, of both homes, each in its own or in the other's bucket; maybe expired */
		if
		:: i = ACTIVE
		:: i = ACTIVE | (1 << SEEN_SHIFT)
		:: i = 0
		:: i = 1 << SEEN_SHIFT
		fi;
		if
		:: server = ACTIVE
		:: server = ACTIVE | (1 << SEEN_SHIFT)
		:: server = 0
		:: server = 1 << SEEN_SHIFT
		fi;
		if
		:: fill(0, 3, i); fill(1, 4, server)
		:: fill(0, 4, i); fill(1, 3, server)
		fi;
		i = 0;
		server = 0;
#endif
#ifdef STRANGER /* the first CPU's flow lies at home, or away from it, or nowhere */
		if
		:: fill(0, 2, 0); fill(1, 1, 0)
		:: fill(0, 1, 0)
		:: skip
		fi;
#endif
#if defined(GROW) && !defined(ALONE) /* empty, or the flow is there, or a stranger is at its home */
		if
		:: fill(0, 1, 0)
		:: fill(0, 2, ACTIVE)
		:: skip
		fi;
#endif
		run cpu(1);
		run cpu(2);
		run sweeper();
#ifdef GROW
		run grower();
#endif
	}
	_nr_pr == 1;
	d_step { /* when all is quiet: the counts equal the contents, and nothing is left behind */
		server = 1;
		do
		:: server < 6 ->
			here_active = 0; here_inactive = 0; i = 0;
			do
			:: i < SLOTS ->
				assert(PHASE(control[i]) != CLAIMED);
				if
				:: PHASE(control[i]) == LIVE && real_in[i] == server && (control[i] & ACTIVE) -> here_active++
				:: PHASE(control[i]) == LIVE && real_in[i] == server && !(control[i] & ACTIVE) -> here_inactive++
				:: else
				fi;
				i++
			:: else -> break
			od;
			assert(actives[server] == here_active && inactives[server] == here_inactive);
			server++
		:: else -> break
		od;
		server = 0;
		do
		:: server < TABLES * BUCKETS ->
			assert(!(word[server] & LOCK));
			here_active = 0; i = 0;
			do
			:: i < SLOTS ->
				if
				:: PHASE(control[i]) == LIVE ->
					assert(SEARCHES(mode, TABLE_OF(i)));
					if
					:: BUCKET(TABLE_OF(i), HOME(key_in[i])) == server && i / WAYS != server ->
						assert(control[i] & AWAY);
						here_active++
					:: else
					fi
				:: else
				fi;
				i++
			:: else -> break
			od;
			assert(OVERFLOW(word[server]) == here_active);
			server++
		:: else -> break
		od
	}
}
