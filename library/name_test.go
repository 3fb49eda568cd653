package library

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestAUsableNameIsCleanedIntoItsOneForm(t *testing.T) {
	for _, test := range []struct {
		name, want string
	}{
		{"geb", "geb"},
		{"x", "x"},
		{"Gödel, Escher, Bach", "Gödel, Escher, Bach"},
		{"Go\u0308del", "Gödel"}, // o and a combining diaeresis
		{"\u212bngström", "Ångström"},
		{"한글", "한글"},
		{"\u1112\u1161\u11ab", "한"},
		{"مئة عام من العزلة", "مئة عام من العزلة"},
		{"ספר", "ספר"},
		{"📚", "📚"},
		{`a"b\c'd`, `a"b\c'd`},
		{"{main}:lending:loans", "{main}:lending:loans"},
		{"-", "-"},
		{"*", "*"},
		{"no\u00a0break", "no\u00a0break"}, // a space, but within the name
		{"a  b", "a  b"},
		{strings.Repeat("x", NameBytesMax), strings.Repeat("x", NameBytesMax)},
		{strings.Repeat("ö", NameBytesMax/2), strings.Repeat("ö", NameBytesMax/2)},
		// 384 bytes as sent, 256 in the form that counts.
		{strings.Repeat("o\u0308", NameBytesMax/2), strings.Repeat("ö", NameBytesMax/2)},
	} {
		got, err := CleanName("book", test.name)
		if err != nil || got != test.want {
			t.Errorf("CleanName(%q) = %q, %v, want %q", test.name, got, err, test.want)
		}
		if err := CheckName("book", test.want); err != nil {
			t.Errorf("CheckName(%q) = %v after CleanName let it pass", test.want, err)
		}
	}
}

// unusable are names that break a rule, and the rule as an error tells it.
var unusable = []struct {
	title, name, fault string
}{
	{"empty", "", "it is empty"},
	{"a space", " ", "it begins or ends with a space"},
	{"a leading space", " geb", "it begins or ends with a space"},
	{"a trailing space", "geb ", "it begins or ends with a space"},
	{"a trailing no-break space", "geb\u00a0", "it begins or ends with a space"},
	{"a leading ideographic space", "\u3000geb", "it begins or ends with a space"},
	{"a trailing line feed", "geb\n", "it begins or ends with a space"},
	{"a leading next line", "\u0085geb", "it begins or ends with a space"},
	{"a line feed", "g\neb", "U+000A"},
	{"a tab", "g\teb", "U+0009"},
	{"a nul", "g\x00eb", "U+0000"},
	{"an escape", "g\x1b[31meb", "U+001B"},
	{"a delete", "geb\x7f", "U+007F"},
	{"a C1 control", "g\u009beb", "U+009B"},
	{"a zero-width space", "g\u200beb", "U+200B"},
	{"a zero-width joiner", "👩\u200d👧", "U+200D"},
	{"a right-to-left override", "geb\u202egpj", "U+202E"},
	{"a first strong isolate", "\u2068geb", "U+2068"},
	{"a soft hyphen", "in\u00advisible", "U+00AD"},
	{"a byte order mark", "\ufeffgeb", "U+FEFF"},
	{"a tag character", "geb\U000e0041", "U+E0041"},
	{"a line separator", "g\u2028eb", "U+2028"},
	{"a paragraph separator", "g\u2029eb", "U+2029"},
	{"a replacement character", "g\ufffdeb", "U+FFFD"},
	{"a lone byte", "g\xffeb", "it is not valid UTF-8"},
	{"a cut rune", "geb\xe2\x82", "it is not valid UTF-8"},
	{"a surrogate", "g\xed\xa0\x80eb", "it is not valid UTF-8"},
	{"an overlong slash", "g\xc0\xafeb", "it is not valid UTF-8"},
	{"257 bytes", strings.Repeat("x", NameBytesMax+1), "it has 257 bytes; at most 256 are allowed"},
	{"129 letters of two bytes", strings.Repeat("ö", NameBytesMax/2+1), "it has 258 bytes; at most 256 are allowed"},
}

func TestAnUnusableNameIsRefusedWithTheRuleItBreaks(t *testing.T) {
	for _, test := range unusable {
		t.Run(test.title, func(t *testing.T) {
			_, cleanErr := CleanName("user", test.name)
			for function, err := range map[string]error{"CleanName": cleanErr, "CheckName": CheckName("user", test.name)} {
				if !errors.Is(err, ErrName) {
					t.Fatalf("%s(%q) = %v, want an error that wraps ErrName", function, test.name, err)
				}
				if text := err.Error(); !strings.HasPrefix(text, "user ") || !strings.Contains(text, test.fault) {
					t.Errorf("%s(%q) says %q, want it to begin with the kind and to tell %q", function, test.name, text, test.fault)
				}
				if r := unprintable(err.Error()); r >= 0 {
					t.Errorf("%s(%q) says %q, which holds %U", function, test.name, err.Error(), r)
				}
			}
		})
	}
}

func TestANewNameMayHaveAnythingThatIsSeen(t *testing.T) {
	for _, name := range []string{
		"geb", `"War, and Peace": {1}`, "a  b", "Gödel", "紅楼夢", "哈利·波特", "レ・ミゼラブル", "한", "مئة عام", "١٩٨٤", "ש״ם", "नमस्ते",
		"📚", "👍🏽", "🇩🇪", "½ ™ Ⅳ ﬁ", "全角Ａ", "— … ’ «»", "a/2", "-", "*",
	} {
		if err := CheckNewName("book", name); err != nil {
			t.Errorf("CheckNewName(%q) = %v", name, err)
		}
	}
}

// misleadingNames look like nothing, or like another name.
var misleadingNames = []struct{ title, name, fault string }{
	{"a Hangul filler", "g\u3164eb", "U+3164"},
	{"a half-width Hangul filler", "g\uffa0eb", "U+FFA0"},
	{"nothing but a Hangul filler", "\u3164", "U+3164"},
	{"a Braille blank", "g\u2800eb", "U+2800"},
	{"a musical blank", "g\U0001d159eb", "U+1D159"},
	{"an object replacement character", "g\ufffceb", "U+FFFC"},
	{"a combining grapheme joiner", "g\u034feb", "U+034F"},
	{"a Khmer vowel that is not shown", "g\u17b4eb", "U+17B4"},
	{"a variation selector", "❤\ufe0f", "U+FE0F"},
	{"a variation selector of the supplement", "g\U000e0100eb", "U+E0100"},
	{"a Mongolian variation selector", "g\u180beb", "U+180B"},
	{"a no-break space", "g\u00a0eb", "U+00A0"},
	{"a thin space", "g\u2009eb", "U+2009"},
	{"an ideographic space", "g\u3000eb", "U+3000"},
	{"a private character", "g\ue000eb", "U+E000"},
	{"a private character of plane 16", "g\U0010fffdeb", "U+10FFFD"},
	{"no character", "g\ufffeeb", "U+FFFE"},
	{"no character of plane 1", "g\U0001ffffeb", "U+1FFFF"},
	{"no character among the Arabic forms", "g\ufdd0eb", "U+FDD0"},
	{"an unassigned character", "g\u0378eb", "U+0378"},
	{"a mark at the beginning", "\u0301geb", "U+0301"},
	{"two kinds of digits", "١۱", "two kinds of digits"},
}

// What people lent before the rule was made must still be found, and come back.
func TestAMisleadingNameIsRefusedForWhatIsNewOnly(t *testing.T) {
	for _, test := range misleadingNames {
		t.Run(test.title, func(t *testing.T) {
			err := CheckNewName("book", test.name)
			if !errors.Is(err, ErrName) || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("CheckNewName(%q) = %v, want an error that wraps ErrName and tells %q", test.name, err, test.fault)
			}
			if err := CheckName("book", test.name); err != nil {
				t.Errorf("CheckName(%q) = %v", test.name, err)
			}
		})
	}
	for _, test := range unusable {
		if err := CheckNewName("book", test.name); !errors.Is(err, ErrName) {
			t.Errorf("CheckNewName(%q) = %v, want an error that wraps ErrName", test.name, err)
		}
	}
}

func TestCheckNameRefusesAFormThatCleanNameWouldMend(t *testing.T) {
	for _, name := range []string{"Go\u0308del", "\u212bngström", "\u1112\u1161\u11ab"} {
		if err := CheckName("book", name); !errors.Is(err, ErrName) || !strings.Contains(err.Error(), "NFC") {
			t.Errorf("CheckName(%q) = %v, want an error that wraps ErrName and tells of NFC", name, err)
		}
	}
}

// unprintable returns the first character of text that must not reach a
// terminal, or -1.
func unprintable(text string) rune {
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Cs, unicode.Co, unicode.Bidi_Control) {
			return r
		}
	}
	return -1
}

func FuzzCleanName(f *testing.F) {
	for _, test := range unusable {
		f.Add(test.name)
	}
	f.Add("Go\u0308del, Escher, Bach")
	f.Add("e" + strings.Repeat("\u0301", 40)) // more marks than one letter can carry
	f.Add(strings.Repeat("\u0344", 90))       // grows when it is normalized
	f.Add("\u0958 \ufb1d \U0001d15e")         // composed forms that NFC takes apart
	f.Fuzz(func(t *testing.T, text string) {
		name, err := CleanName("book", text)
		if err != nil {
			if !errors.Is(err, ErrName) {
				t.Errorf("CleanName(%q) = %v, want an error that wraps ErrName", text, err)
			}
			if r := unprintable(err.Error()); r >= 0 {
				t.Errorf("CleanName(%q) says %q, which holds %U", text, err.Error(), r)
			}
			return
		}
		if !utf8.ValidString(name) || !norm.NFC.IsNormalString(name) {
			t.Errorf("CleanName(%q) = %q, which is not NFC in UTF-8", text, name)
		}
		if name == "" || len(name) > NameBytesMax {
			t.Errorf("CleanName(%q) = %q, of %d bytes", text, name, len(name))
		}
		if strings.TrimSpace(name) != name {
			t.Errorf("CleanName(%q) = %q, which begins or ends with a space", text, name)
		}
		for _, r := range name {
			if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError {
				t.Errorf("CleanName(%q) = %q, which holds %U", text, name, r)
			}
		}
		if again, err := CleanName("book", name); err != nil || again != name {
			t.Errorf("CleanName(%q) = %q, %v, want what came out once to stay as it is", name, again, err)
		}
		if err := CheckName("book", name); err != nil {
			t.Errorf("CheckName(%q) = %v, but CleanName gave it out", name, err)
		}
		if CheckNewName("book", name) == nil && strings.ContainsFunc(name, func(r rune) bool { return !IsSeen(r) }) {
			t.Errorf("CheckNewName(%q) lets pass what is not seen", name)
		}
	})
}

func FuzzPrintable(f *testing.F) {
	for _, test := range unusable {
		f.Add(test.name)
	}
	f.Add(strings.Repeat("\u202e", 200))
	f.Add(strings.Repeat("x", printableBytesMax-1) + "ö")
	f.Fuzz(func(t *testing.T, text string) {
		for function, shown := range map[string]string{"Printable": Printable(text), "Plain": Plain(text)} {
			if r := unprintable(shown); r >= 0 {
				t.Errorf("%s(%q) = %q, which holds %U", function, text, shown, r)
			}
			if !utf8.ValidString(shown) {
				t.Errorf("%s(%q) = %q, which is not valid UTF-8", function, text, shown)
			}
		}
		// Four characters a byte (\x00) is the most an escape takes.
		if shown := Printable(text); len(shown) > 4*printableBytesMax+40 {
			t.Errorf("Printable of %d bytes takes %d bytes", len(text), len(shown))
		}
		if shown := Plain(text); Plain(shown) != shown {
			t.Errorf("Plain(%q) = %q, want what came out once to stay as it is", shown, Plain(shown))
		}
	})
}

func TestPrintableQuotesAndCutsWhatCameFromOutside(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", `""`},
		{"geb", `"geb"`},
		{`a"b\`, `"a\"b\\"`},
		{"Gödel", `"G\u00f6del"`},
		{"\x1b[2J", `"\x1b[2J"`},
		{"a\u202eb", `"a\u202eb"`},
		{"a\xffb", `"a\xffb"`},
		{strings.Repeat("x", 120), `"` + strings.Repeat("x", 120) + `"`},
		{strings.Repeat("x", 121), `"` + strings.Repeat("x", 120) + `"… (121 bytes)`},
		{strings.Repeat("x", 119) + "öy", `"` + strings.Repeat("x", 119) + `\xc3"… (122 bytes)`},
	} {
		if got := Printable(test.text); got != test.want {
			t.Errorf("Printable(%q) = %s, want %s", test.text, got, test.want)
		}
	}
}

func TestPlainChangesOnlyWhatDoesNotPrint(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", ""},
		{`"Gödel, Escher, Bach" \ 한글 📚`, `"Gödel, Escher, Bach" \ 한글 📚`},
		{"two\nlines", `two\nlines`},
		{"\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`},
		{"a\u202eb\u2066c\u200bd", `a\u202eb\u2066c\u200bd`},
		{"a\u2028b\u2029c", `a\u2028b\u2029c`},
		{"a\xffb\xed\xa0\x80", `a\xffb\xed\xa0\x80`},
		{"a\ufffdb", `a\ufffdb`},
		{"a\ue000b", `a\ue000b`},
		{"a\u3164b\u2800c\u034fd\ufe0fe", `a\u3164b\u2800c\u034fd\ufe0fe`},
		{"a\u00a0b\u3000c · ١", "a\u00a0b\u3000c · ١"},
	} {
		if got := Plain(test.text); got != test.want {
			t.Errorf("Plain(%q) = %q, want %q", test.text, got, test.want)
		}
	}
}

func TestATagIsLowerCaseLettersDigitsAndHyphens(t *testing.T) {
	for _, tag := range []string{"main", "a", "0", "worker1", "north-2", "a-", "a--b", strings.Repeat("a", 64)} {
		if err := CheckTag("library", tag); err != nil {
			t.Errorf("CheckTag(%q) = %v", tag, err)
		}
	}
	for _, tag := range []string{
		"", "-", "-a", "Main", "a b", "a_b", "a.b", "a:b", "{a}", "a}", "a\n", "\na", "ä", "ａ", "a\x00", "*", strings.Repeat("a", 65),
	} {
		wantNameError(t, fmt.Sprintf("CheckTag(%q)", tag), "library name ", CheckTag("library", tag))
	}
}

func TestAnIDIsLettersDigitsHyphensAndUnderscores(t *testing.T) {
	for _, id := range []string{"a", "Z", "0", "-", "_", "6f1c-A_z", strings.Repeat("f", 64)} {
		if err := CheckID("id", id); err != nil {
			t.Errorf("CheckID(%q) = %v", id, err)
		}
	}
	for _, id := range []string{
		"", " ", "a b", "a.b", "a:b", "a/b", "{a}", "a\n", "ä", `a"`, `a\`, "a\x00", "*", "?", strings.Repeat("f", 65),
	} {
		wantNameError(t, fmt.Sprintf("CheckID(%q)", id), "id ", CheckID("id", id))
	}
}

func wantNameError(t *testing.T, call, prefix string, err error) {
	t.Helper()
	if !errors.Is(err, ErrName) || !strings.HasPrefix(err.Error(), prefix) {
		t.Errorf("%s = %v, want an error that wraps ErrName and begins with %q", call, err, prefix)
	} else if r := unprintable(err.Error()); r >= 0 {
		t.Errorf("%s says %q, which holds %U", call, err.Error(), r)
	}
}
