package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilToldToStop returns a context that ends with the first signal that asks the
// program to stop. A second SIGINT or SIGTERM ends the process at once.
//
// SIGHUP says that the terminal was closed. Both the shell and the kernel may send it,
// so it never counts as a second signal; and nohup has it ignored, which stays so.
//
// A write to a pipe without a reader fails, and does not end the process: a worker
// serves on without its log, and a command can still say what became of an order.
func untilToldToStop() context.Context {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // nobody need read it
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-signals
		cancel()
		for second := range signals {
			if second != syscall.SIGHUP {
				os.Exit(ExitBroken)
			}
		}
	}()
	return ctx
}
