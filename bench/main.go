// Command bench measures the library against its targets, on Redis servers of
// its own, and prints one table. It needs Linux, for the processors' time of
// other processes, and a redis-server on the PATH.
//
// Progress goes to standard error, the table to standard output.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/library/internal/document"
)

// sections in the order in which they run and are printed.
var sections = []section{
	throughputSection,
	latencySection,
	processSection,
	memorySection,
	scaleSection,
	frontSection,
	idleSection,
	gatewaySection,
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "worker" {
		// The contestants that are written here run as processes of their own.
		if err := runWorker(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintf(os.Stderr, "bench worker %s: %v\n", os.Args[2], err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	list := flag.Bool("list", false, "name the sections and stop")
	only := flag.String("only", "", "run these `SECTIONS` alone, separated by commas")
	n := flag.Int("n", 200_000, "how many requests a round drains")
	rounds := flag.Int("rounds", 3, "how many rounds each section runs")
	project := flag.String("project", "..", "the `FOLDER` of the project whose programs are measured")
	write := flag.String("write", "", "replace what stands between <!-- bench --> and <!-- /bench --> in this `FILE` with the table")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see bench -help", flag.Arg(0))
	}
	if *n < 1000 || *rounds < 1 {
		return fmt.Errorf("-n must be at least 1000 and -rounds at least 1")
	}
	if *list {
		for _, s := range sections {
			fmt.Println(s.name)
		}
		return nil
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := newBench(ctx, *project, *n, *rounds)
	if err != nil {
		return err
	}
	defer b.close()
	// The server's version is asked of a server, which also shows that one runs.
	head, err := describe(ctx, b)
	if err != nil {
		return err
	}
	var rows []Row
	for _, s := range chosen {
		begin := time.Now()
		b.logf("%s", s.name)
		found, err := s.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		rows = append(rows, found...)
		b.logf("%s took %s", s.name, time.Since(begin).Round(time.Second))
	}
	table := head + markdown(rows)
	fmt.Print(table)
	if *write != "" {
		return document.Replace(*write, "bench", table)
	}
	return nil
}

// choose picks the sections that the flag names, all if it names none.
func choose(only string) ([]section, error) {
	if only == "" {
		return sections, nil
	}
	var chosen []section
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(sections, func(s section) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no section %q; bench -list names them", name)
		}
		chosen = append(chosen, sections[i])
	}
	return chosen, nil
}
