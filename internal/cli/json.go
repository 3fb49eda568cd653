package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"

	"example.com/library/library"
)

// WriteJSON writes a value as JSON on one line, which can be shown as it is: what
// does not print, such as the characters that turn text around, is escaped. JSON
// itself asks that of a few control characters only.
func WriteJSON(w io.Writer, value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	var plain bytes.Buffer
	for _, r := range text.String() {
		// Outside of texts JSON has only characters that print, and its last newline.
		switch {
		case r == '\n' || library.IsSeen(r):
			plain.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&plain, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&plain, `\u%04x`, r)
		}
	}
	_, err := w.Write(plain.Bytes())
	return err
}
