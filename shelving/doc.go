// Package shelving is the shelving service, the main storage: it fetches books
// from the shelves and puts them back.
//
// # What it owns
//
// All keys begin with the library's name as a hash tag, such as {main}:. The
// service alone writes:
//
//	shelving:out:<bay>  HASH    book -> "", for every book of that bay that is not on the shelves
//	shelving:away       STRING  how many books are out, of all bays
//	shelving:awaited    HASH    book -> request, for books that are out and were ordered again
//	shelving:rejected   STREAM  the entries it set aside
//
// The shelves hold every book anyone can name. Only what is not on them is written
// down, so all the others cost nothing. They have 65,536 bays, by a hash of the
// book's name, for Redis packs many small HASHes more tightly than a large one.
//
// It reads two streams, in the group "shelving". One script applies the entries of
// each, with everything that follows from them:
//
//	shelving:fetches  from the lending service  fetch.lua
//	shelving:stores   from the lending service  store.lua
//
// It appends to one inbox of the lending service, lending:deliveries, and to the
// log, events. It reads nothing that the lending service owns: it does not know
// users, limits or due times. An entry may hold several books; one that does not
// fit the others' entry, because the state contradicts it, gets one of its own.
//
// # The states of a book
//
//	                fetch.lua            fetch.lua
//	(on the shelves) ───────▶ (out) ────────────────▶ (out, awaited)
//	       ▲             out, away│ ▲             out, away, awaited
//	       │      store.lua       │ │     store.lua        │
//	       └──────────────────────┘ └──────────────────────┘
//
// The lending service appends to two streams, and nothing keeps them in step: an
// order can overtake the return of the same book. It is then noted as awaited, and
// the book is handed on when it comes, without touching the shelves. In either
// order of arrival the book ends with the request that awaits it.
//
// # Who is authoritative
//
// This service is, on whether a book is on the shelves. Who has a book that is out
// it does not know; the lending service does. While a book is between the two, it
// is an entry in an inbox, and its sender has let go of it in the same step that
// appended the entry.
//
// # What happens when an instance dies, or loses its name
//
// Any number of instances serve side by side. With [Config.FetchTime] each takes
// that long for a book, one at a time, so that more instances fetch faster. It
// walks for all books of an entry before it applies any.
//
//   - It dies before its script, on its walk through the shelves, say: the book is
//     still there, and the entry stays pending for its name. When its lock has ended,
//     another instance takes the entry over, see package worker, and walks itself.
//   - It dies during the script or after it: Redis finishes what it has begun. The
//     book is out, the delivery is appended, the entry acknowledged, all of it.
//   - It is paused for so long that its lock ends, or another process takes its
//     name: its scripts answer FENCED and write nothing. It takes the name again
//     if nobody else has it, and stops if somebody has.
//   - It applies an entry that another has applied: the entry is not pending for it
//     any more, the script answers "gone", and nothing happens.
//
// With no instance at all, orders wait in their stream, and the users' books are on
// their way until one runs again. Nobody's loan is lost, for loans are not kept here.
package shelving
