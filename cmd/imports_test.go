package cmd_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"example.com/library/library"
)

// may tells which packages of this module each one may import. A service is missing
// from every line but those of the programs: services know each other by their inboxes
// only.
var may = map[string]string{
	"library":      "",
	"scripts":      "",
	"redisconn":    "library scripts",
	"events":       "library redisconn",
	"explain":      "library redisconn events lending",
	"acl":          "library",
	"worker":       "library redisconn scripts",
	"lending":      "library redisconn scripts worker",
	"shelving":     "library redisconn scripts worker",
	"audit":        "library redisconn worker",
	"status":       "library redisconn worker lending shelving",
	"metrics":      "library redisconn scripts worker status",
	"gateway":      "library redisconn worker lending shelving events status metrics explain audit",
	"internal/cli": "library redisconn acl",
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	const module = "example.com/library/"
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(strings.ReplaceAll(line, module, ""))
		allowed, bound := may[words[0]]
		if !bound {
			continue // programs, tests, and what they need may import all
		}
		seen++
		for _, imported := range words[1:] {
			ours := strings.Contains(line, module+imported)
			if ours && !slices.Contains(strings.Fields(allowed), imported) {
				t.Errorf("%s imports %s, which it may not know", words[0], imported)
			}
		}
	}
	if seen != len(may) {
		t.Errorf("saw %d of the %d packages that have a rule", seen, len(may))
	}
}

func TestEveryServiceHasAPackageWithARule(t *testing.T) {
	for _, service := range library.Services() {
		allowed, bound := may[service]
		if !bound {
			t.Errorf("the service %s has no rule", service)
		}
		for _, other := range library.Services() {
			if slices.Contains(strings.Fields(allowed), other) {
				t.Errorf("the service %s may import the service %s", service, other)
			}
		}
	}
}
