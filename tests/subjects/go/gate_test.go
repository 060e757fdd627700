package main

import (
	"testing"
	"time"
)

var limited = &Failure{Outcome: "unavailable", RetryAfter: time.Minute}

func TestGateKeepsAWaitFromWhatWasOnItsWay(t *testing.T) {
	gate := newGate(time.Second)
	gate.learn(false, limited)
	gate.learn(false, nil) // sent before Vault has asked to wait
	if open, at := gate.isOpen(); open || time.Until(at) < 50*time.Second {
		t.Errorf("open %t, until in %s", open, time.Until(at))
	}
}

func TestGateHearsOfAWaitFromASecondFailure(t *testing.T) {
	gate := newGate(time.Second)
	gate.learn(false, &Failure{Outcome: "unavailable"})
	gate.learn(false, limited) // also under way
	if _, at := gate.isOpen(); time.Until(at) < 50*time.Second {
		t.Errorf("opens in %s", time.Until(at))
	}
}

func TestGateIsOpenedByAnAnswer(t *testing.T) {
	gate := newGate(time.Second)
	gate.learn(false, &Failure{Outcome: "unavailable"})
	gate.learn(true, nil)
	if open, _ := gate.isOpen(); !open {
		t.Error("still shut")
	}
}
