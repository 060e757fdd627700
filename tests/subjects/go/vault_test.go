package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

const loginPath = "/v1/auth/approle/login"

// holding is a Vault that answers nothing at a path until it is told to; it counts requests there.
type holding struct {
	path    string
	asked   atomic.Int32
	release chan struct{}
}

func (h *holding) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	if request.URL.Path == h.path {
		h.asked.Add(1)
		<-h.release
	}
	if request.URL.Path == loginPath {
		fmt.Fprint(answer, `{"auth": {"client_token": "a", "lease_duration": 600, "renewable": true}}`)
		return
	}
	fmt.Fprint(answer, `{"data": {"data": {"K": "v"}, "metadata": {"version": 1}}}`)
}

// opened is a client of that Vault, with more time for a request than a test takes.
func opened(t *testing.T, server http.Handler) *Vault {
	t.Helper()
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	environ := map[string]string{
		"VAULT_ADDR": listening.URL, "VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "secret",
		"VAULT_CLIENT_TIMEOUT": "60",
	}
	vault, err := NewVault(func(name string) string { return environ[name] })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vault.Close)
	return vault
}

func TestVaultLoginOutlivesTheCallThatMadeIt(t *testing.T) {
	server := &holding{path: loginPath, release: make(chan struct{})}
	vault := opened(t, server)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := vault.readOnce(ctx, "a"); !isOutage(err) {
		t.Errorf("the call that made it ended with %v", err)
	}
	close(server.release)
	value, err := vault.Read("a", "K")
	if asked := server.asked.Load(); err != nil || value != "v" || asked != 1 {
		t.Errorf("%q, %v, %d logins", value, err, asked)
	}
}

func TestVaultMakesNoLoginForWhoIsGoneBeforeItIsSent(t *testing.T) {
	server := &holding{path: loginPath, release: make(chan struct{})}
	close(server.release)
	vault := opened(t, server)
	vault.gate.learn(false, limited)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	began := time.Now()
	if _, err := vault.readOnce(ctx, "a"); !isOutage(err) || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if asked := server.asked.Load(); asked != 0 {
		t.Errorf("%d logins", asked)
	}
}

func TestVaultCountsALifeFromTheRequestOn(t *testing.T) {
	server := &holding{path: loginPath, release: make(chan struct{})}
	close(server.release)
	vault := opened(t, server)
	vault.gate.learn(false, &Failure{Outcome: "unavailable"})
	_, opens := vault.gate.isOpen()
	if _, err := vault.Read("a", "K"); err != nil {
		t.Fatal(err)
	}
	if since := vault.shared.Load().since; since.Before(opens) {
		t.Errorf("the wait of %s before it counts too", opens.Sub(since))
	}
}

func TestVaultHearsNoWordAboutASecretFromAGateway(t *testing.T) {
	for _, status := range []int{400, 403, 404} {
		vault := opened(t, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
			if request.URL.Path != loginPath {
				answer.WriteHeader(status)
				fmt.Fprint(answer, `{"message": "no Route matched with those values"}`)
				return
			}
			fmt.Fprint(answer, `{"auth": {"client_token": "a", "lease_duration": 600}}`)
		}))
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		if _, err := vault.readOnce(ctx, "a"); !isOutage(err) {
			t.Errorf("%d was told as %v", status, err)
		}
		cancel()
	}
}

func TestVaultAsksAgainWhereAServerSaysToWaitForYears(t *testing.T) {
	vault := opened(t, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		answer.Header().Set("Retry-After", "1764370000")
		answer.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(answer, `{"errors": ["too many requests"]}`)
	}))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := vault.readOnce(ctx, "a"); !isOutage(err) {
		t.Errorf("it was told as %v", err)
	}
	if _, opens := vault.gate.isOpen(); time.Until(opens) > 15*time.Minute {
		t.Errorf("the gate opens in %s", time.Until(opens))
	}
}

func TestVaultTakesNoNoticeForARefusal(t *testing.T) {
	var notices atomic.Int32
	notices.Store(1)
	vault := opened(t, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if notices.Add(-1) >= 0 {
			fmt.Fprint(answer, `{"status": "maintenance", "retry": true}`)
			return
		}
		if request.URL.Path == loginPath {
			fmt.Fprint(answer, `{"auth": {"client_token": "a", "lease_duration": 600}}`)
			return
		}
		fmt.Fprint(answer, `{"data": {"data": {"K": "v"}, "metadata": {"version": 1}}}`)
	}))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := vault.readOnce(ctx, "a"); !isOutage(err) {
		t.Errorf("it was told as %v", err)
	}
	if value, err := vault.Read("a", "K"); err != nil || value != "v" {
		t.Errorf("afterwards: %q, %v", value, err)
	}
}

func TestVaultTakesNoNoticeForARenewal(t *testing.T) {
	vault := opened(t, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/v1/auth/token/renew-self" {
			fmt.Fprint(answer, `{"status": "maintenance", "retry": true}`)
			return
		}
		fmt.Fprint(answer, `{}`)
	}))
	held := &token{value: "a", firstTTL: time.Minute, ttl: time.Minute, since: time.Now(), renewable: true}
	if err := vault.renew(held); !isOutage(err) {
		t.Errorf("it was told as %v", err)
	}
}

func TestVaultReadsAValueAsItIs(t *testing.T) {
	vault := opened(t, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if request.URL.Path == loginPath {
			fmt.Fprint(answer, `{"auth": {"client_token": "a", "lease_duration": 600}}`)
			return
		}
		fmt.Fprint(answer, `{"data": {"data": {"TEXT": "a\u00e9", "NUMBER": 1000000, "LIST": ["a"]}}}`)
	}))
	values, err := vault.ReadAll("a")
	if err != nil || values["TEXT"] != "aé" || values["NUMBER"] != "1000000" || values["LIST"] != `["a"]` {
		t.Errorf("%v, %v", values, err)
	}
}
