package worker

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

const lockKey = "{main}:instance:worker1"

func lockConfig(logs *journal) LockConfig {
	return LockConfig{
		Keys: library.Keys{Library: "main"}, Name: "worker1", TTL: 10 * time.Minute,
		Services: []string{"lending", "shelving"}, Log: log.New(logs),
	}
}

// take is Take where it must succeed.
func take(t *testing.T, ctx context.Context, rdb redis.UniversalClient, config LockConfig) *Instance {
	t.Helper()
	i, err := Take(ctx, rdb, config)
	if err != nil {
		t.Fatalf("take the name: %v", err)
	}
	return i
}

// wantOwner checks that the lock is held by i, and for how long at most.
func wantOwner(t *testing.T, ctx context.Context, rdb redis.UniversalClient, i *Instance) {
	t.Helper()
	value, err := rdb.Get(ctx, lockKey).Result()
	if err != nil {
		t.Fatalf("read the lock: %v", err)
	}
	if token, ok := strings.CutSuffix(value, i.owner); !ok || token != i.Token() {
		t.Errorf("the lock holds %q, want token %q and owner %s", value, i.Token(), i.owner)
	}
	left, err := rdb.PTTL(ctx, lockKey).Result()
	if err != nil || left <= 0 || left > i.config.TTL {
		t.Errorf("the lock lives for %v, %v, want at most %v", left, err, i.config.TTL)
	}
}

func TestATakenNameIsALockThatTellsItsOwner(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		before := time.Now().UTC().Truncate(time.Second)
		i := take(t, ctx, rdb, lockConfig(newJournal()))
		if i.Name() != "worker1" || i.Key() != lockKey {
			t.Errorf("the instance is %q with lock %q", i.Name(), i.Key())
		}
		wantOwner(t, ctx, rdb, i)

		value := rdb.Get(ctx, lockKey).Val()
		if !strings.HasPrefix(value, i.Token()) || len(i.Token()) != tokenBytes {
			t.Errorf("the lock holds %q, want it to begin with the token %q of %d bytes", value, i.Token(), tokenBytes)
		}
		owner, err := ReadOwner(value)
		if err != nil {
			t.Fatal(err)
		}
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		if owner.Since.Before(before) || owner.Since.After(time.Now()) {
			t.Errorf("the lock is held since %v, want it since a moment after %v", owner.Since, before)
		}
		owner.Since = time.Time{}
		want := Owner{Host: host, PID: os.Getpid(), Services: []string{"lending", "shelving"}}
		if diff := cmp.Diff(want, owner); diff != "" {
			t.Errorf("owner (-want +got):\n%s", diff)
		}
	})
}

func TestANameInUseIsRefusedAndItsOwnerNamed(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		first := take(t, ctx, rdb, lockConfig(newJournal()))
		second, err := Take(ctx, rdb, lockConfig(newJournal()))
		if second != nil || !errors.Is(err, ErrHeld) {
			t.Fatalf("Take = %v, %v, want an error that wraps ErrHeld", second, err)
		}
		host, _ := os.Hostname()
		for _, word := range []string{host, "pid " + strconv.Itoa(os.Getpid()), "since "} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("the error says %q, want it to name the owner by %q", err, word)
			}
		}
		wantOwner(t, ctx, rdb, first)

		other := lockConfig(newJournal())
		other.Keys.Library = "north"
		take(t, ctx, rdb, other)
		other = lockConfig(newJournal())
		other.Name = "worker2"
		take(t, ctx, rdb, other)
		wantOwner(t, ctx, rdb, first)
	})
}

func TestALockThatNoInstanceWroteIsStillInUse(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		for _, value := range []string{"", "x", strings.Repeat("x", tokenBytes), strings.Repeat("x", tokenBytes) + "{", strings.Repeat("x", 1000)} {
			if err := rdb.Set(ctx, lockKey, value, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if _, err := Take(ctx, rdb, lockConfig(newJournal())); !errors.Is(err, ErrHeld) {
				t.Errorf("Take of a name whose lock holds %.40q = %v, want an error that wraps ErrHeld", value, err)
			}
			if got := rdb.Get(ctx, lockKey).Val(); got != value {
				t.Errorf("the lock holds %.40q afterwards, want %.40q", got, value)
			}
		}
	})
}

func TestAnOwnersNameReachesTheErrorEscaped(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		value := strings.Repeat("x", tokenBytes) + `{"host":"\u001b[2Jcellar\u202e","pid":1,"since":"2026-01-01T00:00:00Z"}`
		if err := rdb.Set(ctx, lockKey, value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		_, err := Take(ctx, rdb, lockConfig(newJournal()))
		if !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "cellar") || strings.ContainsAny(err.Error(), "\x1b\u202e") {
			t.Errorf("Take = %q, want an error that names the host and holds no control character", err)
		}
	})
}

func TestForceTakesANameFromItsOwner(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		former := take(t, ctx, rdb, lockConfig(newJournal()))
		forced := lockConfig(newJournal())
		forced.Force, forced.Services = true, []string{"shelving"}
		i := take(t, ctx, rdb, forced)
		wantOwner(t, ctx, rdb, i)

		err := former.Keep(ctx)
		if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "pid "+strconv.Itoa(os.Getpid())) {
			t.Errorf("the former owner's Keep = %v, want an error that wraps ErrTaken and names the new owner", err)
		}
		if err := former.Release(ctx); err != nil {
			t.Errorf("the former owner's Release = %v", err)
		}
		wantOwner(t, ctx, rdb, i)
		if err := i.Keep(ctx); err != nil {
			t.Errorf("the new owner's Keep = %v", err)
		}
	})
}

func TestForceTakesAFreeName(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		forced := lockConfig(newJournal())
		forced.Force = true
		wantOwner(t, ctx, rdb, take(t, ctx, rdb, forced))
	})
}

func TestOneOfManyProcessesGetsAName(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		results := make(chan error, 16)
		for range cap(results) {
			go func() {
				_, err := Take(ctx, rdb, lockConfig(newJournal()))
				results <- err
			}()
		}
		taken := 0
		for range cap(results) {
			switch err := <-results; {
			case err == nil:
				taken++
			case !errors.Is(err, ErrHeld):
				t.Errorf("Take = %v, want success or ErrHeld", err)
			}
		}
		if taken != 1 {
			t.Errorf("%d processes took the name, want 1", taken)
		}
	})
}

func TestKeepMakesTheLockLiveOn(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		logs := newJournal()
		i := take(t, ctx, rdb, lockConfig(logs))
		if err := rdb.PExpire(ctx, lockKey, 2*time.Second).Err(); err != nil {
			t.Fatal(err)
		}
		if err := i.Keep(ctx); err != nil {
			t.Fatal(err)
		}
		if left := rdb.PTTL(ctx, lockKey).Val(); left < 5*time.Second {
			t.Errorf("the lock lives for %v, want about %v", left, i.config.TTL)
		}
		wantOwner(t, ctx, rdb, i)
		if logs.String() != "" {
			t.Errorf("an ordinary refresh logged:\n%s", logs)
		}
	})
}

// Whatever the instance's own clock says of the lock: that of a machine which slept
// stood still while Redis's went on.
func TestALockThatIsGoneIsTakenAgainUnderANewToken(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		logs := newJournal()
		i := take(t, ctx, rdb, lockConfig(logs))
		for losses := 1; losses <= 2; losses++ {
			token := i.Token()
			if err := rdb.Del(ctx, lockKey).Err(); err != nil {
				t.Fatal(err)
			}
			if err := i.Keep(ctx); err != nil {
				t.Fatalf("Keep after the lock was gone = %v", err)
			}
			wantOwner(t, ctx, rdb, i)
			if i.Token() == token {
				t.Error("the token is the old one: what was begun with it would not be fenced off")
			}
			const line = "WARN the instance's lock was gone and was taken again"
			if n := strings.Count(logs.String(), line); n != losses || strings.Count(logs.String(), "\n") != losses {
				t.Errorf("want %d lines in the log that say %q:\n%s", losses, line, logs)
			}
			token = i.Token()
			if err := i.Keep(ctx); err != nil || i.Token() != token {
				t.Errorf("Keep of the new lock = %v; its token changed: %v", err, i.Token() != token)
			}
		}
	})
}

func TestALapsedLockThatAnotherTookIsNotTakenBack(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		logs := newJournal()
		former := take(t, ctx, rdb, lockConfig(logs))
		if err := rdb.Del(ctx, lockKey).Err(); err != nil {
			t.Fatal(err)
		}
		i := take(t, ctx, rdb, lockConfig(newJournal()))
		for range 2 {
			if err := former.Keep(ctx); !errors.Is(err, ErrTaken) {
				t.Errorf("Keep = %v, want an error that wraps ErrTaken", err)
			}
		}
		wantOwner(t, ctx, rdb, i)
		if logs.String() != "" {
			t.Errorf("the former owner logged:\n%s", logs)
		}
	})
}

// Redis notes when a key ends, so after its clock was set back by a day, a dead
// instance's lock would live for a day more.
func TestNoLockLivesLongerThanAnyMay(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		lives := func(key string) time.Duration { return rdb.PTTL(ctx, key).Val() }
		add(t, ctx, rdb, 1)
		give(t, ctx, rdb, "dead")
		for key, life := range map[string]time.Duration{keys.Instance("dead"): 24 * time.Hour, keys.Instance("living"): time.Minute, lockKey: 24 * time.Hour} {
			if err := rdb.Set(ctx, key, "token", life).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := rdb.XGroupCreateConsumer(ctx, inboxKey, library.Lending, "living").Err(); err != nil {
			t.Fatal(err)
		}

		if _, err := Take(ctx, rdb, lockConfig(newJournal())); !errors.Is(err, ErrHeld) {
			t.Errorf("Take = %v, want an error that wraps ErrHeld", err)
		}
		if left := lives(lockKey); left <= 0 || left > LockTTLMax {
			t.Errorf("the lock that somebody asked for lives for %s, want at most %s", left, LockTTLMax)
		}

		w := newWorker(t, rdb, "quick")
		w.run(t)
		soon(t, ctx, "the life of a dead instance's lock", true, func() bool {
			left := lives(keys.Instance("dead"))
			return left > 0 && left <= LockTTLMax
		})
		if left := lives(keys.Instance("living")); left <= 0 || left > time.Minute {
			t.Errorf("the lock of a living instance lives for %s, want no more than before", left)
		}
	})
}

func TestReleaseFreesTheNameAndIsHarmlessTwice(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		former := take(t, ctx, rdb, lockConfig(newJournal()))
		for range 2 {
			if err := former.Release(ctx); err != nil {
				t.Fatalf("Release = %v", err)
			}
			if n := rdb.Exists(ctx, lockKey).Val(); n != 0 {
				t.Fatal("the lock still stands")
			}
		}
		i := take(t, ctx, rdb, lockConfig(newJournal()))
		if err := former.Release(ctx); err != nil {
			t.Errorf("Release of a name that is another's now = %v", err)
		}
		wantOwner(t, ctx, rdb, i)
	})
}

func TestEachTakeHasATokenOfItsOwn(t *testing.T) {
	t.Parallel()
	rdb := redistest.Embedded(t)
	ctx := deadline(t)
	tokens := map[string]bool{}
	for range 20 {
		i := take(t, ctx, rdb, lockConfig(newJournal()))
		tokens[i.Token()] = true
		if err := i.Release(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if len(tokens) != 20 {
		t.Errorf("20 takes had %d different tokens", len(tokens))
	}
}

func TestTakeReportsAServerThatFails(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	server.Kill(t)
	for _, force := range []bool{false, true} {
		config := lockConfig(newJournal())
		config.Force = force
		i, err := Take(deadline(t), rdb, config)
		if err == nil || errors.Is(err, ErrHeld) || redisconn.KindOf(err) != redisconn.Passing {
			t.Errorf("Take by force %v = %v, %v, want an error of kind Passing", force, i, err)
		}
	}
}

func TestRunKeepsTheNameUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx, stop := context.WithCancel(deadline(t))
		defer stop()
		logs := newJournal()
		config := lockConfig(logs)
		config.TTL = 3 * time.Second // so long that even a busy machine refreshes it in time
		i := take(t, ctx, rdb, config)
		kept := hear(rdb, i)

		ended := make(chan error, 1)
		go func() { ended <- i.Run(ctx, redisconn.NewOutage(config.Log)) }()
		for range 5 { // longer than the lock would live without
			<-kept
		}
		wantOwner(t, ctx, rdb, i)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil after a stop", err)
		}
		if logs.String() != "" {
			t.Errorf("a quiet run logged:\n%s", logs)
		}
	})
}

// hear tells each time the instance's lock was refreshed.
func hear(rdb redis.UniversalClient, i *Instance) <-chan struct{} {
	kept := make(chan struct{}, 100)
	rdb.AddHook(hook(func(cmd redis.Cmder) {
		if args := cmd.Args(); strings.HasPrefix(cmd.Name(), "eval") && len(args) > 3 && args[3] == i.Key() {
			select {
			case kept <- struct{}{}:
			default:
			}
		}
	}))
	return kept
}

func TestRunEndsWhenTheNameIsTaken(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		config := lockConfig(newJournal())
		config.TTL = time.Second
		i := take(t, ctx, rdb, config)
		ended := make(chan error, 1)
		go func() { ended <- i.Run(ctx, redisconn.NewOutage(config.Log)) }()
		config.Force, config.TTL = true, time.Minute
		take(t, ctx, rdb, config)
		if err := <-ended; !errors.Is(err, ErrTaken) {
			t.Errorf("Run = %v, want an error that wraps ErrTaken", err)
		}
	})
}

func TestRunOutlastsAServerThatIsAway(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(deadline(t))
	defer stop()
	server := redistest.Start(t)
	rdb := server.Client(t)
	logs := newJournal()
	config := lockConfig(logs)
	config.TTL = 3 * time.Second // so long that even a busy machine refreshes it in time
	var failed atomic.Int64
	config.Failed = func() { failed.Add(1) }
	i := take(t, ctx, rdb, config)
	if !i.Held() || failed.Load() > 0 {
		t.Errorf("when the name was taken, Held = %v, and %d refreshes failed", i.Held(), failed.Load())
	}
	kept := hear(rdb, i)
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx, redisconn.NewOutage(config.Log)) }()

	server.Kill(t)
	for len(kept) > 0 {
		<-kept
	}
	for range 3 {
		<-kept // attempts that failed
	}
	soon(t, ctx, "how many refreshes failed", true, func() bool { return failed.Load() >= 2 })
	soon(t, ctx, "whether the name is held", false, i.Held)
	server.Restart(t) // without its data: the lock has lapsed
	for rdb.Exists(ctx, lockKey).Val() == 0 {
		select {
		case <-kept:
		case err := <-ended:
			t.Fatalf("Run = %v, want it to go on", err)
		}
	}
	wantOwner(t, ctx, rdb, i)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !strings.Contains(logs.String(), "Redis serves again") {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("the log never says that Redis serves again:\n%s", logs)
		}
	}
	if !i.Held() {
		t.Error("Held = false after the server came back")
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil after a stop", err)
	}
	for _, line := range []string{"Redis cannot serve just now", "was taken again", "Redis serves again"} {
		if n := strings.Count(logs.String(), line); n != 1 {
			t.Errorf("the log says %q %d times, want once:\n%s", line, n, logs)
		}
	}
}

func TestRunEndsWhenTheServerRefusesIt(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t)
	staff := server.Client(t)
	rdb := server.Client(t)
	config := lockConfig(newJournal())
	config.TTL = time.Second
	i := take(t, ctx, rdb, config)
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx, redisconn.NewOutage(config.Log)) }()
	if err := staff.Do(ctx, "ACL", "SETUSER", "default", "-eval", "-evalsha").Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; redisconn.KindOf(err) != redisconn.Refused {
		t.Errorf("Run = %v, want an error of kind Refused", err)
	}
}

func TestReadOwnerRefusesWhatIsNoLock(t *testing.T) {
	token := strings.Repeat("x", tokenBytes)
	for _, value := range []string{"", "x", token[1:], token, token + "x", token + "[]", token + `{"pid":"one"}`} {
		if owner, err := ReadOwner(value); err == nil {
			t.Errorf("ReadOwner(%q) = %+v, want an error", value, owner)
		}
	}
	owner, err := ReadOwner(token + `{"host":"cellar","pid":7,"since":"2026-01-02T03:04:05Z","services":["lending"],"colour":"red"}`)
	want := Owner{Host: "cellar", PID: 7, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Services: []string{"lending"}}
	if diff := cmp.Diff(want, owner); err != nil || diff != "" {
		t.Errorf("ReadOwner = %v (-want +got):\n%s", err, diff)
	}
}

func TestALostReplyToReleaseOrKeepDoesNoHarm(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	direct := server.Client(t)
	rdb, err := redisconn.Connect(redisconn.Options{Address: proxy.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	i := take(t, ctx, rdb, lockConfig(newJournal()))
	evaluation := func(args []string) bool { return strings.HasPrefix(args[0], "eval") }

	// The first calls send the sources; only then does a call execute at once.
	if err := i.Keep(ctx); err != nil {
		t.Fatal(err)
	}
	proxy.DropReply(evaluation)
	if err := i.Keep(ctx); redisconn.KindOf(err) != redisconn.Passing {
		t.Errorf("Keep without a reply = %v, want an error of kind Passing", err)
	}
	if err := i.Keep(ctx); err != nil {
		t.Errorf("Keep again = %v", err)
	}
	wantOwner(t, ctx, direct, i)

	if err := direct.ScriptFlush(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if err := i.Release(ctx); err != nil { // by its source, as the server forgot it
		t.Errorf("Release = %v", err)
	}
	again := take(t, ctx, rdb, lockConfig(newJournal()))
	proxy.DropReply(evaluation)
	if err := again.Release(ctx); redisconn.KindOf(err) != redisconn.Passing {
		t.Errorf("Release without a reply = %v, want an error of kind Passing", err)
	}
	if err := again.Release(ctx); err != nil {
		t.Errorf("Release again = %v", err)
	}
	if n := direct.Exists(ctx, lockKey).Val(); n != 0 || proxy.Faults() != 2 {
		t.Errorf("%d locks stand after %d faults, want none after 2", n, proxy.Faults())
	}
}

// A lost reply to Take leaves a lock behind. Whoever tries again, as lendingd does,
// must not take it for another's.
func TestTakeSucceedsAfterItsReplyWasLost(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	rdb, err := redisconn.Connect(redisconn.Options{Address: proxy.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	// The first call sends the source; only then does a call execute at once.
	if err := take(t, ctx, rdb, lockConfig(newJournal())).Release(ctx); err != nil {
		t.Fatal(err)
	}
	proxy.DropReply(func(args []string) bool { return args[0] == "evalsha" })
	again := lockConfig(newJournal())
	again.Token = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	_, err = Take(ctx, rdb, again)
	if redisconn.KindOf(err) != redisconn.Passing {
		t.Fatalf("Take without a reply = %v, want an error of kind Passing", err)
	}
	if _, err := Take(ctx, rdb, again); err != nil {
		t.Errorf("Take again = %v, want success", err)
	}
}

func TestAFirstTryToTakeTheNameThatArrivesLateDoesNotTakeItFromTheSecond(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		config := lockConfig(newJournal())
		config.Token, config.Since = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", time.Now().Add(-time.Minute)
		second := take(t, ctx, rdb, config)
		take(t, ctx, rdb, config) // what the first try asked, when the second has succeeded
		if err := second.Keep(ctx); err != nil || second.Token() != config.Token {
			t.Errorf("Keep = %v, and the token is %s", err, second.Token())
		}
		wantOwner(t, ctx, rdb, second)
	})
}

func TestKeepSucceedsAfterTheReplyThatItTookALapsedLockAgainWasLost(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	direct := server.Client(t)
	rdb, err := redisconn.Connect(redisconn.Options{Address: proxy.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	i := take(t, ctx, rdb, lockConfig(newJournal()))
	if err := i.Keep(ctx); err != nil { // and so sends the source of the refresh
		t.Fatal(err)
	}
	if err := direct.Del(ctx, lockKey).Err(); err != nil {
		t.Fatal(err)
	}
	proxy.DropReply(func(args []string) bool {
		// Unlike a refresh, taking sends the length of the token too.
		return args[0] == "evalsha" && slices.Contains(args, strconv.Itoa(tokenBytes))
	})
	if err := i.Keep(ctx); redisconn.KindOf(err) != redisconn.Passing {
		t.Fatalf("Keep without a reply = %v, want an error of kind Passing", err)
	}
	if n := direct.Exists(ctx, lockKey).Val(); n != 1 {
		t.Fatal("the lock was not taken: the test shows nothing")
	}
	if err := i.Keep(ctx); err != nil {
		t.Fatalf("Keep again = %v, want it to know the lock for its own", err)
	}
	wantOwner(t, ctx, direct, i)
}
