package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"testing"
)

// call asks the server of cases.
func call(method, url string, body, answer any) int {
	var sent bytes.Buffer
	if body != nil {
		json.NewEncoder(&sent).Encode(body)
	}
	request, _ := http.NewRequest(method, url, &sent)
	got, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer got.Body.Close()
	json.NewDecoder(got.Body).Decode(answer)
	return got.StatusCode
}

// VAULT_CASES=$(the URL of vault-harness serve) SCENARIO=KV-01 go test
func TestCase(t *testing.T) {
	base, scenario := os.Getenv("VAULT_CASES"), os.Getenv("SCENARIO")
	if base == "" {
		t.Skip("VAULT_CASES is not set: vault-harness serve prints it")
	}
	var started struct {
		ID, Error string
		Env       map[string]string
	}
	if status := call("POST", base+"/cases/"+scenario, struct{}{}, &started); status != 201 {
		t.Fatal(started.Error) // no such scenario, or it is under way already
	}
	at := base + "/cases/" + started.ID
	vault, _ := NewVault(func(name string) string { return started.Env[name] })
	for {
		var op struct {
			request
			Environ map[string]string
		}
		if status := call("GET", at+"/next", nil, &op); status == 204 {
			continue
		} else if status != 200 {
			break // 410: it is over
		}
		if op.Op == "configure" {
			vault, _ = NewVault(func(name string) string { return op.Environ[name] })
		}
		go func(vault *Vault) {
			answer := map[string]any{"id": op.ID, "ok": true}
			if op.Op == "read" {
				value, err := vault.Read(op.Path, op.Key)
				answer["value"], answer["ok"] = value, err == nil
			} else if op.Op == "close" {
				vault.Close()
			}
			call("POST", at+"/answers", answer, nil)
		}(vault)
	}
	var verdict struct{ Word, Why, Text string }
	call("GET", at+"/verdict", nil, &verdict)
	if verdict.Word == "skipped" {
		t.Skip(verdict.Why)
	} else if verdict.Word != "pass" {
		t.Error(verdict.Text)
	}
}
