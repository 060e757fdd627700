#!/bin/sh
# Lays the released source of External Secrets into upstream/, with Vault's provider alone: the
# others' lists are emptied, as later releases do it by build tags. Nothing else of it is changed.
set -e
module=github.com/external-secrets/external-secrets version=v0.20.4
sum=h1:HhNAjWfFEshhItphr28SGsHzf2bUP7uDAOVLg76uNAg=
found=$(cd / && go mod download -json "$module@$version")
echo "$found" | grep -qF "\"Sum\": \"$sum\"" || { echo "not the $version that is pinned: $found"; exit 1; }
from=$(echo "$found" | sed -n 's/.*"Dir": "\(.*\)",*$/\1/p')
rm -rf upstream
mkdir upstream
cp -R "$from/apis" "$from/pkg" "$from/go.mod" "$from/LICENSE" upstream
chmod -R u+w upstream
find upstream -name '*_test.go' -delete
echo 'package register' >upstream/pkg/generator/register/register.go
printf 'package register\n\nimport _ "%s/pkg/provider/vault"\n' "$module" >upstream/pkg/provider/register/register.go
