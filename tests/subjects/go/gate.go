package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const firstPause = 400 * time.Millisecond

// Gate is open while Vault answers. After a failure it hands out one ticket at a time, ever less often.
type Gate struct {
	longest  time.Duration
	mutex    sync.Mutex
	failures int
	opens    time.Time
	told     time.Time     // until when Vault has asked to wait, even if an earlier request succeeds
	ticket   chan struct{} // holds one element while nobody probes
}

func newGate(longest time.Duration) *Gate {
	gate := &Gate{longest: longest, ticket: make(chan struct{}, 1)}
	gate.ticket <- struct{}{}
	return gate
}

func (g *Gate) isOpen() (bool, time.Time) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return g.failures == 0, g.opens
}

func (g *Gate) pass(ctx context.Context, request func() (*Answer, error)) (*Answer, error) {
	probe := false
	if open, _ := g.isOpen(); !open {
		select {
		case <-g.ticket:
			defer func() { g.ticket <- struct{}{} }()
		case <-ctx.Done():
			return nil, hopeless("Vault does not answer")
		}
		if open, at := g.isOpen(); !open { // otherwise the one before found it well
			probe = true
			deadline, _ := ctx.Deadline()
			if at.After(deadline) {
				return nil, hopeless("Vault does not answer")
			}
			time.Sleep(time.Until(at))
		}
	}
	answer, err := request()
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.learn(probe, err)
	return answer, err
}

// learn is called with the mutex held.
func (g *Gate) learn(probe bool, err error) {
	now := time.Now()
	if !isOutage(err) {
		if !now.Before(g.told) {
			g.failures = 0
		}
		return
	}
	failure, _ := err.(*Failure)
	g.told = later(g.told, now.Add(failure.RetryAfter))
	g.opens = later(g.opens, g.told)
	if probe || g.failures == 0 { // requests that failed together count once
		pause := min(firstPause<<min(g.failures, 10), g.longest)
		pause += time.Duration((rand.Float64() - 0.5) / 10 * float64(pause))
		g.failures++
		g.opens = later(now.Add(pause), g.told)
	}
}

func later(one, other time.Time) time.Time {
	if one.After(other) {
		return one
	}
	return other
}
