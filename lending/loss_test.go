package lending

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"

	"github.com/redis/go-redis/v9"
)

// A leakyServer is a real Redis behind a proxy that can lose what passes.
type leakyServer struct {
	*redistest.Proxy
	direct  *redis.Client // past the proxy
	through redis.UniversalClient
}

func startLeaky(t *testing.T) *leakyServer {
	t.Helper()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	through, err := redisconn.Connect(redisconn.Options{Address: proxy.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { through.Close() })
	direct := server.Client(t)
	// An EVALSHA of a script that the server does not know yet does nothing, and to
	// lose its reply would show nothing.
	for _, script := range []*redis.Script{scripts.Lend, scripts.Return, scripts.Fetch, scripts.Store, scripts.Deliver, scripts.Claim} {
		if err := script.Load(deadline(t), direct).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return &leakyServer{proxy, direct, through}
}

// traffic has 4 users ask at once for 3 books each, bring them back, and ask for
// them again, and checks every answer and all that is known in the end.
func (s *leakyServer) traffic(t *testing.T, ctx context.Context) {
	t.Helper()
	client := newClient(t, s.through)
	var ids []string
	want := state{Loans: map[string]string{}, Cards: map[string][]string{}}
	for _, action := range []library.Action{library.Request, library.Return, library.Request} {
		answers := make(chan answer, 4)
		for i := range cap(answers) {
			user := fmt.Sprint("user ", i)
			var books []string
			for j := range 3 {
				book := fmt.Sprintf("book %d of %s", j, user)
				books = append(books, book)
				want.Loans[book] = user
				want.Out = append(want.Out, book)
			}
			want.Cards[user] = books
			order := newOrder(t, action, user, books...)
			ids = append(ids, order.ID)
			go func() {
				receipt, err := client.Do(ctx, order)
				answers <- answer{receipt, err}
			}()
		}
		for range cap(answers) {
			got := <-answers
			if got.err != nil {
				t.Fatal(got.err)
			}
			if outcome := map[library.Action]library.Outcome{library.Request: library.Granted, library.Return: library.Returned}[action]; got.receipt.Outcome != outcome {
				t.Errorf("the %s of %s is %s, want %s: %s", action, got.receipt.User, got.receipt.Outcome, outcome, got.receipt.Summary())
			}
		}
		settled(t, ctx, s.direct) // what is on its way cannot come back
	}
	slices.Sort(want.Out)
	want.Out = slices.Compact(want.Out)
	wantState(t, ctx, s.direct, want)
	wantOneAnswerEach(t, ctx, s.direct, ids...)
}

func TestALostReplyOfAScriptChangesNothing(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]*redis.Script{
		"lend": scripts.Lend, "return": scripts.Return, "fetch": scripts.Fetch, "store": scripts.Store, "deliver": scripts.Deliver,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			s := startLeaky(t)
			s.DropReply(func(args []string) bool { return args[0] == "evalsha" && args[1] == script.Hash() })
			(&branch{}).open(t, s.through)
			s.traffic(t, ctx)
			if n := s.Faults(); n != 1 {
				t.Errorf("%d replies were lost, want 1", n)
			}
		})
	}
}

func TestALostCommandOfAScriptChangesNothing(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]*redis.Script{
		"lend": scripts.Lend, "return": scripts.Return, "fetch": scripts.Fetch, "store": scripts.Store, "deliver": scripts.Deliver,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			s := startLeaky(t)
			s.LoseCommand(func(args []string) bool { return args[0] == "evalsha" && args[1] == script.Hash() })
			(&branch{}).open(t, s.through)
			s.traffic(t, ctx)
			if n := s.Faults(); n != 1 {
				t.Errorf("%d commands were lost, want 1", n)
			}
		})
	}
}

func TestAnOrderWhoseConfirmationWasLostIsDecidedOnce(t *testing.T) {
	t.Parallel()
	k := keys{names}
	for _, inbox := range []string{k.Requests(), k.Returns()} {
		t.Run(inbox, func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			s := startLeaky(t)
			lost := func(args []string) bool { return args[0] == "xadd" && args[1] == inbox }
			s.DropReply(lost)
			s.LoseCommand(lost)
			(&branch{}).open(t, s.through)
			s.traffic(t, ctx)
			if n := s.Faults(); n != 2 {
				t.Errorf("%d confirmations were lost, want 2", n)
			}
			if added := s.direct.XInfoStream(ctx, inbox).Val().EntriesAdded; added <= 4 {
				t.Errorf("%s got %d entries, want more than one for an order", inbox, added)
			}
		})
	}
}

// Entries that Redis gave out in a reply that never came are pending for an instance
// that does not know of them.
func TestEntriesGivenOutInALostReplyAreHandledOnce(t *testing.T) {
	t.Parallel()
	k := keys{names}
	lender := func() *branch { return &branch{name: "lender", services: []string{library.Lending}} }
	shelver := func() *branch { return &branch{name: "shelver", services: []string{library.Shelving}} }
	for inbox, test := range map[string]struct {
		action library.Action
		during []*branch // run one after another until the entries are in the inbox
		after  *branch   // loses its first read of the inbox
	}{
		k.Requests():   {action: library.Request, after: lender()},
		k.Fetches():    {action: library.Request, during: []*branch{lender()}, after: shelver()},
		k.Deliveries(): {action: library.Request, during: []*branch{lender(), shelver()}, after: lender()},
		k.Returns():    {action: library.Return, after: lender()},
		k.Stores():     {action: library.Return, during: []*branch{lender()}, after: shelver()},
	} {
		t.Run(inbox, func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			s := startLeaky(t)
			client := newClient(t, s.through)
			want := state{Loans: map[string]string{"geb": "ann", "alice": "ann"}, Cards: map[string][]string{"ann": {"alice", "geb"}}, Out: []string{"alice", "geb"}}
			var ids []string
			if test.action == library.Return {
				both := (&branch{name: "both"}).open(t, s.through)
				receipt, err := client.Request(ctx, "ann", "geb", "alice")
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, receipt.ID)
				settled(t, ctx, s.direct)
				both.close(t)
				want = state{}
			}
			order := newOrder(t, test.action, "ann", "geb", "alice")
			ids = append(ids, order.ID)
			if err := client.Send(ctx, order); err != nil {
				t.Fatal(err)
			}
			next := []string{k.Fetches(), k.Deliveries()}
			if test.action == library.Return {
				next = []string{k.Stores()}
			}
			for i, b := range test.during {
				b.open(t, s.through)
				waitForEntry(t, ctx, s.direct, next[i], "0")
				b.close(t)
			}

			s.DropReply(func(args []string) bool { return args[0] == "xreadgroup" && slices.Contains(args, inbox) })
			test.after.open(t, s.through)
			other := shelver()
			if test.after.services[0] == library.Shelving {
				other = lender()
			}
			other.open(t, s.through)
			receipt, err := client.Wait(ctx, order.ID)
			if err != nil || receipt.Outcome != library.Granted && receipt.Outcome != library.Returned {
				t.Errorf("Wait = %+v, %v", receipt, err)
			}
			wantState(t, ctx, s.direct, want)
			wantOneAnswerEach(t, ctx, s.direct, ids...)
			if n := s.Faults(); n != 1 {
				t.Errorf("%d replies were lost, want 1", n)
			}
			if logs := test.after.logs.String(); !strings.Contains(logs, "took over pending entries") {
				t.Errorf("the lost reply held no entries; the log:\n%s", logs)
			}
		})
	}
}

func TestAnyLossesLeaveOneAnswerToEachOrder(t *testing.T) {
	t.Parallel()
	for round := range 3 {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			s := startLeaky(t)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			dice := rand.New(rand.NewPCG(seed, 0)) // the proxy asks from one goroutine at a time
			unlucky := func([]string) bool { return dice.IntN(40) == 0 }
			(&branch{name: "worker1"}).open(t, s.through)
			(&branch{name: "worker2"}).open(t, s.through)
			for range 15 {
				s.DropReply(unlucky)
				s.LoseCommand(unlucky)
			}
			s.traffic(t, ctx)
			if n := s.Faults(); n < 3 {
				t.Errorf("%d commands or replies were lost, want more", n)
			}
		})
	}
}
