package document

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	links    = regexp.MustCompile(`\]\(([^)\s]*)\)`)
	headings = regexp.MustCompile("(?m)^#+ (.*)$")
	fences   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	noSlug   = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	sentence = regexp.MustCompile("[a-z0-9)`*][.?!] +[A-Z`(*]")
)

// pages has the text of each document, by its path from the project's folder.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "lessons/*.md", "lessons/*/*.md"} {
		paths, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(filepath.Join("..", ".."), path)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = fences.ReplaceAllString(string(text), "")
		}
	}
	if texts["README.md"] == "" || texts[filepath.Join("docs", "lesson.md")] == "" {
		t.Fatal("README.md or docs/lesson.md is missing")
	}
	return texts
}

// slug is the name under which a web page shows a heading: "Redis's clock" is
// "rediss-clock".
func slug(heading string) string {
	return strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

// A page that is split or renamed leaves no link that leads nowhere.
func TestEveryLinkOfTheDocumentsLeadsSomewhere(t *testing.T) {
	texts := pages(t)
	for name, text := range texts {
		for _, link := range links.FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(link[1], "://") {
				continue
			}
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
				if _, err := os.Stat(filepath.Join("..", "..", target)); err != nil {
					t.Errorf("%s: the link %s leads nowhere: %v", name, link[1], err)
					continue
				}
			}
			found := anchor == ""
			for _, heading := range headings.FindAllStringSubmatch(texts[target], -1) {
				found = found || slug(heading[1]) == anchor
			}
			if !found {
				t.Errorf("%s: %s has no heading for the link %s", name, target, link[1])
			}
		}
	}
}

// A fact that takes more than two sentences belongs below its table.
func TestNoCellOfATableHasMoreThanTwoSentences(t *testing.T) {
	for name, text := range pages(t) {
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "|") {
				continue
			}
			for cell := range strings.SplitSeq(line, "|") {
				if len(sentence.FindAllString(cell, -1)) > 1 {
					t.Errorf("%s: a cell of more than two sentences: %s", name, strings.TrimSpace(cell))
				}
			}
		}
	}
}
