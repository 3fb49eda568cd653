package cli

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"

	"example.com/library/library"

	"github.com/urfave/cli/v2"
)

// sourcesKey is under which key an app's Metadata keeps by which environment variables
// flags were set.
const sourcesKey = "sources"

// Source is how the user gave a flag's value: "--limit", or the environment variable
// that stands for the flag. Errors about the value name it.
func Source(c *cli.Context, flag string) string {
	return cmp.Or(variableOf(c, flag), "--"+flag)
}

// Sourced names the environment variable in an error about a flag's value, if that is
// where the value comes from.
func Sourced(c *cli.Context, flag string, err error) error {
	if variable := variableOf(c, flag); variable != "" && err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	return err
}

func variableOf(c *cli.Context, flag string) string {
	sources, _ := c.App.Metadata[sourcesKey].(map[string]string)
	return sources[flag]
}

// settleEnvironment brings the environment variables of all flags on a path into a form
// that cli reads as people mean them. One that is set but empty counts as unset. Any
// other must have a value that its flag can take. It returns by which variable each
// flag is set; given are the flags on the command line, which count more.
func settleEnvironment(path []*cli.Command, given map[string]bool) (map[string]string, error) {
	sources := map[string]string{}
	var flags []cli.Flag
	for _, command := range path {
		flags = append(flags, command.Flags...)
	}
	for _, flag := range flags {
		documented, ok := flag.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		for _, variable := range documented.GetEnvVars() {
			value, found := os.LookupEnv(variable)
			if !found {
				continue
			}
			if value == "" {
				os.Unsetenv(variable)
				continue
			}
			settled, err := settle(variable, flag, value)
			if err != nil {
				return nil, err
			}
			if settled != value {
				os.Setenv(variable, settled)
			}
			if !given[primary(flag)] {
				sources[flag.Names()[0]] = variable
			}
		}
	}
	return sources, nil
}

var seconds = regexp.MustCompile(`^[+-]?\d+(\.\d+)?$`)

// settle checks that a flag can take a value, and returns it as cli reads it: a
// duration may be a plain number of seconds.
func settle(source string, flag cli.Flag, value string) (string, error) {
	var err error
	wanted := ""
	switch flag.(type) {
	case *cli.IntFlag, *cli.Int64Flag:
		wanted = "a number"
		_, err = strconv.ParseInt(value, 0, 64)
	case *cli.BoolFlag:
		wanted = "true or false"
		_, err = strconv.ParseBool(value)
	case *cli.DurationFlag:
		wanted = "a duration such as 30s, 5m or 2h, or a number of seconds"
		if seconds.MatchString(value) {
			value += "s"
		}
		_, err = time.ParseDuration(value)
	}
	if err != nil {
		return "", usageErrorf("%s takes %s, not %s", source, wanted, library.Printable(value))
	}
	return value, nil
}
