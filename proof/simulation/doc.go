// Package simulation plays the library in one process, thousands of times, and lets
// everything go wrong. Its tests are the program; there is nothing to import.
//
//	go test ./proof/simulation                                   # every crash point, and a few hundred seeds
//	make simulate SEEDS=10000                                    # many seeds
//	go test ./proof/simulation -run TestSeeds -seed 123 -v       # one of them, with all that happened
//
// # The idea
//
// A failure in such a system is nearly always a matter of order: somebody dies between
// two commands, an answer is lost, a command arrives after its sender gave up. So the
// order must be ours. Services, clients and server run in a bubble of testing/synctest,
// where time is virtual and one can tell when everybody waits. Whatever is written to
// the server is kept back until then. Then one command, the seed says which, happens as
// a whole, with what the seed says goes wrong with it; and the next waits until
// everybody waits again. So a run of half a minute takes milliseconds, and a seed is a
// run: it can be played again.
//
// After each command that may have changed something, the whole state is looked at and
// compared with what the log tells, which the model replays by rules of its own: each
// order is decided once, as by itself; its receipt is the log's; loans, cards and the
// limit agree; every book is in exactly one place; what is on its way will arrive;
// every order that was accepted is in its inbox, or decided, or set aside. In the end,
// once nothing goes wrong any more, the library must come to rest within 30 s of its
// time, with nothing pending, nothing set aside, no name left over, and every client
// must have been told what the log has.
//
// # The two tests
//
// The crash-point sweep ([TestEveryCrashPoint] in sweep_test.go) plays small scenarios
// that together take every path. It plays each again for every command in it: the
// process that sent it dies just before or just after, and another takes its place; or
// its connection breaks there. Two lists are literal: of the commands that were struck,
// before and after, and of the paths that were taken. A script or a command that is new
// turns the test red until a scenario has it. What an actor repeats while nothing has
// changed is one place, and so is what scenarios have in common at their beginning.
//
// The seeds ([TestSeeds] in seeds_test.go) choose everything: desks, users, orders,
// the order of commands, and faults, of which faults_test.go has the kinds.
//
// # What is real, and what is not
//
// Real are the services, the instances' locks, the Go client, go-redis with its pools,
// timeouts and subscriptions, the scripts, and the server's streams, groups and keys,
// as miniredis has them. What starts and stops an instance repeats what lendingd does.
//
// Simulated are the network, the clock, and waiting for an entry (BLOCK): the world
// asks again when the stream has changed. A process that dies is one whose commands
// reach nobody any more. WAIT is answered by the world, as if there were replicas. The
// handshake of a connection is never struck. A command happens or does not; one that
// arrives in part is for others to show. The server's clock jumps forward only, since
// miniredis hides what was delivered in its future.
//
// A seed fixes all that the simulation chooses, and what the library draws at random
// (crypto/rand). What is left to the Go runtime is the order of goroutines that run at
// the same moment, where it interrupts one, and the choice of a select; for that reason
// seeds are played by processes of one thread. Most seeds are the same run every time,
// command by command, which a test watches; on a machine that is very busy one in ten or
// so may not be.
//
// # What it cannot show
//
// It is a miniredis that is tested here. It says nothing of what a real Redis does
// with memory, disks, replicas and restarts, nor where the two differ; other tests run
// the same scripts on both. Nothing runs at the same time here, so it does not find data
// races. And it finds what the invariants name: a rule that is wrong in the model and in
// the scripts alike looks right.
package simulation
