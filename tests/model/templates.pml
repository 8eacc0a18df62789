/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * templates.pml - the protocol of persistence templates, for Spin; test_model.py runs it.
 *
 * Says what bpf/control.h, bpf/persistence.h and bpf/sweep.bpf.c do at one slot, one shared access a
 * step, and tries every order. Whoever changes a step there changes it here. Two CPUs open and end
 * connections under the template of one client network, a stranger takes the slot when it is free,
 * for a template of another network, a connection under one, or a plain connection; a sweeper.
 * How connections themselves come, move on and end is connections.pml's: here each ends once.
 * Left out: ASSURED, which nothing hangs on, and that tries are counted: nobody gives up.
 *
 * One scenario:   IDLE       time passes; a sweeper ends the template, or gives it another minute
 *                 ORPHAN     its real server may be gone, and it is ended whatever its time
 *                 UNUSABLE   as IDLE, and a CPU may find it of no use: then it is disabled
 * CONNECTIONS, ROUNDS, TICKS: how much each one does.
 * A mutant leaves one rule out and Spin must refute it: the #ifdefs, each where its rule is.
 * WITNESS=n: Spin must find a way to that place, else the scenario proves nothing about it.
 */

#ifndef CONNECTIONS /* of each CPU */
#define CONNECTIONS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef TICKS
#define TICKS 1
#endif
#ifdef TWO_SWEEPERS
#define SWEEPERS 2
#else
#define SWEEPERS 1
#endif

/* The control word: phase:2 | template:1 | disabled:1 | seen:2 | generation:3. */
#define FREE 0
#define CLAIMED 1
#define LIVE 2
#define PHASE(control) ((control) & 3)
#define TEMPLATE 4
#define DISABLED 8
#define SEEN(control) (((control) >> 4) & 3)
#define SEEN_MASK (3 << 4)
#define SEEN_NOW (now << 4)
#define GENERATION(control) (((control) >> 6) & 7)
#define GENERATION_MASK (7 << 6)
#define ONE_GENERATION 64
#define IS_LIVE_TEMPLATE(control) (((control) & (3 | TEMPLATE)) == (LIVE | TEMPLATE))

/* The slot's word: connections:3 | rearmed:1 | of a template:1 | generation:3. Of a connection under
 * another template it says where that is: 0. Of a plain connection nobody writes it. */
#define COUNT(word) ((word) & 7)
#define ONE 1
#define REARMED 8
#define WORD_OF(generation) (16 | (generation) << 5)
#define IS_WORD_OF(word, generation) (((word) >> 4) == (1 | (generation) << 1))

#define NOBODY 0
#define OURS 1
#define STRANGER 2

short control;
short word;
byte name; /* NOBODY while plain stores fill it */
byte now = 1;
byte finished; /* CPUs */

/* For the properties only: whose the word is, by generation, and who is under whom. */
byte word_of;
byte under[8];

/* Places that Spin must find ways to. */
#define SHARED 1
#define CAME_TOO_LATE 2
#define DEFEATED_SWEEPER 3
#define REARMED_WITH_OTHERS 4
#define SLOT_OF_STRANGER 5
#define MADE_ANEW 6
#define ORPHAN_ENDED 7
#define ORPHAN_SPARED 8
#define DISABLED_WITH_OTHERS 9
#ifdef WITNESS
#define REACHED(place, condition) assert((place) != WITNESS || !(condition))
#else
#define REACHED(place, condition) skip
#endif

/* Who changes a word means the one whose it is. */
inline change_word(to, meant) {
	assert(word_of == (meant));
	word = to
}

/* find_template(): the generation of ours, or none. One of no use is disabled, and none. */
inline find_template() {
	c = control;
	if
	:: atomic { IS_LIVE_TEMPLATE(c) && !(c & DISABLED) && name == OURS -> g = GENERATION(c); found = true }
#ifdef UNUSABLE
	:: atomic { IS_LIVE_TEMPLATE(c) && !(c & DISABLED) && name == OURS ->
		if
		:: control == c ->
			REACHED(DISABLED_WITH_OTHERS, under[GENERATION(c)]);
			control = c | DISABLED
		:: else
		fi }
#endif
	:: atomic { !(IS_LIVE_TEMPLATE(c) && !(c & DISABLED) && name == OURS) }
	fi;
	c = 0
}

/*
 * insert(): makes it where it is free. There is one slot, so its CAS is lock enough. Searches again:
 * another CPU's is as good.
 */
inline insert_template() {
	c = control;
	if
	:: atomic { IS_LIVE_TEMPLATE(c) && !(c & DISABLED) && name == OURS -> g = GENERATION(c); found = true }
	:: atomic { PHASE(c) == FREE ->
		if
		:: control == c ->
			next = ((c + ONE_GENERATION) & GENERATION_MASK) | CLAIMED | TEMPLATE | SEEN_NOW;
			control = next;
			name = NOBODY
		:: else
		fi }
		if
		:: next ->
			atomic { word = WORD_OF(GENERATION(next)); word_of = GENERATION(next); name = OURS }
			atomic { control = next ^ CLAIMED ^ LIVE; REACHED(MADE_ANEW, GENERATION(next) > 1) }
#ifdef HANDLE_READ_LATE
			next = control;
#endif
			atomic { g = GENERATION(next); found = true }
		:: else
		fi
	:: else
	fi;
	atomic { c = 0; next = 0 }
}

#ifdef ANY_GENERATION
#define IS_MEANT(control) IS_LIVE_TEMPLATE(control)
#else
#define IS_MEANT(control) (IS_LIVE_TEMPLATE(control) && GENERATION(control) == g)
#endif
#ifdef DISABLED_ADOPTS
#define MAY_ADOPT(control) IS_MEANT(control)
#else
#define MAY_ADOPT(control) (IS_MEANT(control) && !((control) & DISABLED))
#endif

/* refresh(): seen now. Then the connection is under it: `alive`. */
inline refresh() {
	do
	:: c = control;
	   if
	   :: atomic { !MAY_ADOPT(c) -> alive = false; break }
	   :: atomic { MAY_ADOPT(c) && SEEN(c) == now -> alive = true; is_under(); break }
	   :: atomic { MAY_ADOPT(c) && SEEN(c) != now -> next = (c & ~SEEN_MASK) | SEEN_NOW }
	      if
	      :: atomic { control == c -> control = next; alive = true; is_under(); next = 0; break }
	      :: atomic { control != c -> next = 0 }
	      fi
	   fi
	od;
	c = 0
}
inline is_under() {
#ifndef TOUCH_FIRST /* then nothing is promised yet */
	assert(PHASE(control) == LIVE && GENERATION(control) == g && name == OURS);
	REACHED(SHARED, under[g]);
	under[g]++
#else
	skip
#endif
}

/* One more under it, if its word is still its own: `counted`. */
inline count_one() {
	do
	:: w = word;
	   if
#ifndef ANY_WORD
	   :: atomic { !IS_WORD_OF(w, g) -> counted = false; break }
	   :: atomic { IS_WORD_OF(w, g) && word == w -> change_word(w + ONE, g); counted = true; break }
	   :: atomic { IS_WORD_OF(w, g) && word != w }
#else
	   :: atomic { word == w -> change_word(w + ONE, g); counted = true; break }
	   :: atomic { word != w }
#endif
	   fi
	od;
	w = 0
}

/* disown(): it came too late. */
inline disown() {
	REACHED(CAME_TOO_LATE, true);
#ifdef UNDO_ALWAYS
	atomic { assert(COUNT(word) > 0); change_word(word - ONE, g) }
#else
#ifndef NO_UNDO
	do
	:: w = word;
	   if
	   :: atomic { !IS_WORD_OF(w, g) || !COUNT(w) -> break }
	   :: atomic { IS_WORD_OF(w, g) && COUNT(w) && word == w -> change_word(w - ONE, g); break }
	   :: atomic { IS_WORD_OF(w, g) && COUNT(w) && word != w }
	   fi
	od;
	w = 0
#endif
#endif
}

inline adopt() {
#ifdef TOUCH_FIRST
	refresh();
	if
	:: alive ->
		count_one();
		atomic {
			alive = counted;
			if
			:: alive -> under[g]++
			:: else
			fi
		}
	:: else
	fi
#else
	count_one();
	if
	:: counted ->
		refresh();
		if
		:: !alive -> disown()
		:: else
		fi
	:: else
	fi
#endif
}

proctype cpu() {
	byte connections, g;
	short c, next, w;
	bit found, counted, alive;

	do
	:: connections < CONNECTIONS ->
		connections++;
		find_template();
		if
		:: !found -> insert_template()
		:: else
		fi;
		if
		:: found -> adopt()
		:: else /* the slot is another's: no place */
		fi;
		if
		:: alive -> /* a connection comes, or was there already, and ends: release(), then leave() */
			under[g]--;
			atomic { assert(COUNT(word) > 0); change_word(word - ONE, g) }
		:: else
		fi;
		atomic { g = 0; found = false; counted = false; alive = false }
	:: else -> break
	od;
	finished++
}

/* Takes the slot when it is free, once. What it makes is one of three. */
proctype stranger() {
	short c, next;

	do
	:: atomic { PHASE(control) == FREE -> c = control }
	   atomic {
		if
		:: control == c ->
			next = ((c + ONE_GENERATION) & GENERATION_MASK) | CLAIMED | SEEN_NOW;
			control = next;
			name = NOBODY
		:: else
		fi }
		if
		:: atomic { next -> next = next | TEMPLATE; control = next }
			atomic { word = WORD_OF(GENERATION(next)); word_of = GENERATION(next); name = STRANGER }
		:: atomic { next -> word = 0; word_of = GENERATION(next); name = STRANGER }
		:: atomic { next -> name = STRANGER }
		:: !next -> goto end
		fi;
		atomic { control = next ^ CLAIMED ^ LIVE; REACHED(SLOT_OF_STRANGER, finished < 2) }
		if
		:: next & TEMPLATE -> goto end /* the sweeper's */
		:: else
		fi;
		do
		:: c = control;
		   if
		   :: atomic { control == c -> control = c & GENERATION_MASK; goto end }
		   :: control != c
		   fi
		od
	:: finished == 2 -> break
	od;
end:	skip
}

/* release(), if its word is still `c`: nobody is under it. */
inline release() {
	atomic {
		if
		:: control == c ->
			assert(!under[GENERATION(c)]);
			control = c & GENERATION_MASK
		:: else -> REACHED(DEFEATED_SWEEPER, PHASE(control) == LIVE)
		fi
	}
}

/* rearmed(): its time is up, but it is not alone. Not by adopt()'s refresh: also one that is disabled. */
inline rearm() {
#ifdef REARM_BY_STORE
	atomic { change_word(w | REARMED, GENERATION(c)); is_rearmed = true }
#else
	atomic {
		if
		:: word == w -> change_word(w | REARMED, GENERATION(c)); is_rearmed = true
		:: else
		fi
	}
#endif
	if
	:: is_rearmed ->
		atomic { g = GENERATION(c); c = control }
		atomic {
			REACHED(REARMED_WITH_OTHERS, true);
			if
			:: IS_LIVE_TEMPLATE(c) && GENERATION(c) == g && control == c ->
				control = (c & ~SEEN_MASK) | SEEN_NOW
			:: else
			fi
		}
	:: else
	fi
}

inline expire() {
	w = word;
	if
#ifndef WORD_IGNORED
	:: COUNT(w) -> rearm()
	:: !COUNT(w) -> release()
#else
	:: release()
#endif
	fi
}

/* expire_orphan(): disabled first, so that whoever counts from now on is too late. */
inline expire_orphan() {
	w = word;
	if
	:: COUNT(w)
#ifdef ORPHAN_AT_ONCE
	:: !COUNT(w) -> release()
#else
	:: !COUNT(w) ->
		atomic {
			if
			:: control == c -> c = c | DISABLED; control = c
			:: else -> c = 0
			fi
		}
#ifndef NO_SECOND_LOOK
		w = word;
#endif
		if
		:: atomic { c && COUNT(w) -> REACHED(ORPHAN_SPARED, true) }
		:: atomic { c && !COUNT(w) -> REACHED(ORPHAN_ENDED, true) }
			release()
		:: !c
		fi
#endif
	fi
}

proctype sweeper() {
	byte rounds, at, g;
	short c, w;
	bit is_rearmed;

	do
	:: rounds < ROUNDS ->
		atomic { rounds++; at = now }
		c = control;
		if
		:: IS_LIVE_TEMPLATE(c) && SEEN(c) < at -> expire()
#ifdef ORPHAN
		:: IS_LIVE_TEMPLATE(c) && SEEN(c) >= at && name == OURS -> expire_orphan()
#endif
		:: else
		fi;
		atomic { at = 0; c = 0; w = 0; g = 0; is_rearmed = false }
	:: else -> break
	od
}

proctype clock() {
	byte ticks;

	do
	:: atomic { ticks < TICKS -> ticks++; now++ }
	:: else -> break
	od
}

init {
	atomic {
		if /* it is there, idle or not, or it is not */
		:: control = LIVE | TEMPLATE | ONE_GENERATION; word = WORD_OF(1); word_of = 1; name = OURS
		:: control = LIVE | TEMPLATE | ONE_GENERATION | SEEN_NOW; word = WORD_OF(1); word_of = 1; name = OURS
		:: skip
		fi;
		run cpu();
		run cpu();
		run stranger();
		run sweeper();
#if SWEEPERS == 2
		run sweeper();
#endif
		run clock();
	}
	_nr_pr == 1;
	/* when all is quiet nobody is under anybody, and every word says so */
	assert(PHASE(control) != CLAIMED);
	assert(!IS_WORD_OF(word, word_of) || COUNT(word) == 0)
}
