package museum

import (
	"embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed *.go
var files embed.FS

// function is the text of a function, which stands in a file of this package.
func function(file, name string) (string, error) {
	text, err := files.ReadFile(file)
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?ms)^func (\(\w+ \*?\w+\) )?` + name + `\(.*?^}$|^func ` + name + `\(.*\}$`).Find(text)
	if found == nil {
		return "", fmt.Errorf("%s has no function %s", file, name)
	}
	return string(found), nil
}

// file is where an exhibit stands.
func (e Exhibit) file() string { return strings.ReplaceAll(e.Name, "-", "") + ".go" }

// Code is what differs between the wrong one and the right one, each in Lua or in Go, or
// in both. An empty text means that there is nothing in its place.
type Code struct{ Language, Right, Wrong string }

// Difference is what differs.
func (e Exhibit) Difference() ([]Code, error) {
	var all []Code
	if e.Change.Script != "" {
		all = append(all, Code{"lua", "-- scripts/" + e.Change.Script + "\n" + unindented(e.Change.Right), "-- scripts/" + e.Change.Script + "\n" + unindented(e.Change.Wrong)})
	}
	if e.Wrong == "" {
		return all, nil
	}
	code := Code{Language: "go"}
	for name, text := range map[string]*string{e.Right: &code.Right, e.Wrong: &code.Wrong} {
		if name == "" {
			continue
		}
		var err error
		if *text, err = function(e.file(), name); err != nil {
			return nil, err
		}
	}
	return append(all, code), nil
}

// unindented takes away the indent that all lines of a text share.
func unindented(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	indent := len(lines[0]) - len(strings.TrimLeft(lines[0], " "))
	for i, line := range lines {
		lines[i] = line[min(indent, len(line)-len(strings.TrimLeft(line, " "))):]
	}
	return strings.Join(lines, "\n")
}
