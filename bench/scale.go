package main

import (
	"context"
	"fmt"
)

var scaleSection = section{name: "scale", run: measureScale}

const underScale = "Scale: the same requests and their returns, where many books are lent already"

// measureScale drains the same work on a server with few outstanding loans and on
// one with many.
func measureScale(ctx context.Context, b *bench) ([]Row, error) {
	// 1,000 and 3,000,000 loans where 200,000 requests are drained elsewhere.
	const booksEach = 5
	few, many := max(1, b.n/1000), b.n*3
	var servers []*server
	var rows []Row
	for _, users := range []int{few, many} {
		s, err := b.startRedis()
		if err != nil {
			return nil, err
		}
		defer s.Stop()
		if err := b.lend(ctx, s, lasting(users, "lasting-", func(int) int { return booksEach })); err != nil {
			return nil, err
		}
		servers = append(servers, s)
		rows = append(rows,
			Row{Section: underScale, Name: fmt.Sprintf("%s loans, time an order", number(float64(users*booksEach))), Unit: "µs"},
			Row{Section: underScale, Name: fmt.Sprintf("%s loans, Redis's part", number(float64(users*booksEach))), Unit: "µs"})
	}
	orders := max(1000, b.n/4)
	for round := -1; round < b.rounds; round++ {
		b.logf("round %d of %d", round+1, b.rounds)
		requests := distinctOrders(orders, fmt.Sprintf("round-%d", round))
		returns := again(requests, fmt.Sprintf("round-%d-back", round))
		for _, i := range turns(len(servers), max(round, 0)) {
			s := servers[i]
			there, err := s.client.HLen(ctx, loansKey).Result()
			if err != nil {
				return nil, err
			}
			var total measurement
			for _, w := range []work{{requests: requests}, {returns: returns}} {
				m, err := drain(ctx, b, lendingd{}, s, w)
				if err != nil {
					return nil, err
				}
				total.orders, total.took, total.redis = total.orders+m.orders, total.took+m.took, total.redis+m.redis
			}
			if _, err := countLoans(ctx, s.client, int(there)); err != nil {
				return nil, err
			}
			if round >= 0 { // the first round only warms up
				rows[2*i].Samples = append(rows[2*i].Samples, float64(total.took.Nanoseconds())/1000/float64(total.orders))
				rows[2*i+1].Samples = append(rows[2*i+1].Samples, total.redisMicroseconds())
			}
		}
	}
	for i := range 2 {
		of, to := &rows[2+i], rows[i]
		for round, sample := range of.Samples {
			of.Ratios = append(of.Ratios, sample/to.Samples[round])
		}
		of.Against = number(float64(few*booksEach)) + " loans"
	}
	rows[2].atMost(1.25)
	rows[0].Note = fmt.Sprintf("%s requests from the shelves a round, then their returns; the receipts of the outstanding loans have expired", number(float64(orders)))
	return rows, nil
}
