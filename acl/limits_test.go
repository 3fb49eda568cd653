package acl_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/library/acl"
	"example.com/library/internal/patience"

	"github.com/redis/go-redis/v9"
)

// What no rule can forbid, as docs/security.md tells it: whoever may do a command may
// give it any argument. If one of these goes red, Redis has learned something, and the
// page should say so.
func TestWhatRedisCannotPrevent(t *testing.T) {
	const requests, deliveries, receipts = "{main}:lending:requests", "{main}:lending:deliveries", "{main}:lending:receipts"
	ctx := t.Context()
	do := func(t *testing.T, rdb *redis.Client, words ...any) any {
		t.Helper()
		reply, err := rdb.Do(ctx, words...).Result()
		if err != nil {
			t.Errorf("%v: %v", words, err)
		}
		return reply
	}

	t.Run("an appender throws away what others appended", func(t *testing.T) {
		server := guard(t, acl.Options{Libraries: []string{"main"}})
		for user, inbox := range map[string]string{acl.Getbooks: requests, acl.Shelving: deliveries, acl.Lending: "{main}:events"} {
			for _, trim := range [][]any{{"MAXLEN", 1}, {"MINID", "99999999999999"}} {
				do(t, server.operator, "XADD", inbox, "*", "id", "of somebody else")
				do(t, server.as(t, user), append(append([]any{"XADD", inbox}, trim...), "*", "id", "mine")...)
				if n := do(t, server.operator, "XLEN", inbox).(int64); n > 1 {
					t.Errorf("%s did not trim %s by %v: it has %d entries", user, inbox, trim, n)
				}
			}
		}
	})

	t.Run("an appender chooses an id after which nobody can append", func(t *testing.T) {
		server := guard(t, acl.Options{Libraries: []string{"main"}})
		do(t, server.as(t, acl.Getbooks), "XADD", requests, "18446744073709551615-18446744073709551615", "id", "last")
		err := server.as(t, acl.Getbooks).Do(ctx, "XADD", requests, "*", "id", "next").Err()
		if err == nil || !strings.Contains(err.Error(), "exhausted the last possible ID") {
			t.Errorf("after the last id there is, XADD: %v", err)
		}
	})

	t.Run("an appender appends what it likes, in anybody's name", func(t *testing.T) {
		server := guard(t, acl.Options{Libraries: []string{"main"}})
		do(t, server.as(t, acl.Getbooks), "XADD", requests, "*", "id", "forged", "user", "somebody else", "books", `["geb"]`)
		do(t, server.as(t, acl.Getbooks), "XADD", requests, "*", "rubbish", strings.Repeat("x", 1<<20))
	})

	t.Run("who may prolong the receipts may end them", func(t *testing.T) {
		server := guard(t, acl.Options{Libraries: []string{"main"}, Replicas: true})
		do(t, server.operator, "HSET", receipts, "somebody's", "receipt")
		do(t, server.as(t, acl.Getbooks), "PEXPIREAT", receipts, 1)
		if n := do(t, server.operator, "EXISTS", receipts).(int64); n != 0 {
			t.Error("the receipts are still there")
		}
		err := guard(t, acl.Options{Libraries: []string{"main"}}).as(t, acl.Getbooks).Do(ctx, "PEXPIREAT", receipts, 1).Err()
		if !isRefused(t, err.Error()) {
			t.Errorf("without --replicas: %v", err)
		}
	})

	t.Run("who may run scripts may keep Redis busy", func(t *testing.T) {
		server := guard(t, acl.Options{Libraries: []string{"main"}})
		do(t, server.operator, "CONFIG", "SET", "busy-reply-threshold", 50)
		ended := make(chan error, 1)
		go func() { ended <- server.as(t, acl.Lending).Do(ctx, "EVAL", "while true do end", 0).Err() }()
		staff := server.as(t, acl.Staff)
		var busy error
		for deadline := time.Now().Add(patience.Long); !redis.HasErrorPrefix(busy, "BUSY") && time.Now().Before(deadline); {
			busy = staff.Do(ctx, "HLEN", "{main}:lending:loans").Err()
		}
		if !redis.HasErrorPrefix(busy, "BUSY") {
			t.Errorf("while a script runs for ever: %v", busy)
		}
		do(t, server.operator, "SCRIPT", "KILL")
		if err := <-ended; err == nil {
			t.Error("the script that runs for ever ended by itself")
		}
	})

	t.Run("who may look through the keys sees the names of all", func(t *testing.T) {
		server := guard(t, acl.Options{Libraries: []string{"main"}})
		do(t, server.operator, "SET", "{north}:lending:clock", "1")
		page := do(t, server.as(t, acl.Staff), "SCAN", 0, "COUNT", 1000).([]any)
		if !slices.Contains(page[1].([]any), any("{north}:lending:clock")) {
			t.Errorf("SCAN shows %v", page)
		}
	})

	t.Run("who may choose a database may do the same in the first one", func(t *testing.T) {
		server := guard(t, acl.Options{Libraries: []string{"main"}, DB: 3})
		do(t, server.as(t, acl.Getbooks), "XADD", requests, "*", "id", "in database 0")
		if n := do(t, server.operator, "XLEN", requests).(int64); n != 1 {
			t.Errorf("the inbox in database 0 has %d entries", n)
		}
	})

	t.Run("a service takes any instance's name", func(t *testing.T) {
		server := guard(t, acl.Options{Libraries: []string{"main"}})
		do(t, server.as(t, acl.Shelving), "SET", "{main}:instance:of-lending", "token")
		if err := server.as(t, acl.Getbooks).Set(ctx, "{main}:instance:of-lending", "token", 0).Err(); err == nil || errors.Is(err, redis.Nil) {
			t.Errorf("getbooks took it too: %v", err)
		}
	})
}
