package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	longestPause  = 2 * time.Second
	triesPerID    = 3 // the fifth failure with one role locks it for everybody
	lockout       = 15 * time.Minute
	denialIsKept  = 5 * time.Second
	goodbye       = 2 * time.Second
	expiredMargin = 20 * time.Millisecond
	pastMaxTTL    = "past the max TTL" // answered with 500, in the last second of a token
)

// token is never changed, only replaced: by a renewal, and by each counted use.
type token struct {
	value     string
	firstTTL  time.Duration
	ttl       time.Duration // zero: no end
	since     time.Time
	renewable bool
	batch     bool
	uses      int
}

func (t *token) lives() bool {
	return t != nil && t.uses >= 0 && (t.ttl == 0 || time.Until(t.since.Add(t.ttl)) > expiredMargin)
}

func (t *token) is(other *token) bool {
	return t != nil && other != nil && t.value == other.value
}

// order asks the keeper for a token other than `not`, in the caller's context.
type order struct {
	ctx   context.Context
	path  string // the path that was denied with `not`
	not   *token
	reply chan supply
}

type supply struct {
	token *token
	same  bool // the 403 was the policy's: `not` is alive
	err   error
}

// Vault reads secrets. One goroutine, the keeper, owns the token: it logs in, renews, and decides what a
// 403 meant, without a lock. Its requests have an end of their own: Vault may have granted a login whose
// answer a call did not await, so the call leaves, and the next one gets the result.
type Vault struct {
	getenv  func(string) string
	mount   string
	timeout time.Duration
	latest  atomic.Pointer[string] // path of the last read
	wire    *Wire
	gate    *Gate
	orders  chan order
	closing chan context.Context
	closed  chan struct{}
	shared  atomic.Pointer[token] // set by the keeper alone

	// The keeper's own.
	ids     map[string]string
	refused map[[32]byte][]time.Time
	denials map[string]denial
	pause   time.Duration
}

type denial struct {
	token *token
	until time.Time
}

func NewVault(getenv func(string) string) (*Vault, error) {
	wire, err := newWire(getenv)
	if err != nil {
		return nil, err
	}
	timeout := 10 * time.Second
	if seconds, err := strconv.ParseFloat(getenv("VAULT_CLIENT_TIMEOUT"), 64); err == nil {
		timeout = time.Duration(seconds * float64(time.Second))
	}
	mount := getenv("VAULT_MOUNT_POINT")
	if mount == "" {
		mount = "ecommerce"
	}
	vault := &Vault{
		getenv: getenv, mount: mount, timeout: timeout, wire: wire,
		gate:    newGate(min(longestPause, timeout/2)),
		orders:  make(chan order),
		closing: make(chan context.Context, 1),
		closed:  make(chan struct{}),
		ids:     map[string]string{},
		refused: map[[32]byte][]time.Time{},
		denials: map[string]denial{},
	}
	go vault.keep()
	return vault, nil
}

// Read asks Vault at every call.
func (v *Vault) Read(path, key string) (string, error) {
	values, err := v.ReadAll(path)
	if err != nil {
		return "", err
	}
	value, found := values[key]
	if !found {
		return "", &Failure{Outcome: "missing", Message: fmt.Sprintf("there is no %s in %s", key, path)}
	}
	return value, nil
}

// ReadAll gives all keys of one answer.
func (v *Vault) ReadAll(path string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), v.timeout*95/100)
	defer cancel()
	v.latest.Store(&path)
	for {
		values, err := v.readOnce(ctx, path)
		failure, outage := err.(*Failure)
		if err == nil || !outage || !isOutage(err) || failure.Hopeless || ctx.Err() != nil {
			return values, err
		}
	}
}

// Healthy tells whether a read would work now, as far as two seconds tell.
func (v *Vault) Healthy() bool {
	ctx, cancel := context.WithTimeout(context.Background(), min(v.timeout, 2*time.Second))
	defer cancel()
	held := v.shared.Load()
	if !held.lives() {
		return false
	}
	answer, err := v.ask(ctx, "GET", "auth/token/lookup-self", held, nil)
	if err != nil || answer.Status != 200 {
		return false
	}
	latest := v.latest.Load()
	if latest == nil {
		return true
	}
	// Vault may know a token although it has lost its storage.
	_, err = v.readOnce(ctx, *latest)
	failure, told := err.(*Failure)
	return err == nil || told && !isOutage(failure)
}

// Close revokes the token if Vault answers soon, and ends in any case.
func (v *Vault) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	select {
	case v.closing <- ctx:
	default:
	}
	select {
	case <-v.closed:
	case <-ctx.Done():
	}
}

func (v *Vault) readOnce(ctx context.Context, path string) (map[string]string, error) {
	where := v.mount + "/data/" + path
	held, _, err := v.want(ctx, "", nil)
	if err != nil {
		return nil, err
	}
	answer, err := v.ask(ctx, "GET", where, held, nil)
	if err == nil && answer.Status == 403 {
		fresh, same, problem := v.want(ctx, where, held)
		if problem != nil {
			return nil, problem
		}
		if !same {
			answer, err = v.ask(ctx, "GET", where, fresh, nil)
		}
	}
	if err != nil {
		return nil, err
	}
	data := answer.Body.Data
	switch {
	case answer.Status == 403:
		return nil, denied("the policy denies " + path)
	case answer.Status == 404 && data.Metadata != nil:
		return nil, &Failure{Outcome: "deleted", Message: path + " is deleted"}
	case answer.Status == 404:
		return nil, &Failure{Outcome: "missing", Message: "there is no " + path}
	case answer.Status != 200:
		return nil, &Failure{Message: fmt.Sprintf("Vault answered %d: %s", answer.Status, answer.says())}
	case data.Data == nil:
		return nil, hopeless("the answer is none of Vault's")
	}
	values := make(map[string]string, len(data.Data))
	for key, value := range data.Data {
		values[key] = text(value)
	}
	return values, nil
}

// text is a value's text, or what Vault wrote: a large number keeps all its digits.
func text(value json.RawMessage) string {
	var plain *string
	if json.Unmarshal(value, &plain) == nil && plain != nil {
		return *plain
	}
	return string(value)
}

func (v *Vault) ask(ctx context.Context, method, path string, held *token, body any) (*Answer, error) {
	return v.gate.pass(ctx, func() (*Answer, error) {
		return v.wire.send(ctx, method, path, held.value, body)
	})
}

// want gets a token from the keeper, other than `not` unless that is alive.
func (v *Vault) want(ctx context.Context, path string, not *token) (*token, bool, error) {
	if held := v.shared.Load(); held.lives() && !held.is(not) && held.uses == 0 {
		return held, false, nil
	}
	reply := make(chan supply, 1)
	select {
	case v.orders <- order{ctx, path, not, reply}:
	case <-v.closed:
		return nil, false, hopeless("the client is closed")
	case <-ctx.Done():
		return nil, false, hopeless("an earlier request still waits for Vault")
	}
	select {
	case got := <-reply:
		return got.token, got.same, got.err
	case <-ctx.Done():
		return nil, false, hopeless("Vault did not answer a login in time")
	}
}

// The keeper

func (v *Vault) keep() {
	defer close(v.closed)
	var due <-chan time.Time
	for {
		select {
		case wanted := <-v.orders:
			before := v.shared.Load()
			wanted.reply <- v.supply(wanted)
			if held := v.shared.Load(); held != nil && !held.is(before) && held.ttl > 0 {
				due = time.After(v.untilDue(held))
			}
		case <-due:
			due = v.renewOrReplace()
		case ctx := <-v.closing:
			if held := v.shared.Load(); held.lives() && !held.batch {
				_, _ = v.wire.send(ctx, "POST", "auth/token/revoke-self", held.value, nil)
			}
			v.shared.Store(nil)
			return
		}
	}
}

func (v *Vault) untilDue(held *token) time.Duration {
	share := 0.56 + 0.12*rand.Float64()
	return time.Until(held.since.Add(time.Duration(share * float64(held.ttl))))
}

// asOwn makes a request, unless the caller is gone before it is sent.
func (v *Vault) asOwn(
	caller context.Context, request func(context.Context) (*Answer, error),
) (*Answer, error) {
	if open, at := v.gate.isOpen(); !open {
		if until, ends := caller.Deadline(); ends && at.After(until) {
			return nil, hopeless("Vault does not answer")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), v.timeout)
	defer cancel()
	return v.gate.pass(ctx, func() (*Answer, error) { return request(ctx) })
}

func (v *Vault) supply(wanted order) supply {
	held := v.shared.Load()
	if held.lives() && held.is(wanted.not) {
		alive, err := v.isAlive(wanted.ctx, wanted.path, held)
		if err != nil || alive {
			return supply{held, alive, err}
		}
		log.Print("the token is dead before its time, logging in again")
	} else if held.lives() {
		return supply{v.counted(held), false, nil}
	}
	v.shared.Store(nil)
	fresh, err := v.logIn(wanted.ctx)
	if err != nil {
		return supply{err: err}
	}
	return supply{v.counted(fresh), false, nil}
}

// counted takes one of a token's limited uses.
func (v *Vault) counted(held *token) *token {
	if held.uses > 0 {
		rest := *held
		rest.uses--
		if rest.uses == 0 {
			rest.uses = -1 // zero means without limit
		}
		v.shared.Store(&rest)
	}
	return held
}

// isAlive tells a policy from a dead token after a 403.
func (v *Vault) isAlive(ctx context.Context, path string, held *token) (bool, error) {
	known := v.denials[path]
	if known.token.is(held) && time.Now().Before(known.until) {
		return true, nil
	}
	answer, err := v.asOwn(ctx, func(ctx context.Context) (*Answer, error) {
		return v.wire.send(ctx, "GET", "auth/token/lookup-self", held.value, nil)
	})
	if err != nil {
		return false, err
	}
	// "1 error occurred" is a policy's denial: the token lives.
	if answer.Status == 403 && !strings.Contains(answer.says(), "1 error occurred") {
		return false, nil
	}
	v.denials[path] = denial{held, time.Now().Add(denialIsKept)}
	return true, nil
}

// renewOrReplace keeps a token alive, and returns when to come again.
func (v *Vault) renewOrReplace() <-chan time.Time {
	held := v.shared.Load()
	if !held.lives() {
		return nil // the next call logs in
	}
	err := v.renew(held)
	if err == nil && !v.shared.Load().renewable {
		_, err = v.logIn(context.Background())
	}
	if err != nil {
		log.Printf("the token was not renewed: %v", err)
		v.pause = min(max(2*v.pause, firstPause), v.gate.longest)
		return time.After(time.Duration((0.9 + 0.2*rand.Float64()) * float64(v.pause)))
	}
	v.pause = 0
	return time.After(v.untilDue(v.shared.Load()))
}

// renew gives the shared token its new life. If Vault refuses, the token is never renewed again.
func (v *Vault) renew(held *token) error {
	if !held.renewable || held.batch {
		return nil
	}
	var asked time.Time // after the gate, or a renewal that waited there is repeated
	answer, err := v.asOwn(context.Background(), func(ctx context.Context) (*Answer, error) {
		asked = time.Now()
		return v.wire.send(ctx, "POST", "auth/token/renew-self", held.value, map[string]any{})
	})
	if err != nil && !strings.Contains(err.Error(), pastMaxTTL) {
		return err
	}
	if err == nil && answer.Status == 200 && answer.Body.Auth.ClientToken == "" {
		return unavailable("the answer to the renewal is none of Vault's")
	}
	next := *held
	if err == nil && answer.Status == 200 {
		next.since = asked
		next.ttl = time.Duration(answer.Body.Auth.LeaseDuration) * time.Second
		next.renewable = next.ttl >= held.firstTTL*9/10 // less: its max TTL is near
	} else {
		log.Print("Vault refused to renew the token")
		next.renewable = false
	}
	v.shared.Store(&next)
	return nil
}

// logIn gets a token for all; one caller waits for it until the end of ctx.
func (v *Vault) logIn(ctx context.Context) (*token, error) {
	roleID, secretID := v.id("VAULT_ROLE_ID"), v.id("VAULT_SECRET_ID")
	if roleID == "" || secretID == "" {
		return nil, denied("there is no role-id or no secret-id")
	}
	mark := sha256.Sum256([]byte(secretID))
	var failed []time.Time
	for _, at := range v.refused[mark] {
		if time.Since(at) < lockout {
			failed = append(failed, at)
		}
	}
	if n := len(failed); n >= triesPerID || n > 0 && time.Since(failed[n-1]) < time.Second<<n {
		return nil, denied("Vault refuses this secret-id; more tries would lock the role")
	}
	var asked time.Time
	answer, err := v.asOwn(ctx, func(ctx context.Context) (*Answer, error) {
		asked = time.Now()
		body := map[string]string{"role_id": roleID, "secret_id": secretID}
		answer, err := v.wire.send(ctx, "POST", "auth/approle/login", "", body)
		if err == nil && answer.Status == 403 {
			return nil, unavailable("Vault takes no login of this role at present")
		}
		if err == nil && answer.Status == 200 && answer.Body.Auth.ClientToken == "" {
			return nil, unavailable("that login was none of Vault's")
		}
		return answer, err
	})
	if err != nil {
		return nil, err
	}
	auth := answer.Body.Auth
	if answer.Status != 200 {
		v.refused[mark] = append(failed, time.Now())
		log.Printf("Vault refused the login (%d); it needs a new secret-id", answer.Status)
		return nil, denied("Vault refused role-id or secret-id")
	}
	ttl := time.Duration(auth.LeaseDuration) * time.Second
	fresh := &token{
		value: auth.ClientToken, firstTTL: ttl, ttl: ttl, since: asked,
		renewable: auth.Renewable, batch: auth.TokenType == "batch", uses: auth.NumUses,
	}
	v.shared.Store(fresh)
	log.Printf("logged in, the token lives %s", ttl)
	return fresh, nil
}

// id reads a role-id or secret-id; while its file is empty or gone, the last one stays.
func (v *Vault) id(name string) string {
	value := v.getenv(name)
	if file := v.getenv(name + "_FILE"); file != "" {
		if content, err := os.ReadFile(file); err == nil && len(strings.TrimSpace(string(content))) > 0 {
			value = strings.TrimSpace(string(content))
		}
	}
	if value != "" {
		v.ids[name] = value
	}
	return v.ids[name]
}
