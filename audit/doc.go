// Package audit checks a library while it runs, as an auditor checks a company's
// books: it goes through the log from the beginning, works out what every key must
// hold by now, and compares that with what the keys do hold.
//
//	events ──▶ replay ──▶ what must be ──┐
//	                                     ├──▶ findings
//	all other keys ──▶ what is there ────┘
//
// It trusts none of the services' code: it has the names of the keys and the forms
// of the entries in its own words, from docs/reference.md, and imports neither service.
//
// Nothing is stopped and nothing is locked for it. All keys are read in small pages,
// and while they are read, the library goes on. A book that the log mentions
// between the beginning and the end of a look may have been seen half before and
// half after a step, so such a book is looked at again, alone, until nothing
// happens to it meanwhile. As all that happens to a book is in the log, what is
// then seen is exact.
//
// Where the beginning of the log was trimmed away, nothing is assumed of a book
// before the log's first word on it. Then its keys are checked against each other.
//
// Each step of a Check has a file, or a function in one:
//
//	replay.go    follows the log, and reports what cannot follow on what went before
//	books.go     where each book is, who has it, and who works for those on their way
//	receipts.go  the receipts, on both pages
//	counts.go    the limit, the count of what is away, demand, and what must end
//	inbox.go     what was acknowledged, set aside, or left by the dead
package audit
