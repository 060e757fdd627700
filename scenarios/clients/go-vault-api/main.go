// Go's own Vault client, used as its documentation shows: log in with an AppRole, let a
// LifetimeWatcher renew the token, log in again when it says that renewing is over. Nothing more.
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

// login makes the method anew, as HashiCorp's example does: so both ids are read again.
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

// keepLoggedIn is the loop of HashiCorp's own example on token renewal, with a pause after a failed login.
func (s *source) keepLoggedIn(ctx context.Context, first chan<- struct{}) {
	for ctx.Err() == nil {
		secret, err := s.login(ctx)
		if err != nil {
			log.Printf("unable to authenticate to Vault: %v", err)
			select {
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
			}
			continue
		}
		if first != nil {
			close(first)
			first = nil
		}
		if err := s.watch(ctx, secret); err != nil {
			log.Printf("unable to start managing the token's lifetime: %v", err)
			select {
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
			}
		}
	}
}

// watch returns when the token must be replaced.
func (s *source) watch(ctx context.Context, secret *vault.Secret) error {
	watcher, err := s.client.NewLifetimeWatcher(&vault.LifetimeWatcherInput{Secret: secret})
	if err != nil {
		return err
	}
	go watcher.Start()
	defer watcher.Stop()
	for {
		select {
		case err := <-watcher.DoneCh():
			if err != nil {
				log.Printf("failed to renew the token: %v; logging in again", err)
			}
			return nil
		case <-watcher.RenewCh():
		case <-ctx.Done():
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

// word is what the harness calls a failure; the client itself tells them apart by type and status.
func word(err error) string {
	var answer *vault.ResponseError
	switch {
	case errors.Is(err, errDeleted):
		return "deleted"
	case errors.Is(err, vault.ErrSecretNotFound):
		return "missing"
	case errors.As(err, &answer) && answer.StatusCode == 403:
		return "denied"
	case errors.As(err, &answer) && answer.StatusCode == 404:
		return "missing"
	}
	return "unavailable"
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
		return map[string]any{"ok": true, "capabilities": []string{"read", "tls"}, "version": version()}
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
		source.keepLoggedIn(ctx, loggedIn)
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
