// A Vault client as a subject of the scenarios: one JSON object a line on standard input and output.
//
//	go build -o subject . && pytest scenarios/ --vault-subject 'command:./subject'
package main

import (
	"encoding/json"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

type request struct {
	ID            int
	Op, Path, Key string
}

func main() {
	vault, err := NewVault(os.Getenv)
	if err != nil {
		log.Fatal(err)
	}
	var leaving sync.Once
	leave := func() {
		leaving.Do(func() {
			vault.Close()
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
			answering.Wait() // what a person piped in is answered before the end
			leave()
		}
		if asked.Op == "close" {
			leave()
		}
		answering.Add(1)
		go func() {
			defer answering.Done()
			answer := serve(vault, asked)
			answer["id"] = asked.ID
			mutex.Lock()
			defer mutex.Unlock()
			if err := out.Encode(answer); err != nil {
				log.Print(err)
			}
		}()
	}
}

func serve(vault *Vault, asked request) map[string]any {
	switch asked.Op {
	case "hello":
		return map[string]any{
			"ok":           true,
			"capabilities": []string{"read", "read_all", "health", "outcomes", "tls"},
			"auth":         []string{"approle", "namespace"},
			"declares": map[string]float64{
				"deadline":    vault.timeout.Seconds(),
				"backoff_cap": vault.gate.longest.Seconds(),
			},
		}
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
