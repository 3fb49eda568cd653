// Package museum shows famous mistakes, each beside the right way, so that one sees
// both run.
//
// An exhibit is a file. It has a few lines that are wrong, the lines of the library that
// are right, and a story in which the wrong ones fail. The story is told twice, once
// with each, on a server of its own (miniredis), by a clock that stands still. So it ends the
// same way every time.
//
// This is how a story reads:
//
//	worker1 := s.starts("worker1")             // takes its name and makes the groups
//	s.sends(s.wish("a", library.Request, "user1", "geb")) // a client appends order a
//	worker1.dies(1)                            // after one more command it sends no more
//	worker1.works()                            // takes over, reads and handles what there is
//	s.passes(time.Minute)                      // locks end
//	s.starts("worker2").works()
//
// Real are the scripts, the services, the instances' locks, the client and the audit. The
// loop by which an instance reads its inboxes is a short one of the stage's, in one
// goroutine, so that a story decides who does what when; package worker has the real one.
//
// In the end two judge. The audit compares every key with the log. The desk compares the
// log with what users wished: each wish must have been decided once.
package museum
