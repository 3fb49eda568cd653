package library

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/runes"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/unicode/rangetable"
)

const (
	// NameBytesMax is the length of the longest user's or book's name, in bytes of UTF-8.
	NameBytesMax = 256
	// BooksMax is how many different books one request or return may name.
	BooksMax = 100
)

var tagPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// CheckTag reports whether the name of a library or an instance can be part of
// a key. Its error wraps ErrName.
func CheckTag(kind, name string) error {
	if !tagPattern.MatchString(name) {
		return fmt.Errorf("%s name %s: %w: use 1 to 64 lower-case letters, digits and hyphens, not a hyphen first",
			kind, Printable(name), ErrName)
	}
	return nil
}

// idBytesMax is how long an id may be.
const idBytesMax = 64

// CheckID reports whether a request's id, or the word by which its asker is told,
// can be part of a key or a channel. Its error wraps ErrName.
func CheckID(kind, id string) error {
	if id == "" || len(id) > idBytesMax || strings.ContainsFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '_' && r != '-'
	}) {
		return fmt.Errorf("%s %s: %w: use 1 to 64 letters, digits, hyphens and underscores", kind, Printable(id), ErrName)
	}
	return nil
}

// CleanName gives a user's or a book's name the one form under which the
// library knows it (Unicode's NFC), and checks it. A person's keyboard decides
// which form they send; the stream carries only this one.
func CleanName(kind, name string) (string, error) {
	if utf8.ValidString(name) {
		name = norm.NFC.String(name)
	}
	return name, CheckName(kind, name)
}

// CheckName reports whether a user's or a book's name may stand in a stream:
// NFC, valid UTF-8, 1 to 256 bytes, no control or format character, no line
// or paragraph separator, no leading or trailing space. The replacement
// character is refused too: it is what decoders leave where text was lost, so
// that two different broken names would meet in it. Its error wraps ErrName.
//
// What is to be lent must have a name that passes CheckNewName. This rule is for what
// may be lent already, so that it can be looked up and brought back.
func CheckName(kind, name string) error {
	fault := ""
	switch {
	case name == "":
		fault = "it is empty"
	case len(name) > NameBytesMax:
		fault = fmt.Sprintf("it has %d bytes; at most %d are allowed", len(name), NameBytesMax)
	case !utf8.ValidString(name):
		fault = "it is not valid UTF-8"
	case !norm.NFC.IsNormalString(name):
		fault = "it is not in Unicode's normal form NFC"
	default:
		fault = faultyRune(name)
	}
	if fault == "" {
		return nil
	}
	return fmt.Errorf("%s %s: %w: %s", kind, Printable(name), ErrName, fault)
}

// newNames is the rule for new names: the profile OpaqueString of PRECIS (RFC 8265), so
// any script, space, punctuation and symbol, but nothing that is ignored, is for private
// use or is not assigned; and besides, none of blanks.
var newNames = precis.NewRestrictedProfile(precis.OpaqueString, runes.In(blanks))

// blanks have a place of their own in a line, in which nothing is seen, but are no spaces to Unicode.
var blanks = rangetable.New('\u2800', '\ufffc', '\U00016fe4', '\U0001d159')

// CheckNewName reports whether a name is fit to be lent to, or to be lent: one that
// CheckName lets pass, and that looks neither like nothing nor like another name. So no
// space is in it but the usual one, and it does not begin with a mark that would join
// what stands before it. Its error wraps ErrName.
func CheckNewName(kind, name string) error {
	if err := CheckName(kind, name); err != nil || isASCII(name) {
		return err
	}
	if fault := misleading(name); fault != "" {
		return fmt.Errorf("%s %s: %w: %s", kind, Printable(name), ErrName, fault)
	}
	return nil
}

func misleading(name string) string {
	if first, _ := utf8.DecodeRuneInString(name); unicode.Is(unicode.M, first) {
		return fmt.Sprintf("it begins with %U, a mark that belongs to the character before it", first)
	}
	// In host names, for which PRECIS made the rule, the middle dot stands between two l
	// only; between the names of foreigners in Chinese it is usual.
	plain := strings.ReplaceAll(name, "·", "-")
	enforced, err := newNames.String(plain)
	if err == nil && enforced == plain {
		return ""
	}
	for _, r := range plain {
		if unicode.Is(unicode.Zs, r) && r != ' ' {
			return fmt.Sprintf("it contains %U, a space that looks like the usual one", r)
		}
		if _, err := newNames.String("a" + string(r)); err != nil {
			return fmt.Sprintf("it contains %U, which looks like nothing, or like another character", r)
		}
	}
	return "it mixes characters that look alike, such as two kinds of digits"
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func faultyRune(name string) string {
	first, _ := utf8.DecodeRuneInString(name)
	last, _ := utf8.DecodeLastRuneInString(name)
	if unicode.IsSpace(first) || unicode.IsSpace(last) {
		return "it begins or ends with a space"
	}
	for _, r := range name {
		if r == utf8.RuneError || unicode.IsControl(r) || r > unicode.MaxASCII && unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return fmt.Sprintf("it contains %U, a character that does not print", r)
		}
	}
	return ""
}

// printableBytesMax bounds what Printable shows of a text.
const printableBytesMax = 120

// Printable quotes text that came from outside so that it can be shown: it is
// escaped to ASCII, so that no control, format or bidirectional character
// reaches a terminal or a log, and cut short where it is long.
func Printable(text string) string {
	if len(text) <= printableBytesMax {
		return strconv.QuoteToASCII(text)
	}
	return fmt.Sprintf("%s… (%d bytes)", strconv.QuoteToASCII(text[:printableBytesMax]), len(text))
}

// IsSeen reports whether a character can be seen in a line, as a space can.
func IsSeen(r rune) bool {
	return r != utf8.RuneError && unicode.IsGraphic(r) &&
		(r < utf8.RuneSelf || !unicode.In(r, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, blanks))
}

// Plain shows a sentence that may quote text from outside, such as an error:
// what does not print is escaped, and nothing else is changed.
func Plain(text string) string {
	var plain strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if !IsSeen(r) {
			escaped := strconv.QuoteToASCII(text[:size])
			plain.WriteString(escaped[1 : len(escaped)-1])
		} else {
			plain.WriteString(text[:size])
		}
		text = text[size:]
	}
	return plain.String()
}

// PlainJSON is a value as JSON on one line, which can be shown as it is: what does not
// print, such as the characters that turn text around, is escaped. JSON itself asks that
// of a few control characters only.
func PlainJSON(value any) ([]byte, error) {
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(value); err != nil {
		return nil, err
	}
	var plain bytes.Buffer
	for _, r := range text.String() {
		// Outside of texts JSON has only characters that print, and its last newline.
		switch {
		case r == '\n' || IsSeen(r):
			plain.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&plain, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&plain, `\u%04x`, r)
		}
	}
	return plain.Bytes(), nil
}
