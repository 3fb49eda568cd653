package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/library/library"

	"github.com/urfave/cli/v2"
)

// OutputFlag chooses between text for people and JSON for programs, see JSON.
func OutputFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "output", Aliases: []string{"o"}, EnvVars: []string{"LENDING_OUTPUT"}, Usage: "print in a `FORMAT`: text or json", Value: "text",
		Action: func(c *cli.Context, _ string) error { return OneOf(c, "output", "text", "json") },
	}
}

// JSONFlag is another way to say --output json, for the commands that had it first.
func JSONFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Hidden: true} }

// JSON reports whether JSON is wanted.
func JSON(c *cli.Context) bool { return c.String("output") == "json" || c.Bool("json") }

// OneOf checks a flag that has a few values to choose from.
func OneOf(c *cli.Context, flag string, values ...string) error {
	value := c.String(flag)
	if slices.Contains(values, value) {
		return nil
	}
	return usageErrorf("%s is %s or %s, not %s", Source(c, flag), strings.Join(values[:len(values)-1], ", "), values[len(values)-1], library.Printable(value))
}

// Within checks a flag's number or duration, which has bounds.
func Within[T int | int64 | time.Duration](c *cli.Context, flag string, value, min, max T) error {
	if value < min || value > max {
		return usageErrorf("%s is from %v to %v, not %v", Source(c, flag), min, max, value)
	}
	return nil
}

// Count tells how many there are of something: "1 entry", "2 entries".
func Count[T int | int64](n T, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
