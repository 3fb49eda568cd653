package simulation

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var pointFlag = flag.String("point", "", "play this one crash point; with -v tell every command")

// A crash point is a place in a scenario: just before or just after a command.
type crashPoint struct {
	scenario int
	actor    string
	ordinal  int
	label    string
	kind     kind
}

func (p crashPoint) String() string {
	return fmt.Sprintf("%s/%s #%d %s, %s", scenarios[p.scenario].name, p.actor, p.ordinal, p.label, p.kind)
}

// sweepSeed is the same for all scenarios, so that those which begin alike have
// their first crash points in common.
const sweepSeed = 1

// play plays a scenario; where struck is not nil, what is done there goes wrong.
func play(t *testing.T, number int, struck *crashPoint) *world {
	scenario := scenarios[number]
	defer watch("go test ./proof/simulation -run TestEveryCrashPoint")()
	cryptotest.SetGlobalRandom(t, sweepSeed)
	return tell(t, sweepSeed, scenario.plot, func(w *world) {
		if scenario.arrange != nil {
			scenario.arrange(w.model)
		}
		w.undisturbed = struck == nil
		if struck != nil {
			w.decide = func(r *request) fault {
				if r.conn.actor.name == struck.actor && r.ordinal == struck.ordinal {
					return fault{kind: struck.kind}
				}
				return fault{}
			}
		}
	})
}

// allCrashPoints plays every scenario undisturbed, and returns its crash points. A
// command that an actor repeats after nothing has changed, or after the same as in an
// earlier scenario, is the same place again. Before a command that changes nothing is
// the same place as after it, so that is struck once for each command there is, and
// not at each of its places.
func allCrashPoints(t *testing.T) (points []crashPoint) {
	before, places := map[string]bool{}, map[string]bool{}
	for number, scenario := range scenarios {
		w := play(t, number, nil)
		if w.failure != nil {
			t.Fatalf("%s, undisturbed: %v\nThe last that happened:\n%s", scenario.name, w.failure, w.end(40))
		}
		history := sha256.New()
		for _, record := range w.happened[:w.plotted] {
			place := fmt.Sprintf("%x %s %q", history.Sum(nil), record.actor, record.args)
			if record.changed && !strings.HasSuffix(record.label, " refresh") {
				fmt.Fprintf(history, "%s %q\n", record.actor, record.args)
			}
			if record.actor == "person" || places[place] {
				continue
			}
			places[place] = true
			kinds := []kind{diesAfter, cutAfter}
			if record.changed || !before[record.label] {
				kinds = append(kinds, diesBefore, cutBefore)
				before[record.label] = true
			}
			for _, kind := range kinds {
				points = append(points, crashPoint{number, record.actor, record.ordinal, record.label, kind})
			}
		}
	}
	return points
}

// TestEveryCrashPoint plays every scenario once for each of its crash points: the
// actor dies there and another takes its place, or its connection breaks there.
func TestEveryCrashPoint(t *testing.T) {
	if *pointFlag != "" {
		replayPoint(t)
		return
	}
	if this, of, ok := share(); ok {
		sweep(t, this, of)
		return
	}
	begin := time.Now()
	told := map[string]int{}
	for _, line := range giveOut(t) {
		told[line]++
	}
	var covered, words []string
	points := 0
	for line := range told {
		kind, rest, _ := strings.Cut(line, ": ")
		switch kind {
		case "points":
			n := 0
			fmt.Sscan(rest, &n)
			points += n * told[line]
		case "covered":
			covered = append(covered, rest)
		case "word":
			words = append(words, rest)
		}
	}
	t.Logf("%d crash points in %d scenarios, at %d kinds of commands before and after, in %s", points, len(scenarios), len(covered)/2, time.Since(begin).Round(time.Millisecond))
	if t.Failed() || pointsStride > 1 {
		return // what was left out may well have covered what is missing
	}
	var want []string
	for _, label := range sweptCommands {
		want = append(want, label+", after", label+", before")
	}
	slices.Sort(covered)
	slices.Sort(want)
	if diff := cmp.Diff(want, covered); diff != "" {
		t.Errorf("the commands that actors died before and after differ from the list (-list +swept):\n%s", diff)
	}
	slices.Sort(words)
	if diff := cmp.Diff(takenPaths, words); diff != "" {
		t.Errorf("the paths taken differ from the list (-list +taken):\n%s", diff)
	}
}

// replayPoint plays the crash point of that name and tells what happened.
func replayPoint(t *testing.T) {
	runtime.GOMAXPROCS(1) // as it was played
	for _, point := range allCrashPoints(t) {
		if point.String() == *pointFlag {
			play(t, point.scenario, &point).tellAll(t)
			return
		}
	}
	t.Errorf("there is no crash point %q", *pointFlag)
}

// sweep plays this process's share of the crash points, and tells what it covered.
func sweep(t *testing.T, this, of int) {
	covered, words := map[string]bool{}, map[string]bool{}
	points := allCrashPoints(t)
	played := 0
	for i := this * pointsStride; i < len(points); i += of * pointsStride {
		point := points[i]
		struck := false
		// On a busy machine a run may be another than the one that the point is from.
		for range 20 {
			w := play(t, point.scenario, &point)
			for _, record := range w.happened {
				if record.fault.kind == point.kind {
					struck = true
					covered[record.label+", "+strings.Fields(string(point.kind))[1]] = true
				}
			}
			if w.failure != nil {
				t.Fatalf("crash point %d, %s: %v\nThe last that happened:\n%s\nReplay it with\n\n    go test ./proof/simulation -run TestEveryCrashPoint -point %q -v\n", i+1, point, w.failure, w.end(40), point)
			}
			for word := range w.words {
				words[word] = true
			}
			if struck {
				break
			}
		}
		played++
		if !struck {
			t.Errorf("%s: nothing was struck there in 20 runs, for each was another", point)
		}
	}
	fmt.Println("share: points:", played)
	for label := range covered {
		fmt.Println("share: covered:", label)
	}
	for word := range words {
		fmt.Println("share: word:", word)
	}
}

// sweptCommands are all commands that the packages send, and on what.
var sweptCommands = []string{
	"config",
	"eval claim", "eval deliver", "eval drop", "eval fetch", "eval lend", "eval obtain", "eval prolong", "eval refresh",
	"eval reject", "eval release", "eval retire", "eval retry", "eval return", "eval store", "eval terms",
	"evalsha claim", "evalsha deliver", "evalsha drop", "evalsha fetch", "evalsha lend", "evalsha obtain", "evalsha prolong",
	"evalsha refresh", "evalsha reject", "evalsha release", "evalsha retire", "evalsha retry", "evalsha return",
	"evalsha store", "evalsha terms",
	"exec", "get instance", "get shelving:away", "hexists lending:receipts", "hexists shelving:out",
	"hget lending:card", "hget lending:fetching", "hget lending:loans", "hget lending:receipts",
	"hgetall lending:card", "hgetall lending:terms", "hgetall terms", "hlen lending:fetching", "hlen lending:loans", "hlen shelving:awaited",
	"info",
	"hmget lending:fetching",
	"memory lending:deliveries", "memory lending:requests", "memory lending:returns", "memory shelving:fetches", "memory shelving:stores",
	"multi", "pexpire instance", "ping", "scard lending:front", "set instance",
	"sismember lending:front", "subscribe lending:bell", "time", "wait", "xadd lending:requests", "xadd lending:returns",
	"xgroup create lending:deliveries", "xgroup create lending:requests", "xgroup create lending:returns",
	"xgroup create shelving:fetches", "xgroup create shelving:stores", "xgroup createconsumer lending:deliveries",
	"xgroup createconsumer lending:requests", "xgroup createconsumer lending:returns",
	"xgroup createconsumer shelving:fetches", "xgroup createconsumer shelving:stores",
	"xinfo consumers lending:deliveries", "xinfo consumers lending:requests", "xinfo consumers lending:returns",
	"xinfo consumers shelving:fetches", "xinfo consumers shelving:stores", "xinfo groups lending:requests",
	"xinfo stream lending:requests", "xlen lending:deliveries", "xlen lending:requests", "xlen lending:returns", "xlen shelving:fetches", "xlen shelving:stores",
	"xpending lending:deliveries", "xpending lending:requests", "xpending lending:returns", "xpending shelving:fetches",
	"xpending shelving:stores",
	"xrange lending:deliveries", "xrange lending:rejected", "xrange lending:requests", "xrange lending:returns",
	"xrange shelving:fetches", "xrange shelving:stores", "xread events",
	"xreadgroup lending:deliveries", "xreadgroup lending:requests", "xreadgroup lending:returns",
	"xreadgroup shelving:fetches", "xreadgroup shelving:stores",
	"xrevrange events",
}

// takenPaths are all that scripts answer, and all that the log tells.
var takenPaths = []string{
	"deliver answers FENCED", "deliver answers apart", "deliver answers conflict", "deliver answers delivered",
	"deliver answers gone", "deliver answers sent_back", "drop answers dropped",
	"event awaited", "event decided", "event delivered", "event dropped", "event fetched", "event handed_on", "event rejected",
	"event retried", "event sent_back", "event shelved", "event stored", "event terms",
	"fetch answers FENCED", "fetch answers apart", "fetch answers awaited", "fetch answers conflict",
	"fetch answers fetched", "fetch answers gone",
	"lend answers FENCED", "lend answers TERMS", "lend answers denied", "lend answers granted", "lend answers partial", "lend answers repeat",
	"obtain answers OK",
	"outcome denied", "outcome granted", "outcome partial", "outcome refused", "outcome returned",
	"prolong answers prolonged",
	"reject answers FENCED", "reject answers gone", "reject answers rejected",
	"result already_yours", "result front", "result not_yours", "result on_its_way", "result over_limit",
	"result returned", "result shelves", "result unavailable",
	"retire answers alive", "retire answers pending", "retire answers retired",
	"return answers FENCED", "return answers TERMS", "return answers partial", "return answers refused", "return answers repeat",
	"return answers returned",
	"store answers FENCED", "store answers apart", "store answers conflict", "store answers gone",
	"store answers handed_on", "store answers stored",
	"terms answers stale",
}
