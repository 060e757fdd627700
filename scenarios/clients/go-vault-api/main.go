// Go's own Vault client, used as HashiCorp's example on token renewal uses it:
// github.com/hashicorp/vault-examples, examples/token-renewal/go/example.go, commit 52557108.
//
//	go build -o subject . && vault-harness scenarios --subject 'command:./subject'
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	vault "github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
)

type source struct {
	client *vault.Client
	mount  string
}

func newSource() (*source, error) {
	client, err := vault.NewClient(vault.DefaultConfig()) // VAULT_ADDR, VAULT_CACERT, VAULT_NAMESPACE ...
	if err != nil {
		return nil, err
	}
	if seconds, err := strconv.ParseFloat(os.Getenv("VAULT_CLIENT_TIMEOUT"), 64); err == nil {
		client.SetClientTimeout(time.Duration(seconds * float64(time.Second)))
	}
	return &source{client: client, mount: os.Getenv("VAULT_MOUNT_POINT")}, nil
}

// login reads both ids again, since the example makes its method for each login.
func (s *source) login(ctx context.Context) (*vault.Secret, error) {
	roleID := os.Getenv("VAULT_ROLE_ID")
	if file := os.Getenv("VAULT_ROLE_ID_FILE"); file != "" {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		roleID = string(content)
	}
	secretID := &approle.SecretID{FromString: os.Getenv("VAULT_SECRET_ID")}
	if file := os.Getenv("VAULT_SECRET_ID_FILE"); file != "" {
		secretID = &approle.SecretID{FromFile: file}
	}
	auth, err := approle.NewAppRoleAuth(roleID, secretID)
	if err != nil {
		return nil, err
	}
	return s.client.Auth().Login(ctx, auth)
}

// renewToken is the function of this name in the example. It ends the process when a login fails, as
// the example does: a supervisor of the application would start it again.
func (s *source) renewToken(ctx context.Context, loggedIn chan<- struct{}) {
	for first := true; ; first = false {
		secret, err := s.login(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			log.Fatalf("unable to authenticate to Vault: %v", err)
		}
		if first {
			close(loggedIn)
		}
		if err := s.manageTokenLifecycle(ctx, secret); err != nil {
			log.Fatalf("unable to start managing token lifecycle: %v", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// manageTokenLifecycle is the function of this name in the example: it returns when a login is due.
func (s *source) manageTokenLifecycle(ctx context.Context, token *vault.Secret) error {
	if !token.Auth.Renewable {
		log.Printf("Token is not configured to be renewable. Re-attempting login.")
		return nil
	}
	watcher, err := s.client.NewLifetimeWatcher(&vault.LifetimeWatcherInput{
		Secret: token,
		// The example asks for 3600, an hour for a token of an hour. Tokens are shorter here, so it is their own life:
		// with 3600 a token of 12 s got its max TTL of 600 s at its first renewal.
		Increment: token.Auth.LeaseDuration,
	})
	if err != nil {
		return fmt.Errorf("unable to initialize new lifetime watcher for renewing auth token: %w", err)
	}
	go watcher.Start()
	defer watcher.Stop()
	for {
		select {
		case err := <-watcher.DoneCh():
			if err != nil {
				log.Printf("Failed to renew token: %v. Re-attempting login.", err)
				return nil
			}
			log.Printf("Token can no longer be renewed. Re-attempting login.")
			return nil
		case renewal := <-watcher.RenewCh():
			log.Printf("Successfully renewed: %#v", renewal)
		case <-ctx.Done(): // the example never ends
			return nil
		}
	}
}

func (s *source) read(ctx context.Context, path, key string) (string, error) {
	secret, err := s.client.KVv2(s.mount).Get(ctx, path)
	if err != nil {
		return "", err
	}
	if secret.Data == nil { // no error, and no data: how Get tells of a latest version that is deleted
		return "", fmt.Errorf("%w: %s", errDeleted, path)
	}
	value, ok := secret.Data[key].(string)
	if !ok {
		return "", fmt.Errorf("%w: %s has no key %s", vault.ErrSecretNotFound, path, key)
	}
	return value, nil
}

var errDeleted = errors.New("the latest version is deleted")

// word is what the harness calls a failure; the client itself tells failures apart by type and status.
func word(err error) string {
	var answer *vault.ResponseError
	switch {
	case errors.Is(err, errDeleted):
		return "deleted"
	case errors.Is(err, vault.ErrSecretNotFound):
		return "missing"
	case errors.As(err, &answer) && answer.StatusCode == 403 && fromVault(answer):
		return "denied"
	}
	return "unavailable"
}

// fromVault is false for a body without Vault's list of errors, which somebody else sent (api/response.go:65).
func fromVault(answer *vault.ResponseError) bool {
	return !answer.RawError && answer.Errors != nil
}

// version is that of the library, as it was built in.
func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/hashicorp/vault/api" {
			return module.Version
		}
	}
	return ""
}

type request struct {
	ID            int
	Op, Path, Key string
}

func (s *source) serve(asked request) map[string]any {
	switch asked.Op {
	case "hello":
		return map[string]any{"ok": true, "capabilities": []string{"read"}, "version": version()}
	case "read":
		value, err := s.read(context.Background(), asked.Path, asked.Key)
		if err != nil {
			return map[string]any{"ok": false, "error": word(err), "message": err.Error()}
		}
		return map[string]any{"ok": true, "value": value}
	}
	return map[string]any{"ok": false, "message": "there is no operation " + asked.Op}
}

func main() {
	source, err := newSource()
	if err != nil {
		log.Fatal(err)
	}
	terminated, release := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer release() // at last: a SIGTERM while the token is given back would end it there
	ctx, stop := context.WithCancel(terminated)
	var lifetime sync.WaitGroup
	loggedIn := make(chan struct{})
	lifetime.Add(1)
	go func() {
		defer lifetime.Done()
		source.renewToken(ctx, loggedIn)
	}()

	requests := make(chan request)
	go func() {
		defer close(requests)
		in := json.NewDecoder(os.Stdin)
		for {
			var asked request
			if in.Decode(&asked) != nil || asked.Op == "close" {
				return
			}
			requests <- asked
		}
	}()
	var mutex sync.Mutex
	var answering sync.WaitGroup
	out := json.NewEncoder(os.Stdout)
	for open := true; open; {
		select {
		case asked, more := <-requests:
			if open = more; !more {
				break
			}
			answering.Add(1)
			go func() {
				defer answering.Done()
				if asked.Op == "hello" { // an application serves once it has logged in
					select {
					case <-loggedIn:
					case <-ctx.Done():
					}
				}
				answer := source.serve(asked)
				answer["id"] = asked.ID
				mutex.Lock()
				defer mutex.Unlock()
				if err := out.Encode(answer); err != nil {
					log.Print(err)
				}
			}()
		case <-ctx.Done():
			open = false
		}
	}
	answering.Wait()
	stop()
	lifetime.Wait()
	if err := source.client.Auth().Token().RevokeSelf(""); err != nil {
		log.Printf("the token was not revoked: %v", err)
	}
}
