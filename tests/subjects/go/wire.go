package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	largestAnswer = 32 << 20         // bytes
	longestWait   = 15 * time.Minute // more is not plausible
)

// Answer is what Vault said, whole.
type Answer struct {
	Status int
	Body   struct {
		RequestID string `json:"request_id"`
		Errors    []string
		Data      struct {
			Data     map[string]json.RawMessage
			Metadata map[string]any
		}
		Auth struct {
			ClientToken   string `json:"client_token"`
			LeaseDuration int    `json:"lease_duration"`
			Renewable     bool
			TokenType     string `json:"token_type"`
			NumUses       int    `json:"num_uses"`
		}
	}
}

func (a *Answer) says() string { return strings.Join(a.Body.Errors, " ") }

// isVaults tells Vault's refusal from a gateway's, which says nothing about a secret.
func (a *Answer) isVaults() bool {
	switch a.Status {
	case 400, 401, 403, 404:
		return a.Body.Errors != nil || a.Body.Data.Metadata != nil || a.Body.RequestID != ""
	}
	return true
}

// Wire sends single requests; the context bounds each to the last byte received.
type Wire struct {
	base      *url.URL
	namespace string
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	client    atomic.Pointer[http.Client]
}

func newWire(getenv func(string) string) (*Wire, error) {
	base, err := url.Parse(getenv("VAULT_ADDR"))
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("VAULT_ADDR is no URL")
	}
	wire := &Wire{base: base, namespace: getenv("VAULT_NAMESPACE")}
	if base.Scheme == "https" {
		wire.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			config, err := trust(getenv) // the present files
			if err != nil {
				return nil, err
			}
			return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
		}
	}
	wire.client.Store(wire.fresh())
	return wire, nil
}

// fresh has no connections yet.
func (w *Wire) fresh() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{}).DialContext,
			DialTLSContext:      w.dial,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     30 * time.Second,
			ForceAttemptHTTP2:   true,
		},
		// A standby that cannot forward redirects once to its leader.
		CheckRedirect: func(next *http.Request, asked []*http.Request) error {
			if len(asked) == 1 && next.Response.StatusCode == 307 && next.URL.Scheme == asked[0].URL.Scheme {
				return nil
			}
			return http.ErrUseLastResponse
		},
	}
}

// leave drops this client's connections: one of HTTP/2 carries all requests, and may be dead.
func (w *Wire) leave(client *http.Client) {
	if w.client.CompareAndSwap(client, w.fresh()) {
		client.CloseIdleConnections()
	}
}

// trust reads the certificates from files that may be replaced at any time.
func trust(getenv func(string) string) (*tls.Config, error) {
	config := &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
	if file := getenv("VAULT_CACERT"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	if file := getenv("VAULT_CLIENT_CERT"); file != "" {
		mine, err := tls.LoadX509KeyPair(file, getenv("VAULT_CLIENT_KEY"))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{mine}
	}
	return config, nil
}

func (w *Wire) send(ctx context.Context, method, path, token string, body any) (*Answer, error) {
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, w.base.JoinPath("v1", (&url.URL{Path: path}).EscapedPath()).String(), payload)
	if err != nil {
		return nil, &Failure{Message: "this path cannot be asked for"}
	}
	request.Header.Set("X-Vault-Request", "true")
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
	}
	if w.namespace != "" {
		request.Header.Set("X-Vault-Namespace", w.namespace)
	}
	client := w.client.Load()
	response, err := client.Do(request)
	if err != nil {
		w.leave(client)
		return nil, unavailable(reason(err))
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, largestAnswer))
	if err != nil {
		w.leave(client)
		return nil, unavailable("the answer was cut short: " + reason(err))
	}
	answer := &Answer{Status: response.StatusCode}
	if response.StatusCode != http.StatusNoContent {
		if json.Unmarshal(content, &answer.Body) != nil || !answer.isVaults() {
			return nil, unavailable(fmt.Sprintf("the answer (%d) is none of Vault's", answer.Status))
		}
	}
	switch {
	case answer.Status >= 500, answer.Status == 307, answer.Status == 412, answer.Status == 429,
		answer.Status == 472, answer.Status == 473:
		failure := unavailable(fmt.Sprintf("Vault answered %d: %s", answer.Status, answer.says()))
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			failure.RetryAfter = time.Duration(min(seconds, int(longestWait/time.Second))) * time.Second
		}
		return nil, failure
	}
	return answer, nil
}

// reason leaves out the URL, which *url.Error would show.
func reason(err error) string {
	if wrapped, ok := err.(*url.Error); ok {
		err = wrapped.Err
	}
	return err.Error()
}
