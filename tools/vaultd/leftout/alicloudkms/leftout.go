// Package alicloudkms stands in for a seal that vaultd leaves out.
package alicloudkms

import (
	"context"
	"errors"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// ErrLeftOut is what every use answers.
var ErrLeftOut = errors.New("vaultd is built without the seal alicloudkms")

// Wrapper has the methods that Vault asks for and can do none of it.
type Wrapper struct{ wrapping.Wrapper }

// NewWrapper makes a Wrapper.
func NewWrapper() *Wrapper { return &Wrapper{} }

// SetConfig comes before every other use, and fails.
func (*Wrapper) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return nil, ErrLeftOut
}
