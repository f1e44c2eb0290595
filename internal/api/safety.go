package api

import (
	"latchkey/internal/events"
	"latchkey/internal/switches"
)

// Safety is what the operations on kill switches and events ask for.
type Safety struct {
	Switches switches.Store
	Events   events.Store
}
