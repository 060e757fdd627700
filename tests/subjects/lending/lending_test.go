package lending // VAULTS=$(what vault-harness serve prints after "vaults at") go test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
)

type vault struct{ ID, Address, Namespace, Token string }

func call(method, url, body string, answer *vault, as vault) int {
	request, _ := http.NewRequest(method, url, strings.NewReader(body))
	request.Header = http.Header{"X-Vault-Namespace": {as.Namespace}, "X-Vault-Token": {as.Token}}
	if got, err := http.DefaultClient.Do(request); err == nil {
		json.NewDecoder(got.Body).Decode(answer)
		return got.StatusCode
	}
	return 0
}

func TestCutNetwork(t *testing.T) {
	var lent, fault vault
	vaults, secret := os.Getenv("VAULTS"), `{"shop/db": {"PASSWORD": "s3cret"}}`
	call("POST", vaults, `{"secrets": {"secret": `+secret+`}}`, &lent, vault{})
	mine := vaults + "/" + lent.ID
	http.Get(mine + "/hold") // it is mine as long as this is open
	defer call("DELETE", mine, "", nil, vault{})
	read := func(want int) {
		if got := call("GET", lent.Address+"/v1/secret/data/shop/db", "", nil, lent); got != want {
			t.Fatalf("Vault answered %d, not %d", got, want)
		}
	}
	read(200)
	call("POST", mine+"/faults", `{"fault": "cut"}`, &fault, vault{})
	read(0) // no answer
	call("DELETE", mine+"/faults/"+fault.ID, "", nil, vault{})
	read(200)
}
