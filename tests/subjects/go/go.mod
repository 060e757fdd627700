module example.com/vault-subject

go 1.24
