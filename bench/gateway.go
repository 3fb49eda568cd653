package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/library/lending"
	"example.com/library/library"
)

var gatewaySection = section{name: "gateway", run: measureGateway}

const (
	underAPI  = "Gateway: orders by 64 askers, through POST /api/orders against lending.Client"
	underFeed = "Gateway: from an event in the log to a client of /events"
)

// A page is a gateway that runs, and a client of it with a connection for each asker.
type page struct {
	url    string
	client *http.Client
}

// openPage starts a gateway and returns when it answers.
func (b *bench) openPage(s *server) (*page, *process, error) {
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	address := net.JoinHostPort("127.0.0.1", port)
	p, err := b.start(fmt.Sprintf("gateway-%d", b.started.Add(1)), exec.Command(b.lendingd, "gateway", "-a", "redis://"+s.Addr, "--http", address))
	if err != nil {
		return nil, nil, err
	}
	opened := &page{"http://" + address, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * manyAskers}}}
	err = p.until(10*time.Millisecond, startWithin, func() (bool, error) {
		response, err := opened.client.Get(opened.url + "/api/status")
		if err != nil {
			return false, nil
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		p.kill()
		return nil, nil, err
	}
	return opened, p, nil
}

func (p *page) Request(ctx context.Context, user string, books ...string) (*library.Receipt, error) {
	return p.order(ctx, library.Request, user, books)
}

func (p *page) Return(ctx context.Context, user string, books ...string) (*library.Receipt, error) {
	return p.order(ctx, library.Return, user, books)
}

func (p *page) order(ctx context.Context, action library.Action, user string, books []string) (*library.Receipt, error) {
	body, err := json.Marshal(map[string]any{"action": action, "user": user, "books": books})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/api/orders", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("POST /api/orders: %s: %s", response.Status, answer)
	}
	var receipt library.Receipt
	return &receipt, json.Unmarshal(answer, &receipt)
}

func measureGateway(ctx context.Context, b *bench) ([]Row, error) {
	s, err := b.startRedis()
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	instance, err := b.serve(ctx, s, "--front", frontMax)
	if err != nil {
		return nil, err
	}
	defer instance.kill()
	opened, process, err := b.openPage(s)
	if err != nil {
		return nil, err
	}
	defer process.kill()
	client, end, err := publicClient(s)
	if err != nil {
		return nil, err
	}
	defer end()

	orders, err := b.ordersByPage(ctx, client, opened)
	if err != nil {
		return nil, err
	}
	told, err := b.toldByPage(ctx, client, opened)
	if err != nil {
		return nil, err
	}
	if err := process.Stop(); err != nil {
		return nil, err
	}
	return append(orders, told...), instance.Stop()
}

// ordersByPage measures how many orders a second go through the API, against the same
// through one lending.Client.
func (b *bench) ordersByPage(ctx context.Context, client *lending.Client, opened *page) ([]Row, error) {
	var direct, byPage []asker
	for i := range manyAskers {
		r, err := newReader(ctx, client, fmt.Sprintf("direct-%d", i))
		if err != nil {
			return nil, err
		}
		direct = append(direct, r.order)
		if r, err = newReader(ctx, client, fmt.Sprintf("page-%d", i)); err != nil {
			return nil, err
		}
		r.client = opened
		byPage = append(byPage, r.order)
	}
	contestants := [][]asker{direct, byPage}
	rows := []Row{
		{Section: underAPI, Name: "lending.Client, 64 goroutines that share it", Unit: "orders/s"},
		{Section: underAPI, Name: "POST /api/orders, 64 connections", Unit: "orders/s", Against: "lending.Client"},
	}
	for round := -1; round < b.rounds; round++ {
		b.logf("orders by the API: round %d of %d", round+1, b.rounds)
		rates := make([]float64, len(contestants))
		for _, i := range turns(len(contestants), max(round, 0)) {
			rate, err := orderRate(ctx, contestants[i], max(640, b.n/20))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rows[i].Name, err)
			}
			rates[i] = rate
		}
		if round < 0 {
			continue // the first round only warms up
		}
		for i := range contestants {
			rows[i].Samples = append(rows[i].Samples, rates[i])
		}
		rows[1].Ratios = append(rows[1].Ratios, rates[1]/rates[0])
	}
	rows[1].atLeast(0.5)
	return rows, nil
}

// toldByPage measures how long after an event's time, which is its id in the log, a client
// of the feed has it. Readers borrow and return at a rate that the machine bears with ease.
func (b *bench) toldByPage(ctx context.Context, client *lending.Client, opened *page) ([]Row, error) {
	r, err := newReader(ctx, client, "watched")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, opened.url+"/events", nil)
	if err != nil {
		return nil, err
	}
	response, err := opened.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /events: %s", response.Status)
	}
	waits := make(chan float64, 1000)
	failed := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if id, is := strings.CutPrefix(lines.Text(), "id: "); is {
				milliseconds, _, _ := strings.Cut(id, "-")
				ms, err := strconv.ParseInt(milliseconds, 10, 64)
				if err != nil {
					failed <- err
					return
				}
				waits <- float64(time.Since(time.UnixMilli(ms)).Microseconds()) / 1000
			}
		}
		failed <- fmt.Errorf("the feed ended: %w", lines.Err())
	}()
	rows := []Row{
		{Section: underFeed, Name: "median", Unit: "ms"},
		{Section: underFeed, Name: "p99", Unit: "ms", Note: "an event's time is in whole milliseconds"},
	}
	// The feed begins with what happens when it has begun.
	for begun := false; !begun; {
		if err := r.order(ctx); err != nil {
			return nil, err
		}
		select {
		case <-waits:
			begun = true
		case <-time.After(time.Second):
		case err := <-failed:
			return nil, err
		}
	}
	orders := max(100, b.n/1000)
	for round := -1; round < b.rounds; round++ {
		b.logf("the feed: round %d of %d", round+1, b.rounds)
		var took []float64
		for range orders {
			if err := r.order(ctx); err != nil {
				return nil, err
			}
			select {
			case wait := <-waits:
				took = append(took, wait)
			case err := <-failed:
				return nil, err
			}
		}
		if round < 0 {
			continue // the first round only warms up
		}
		slices.Sort(took)
		rows[0].Samples = append(rows[0].Samples, quantile(took, 0.5))
		rows[1].Samples = append(rows[1].Samples, quantile(took, 0.99))
	}
	return rows, nil
}
