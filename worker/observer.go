package worker

// An Observer is told what an instance does, for figures. Each function is optional. They
// are called by several goroutines at once, and what they do takes its time from the work.
type Observer struct {
	// Applied is called when entries of a stream were applied in one go.
	Applied func(stream string, entries int)
	// Claimed is called when pending entries of a stream were taken over.
	Claimed func(stream string, entries int)
	// Rejected is called when entries of a stream were set aside.
	Rejected func(stream string, entries int)
	// Moved is called when books between the services went a step, such as fetched or stored.
	Moved func(step string, books int)
}

func (o Observer) applied(stream string, entries int)  { count(o.Applied, stream, entries) }
func (o Observer) claimed(stream string, entries int)  { count(o.Claimed, stream, entries) }
func (o Observer) rejected(stream string, entries int) { count(o.Rejected, stream, entries) }
func (o Observer) moved(step string, books int)        { count(o.Moved, step, books) }

func count(told func(string, int), what string, number int) {
	if told != nil && number > 0 {
		told(what, number)
	}
}
