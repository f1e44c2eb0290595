package vault

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"

	"latchkey/internal/fault"
)

// Sealer seals what the platform keeps in its own database and must not be
// able to read without Vault: signing keys, upstream tokens. Each value is
// bound to a name; under another name it does not open. The key never leaves
// Vault, and a rotated key still opens what an older version sealed.
type Sealer struct{ client *Client }

// NewSealer makes a Sealer over the platform's client.
func NewSealer(c *Client) *Sealer { return &Sealer{client: c} }

// Seal encrypts plaintext for the name, such as `tenant/<id>/signing-key`.
func (s *Sealer) Seal(ctx context.Context, name string, plaintext []byte) (sealed []byte, err error) {
	defer fault.Wrap(&err, "vault.Seal(%s)", name)
	out, err := s.transit(ctx, "encrypt", name, "plaintext", base64.StdEncoding.EncodeToString(plaintext), "ciphertext")
	return []byte(out), err
}

// Open decrypts what Seal made for the same name.
func (s *Sealer) Open(ctx context.Context, name string, sealed []byte) (plaintext []byte, err error) {
	defer fault.Wrap(&err, "vault.Open(%s)", name)
	out, err := s.transit(ctx, "decrypt", name, "ciphertext", string(sealed), "plaintext")
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(out)
}

func (s *Sealer) transit(ctx context.Context, op, name, in, value, out string) (string, error) {
	if name == "" {
		return "", errors.New("no name to bind the value to")
	}
	r, err := s.client.own(ctx, http.MethodPost, transitMount+"/"+op+"/"+sealKey, map[string]any{
		in: value, "context": base64.StdEncoding.EncodeToString([]byte(name)),
	})
	if err != nil {
		return "", err
	}
	if r == nil {
		return "", errors.New("Vault is not laid out for the platform; run `platform vault setup` first")
	}
	v, _ := r.Data[out].(string)
	return v, nil
}
