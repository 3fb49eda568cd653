package cli

import (
	"os"
	"strconv"
	"strings"

	"example.com/library/library"
)

// hide takes passwords out of a message for people. It knows them by what the program
// was given: in an address, or what was meant as one, a password stands between a colon
// and an at sign. A message may quote it from wherever it was put by mistake, escaped,
// cut short, or in part.
func hide(message string, given []string) string {
	message = library.Plain(message)
	secrets := secretsIn(given)
	var shown strings.Builder
	for begin := 0; begin < len(message); {
		hidden := 0
		if begin > 0 && strings.IndexByte(":/", message[begin-1]) >= 0 {
			for _, secret := range secrets {
				if n := agree(message[begin:], secret); n == len(secret) || n >= partMin {
					hidden = max(hidden, n)
				}
			}
		}
		if hidden > 0 {
			shown.WriteString("…")
		} else {
			shown.WriteByte(message[begin])
		}
		begin += max(hidden, 1)
	}
	return library.Plain(shown.String()) // where no more than the beginning of a letter agreed
}

// partMin is how many bytes of a password count as a part of it.
const partMin = 4

// secretsIn are what may be passwords, in each form in which a message may show them.
func secretsIn(given []string) []string {
	var secrets []string
	for _, text := range given {
		end := strings.LastIndexByte(text, '@')
		for i := range max(end, 0) {
			secret := strings.TrimLeft(text[i:end], ":/")
			if text[i] != ':' || secret == "" {
				continue
			}
			for _, form := range []string{secret, inQuotes(strconv.Quote(secret)), inQuotes(strconv.QuoteToASCII(secret))} {
				secrets = append(secrets, library.Plain(form))
			}
		}
	}
	return secrets
}

func inQuotes(quoted string) string { return quoted[1 : len(quoted)-1] }

// agree tells how many bytes two texts have in common from their beginning.
func agree(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// given is all that may have brought an address to a program: its arguments, and its
// part of the environment.
func given(args []string) []string {
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "LENDING_") {
			args = append(args[:len(args):len(args)], value)
		}
	}
	return args
}
