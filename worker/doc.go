// Package worker runs a service: it holds the instance's name, and reads the
// service's inboxes, which are Redis streams, in a group whose consumers are the
// instances.
//
// # The name
//
// The lock is a key with a time to live, refreshed every third of it. It says who
// is alive: as long as it stands, nobody takes over what is pending for the name;
// once it has lapsed, everybody may. It does not say who is right. A process can
// be paused for longer than its lock lives and wake up believing that it still
// owns the name, so every script checks the lock's token itself and answers FENCED
// to a process that lost it.
//
//	        Take              refreshed in time
//	(free) ──────▶ (held) ◀──────────────────┐
//	   ▲             │ └─────────────────────┘
//	   │ Release     │ paused, cut off, or Redis lost its data
//	   └─────────────┤
//	                 ▼
//	             (lapsed) ── Keep finds the name free ──▶ (held) again
//	                 └────── Keep finds another owner ──▶ ErrTaken: the process stops
//
// If the process dies, the lock lapses after its time to live, and the name is free.
//
// The lock is refreshed only while the work it stands for moves on. Each read, each
// sweep and each batch in hand says by when it will have: within [LockConfig.TTL], but
// at least 10 s, and the time that a walk takes. While one of them is overdue the name is let
// go, nothing is read, and others take over what is pending. When it moves on it is fenced
// off, and the name is taken again. A server that is away, slow, or says that it
// cannot serve makes nothing overdue, nor does a pause of the process.
//
// # The inbox
//
// An entry belongs to one instance at a time, from the moment XREADGROUP gives it
// out until the service's script acknowledges it:
//
//	            XREADGROUP >            the script's XACK
//	(appended) ────────────▶ (pending) ──────────────────▶ (done, trimmed)
//	                          │    ▲ │
//	   the instance is gone,  │    │ │ cannot be understood or applied,
//	   or lost sight of it:   └────┘ │ or came back too often:
//	   claim.lua                     ▼ reject.lua
//	                             (rejected)
//
// The group counts how often an entry was delivered. What shall count is an instance
// that ended with the entry in its hands, for the entry may be what ended it. So an
// instance that is told to stop takes back its count of what it did not finish, and
// while it walks to the shelves an entry does not count. An entry that counts already
// is tried by itself, and only one at a time in an instance, so that none counts for
// another. What came back too often is set aside; in an inbox that is Patient it is
// tried again at a slow pace.
//
// An entry may be of any size. Nothing of what it holds passes through claim.lua, and
// of a large one only so much is read as [redisconn.Options] allows; then it is set
// aside by its id.
//
// Redis is the authority on who owns an entry; what this package remembers (which
// entries are in hand) only spares work. An answer that was lost, a batch that was
// dropped, a process that died: in each case the entries are still pending, and the
// sweep of this instance or another finds them.
//
// An entry between the services is a [Parcel]: it may hold several books, for an
// entry costs more than a book. It is applied in one step all the same. A book that
// cannot be applied with the others is put into an entry of its own, so that it
// alone is set aside.
package worker
