// Answers the line protocol of vault-harness with a Vault client: github.com/hashicorp/vault/api.
package main

import ("context"; "encoding/json"; "os"; "os/signal"; "strings"; "sync"; "syscall"
	"github.com/hashicorp/vault/api")

func must[T any](value T, err error) T { if err != nil { panic(err) }; return value } // answer recovers
func credential(name string) string { // some scenarios give it in a file, and replace that
	if text := os.Getenv(name); text != "" { return text }
	return strings.TrimSpace(string(must(os.ReadFile(os.Getenv(name + "_FILE")))))
}
type client struct { *api.Client; sync.Mutex } // Put your own client here: it needs read and close.
func (c *client) read(path, key string) string {
	c.logIn()
	return must(c.KVv2(os.Getenv("VAULT_MOUNT_POINT")).Get(context.Background(), path)).Data[key].(string)
}
func (c *client) logIn() {
	c.Lock(); defer c.Unlock() // one login for all callers
	ids := map[string]any{"role_id": credential("VAULT_ROLE_ID"), "secret_id": credential("VAULT_SECRET_ID")}
	if c.Token() == "" { c.SetToken(must(c.Logical().Write("auth/approle/login", ids)).Auth.ClientToken) }
}
func (c *client) close() { if c.Token() != "" { c.Auth().Token().RevokeSelf("") } }
func (c *client) answer(id int, op, path, key string) {
	said := map[string]any{"id": id, "ok": op == "hello"}
	defer func() { recover(); json.NewEncoder(os.Stdout).Encode(said) }() // logs go to standard error
	if op == "hello" { said["capabilities"] = []string{"read"} } // and what you add below
	if op == "read" { said["value"], said["ok"] = c.read(path, key), true }
}
func main() {
	c, term := &client{Client: must(api.NewClient(nil))}, make(chan os.Signal, 1) // it reads VAULT_ADDR itself
	leave := sync.OnceFunc(func() { c.close(); os.Exit(0) })
	go func() { signal.Notify(term, syscall.SIGTERM); <-term; leave() }()
	var answering sync.WaitGroup // what was asked is answered before the end
	for in := json.NewDecoder(os.Stdin); ; {
		var asked struct { ID int; Op, Path, Key string }
		if in.Decode(&asked) != nil { answering.Wait(); leave() }
		if asked.Op == "close" { leave() }
		answering.Add(1); go func() { c.answer(asked.ID, asked.Op, asked.Path, asked.Key); answering.Done() }()
	}
}
