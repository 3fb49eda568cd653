// Package metrics tells Prometheus what a process does and how the library stands.
//
// Two kinds of figures are served together. What this process did since it began is
// counted where it happens. How the library stands is read from Redis when somebody asks,
// and the same whichever process is asked: aggregate it with max, not with sum.
//
// No figure is part of a decision, and none names a user, a book or a request.
package metrics

import (
	"context"
	"net/http"
	"strings"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"
	"example.com/library/worker"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
)

// namespace begins the name of every figure that is ours.
const namespace = "library"

// atOnceMax is how many may read the figures at once.
const atOnceMax = 4

// Metrics are the figures of one process.
type Metrics struct {
	registry *prometheus.Registry

	decisions, books, moved, decided, claimed, rejected, lockFailures *prometheus.CounterVec
	entries, duration                                                 *prometheus.HistogramVec
}

// New makes the figures of a process of that version.
func New(version string) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, append([]string{"library"}, labels...))
	}
	m := &Metrics{
		registry:     prometheus.NewRegistry(),
		decisions:    counter("decisions_total", "Answers that this process gave to orders. A repeat was decided before.", "action", "outcome"),
		books:        counter("decided_books_total", "What became of the books in the orders that this process decided.", "action", "result"),
		moved:        counter("moved_books_total", "Books that this process moved between the services, by step.", "step"),
		decided:      counter("inbox_decided_entries_total", "Entries that this process applied.", "inbox"),
		claimed:      counter("inbox_claimed_entries_total", "Pending entries that this process took over.", "inbox"),
		rejected:     counter("inbox_rejected_entries_total", "Entries that this process set aside.", "inbox"),
		lockFailures: counter("lock_refresh_failures_total", "How often this process could not refresh the lock of its name."),
		entries: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "inbox_batch_entries", Help: "How many entries this process applied in one go.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128},
		}, []string{"library", "inbox"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "script_duration_seconds", Help: "How long a call of a script took, as this process sees it.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}, []string{"library", "script"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "The version of this program, as a label; always 1.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(m.decisions, m.books, m.moved, m.decided, m.claimed, m.rejected, m.lockFailures, m.entries, m.duration, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register adds figures of a part of the program that this package does not know.
func (m *Metrics) Register(collectors ...prometheus.Collector) {
	m.registry.MustRegister(collectors...)
}

// Handler serves the figures. One that cannot be read is left out.
func (m *Metrics) Handler() http.Handler {
	return promhttp.InstrumentMetricHandler(m.registry, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: atOnceMax,
	}))
}

// DroppedLines adds how many lines of the program's log were dropped, which lost tells.
func (m *Metrics) DroppedLines(lost func() int64) {
	m.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "log_lines_dropped_total", Help: "Lines of this program's own log that nobody read in time.",
	}, func() float64 { return float64(lost()) }))
}

// Outages adds the outages of one library.
func (m *Metrics) Outages(keys library.Keys, outage *redisconn.Outage) {
	labels := prometheus.Labels{"library": keys.Library}
	m.Register(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: namespace, Name: "outages_total", ConstLabels: labels, Help: "How often Redis did not serve this process, or only parts of it.",
		}, func() float64 { begun, _ := outage.Count(); return float64(begun) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: namespace, Name: "outage", ConstLabels: labels, Help: "Whether Redis does not serve this process just now: 1 or 0.",
		}, func() float64 { _, lasts := outage.Count(); return one(lasts) }),
	)
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Observer counts what an instance does for a service of a library.
func (m *Metrics) Observer(keys library.Keys, service string) worker.Observer {
	byInbox := map[string]struct {
		decided, claimed, rejected prometheus.Counter
		entries                    prometheus.Observer
	}{}
	for _, inbox := range keys.Inboxes(service) {
		of := byInbox[inbox]
		name := worker.State{Stream: inbox}.Name()
		of.decided = m.decided.WithLabelValues(keys.Library, name)
		of.claimed = m.claimed.WithLabelValues(keys.Library, name)
		of.rejected = m.rejected.WithLabelValues(keys.Library, name)
		of.entries = m.entries.WithLabelValues(keys.Library, name)
		byInbox[inbox] = of
	}
	moved := m.moved.MustCurryWith(prometheus.Labels{"library": keys.Library})
	for _, step := range steps[service] {
		moved.WithLabelValues(step)
	}
	return worker.Observer{
		Applied: func(inbox string, entries int) {
			byInbox[inbox].decided.Add(float64(entries))
			byInbox[inbox].entries.Observe(float64(entries))
		},
		Claimed:  func(inbox string, entries int) { byInbox[inbox].claimed.Add(float64(entries)) },
		Rejected: func(inbox string, entries int) { byInbox[inbox].rejected.Add(float64(entries)) },
		Moved:    func(step string, books int) { moved.WithLabelValues(step).Add(float64(books)) },
	}
}

// LockFailed counts the times that a lock could not be refreshed.
func (m *Metrics) LockFailed(keys library.Keys) func() {
	return m.lockFailures.WithLabelValues(keys.Library).Inc
}

// What a script may answer for a book, by its service. A figure that has not happened yet
// must be 0: Prometheus sees no rise in one that was not there before.
var steps = map[string][]string{
	library.Lending:  {"delivered", "sent_back", "apart"},
	library.Shelving: {"fetched", "awaited", "stored", "handed_on", "apart"},
}

// repeat is the outcome of an order that was decided before.
const repeat = "repeat"

// What may be answered to an order, and become of its books.
var answers = map[library.Action]struct{ outcomes, results []string }{
	library.Request: {
		[]string{string(library.Granted), string(library.Partial), string(library.Denied), repeat},
		[]string{lentFrom + library.FromFront, lentFrom + library.FromShelves, string(library.AlreadyYours), string(library.Unavailable), string(library.OverLimit)},
	},
	library.Return: {
		[]string{string(library.Returned), string(library.Partial), string(library.Refused), repeat},
		[]string{string(library.TakenBack), string(library.NotYours), string(library.OnItsWay)},
	},
}

// lentFrom begins the result of a book that was lent; where from follows.
const lentFrom = "lent_from_"

// Decided counts what is decided in a library.
func (m *Metrics) Decided(keys library.Keys) func(action library.Action, outcome string, lines []library.Line) {
	labels := prometheus.Labels{"library": keys.Library}
	decisions, books := m.decisions.MustCurryWith(labels), m.books.MustCurryWith(labels)
	for action, may := range answers {
		for _, outcome := range may.outcomes {
			decisions.WithLabelValues(string(action), outcome)
		}
		for _, result := range may.results {
			books.WithLabelValues(string(action), result)
		}
	}
	return func(action library.Action, outcome string, lines []library.Line) {
		decisions.WithLabelValues(string(action), outcome).Inc()
		for _, line := range lines {
			result := string(line.Result)
			if line.From != "" {
				result = lentFrom + line.From
			}
			books.WithLabelValues(string(action), result).Inc()
		}
	}
}

// Time measures the script calls that a client makes in a library.
func (m *Metrics) Time(rdb redis.UniversalClient, keys library.Keys) {
	rdb.AddHook(clock{m.duration.MustCurryWith(prometheus.Labels{"library": keys.Library})})
}

// A clock is a hook of a client of Redis. Scripts are never part of a pipeline.
type clock struct{ duration prometheus.ObserverVec }

func (clock) DialHook(next redis.DialHook) redis.DialHook { return next }
func (clock) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c clock) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		file := ""
		if name := cmd.Name(); name == "evalsha" || name == "eval" {
			script, _ := cmd.Args()[1].(string)
			file = strings.TrimSuffix(scripts.File(script), ".lua")
		}
		if file == "" {
			return next(ctx, cmd)
		}
		began := time.Now()
		err := next(ctx, cmd)
		if err == nil {
			c.duration.WithLabelValues(file).Observe(time.Since(began).Seconds())
		}
		return err
	}
}
