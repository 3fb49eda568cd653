package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"example.com/library/internal/cli"
	"example.com/library/internal/expiry"
	"example.com/library/lessons"
	"example.com/library/library"

	"github.com/alicebob/miniredis/v2"
	urfave "github.com/urfave/cli/v2"
)

func lessonCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "lesson",
		Usage:     "go through a lesson, step by step",
		ArgsUsage: "[N]",
		Description: `There are ten; each takes five to ten minutes. Every command is shown before it runs, in
a shell and a folder of the lesson's own, on a redis-server of its own, or a server in
memory where there is none. Nothing else is touched, and all of it is gone in the end. At
a terminal Enter goes on. Elsewhere the lesson runs through. The exit code is 1 if a
command does not print what the page says. Without N the lessons are listed.

Examples:
   lendingd lesson      what there is to learn
   lendingd lesson 1    a service owns its data`,
		Flags:  []urfave.Flag{cli.OutputFlag()},
		Action: teach,
	}
}

func teach(c *urfave.Context) error {
	names, err := cli.Names(c, 0, 1)
	if err != nil {
		return err
	}
	all, err := lessons.All()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return listLessons(c, all)
	}
	if cli.JSON(c) {
		return cli.UsageError{Message: "a lesson is read, not parsed: leave -o json out"}
	}
	n, err := strconv.Atoi(names[0])
	if err != nil || n < 1 || n > len(all) {
		return cli.UsageError{Message: fmt.Sprintf("a lesson is a number from 1 to %d, not %s", len(all), library.Printable(names[0]))}
	}
	return follow(newSteps(c), all[n-1])
}

func listLessons(c *urfave.Context, all []lessons.Lesson) error {
	for _, lesson := range all {
		var err error
		if cli.JSON(c) {
			err = cli.WriteJSON(c.App.Writer, map[string]any{"number": lesson.Number, "title": lesson.Title})
		} else {
			_, err = fmt.Fprintln(c.App.Writer, lesson.Title)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// follow leads through a lesson.
func follow(s *steps, lesson lessons.Lesson) error {
	port := 0
	if _, err := exec.LookPath("redis-server"); err != nil {
		if lesson.NeedsServer {
			return errors.New("this lesson kills a redis-server, and there is none on PATH; install it with: apt-get install redis-server")
		}
		server := miniredis.NewMiniRedis()
		if err := serve(server, "127.0.0.1:0", false); err != nil {
			return fmt.Errorf("serve an embedded Redis for the lesson: %w", err)
		}
		defer server.Close()
		defer expiry.Run(server, embeddedTick)()
		if port, err = strconv.Atoi(server.Port()); err != nil {
			return err
		}
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	session, err := lessons.Begin(s.ctx, filepath.Dir(program), port)
	if err != nil {
		return err
	}
	defer session.End()
	fmt.Fprintf(s.w, "%s\n", lesson.Title)
	for _, part := range lesson.Parts {
		fmt.Fprintln(s.w)
		switch {
		case part.Command != "":
			if err := try(s, session, part); err != nil {
				return err
			}
		case part.Block:
			fmt.Fprintln(s.w, part.Text)
		default:
			s.says(part.Text)
		}
		if part.Ask {
			if err := s.wait(""); err != nil {
				return err
			}
		}
	}
	return nil
}

// try shows a command, runs it, and shows what it prints.
func try(s *steps, session *lessons.Session, part lessons.Part) error {
	fmt.Fprintf(s.w, "$ %s\n", part.Command)
	if err := s.wait("runs it"); err != nil {
		return err
	}
	output, err := session.Run(s.ctx, part.Command)
	if err != nil {
		return fmt.Errorf("run %q: %w", part.Command, err)
	}
	fmt.Fprint(s.w, strings.ReplaceAll(output, "\t", "    "))
	if !part.Prints(output) {
		fmt.Fprintf(s.w, "\nThe page says:\n%s", part.Output)
		return fmt.Errorf("%q does not print what its page says", part.Command)
	}
	return nil
}
