package cli

import (
	"io"

	"example.com/library/library"
)

// WriteJSON writes a value as JSON on one line, which can be shown as it is.
func WriteJSON(w io.Writer, value any) error {
	text, err := library.PlainJSON(value)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
