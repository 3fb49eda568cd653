package worker

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/bsm/redislock"
	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
)

var (
	// ErrHeld is returned by Take when another process holds the name.
	ErrHeld = errors.New("the name is in use")

	// ErrTaken is returned by Keep when another process has taken the name.
	ErrTaken = errors.New("the name was taken by another process")
)

// LockTTLMax is how long a lock may outlive its process at most.
const LockTTLMax = 10 * time.Minute

// LockConfig says what lock to take.
type LockConfig struct {
	// Keys name the library.
	Keys library.Keys
	// Name is the instance's name.
	Name string
	// TTL is how long the lock outlives its process, 1 s to LockTTLMax. Default: 10 s.
	TTL time.Duration
	// Services are told to those who ask what the instance runs.
	Services []string
	// Token is the lock's first token. Whoever calls Take again after an error gives
	// the same one again: the lost reply may have been a success, and Take then knows
	// the lock for its own. Default: a new one.
	Token string
	// Since is when the process began; whoever calls Take again gives the same one
	// again. A first try that arrives late would else change the lock's value under
	// the second, which would take it for somebody else's. Default: now.
	Since time.Time
	// Force takes the name from the process that holds it. Default: false.
	Force bool
	// Log receives a line when the lock was lost and taken again.
	Log *log.Logger
	// Failed is called when the lock could not be refreshed. Default: nothing is.
	Failed func()
}

// An Owner is what a lock tells of the process that holds it.
type Owner struct {
	Host     string    `json:"host"`
	PID      int       `json:"pid"`
	Since    time.Time `json:"since"`
	Services []string  `json:"services"`
}

func (o Owner) String() string {
	return fmt.Sprintf("on host %s, pid %d, since %s", library.Printable(o.Host), o.PID, o.Since.Local().Format(time.DateTime))
}

// tokenBytes is the length of the token that begins a lock's value.
const tokenBytes = 26

// ReadOwner tells who holds a lock, from the key's value.
func ReadOwner(value string) (Owner, error) {
	var owner Owner
	if len(value) < tokenBytes {
		return owner, fmt.Errorf("a lock's value of %d bytes is too short", len(value))
	}
	err := json.Unmarshal([]byte(value[tokenBytes:]), &owner)
	return owner, err
}

// Serves reports whether a lock's value is that of a process that runs a service.
// One that does not tell what it runs may run any; one that is empty is gone.
func Serves(value, service string) bool {
	if value == "" {
		return false
	}
	owner, err := ReadOwner(value)
	return err != nil || len(owner.Services) == 0 || slices.Contains(owner.Services, service)
}

// An Instance is a name that this process holds.
type Instance struct {
	config LockConfig
	rdb    redis.UniversalClient
	owner  string // the lock's metadata: an Owner as JSON

	lock atomic.Pointer[redislock.Lock]

	// asking has room for the one goroutine that asks Redis about the lock, which may
	// take long; only that one uses next. Token waits for nobody, so that a
	// slow refresh does not hold the reading up.
	asking chan struct{}
	next   string // the token under which a lapsed lock is being taken again

	// clock is for how long the name was kept, in ns. It stands still while the process
	// is paused, and while Redis is away or cannot serve.
	clock    atomic.Int64
	patience time.Duration // how long work may take before the name is let go
	away     atomic.Bool   // the name is let go
	kept     atomic.Int64  // when the lock was last taken or refreshed, in ns since start

	mu   sync.Mutex
	work map[*stretch]bool // under way
}

// Take takes the name. It returns an error that wraps ErrHeld and names the
// owner, or Redis's.
func Take(ctx context.Context, rdb redis.UniversalClient, config LockConfig) (*Instance, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if config.Since.IsZero() {
		config.Since = time.Now()
	}
	owner, err := json.Marshal(Owner{Host: host, PID: os.Getpid(), Since: config.Since.UTC().Truncate(time.Second), Services: config.Services})
	if err != nil {
		return nil, err
	}
	i := &Instance{
		config: config, rdb: rdb, owner: string(owner), asking: make(chan struct{}, 1),
		patience: max(config.TTL, patienceMin), work: map[*stretch]bool{},
	}
	token := cmp.Or(config.Token, rand.Text())
	if config.Force {
		// One SET leaves no moment in which the name is free and its former owner
		// could take it back. Obtain then finds its own token there.
		err := rdb.Set(ctx, i.Key(), token+i.owner, config.TTL).Err()
		if redisconn.IsFull(err) {
			err = redisconn.Insist(ctx, rdb, i.Key(), "SET", i.Key(), token+i.owner, "PX", config.TTL.Milliseconds())
		}
		if err != nil {
			return nil, err
		}
	}
	err = i.obtain(ctx, token)
	if errors.Is(err, redislock.ErrNotObtained) {
		boundLock(ctx, rdb.Do, i.Key())
		return nil, fmt.Errorf("%w %s", ErrHeld, i.holder(ctx))
	}
	return i, err
}

// boundLock has a lock end within LockTTLMax, unless it is refreshed. It would live
// longer after Redis's clock was set back, for Redis notes when a key ends, not how long it
// lives; or if somebody set it by hand.
func boundLock(ctx context.Context, do func(context.Context, ...any) *redis.Cmd, key string) {
	do(ctx, "PEXPIRE", key, LockTTLMax.Milliseconds(), "LT")
}

// Name is the instance's name, and its consumer's in every group.
func (i *Instance) Name() string { return i.config.Name }

// Key is the lock's key.
func (i *Instance) Key() string { return i.config.Keys.Instance(i.config.Name) }

// Token begins the lock's value while this process holds the name; no other
// process knows it. It changes when the lock lapsed and was taken again. Whatever
// was begun before that must be fenced by the token it was begun with: others may
// have finished it meanwhile.
func (i *Instance) Token() string { return i.lock.Load().Token() }

// start is what times are counted from: the clock that cannot be set.
var start = time.Now()

// Held reports whether the name is held for all that is known here: it was not let go, and
// the lock was taken or refreshed within its time to live.
func (i *Instance) Held() bool {
	return !i.away.Load() && time.Since(start)-time.Duration(i.kept.Load()) < i.config.TTL
}

func (i *Instance) obtain(ctx context.Context, token string) error {
	asked := time.Since(start)
	lock, err := redislock.Obtain(ctx, redisconn.Regardless(i.rdb), i.Key(), i.config.TTL, &redislock.Options{Token: token, Metadata: i.owner})
	if err == nil {
		i.kept.Store(int64(asked))
		i.lock.Store(lock)
	}
	return err
}

func (i *Instance) holder(ctx context.Context) string {
	value, err := i.rdb.Get(ctx, i.Key()).Result()
	if err != nil {
		return "by a process that has just ended; try again"
	}
	owner, err := ReadOwner(value)
	if err != nil {
		return "by a process that does not say where it runs"
	}
	return owner.String()
}

// errAway says that the name is let go, until the work moves on.
var errAway = errors.New("the name is let go")

// Keep refreshes the lock once, and takes it again where it lapsed and nobody
// else took it. It returns an error that wraps ErrTaken and names the new owner,
// or Redis's.
func (i *Instance) Keep(ctx context.Context) error {
	i.asking <- struct{}{}
	defer func() { <-i.asking }()
	if i.away.Load() {
		return errAway
	}
	asked := time.Since(start)
	err := i.lock.Load().Refresh(ctx, i.config.TTL, nil)
	if err == nil {
		i.kept.Store(int64(asked))
	}
	if !errors.Is(err, redislock.ErrNotObtained) {
		return err
	}
	if err := i.takeAgain(ctx); err != nil {
		return err
	}
	// Why it was gone cannot be told from here. This process may have been paused; or its
	// machine slept, and its clock stood still while Redis's went on; or the server lost
	// its data, and then the reading of an inbox finds that out.
	i.config.Log.Warn("the instance's lock was gone and was taken again; what was pending may have been taken over", "instance", i.config.Name)
	return nil
}

// takeAgain takes a name that was lost. Only who is asking may call it.
func (i *Instance) takeAgain(ctx context.Context) error {
	// The reply to this may be lost, so a second try must know the lock for its own.
	i.next = cmp.Or(i.next, rand.Text())
	err := i.obtain(ctx, i.next)
	switch {
	case errors.Is(err, redislock.ErrNotObtained):
		return fmt.Errorf("%w %s", ErrTaken, i.holder(ctx))
	case err != nil:
		return err
	}
	i.next = ""
	return nil
}

// letGo gives the name up because a part of the work does not move on, so that others
// take over what is pending for it. What still comes of that part is fenced off.
func (i *Instance) letGo(ctx context.Context, part string) error {
	i.asking <- struct{}{}
	defer func() { <-i.asking }()
	if i.away.Load() {
		return nil
	}
	if err := i.lock.Load().Release(ctx); err != nil && !errors.Is(err, redislock.ErrLockNotHeld) {
		return err
	}
	i.away.Store(true)
	i.config.Log.Error("work does not move on; the name is let go until it does, so that others take over what is pending", "instance", i.config.Name, "part", part)
	return nil
}

// comeBack takes the name again after the work has moved on.
func (i *Instance) comeBack(ctx context.Context) error {
	i.asking <- struct{}{}
	defer func() { <-i.asking }()
	if err := i.takeAgain(ctx); err != nil {
		return err
	}
	i.away.Store(false)
	i.config.Log.Warn("work moves on, and the name was taken again; what was pending may have been taken over", "instance", i.config.Name)
	return nil
}

// Run keeps the lock until ctx is done, and returns nil then. It returns early
// with an error that wraps ErrTaken, or with one that will not pass by itself.
//
// While the work does not move on it lets the name go. What does not move on is told
// by the instance's clock. Each refresh moves it on by the wait before it, if Redis
// answers soon and nothing waits at its word, of which outage knows. So neither a server
// that is away or full, nor a process that was paused, makes work look stuck.
func (i *Instance) Run(ctx context.Context, outage *redisconn.Outage) error {
	usual, soon := i.config.TTL/3, min(i.config.TTL/10, 500*time.Millisecond)
	for wait := usual; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		asked := time.Now()
		var err error
		switch part := i.stuck(); {
		case part != "":
			err = i.letGo(ctx, part)
		case i.away.Load():
			err = i.comeBack(ctx)
		default:
			err = i.Keep(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case isFatal(err):
			return err
		case err != nil:
			if i.config.Failed != nil {
				i.config.Failed()
			}
			outage.Begin("lock", err)
			wait = soon
			continue
		}
		outage.Over("lock")
		if i.away.Load() {
			wait = soon
			continue
		}
		if time.Since(asked) < wait && !outage.Busy() {
			i.clock.Add(int64(wait))
		}
		wait = usual
	}
}

// Release gives the name up, if this process still holds it.
func (i *Instance) Release(ctx context.Context) error {
	i.asking <- struct{}{}
	defer func() { <-i.asking }()
	err := i.lock.Load().Release(ctx)
	if errors.Is(err, redislock.ErrLockNotHeld) {
		return nil
	}
	return err
}
