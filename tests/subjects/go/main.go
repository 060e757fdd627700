// A Vault client as a subject of the scenarios: one JSON object a line on standard input and output.
//
//	go build -o subject . && pytest scenarios/ --vault-subject 'command:./subject'
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

type request struct {
	ID              int
	Op, Path, Key   string
	Clients, Client int
}

// herd is the clients of this process: one, and more on request.
type herd struct {
	mutex  sync.Mutex
	vaults []*Vault
}

func (h *herd) grow(count int) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	for len(h.vaults) < count {
		vault, err := NewVault(os.Getenv)
		if err != nil {
			return err
		}
		h.vaults = append(h.vaults, vault)
	}
	return nil
}

func (h *herd) client(number int) (*Vault, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if number < 0 || number >= len(h.vaults) {
		return nil, fmt.Errorf("there is no client %d", number)
	}
	return h.vaults[number], nil
}

func (h *herd) close() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	var ending sync.WaitGroup
	for _, vault := range h.vaults {
		ending.Add(1)
		go func() {
			defer ending.Done()
			vault.Close()
		}()
	}
	ending.Wait()
}

func main() {
	clients := new(herd)
	if err := clients.grow(1); err != nil {
		log.Fatal(err)
	}
	var leaving sync.Once
	leave := func() {
		leaving.Do(func() {
			clients.close()
			os.Exit(0)
		})
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		leave()
	}()

	var mutex sync.Mutex
	var answering sync.WaitGroup
	out := json.NewEncoder(os.Stdout)
	in := json.NewDecoder(os.Stdin)
	for {
		var asked request
		if err := in.Decode(&asked); err != nil {
			answering.Wait() // all input is answered before the end
			leave()
		}
		if asked.Op == "close" {
			leave()
		}
		answering.Add(1)
		go func() {
			defer answering.Done()
			answer := serve(clients, asked)
			answer["id"] = asked.ID
			mutex.Lock()
			defer mutex.Unlock()
			if err := out.Encode(answer); err != nil {
				log.Print(err)
			}
		}()
	}
}

func serve(clients *herd, asked request) map[string]any {
	vault, err := clients.client(asked.Client)
	if err != nil {
		return told(nil, err)
	}
	switch asked.Op {
	case "hello":
		return map[string]any{
			"ok":           true,
			"capabilities": []string{"read", "read_all", "health", "outcomes", "tls", "herd"},
			"auth":         []string{"approle", "namespace"},
			"declares": map[string]float64{
				"deadline":    vault.timeout.Seconds(),
				"backoff_cap": vault.gate.longest.Seconds(),
			},
		}
	case "herd":
		return told(nil, clients.grow(asked.Clients))
	case "health":
		return map[string]any{"ok": true, "value": vault.Healthy()}
	case "read":
		value, err := vault.Read(asked.Path, asked.Key)
		return told(value, err)
	case "read_all":
		values, err := vault.ReadAll(asked.Path)
		return told(values, err)
	}
	return map[string]any{"ok": false, "message": "there is no operation " + asked.Op}
}

// told is the answer to a read.
func told(value any, err error) map[string]any {
	if err == nil {
		return map[string]any{"ok": true, "value": value}
	}
	answer := map[string]any{"ok": false, "message": err.Error()}
	if failure, ok := err.(*Failure); ok && failure.Outcome != "" {
		answer["error"] = failure.Outcome
	}
	return answer
}
