// Package lending is the lending service, which decides who has which book, and
// the [Client] by which anyone asks it.
//
// # What it owns
//
// All keys begin with the library's name as a hash tag, such as {main}:. The
// service alone writes:
//
//	lending:loans           HASH    book -> user
//	lending:card:<user>     HASH    book -> due_ms and four digits of loan_days; its length is what the limit counts
//	lending:fetching        HASH    book -> "request bell", for lent books on their way from the shelves
//	lending:front           SET     the books in front storage
//	lending:demand          HASH    book -> the logarithm of how often it was lent, aged
//	lending:demand:faded    HASH    the same, noted longer ago
//	lending:clock           STRING  the time by which demand ages
//	lending:receipts        HASH    request -> the answer: this page of receipts
//	lending:receipts:older  HASH    request -> the answer: the page before
//	lending:receipts:page   STRING  stands as long as this page is not full
//	lending:terms           HASH    what the instance that started last lends by
//	lending:rejected        STREAM  the entries it set aside
//
// Receipts are two pages, so that one command reads or writes those of a batch and
// none needs a key with a time to live. When the page is full, after the time that
// receipts are kept at least, the next decision makes it the older page and forgets
// the one before.
//
// Demand is counted when a loan ends, for only then is a book weighed against
// others. Notes of it are kept in two pages, as receipts are.
//
// It reads three streams, in the group "lending". One script applies the entries
// of each, with everything that follows from them:
//
//	lending:requests    from clients               lend.lua
//	lending:returns     from clients               return.lua
//	lending:deliveries  from the shelving service  deliver.lua
//
// It appends to two inboxes of the shelving service, shelving:fetches for books it
// orders and shelving:stores for books to put away, and to the log, events. Where
// there are many, up to 16 books share an entry, and up to 16 receipts one of the
// log. It reads nothing that the shelving service owns.
//
// # The states of a book
//
//	               lend.lua                      deliver.lua
//	(elsewhere) ──────────────▶ (lent, on its way) ───────────▶ (lent, in hand)
//	     ▲                                                        │       ▲
//	     │ return.lua, where front storage             return.lua │       │ lend.lua
//	     │ has no room, in least demand first                     ▼       │
//	     └─────────────────────────────────────────────────── (in front storage)
//
// A lent book is in loans and on a card; on its way it is in fetching too. A book
// in front storage is in front. One that is elsewhere is in none of these.
//
// A loan counts from the decision, before the book has moved. Otherwise two
// requests could be promised the same copy while it is being fetched. A book on
// its way cannot come back; a return of it is told "on_its_way".
//
// # Who is authoritative
//
// This service is, on who has a book, on the limit, and on what stands in front
// storage. The decision is one script that sees all of it, so there is no moment
// between the look and the loan. Where a book is that is elsewhere it does not
// know; the shelving service does.
//
// Receipts are the truth about what was decided. A ring on a client's channel only
// says that it is worth looking.
//
// # What happens when an instance dies, or loses its name
//
// Any number of instances serve side by side; none is special. Nothing that matters
// is in their memory.
//
//   - It dies before its script: the entries stay pending for its name. When its
//     lock has ended, another instance takes them over, see package worker.
//   - It dies during the script or after it: Redis finishes what it has begun. State,
//     receipts, events, orders and acknowledgements are there, all of them.
//   - It is paused for so long that its lock ends, or another process takes its
//     name: its scripts answer FENCED and write nothing. It takes the name again
//     if nobody else has it, and stops if somebody has.
//   - It decides an entry that another has decided, or that a client sent twice: the
//     request's receipt is there already. The entry is acknowledged, and the receipt
//     stands. This holds for as long as receipts are kept. A delivery that another
//     has handled is not pending for it any more, and nothing happens.
//
// With no instance at all, requests and returns wait in their streams; with no
// shelving service, books in front storage are lent at once, and others are on
// their way until it runs again.
package lending
