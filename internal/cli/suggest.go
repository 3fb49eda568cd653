package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"
)

// closest returns the word that was probably meant by one that was mistyped; empty if
// it looks like none of them.
func closest(typed string, words []string) string {
	best, least := "", 3
	for _, word := range words {
		if n := slips(normal(typed), normal(word)); n < least {
			best, least = word, n
		}
	}
	return best
}

// normal leaves out of a word how it was written: capitals, hyphens, underscores.
func normal(word string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(word))
}

// slips counts by how many slips of the fingers two words differ: letters that are
// missing, too many or wrong, or all there in another order. 3 means too many, and in
// a short word 2 are too many already. The beginning of a word is close to it.
func slips(typed, word string) int {
	const tooMany = 3
	short, long := len(typed), len(word)
	if short > long {
		short, long = long, short
	}
	switch {
	case typed == word:
		return 0
	case len(typed) > 2 && strings.HasPrefix(word, typed):
		return 1 // it was not typed to its end
	case short < 2 || long-short >= tooMany:
		return tooMany
	case sorted(typed) == sorted(word):
		return 1
	}
	n := smetrics.WagnerFischer(typed, word, 1, 1, 1)
	if n == 2 && short < 5 {
		return tooMany
	}
	return min(n, tooMany)
}

func sorted(word string) string {
	letters := []byte(word)
	slices.Sort(letters)
	return string(letters)
}

// commandNames are the names of a level's commands, and of those below it behind
// theirs: "rejected", "rejected retry".
func commandNames(level *cli.Command) []string {
	var names []string
	for _, command := range level.Subcommands {
		for _, name := range command.Names() {
			names = append(names, name)
			for _, below := range commandNames(command) {
				names = append(names, name+" "+below)
			}
		}
	}
	return names
}

// closestCommand returns the command of a level, or of a level below, that was probably
// meant; empty for none.
func closestCommand(level *cli.Command, typed string) string {
	names := commandNames(level)
	lasts := make([]string, len(names))
	for i, name := range names {
		lasts[i] = name[strings.LastIndex(name, " ")+1:]
	}
	if isHelpCommand(level, "help") {
		names, lasts = append(names, "help"), append(lasts, "help")
	}
	if i := slices.Index(lasts, closest(typed, lasts)); i >= 0 {
		return names[i]
	}
	return ""
}

// closestFlag returns the flag of a command that was probably meant, with its dashes;
// empty for none.
func closestFlag(path []*cli.Command, typed string) string {
	var names []string
	for _, flag := range flagsOf(path) {
		for _, name := range flag.Names() {
			if len(name) > 1 {
				names = append(names, name)
			}
		}
	}
	if name := closest(typed, names); name != "" {
		return "--" + name
	}
	return ""
}
