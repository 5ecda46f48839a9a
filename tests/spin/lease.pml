/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases for exclusive work: leader, renewals, epochs (docs/leases.md), as a model that Spin checks
 * exhaustively. run.py beside this file builds and runs it, true and with each planted bug.
 *
 * Who is there: three control nodes, one store, two nodes (0 and 1) that may hold the one lease, a
 * resource outside (what the work writes to).
 *
 * What may happen, at any moment and in any order: a control node stands still, is cut off or is
 * slow (it simply takes no step while time goes by), restarts and forgets, takes over; a request or
 * an answer is late or lost, is read by several control nodes, or twice; work dies; a node is paused
 * and resumed; a write of the work is on its way for any time.
 *
 * Time. One tick is the margin that the guard stands for; L ticks are the lease. Clocks that drift
 * within e make "L(1-e) of the holder's clock, less the guard" last L-1 or L ticks, and "L(1+e) of
 * the leader's clock" last L+1 or more, whatever e is: that is what the two factors are for. So the
 * holder's work may be killed from L-1 on and is dead before the tick after L (the clock waits for
 * it, unless the node is paused); the leader grants anew at L+1 or at any time later.
 * The clock assumption, then: the shim's timer fires and its KILL works within one tick, and a
 * resumed node's overdue timer fires before its work goes on. For where that fails there is the
 * epoch: late writes after a resume are in the model, and the resource refuses them.
 *
 * A transaction is one step: read, decide, compare the leader's key, write. Nothing is lost by that:
 * what it decides from only grows more true until it commits (an age, a wait), or is changed by
 * another leader, and then the comparison fails. Its outcome reaches its control node in a later
 * step of its own, or never.
 *
 * Safety: never two nodes with running work at one moment; epochs strictly increase; a deposed
 * leader's write never commits; the resource never takes an older epoch's write after a newer one's.
 * Liveness (-DLIVE): after everything healed, somebody runs, again and again.
 */
#define C 3
#define NONE 2
#define L 3
#define KILL_FROM (L - 1)
#define SEEN_MAX (L + 1)

#ifndef TERMS
#define TERMS 3
#endif
#ifndef EPOCHS
#define EPOCHS 3
#endif

#ifdef BUG_NO_MARGIN /* the leader waits for L(1-e), as the holder does */
#define WAIT (L - 1)
#else
#define WAIT (L + 1)
#endif

/* What a node asks: to renew; or, saying that its last run is over, for a new grant (which the
 * leader may answer by freeing the lease: a release is the same statement). */
#define RENEW 1
#define ACQUIRE 2

/* The store: the leader's key (lead[] says whose it is; sterm counts its owners) and the lease. */
byte sterm = 1;
byte rhold = NONE, repoch;
bit rheld;

#define LEADS 2   /* the key is its own */
#define DEPOSED 1 /* it believes so still */

/* A control node: whether it leads, for how many ticks it has known the lease's record as it is,
 * whether it knows it as it is, the answer that its last commit allows. */
byte lead[C], seen[C], ansh[C], anse[C], ansa[C];
bit fresh[C];

/* A node: its work runs, under which epoch (or ran last), ticks since the renewal was *sent* that
 * it counts from; its last request and the last answer on its way, with the ticks since the request
 * was sent. */
bit runs[2], paused[2];
byte ep[2], age[2];
byte rk[2], re[2], ra[2];
byte ae[2], aa[2];

/* The resource: the newest epoch it has seen, and a write on its way to it. */
byte res, wr;

#ifdef LIVE
bit healed, has_asked[2];
#define STORMY (!healed)
#define MAY_ASK(h) (STORMY || !has_asked[h])
#define asked(h) has_asked[h] = healed
#else
#define STORMY true
#define MAY_ASK(h) true
#define asked(h) skip
#endif

#define running(h) (runs[h] && !paused[h])
#define older(x, max) x = (x < max -> x + 1 : max)
#define somebody_leads (lead[0] == LEADS || lead[1] == LEADS || lead[2] == LEADS)

#ifdef BUG_STALE_VIEW
#define unknown(d) fresh[d] = 0
#else
#define unknown(d) fresh[d] = 0; seen[d] = 0
#endif

inline changed(c) { /* the record is another one now: what the others know of it is old */
    unknown((c + 1) % C);
    unknown((c + 2) % C)
}

inline commit(c) { assert(lead[c] == LEADS); } /* a deposed leader's write never commits */

#ifdef BUG_NO_FENCE
#define FENCE(c) true
#else
#define FENCE(c) (lead[c] == LEADS)
#endif

#ifdef BUG_ACK_BEFORE_COMMIT
#define ACK_ANYWAY(c) (lead[c] == DEPOSED)
#else
#define ACK_ANYWAY(c) false
#endif

#ifdef BUG_RELEASE_WITHOUT_EPOCH
#define SAME_RUN(h) true
#else
#define SAME_RUN(h) (repoch == re[h])
#endif

#ifdef BUG_NO_EXPIRY
#define EXPIRED(c) false
#else
#define EXPIRED(c) (seen[c] >= WAIT)
#endif

/* Asked for by a node that says that its own last run is over: if that was the lease's, it is free.
 */
#define FREE(c, h) (!rheld || EXPIRED(c) || (rhold == h && repoch == re[h]))
#define MAY_GRANT (!STORMY || repoch < EPOCHS)

inline done(h) { /* in the calm each request is dealt with once; before, also again and again */
    if
    :: STORMY -> skip
    :: else -> rk[h] = 0; re[h] = 0; ra[h] = 0
    fi
}

inline answer(c, h, e) {
    ansh[c] = h;
    anse[c] = e;
    ansa[c] = ra[h]
}

inline leader_step(c, h) {
    d_step {
        ansh[c] == NONE && lead[c] > 0 && rk[h] == RENEW && rheld && rhold == h &&
            repoch == re[h] && (FENCE(c) || ACK_ANYWAY(c));
        if
        :: ACK_ANYWAY(c) -> skip
        :: else -> commit(c); changed(c)
        fi;
        answer(c, h, re[h]);
        done(h)
    }
}

inline leader_grant(c, h) {
    d_step {
        ansh[c] == NONE && lead[c] > 0 && rk[h] == ACQUIRE && FREE(c, h) && MAY_GRANT && FENCE(c);
        commit(c);
#ifdef BUG_EPOCH_REUSED
        next = (repoch == 0 || rhold == h -> repoch + 1 : repoch);
#else
        next = repoch + 1;
#endif
        assert(next > repoch); /* epochs strictly increase */
        repoch = next;
        next = 0;
        rheld = 1;
        rhold = h;
        changed(c);
        answer(c, h, repoch);
        done(h)
    }
}

inline leader_free(c, h) {
    d_step {
        STORMY && ansh[c] == NONE && lead[c] > 0 && rk[h] == ACQUIRE && rheld && rhold == h && SAME_RUN(h) &&
            FENCE(c);
        commit(c);
        rheld = 0;
        changed(c);
        done(h)
    }
}

#ifdef BUG_COUNT_FROM_RECEIPT
#define useless(h) skip
#else
#define useless(h) if :: ae[h] > 0 && aa[h] >= KILL_FROM -> ae[h] = 0; aa[h] = 0 :: else fi
#endif

inline deposed(d) { lead[d] = (lead[d] == LEADS -> DEPOSED : lead[d]) }

proctype Control(byte c)
{
    byte next;
end:
    do
    :: leader_step(c, 0)
    :: leader_step(c, 1)
    :: leader_grant(c, 0)
    :: leader_grant(c, 1)
    :: leader_free(c, 0)
    :: leader_free(c, 1)
    :: d_step { /* the commit is known: the wait starts anew, and the answer goes out */
           ansh[c] != NONE;
           seen[c] = 0;
           ae[ansh[c]] = anse[c];
           aa[ansh[c]] = ansa[c];
           useless(ansh[c]);
           ansh[c] = NONE;
           anse[c] = 0;
           ansa[c] = 0
       }
    :: d_step { /* a standby reads the record, and counts from here; node 1 does, the others show
                   the standby that reads at its takeover only */
           !fresh[c] && c == 1;
           fresh[c] = 1;
           seen[c] = 0
       }
#ifndef BUG_NO_TAKEOVER
    :: d_step { /* by compare-and-swap. The first is node 1: the nodes are alike */
           lead[c] != LEADS && (STORMY -> sterm < TERMS && (sterm > 1 || c == 1) : !somebody_leads);
           sterm = (STORMY -> sterm + 1 : sterm);
           deposed((c + 1) % C);
           deposed((c + 2) % C);
           lead[c] = LEADS;
#ifdef BUG_GRANT_AT_ONCE
           seen[c] = SEEN_MAX;
#else
#ifndef BUG_STALE_VIEW
           seen[c] = (fresh[c] -> seen[c] : 0);
#endif
#endif
           fresh[c] = 1
       }
#endif
    :: d_step { /* it restarts, and forgets */
           STORMY && (lead[c] > 0 || fresh[c]);
           lead[c] = 0;
           fresh[c] = 0;
           seen[c] = 0;
           ansh[c] = NONE;
           anse[c] = 0;
           ansa[c] = 0
       }
    od
}

inline ask(h, kind) {
    rk[h] = kind;
    re[h] = ep[h];
    ra[h] = 0
}

inline stopped(h) {
    runs[h] = 0;
    age[h] = 0
}

#ifdef BUG_COUNT_FROM_RECEIPT
#define SINCE(h) 0
#else
#define SINCE(h) aa[h]
#endif

#ifdef BUG_OLD_GRANT
#define NEWER(h) (ae[h] >= ep[h])
#else
#define NEWER(h) (ae[h] > ep[h])
#endif

#ifdef BUG_OVER_TOO_EARLY
#define OVER(h) true
#else
#define OVER(h) (!runs[h])
#endif

#ifdef BUG_RESUME_NOT_KILLED
#define OVERDUE(h) false
#else
#define OVERDUE(h) (age[h] >= L)
#endif

proctype Node(byte h)
{
end:
    do
    /* every renewal interval; in the calm once a tick */
    :: d_step { runs[h] && !paused[h] && MAY_ASK(h); ask(h, RENEW); asked(h) }
    :: d_step { OVER(h) && !paused[h] && MAY_ASK(h); ask(h, ACQUIRE); asked(h) }
    :: d_step {
           !paused[h] && ae[h] > 0;
           if
           :: runs[h] && ae[h] == ep[h] && SINCE(h) < KILL_FROM ->
                  age[h] = (SINCE(h) < age[h] -> SINCE(h) : age[h])
           :: !runs[h] && NEWER(h) && SINCE(h) < KILL_FROM ->
                  runs[h] = 1;
                  ep[h] = ae[h];
                  age[h] = SINCE(h);
                  assert(!running(1 - h)) /* never two */
           :: else -> skip
           fi;
           ae[h] = 0;
           aa[h] = 0
       }
    :: d_step { /* it dies by itself, or by its shim */
           running(h) && (STORMY || age[h] >= L);
           stopped(h)
       }
#ifdef RESOURCE
    :: d_step { running(h) && wr == 0; wr = ep[h] }
#endif
    :: d_step { STORMY && running(h); paused[h] = 1 }
    :: paused[h] ->
       if
#ifdef RESOURCE
       :: d_step { OVERDUE(h) && wr == 0; wr = ep[h]; paused[h] = 0; stopped(h) } /* one more write */
#endif
       :: d_step { OVERDUE(h); paused[h] = 0; stopped(h) }
       :: d_step { !OVERDUE(h); paused[h] = 0; assert(!running(1 - h)) }
       fi
    od
}

#ifdef BUG_NO_KILL
#define DUE(h) false
#else
#define DUE(h) (running(h) && age[h] >= L)
#endif

inline tick() {
    if :: fresh[0] -> older(seen[0], SEEN_MAX) :: else fi;
    if :: fresh[1] -> older(seen[1], SEEN_MAX) :: else fi;
    if :: fresh[2] -> older(seen[2], SEEN_MAX) :: else fi;
    if :: ansh[0] != NONE -> older(ansa[0], KILL_FROM) :: else fi;
    if :: ansh[1] != NONE -> older(ansa[1], KILL_FROM) :: else fi;
    if :: ansh[2] != NONE -> older(ansa[2], KILL_FROM) :: else fi;
    if :: runs[0] -> older(age[0], L) :: else fi;
    if :: runs[1] -> older(age[1], L) :: else fi;
    if :: rk[0] > 0 -> older(ra[0], KILL_FROM) :: else fi;
    if :: rk[1] > 0 -> older(ra[1], KILL_FROM) :: else fi;
    if :: ae[0] > 0 -> older(aa[0], KILL_FROM) :: else fi;
    if :: ae[1] > 0 -> older(aa[1], KILL_FROM) :: else fi;
    useless(0);
    useless(1)
}

#ifdef BUG_RESOURCE_TAKES_ALL
#define TAKEN true
#else
#define TAKEN (wr >= res)
#endif

#ifdef LIVE
#define RESTED has_asked[0] = 0; has_asked[1] = 0
#endif

proctype World()
{
end:
    do
    :: d_step { STORMY && !DUE(0) && !DUE(1); tick() }
#ifdef LIVE
    /* after the storm: messages and steps are fast beside a tick */
    :: d_step { STORMY && !paused[0] && !paused[1]; healed = 1 }
    :: healed && timeout -> d_step { tick(); RESTED }
#endif
#ifdef RESOURCE
    :: d_step {
           wr > 0;
           if
           :: TAKEN -> assert(wr >= res); res = wr
           :: else -> skip
           fi;
           wr = 0
       }
#endif
    od
}

init
{
    d_step {
        ansh[0] = NONE;
        ansh[1] = NONE;
        ansh[2] = NONE;
        lead[0] = LEADS;
        fresh[0] = 1
    }
    atomic {
        run Control(0);
        run Control(1);
        run Control(2);
        run Node(0);
        run Node(1);
        run World()
    }
}

#ifdef LIVE
ltl live { [] (healed -> <> (runs[0] || runs[1])) }
#endif
