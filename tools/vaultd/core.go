package main

import (
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-secure-stdlib/reloadutil"
	credJWT "github.com/hashicorp/vault-plugin-auth-jwt"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	auditFile "github.com/hashicorp/vault/builtin/audit/file"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/database"
	"github.com/hashicorp/vault/builtin/logical/pki"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/builtin/plugin"
	"github.com/hashicorp/vault/command/server"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/plugins/database/postgresql"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/vault"
)

// builtins is every engine this server has, by the names Vault itself uses.
var builtins = registry{
	consts.PluginTypeSecrets: {
		"kv":      logical.Factory(kv.Factory),
		"transit": logical.Factory(transit.Factory),
		"pki":     logical.Factory(pki.Factory),
	},
	consts.PluginTypeCredential: {
		"approle": logical.Factory(approle.Factory),
		"jwt":     logical.Factory(credJWT.Factory),
	},
	consts.PluginTypeDatabase: {
		"postgresql-database-plugin": postgresql.New,
	},
}

func newCore(store *storage, addr string, logger hclog.Logger) (*vault.Core, error) {
	return vault.NewCore(&vault.CoreConfig{
		Physical:     store.backend,
		StorageType:  store.kind,
		RedirectAddr: addr,
		Logger:       logger,
		DisableMlock: true, // needs a privilege a developer's account does not have
		RawConfig:    &server.Config{SharedConfig: &configutil.SharedConfig{DisableMlock: true}},

		BuiltinRegistry: builtins,
		// The database engine dispenses plugins itself, so it is linked rather
		// than registered; "plugin" is the wrapper that mounts the registry's.
		LogicalBackends: map[string]logical.Factory{
			"kv":       kv.Factory,
			"database": database.Factory,
			"plugin":   plugin.Factory,
		},
		CredentialBackends: map[string]logical.Factory{"plugin": plugin.Factory},
		AuditBackends:      map[string]audit.Factory{"file": auditFile.Factory},

		ReloadFuncs:     &map[string][]reloadutil.ReloadFunc{},
		ReloadFuncsLock: &sync.RWMutex{},
	})
}

// registry is vault.BuiltinRegistry over a fixed list. An entry is either a
// logical.Factory or, for a database, a constructor.
type registry map[consts.PluginType]map[string]any

func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := r[kind][name]
	return ok
}

func (r registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	entry, ok := r[kind][name]
	if !ok {
		return nil, false
	}
	if newDatabase, ok := entry.(func() (any, error)); ok {
		return newDatabase, true
	}
	return func() (any, error) { return entry, nil }, true
}

func (r registry) Keys(kind consts.PluginType) []string {
	names := make([]string, 0, len(r[kind]))
	for name := range r[kind] {
		names = append(names, name)
	}
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	if !r.Contains(name, kind) {
		return consts.Unknown, false
	}
	return consts.Supported, true
}

func (r registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
