// Package ocikms stands in for a seal that vaultd leaves out.
package ocikms

import (
	"context"
	"errors"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// ErrLeftOut is what every use answers.
var ErrLeftOut = errors.New("vaultd is built without the seal ocikms")

// Wrapper has the methods that Vault asks for and can do none of it.
type Wrapper struct{ wrapping.Wrapper }

// NewWrapper makes a Wrapper.
func NewWrapper() *Wrapper { return &Wrapper{} }

// SetConfig comes before every other use, and fails.
func (*Wrapper) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return nil, ErrLeftOut
}

// Names of the seal's settings, which Vault prints.
const (
	KmsConfigKeyId              = "key_id"
	KmsConfigCryptoEndpoint     = "crypto_endpoint"
	KmsConfigManagementEndpoint = "management_endpoint"
)
