package scripts

import (
	"regexp"
	"strconv"
	"strings"
)

// A Place is a line of a script, as its author wrote it.
type Place struct {
	Script  string // the script's file; empty if it is none of ours
	File    string // the file that the line is in: Script, or one that it uses; empty if the script was not begun
	Line    int    // the line in File
	Command string // the first command in the line; empty if there is none
	Key     string // the command's key; empty if the script's header has no name for it
}

var (
	callPattern = regexp.MustCompile(`call\('([A-Z]+)'(?:, '([A-Z]+)')?(?:, (\w+))?`)
	keyPattern  = regexp.MustCompile(`(?m)^local (\w+) = KEYS\[(\d+)\]$`)
)

// Locate tells where a line of a script's text is. script is what EVALSHA or EVAL was
// given, line is the number in Redis's error (on @user_script:LINE), and keys are those
// that the script was given.
func Locate(script string, line int, keys []string) Place {
	of := sourceOf[script]
	place := Place{Script: of.file}
	line -= of.before
	if place.Script == "" || line < 1 {
		return place
	}
	for _, file := range Files(place.Script) {
		lines := strings.SplitAfter(read(file), "\n")
		lines = lines[:len(lines)-1] // each file ends with a newline, and the next begins after it
		if line > len(lines) {
			line -= len(lines)
			continue
		}
		place.File, place.Line = file, line
		if found := callPattern.FindStringSubmatch(lines[line-1]); found != nil {
			place.Command = strings.TrimSpace(found[1] + " " + found[2])
			place.Key = keyNamed(found[3], place.Script, keys)
		}
		return place
	}
	return place
}

// File is the file of a script, of which script is the text or the hash, as EVAL and
// EVALSHA are given it; empty if it is none of ours.
func File(script string) string { return sourceOf[script].file }

// keyNamed is the key that has a name in a script's header. Shared files call their
// parameters by the same names.
func keyNamed(name, script string, keys []string) string {
	for _, declared := range keyPattern.FindAllStringSubmatch(read(script), -1) {
		if n, _ := strconv.Atoi(declared[2]); declared[1] == name && n >= 1 && n <= len(keys) {
			return keys[n-1]
		}
	}
	return ""
}
