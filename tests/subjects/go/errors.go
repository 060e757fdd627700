package main

import "time"

// Failure is why a call gave no secret. Outcome is the word that the harness knows.
type Failure struct {
	Outcome    string
	Message    string
	RetryAfter time.Duration
	Hopeless   bool // another try within this call makes no sense
}

func (f *Failure) Error() string { return f.Message }

func unavailable(message string) *Failure { return &Failure{Outcome: "unavailable", Message: message} }

func hopeless(message string) *Failure {
	return &Failure{Outcome: "unavailable", Message: message, Hopeless: true}
}

func denied(message string) *Failure { return &Failure{Outcome: "denied", Message: message} }

func isOutage(err error) bool {
	f, ok := err.(*Failure)
	return ok && f.Outcome == "unavailable"
}
