package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/helper/namespace"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// storage is where the core keeps its data, and the key that opens it again.
type storage struct {
	kind    string
	backend physical.Backend
	keyFile string   // empty for memory
	lock    *os.File // held until the process ends: two cores on one folder corrupt it
}

// keys is what Initialize yields and unsealing needs.
type keys struct {
	Unseal    []byte `json:"unseal"`
	RootToken string `json:"root_token"`
}

func openStorage(kind, dir string, logger hclog.Logger) (*storage, error) {
	switch kind {
	case "inmem":
		backend, err := inmem.NewInmem(nil, logger)
		return &storage{kind: kind, backend: backend}, err
	case "file":
	default:
		return nil, fmt.Errorf("-storage %q: want inmem or file", kind)
	}

	if dir == "" {
		return nil, errors.New("-storage file needs -dir, the folder to keep the data in")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("%s is in use by another vaultd; stop that one first", dir)
	}
	backend, err := file.NewFileBackend(map[string]string{"path": filepath.Join(dir, "data")}, logger)
	return &storage{kind: kind, backend: backend, keyFile: filepath.Join(dir, "keys.json"), lock: lock}, err
}

// unseal opens the core, initializing it at its first start, and returns the
// root token.
func (s *storage) unseal(core *vault.Core) (rootToken string, err error) {
	ctx := namespace.RootContext(context.Background())
	initialized, err := core.Initialized(ctx)
	if err != nil {
		return "", fmt.Errorf("read the storage: %w", err)
	}
	var k keys
	if initialized {
		k, err = s.readKeys()
	} else {
		k, err = s.initialize(ctx, core)
	}
	if err != nil {
		return "", err
	}
	open, err := core.Unseal(k.Unseal)
	if err != nil {
		return "", fmt.Errorf("unseal: %w", err)
	}
	if !open {
		return "", errors.New("unseal: the stored key did not open the storage")
	}
	return k.RootToken, nil
}

func (s *storage) initialize(ctx context.Context, core *vault.Core) (keys, error) {
	res, err := core.Initialize(ctx, &vault.InitParams{
		BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
	})
	if err != nil {
		return keys{}, fmt.Errorf("initialize: %w", err)
	}
	k := keys{Unseal: res.SecretShares[0], RootToken: res.RootToken}
	if s.keyFile == "" {
		return k, nil
	}
	b, err := json.Marshal(k)
	if err != nil {
		return keys{}, err
	}
	return k, os.WriteFile(s.keyFile, b, 0o600)
}

func (s *storage) readKeys() (k keys, err error) {
	b, err := os.ReadFile(s.keyFile)
	if err == nil {
		err = json.Unmarshal(b, &k)
	}
	if err != nil {
		// Killed between the two writes of a first start, or tampered with:
		// nothing can open the data again.
		return keys{}, fmt.Errorf("the unseal key is lost (%v); remove %s and start again", err, filepath.Dir(s.keyFile))
	}
	return k, nil
}
