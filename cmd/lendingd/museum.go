package main

import (
	"fmt"
	"io"
	"strings"

	"example.com/library/internal/cli"
	"example.com/library/lessons/museum"
	"example.com/library/library"

	urfave "github.com/urfave/cli/v2"
)

func museumCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "museum",
		Usage:     "play a famous mistake, and then the right way, in the same story",
		ArgsUsage: "[NAME]",
		Description: `Each exhibit has a few lines that are wrong beside those of the library that are right,
and a story in which the wrong ones fail. Both are played on a server of its own, in
memory, and the audit says what is wrong in the end. Without a NAME all exhibits are
listed. At a terminal Enter goes on. The exit code is 1 if an exhibit does not fail as it
should, or the library does.

Examples:
   lendingd museum                   what there is
   lendingd museum check-then-lend   one book lent to two users`,
		Flags:  []urfave.Flag{cli.OutputFlag()},
		Action: visitMuseum,
	}
}

func visitMuseum(c *urfave.Context) error {
	names, err := cli.Names(c, 0, 1)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return listExhibits(c)
	}
	exhibit, found := museum.Find(names[0])
	if !found {
		return cli.UsageError{Message: fmt.Sprintf("the museum has no exhibit %s; lendingd museum lists them", library.Printable(names[0]))}
	}
	if cli.JSON(c) {
		wrong, err := exhibit.Play(c.Context, io.Discard, true)
		if err != nil {
			return err
		}
		right, err := exhibit.Play(c.Context, io.Discard, false)
		if err != nil {
			return err
		}
		return shown(cli.WriteJSON(c.App.Writer, played{exhibit.Name, exhibit.Title, wrong, right}), wrong, right)
	}
	return showExhibit(newSteps(c), exhibit)
}

// played is what became of an exhibit, in JSON.
type played struct {
	Name  string          `json:"name"`
	Title string          `json:"title"`
	Wrong *museum.Verdict `json:"wrong"`
	Right *museum.Verdict `json:"right"`
}

func listExhibits(c *urfave.Context) error {
	for _, exhibit := range museum.Exhibits {
		var err error
		if cli.JSON(c) {
			err = cli.WriteJSON(c.App.Writer, map[string]string{"name": exhibit.Name, "title": exhibit.Title})
		} else {
			_, err = fmt.Fprintf(c.App.Writer, "%-18s %s\n", exhibit.Name, exhibit.Title)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// showExhibit leads through an exhibit.
func showExhibit(s *steps, exhibit museum.Exhibit) error {
	fmt.Fprintf(s.w, "%s\n\n", exhibit.Title)
	s.says(exhibit.What)
	fmt.Fprintf(s.w, "\nSeen in the wild:\n")
	for _, seen := range exhibit.Seen {
		s.says(seen.Issue + ": " + seen.Told)
	}
	codes, err := exhibit.Difference()
	if err != nil {
		return err
	}
	for _, code := range codes {
		for _, part := range [][2]string{{"wrong", code.Wrong}, {"right", code.Right}} {
			if part[1] != "" {
				fmt.Fprintf(s.w, "\nThe %s one:\n\n%s\n", part[0], "    "+strings.NewReplacer("\n", "\n    ", "\t", "    ").Replace(part[1]))
			}
		}
	}
	fmt.Fprintln(s.w)
	s.says("Predict: " + exhibit.Predict)
	fmt.Fprintln(s.w)
	var verdicts []*museum.Verdict
	for _, wrong := range []bool{true, false} {
		with := "the right one, in the same story"
		if wrong {
			with = "the wrong one"
		}
		if err := s.wait("plays it with " + with); err != nil {
			return err
		}
		fmt.Fprintf(s.w, "\nWith %s:\n\n", with)
		verdict, err := exhibit.Play(s.ctx, s.w, wrong)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.w, "\n%s\n", verdict.Report())
		verdicts = append(verdicts, verdict)
	}
	_, err = fmt.Fprintf(s.w, "Keep: %s\nRead: %s\n", exhibit.Keep, exhibit.Read)
	return shown(err, verdicts[0], verdicts[1])
}

// shown is the error of an exhibit that was shown, if it did not end as it should.
func shown(err error, wrong, right *museum.Verdict) error {
	switch {
	case err != nil:
		return err
	case wrong.Clean():
		return fmt.Errorf("the wrong one did no harm, so this exhibit shows nothing")
	case !right.Clean():
		return fmt.Errorf("the right one failed: the library is broken")
	}
	return nil
}
