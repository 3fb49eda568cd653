package main

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// describe tells when and on what the table was measured.
func describe(ctx context.Context, b *bench) (string, error) {
	s, err := b.startRedis()
	if err != nil {
		return "", err
	}
	defer s.Stop()
	info, err := s.info(ctx, "server")
	if err != nil {
		return "", err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", err
	}
	var libraries []string
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, module := range build.Deps {
			for _, path := range []string{"github.com/redis/go-redis/v9", "github.com/hibiken/asynq", "github.com/ThreeDotsLabs/watermill-redisstream"} {
				if module.Path == path {
					short := strings.TrimSuffix(strings.TrimPrefix(path, "github.com/"), "/v9")
					libraries = append(libraries, short[strings.Index(short, "/")+1:]+" "+module.Version)
				}
			}
		}
	}
	slices.Sort(libraries)
	head := fmt.Sprintf("Measured on %s: %s, %d processors, Linux %s.\n", time.Now().UTC().Format("2006-01-02"),
		processor(), runtime.NumCPU(), unix.ByteSliceToString(name.Release[:]))
	head += fmt.Sprintf("%s, redis-server %s, %s.\n", runtime.Version(), info["redis_version"], strings.Join(libraries, ", "))
	head += fmt.Sprintf("%s requests a round, rounds: %d. What is shown is the median, and in brackets the least and the most.\n", number(float64(b.n)), b.rounds)
	return head, nil
}

// processor is the model of the first processor.
func processor() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// markdown writes the rows as Markdown tables, one under each heading, with
// columns aligned so that they can be read as plain text too.
func markdown(rows []Row) string {
	var text strings.Builder
	for len(rows) > 0 {
		heading := rows[0].Section
		fmt.Fprintf(&text, "\n**%s**\n\n", heading)
		lines := [][]string{{"", "median", "spread", "ratio", "target", "note"}}
		for len(rows) > 0 && rows[0].Section == heading {
			lines = append(lines, cells(rows[0]))
			rows = rows[1:]
		}
		writeTable(&text, lines)
	}
	return text.String()
}

func cells(r Row) []string {
	value, ratio, target := "", "", r.Target
	if len(r.Samples) > 0 {
		value = number(median(r.Samples)) + " " + r.Unit
	}
	if len(r.Ratios) > 0 {
		ratio = fixed(median(r.Ratios)) + " × " + r.Against
		if len(r.Ratios) > 1 {
			ratio += fmt.Sprintf(" (%s–%s)", fixed(slices.Min(r.Ratios)), fixed(slices.Max(r.Ratios)))
		}
	}
	if r.Met != nil {
		target += map[bool]string{true: " ✓", false: " ✗"}[*r.Met]
	}
	return []string{r.Name, value, spread(r.Samples), ratio, target, r.Note}
}

// spread is the least and the most of what was measured.
func spread(values []float64) string {
	if len(values) < 2 {
		return ""
	}
	return fmt.Sprintf("(%s–%s)", number(slices.Min(values)), number(slices.Max(values)))
}

// writeTable writes lines of cells, the first being the headings, and leaves out
// columns that are empty in all other lines.
func writeTable(text *strings.Builder, lines [][]string) {
	var columns, widths []int
	for column := range lines[0] {
		used, width := false, 3
		for i, line := range lines {
			used = used || i > 0 && line[column] != ""
			width = max(width, utf8.RuneCountInString(line[column]))
		}
		if used {
			columns, widths = append(columns, column), append(widths, width)
		}
	}
	for i, line := range lines {
		text.WriteString("|")
		for j, column := range columns {
			cell := line[column]
			fmt.Fprintf(text, " %s%s |", cell, strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)))
		}
		text.WriteString("\n")
		if i == 0 {
			text.WriteString("|")
			for _, width := range widths {
				text.WriteString(strings.Repeat("-", width+2) + "|")
			}
			text.WriteString("\n")
		}
	}
}

// number writes a value as people read it: with commas between thousands if it is
// large, with three digits that count if it is small.
func number(value float64) string {
	if math.Abs(value) < 999.5 {
		digits := 2
		for limit := 10.0; digits > 0 && math.Abs(value) >= limit; limit *= 10 {
			digits--
		}
		text := strconv.FormatFloat(value, 'f', digits, 64)
		if strings.Contains(text, ".") {
			text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
		}
		return text
	}
	digits := strconv.FormatFloat(math.Round(value), 'f', 0, 64)
	first := len(digits) % 3
	if first == 0 {
		first = 3
	}
	grouped := digits[:first]
	for i := first; i < len(digits); i += 3 {
		grouped += "," + digits[i:i+3]
	}
	return grouped
}

// fixed writes a ratio: with two digits after the point so that they line up, or
// with as many as show two that count.
func fixed(ratio float64) string {
	if ratio > 0 && ratio < 0.0995 {
		return strconv.FormatFloat(ratio, 'f', 3, 64)
	}
	return strconv.FormatFloat(ratio, 'f', 2, 64)
}
