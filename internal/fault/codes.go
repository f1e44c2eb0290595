package fault

// Code is a stable name that scripts and agents may match on. Codes are never
// renamed; docs/errors.md is the same table for readers, and a test holds the
// two together.
type Code struct {
	Name     string
	Category Category
}

func (c Code) String() string { return c.Name }

// The codes. Add a line here and in docs/errors.md.
var (
	Unauthenticated     = code("unauthenticated", Access)
	InsufficientScope   = code("insufficient_scope", Access)
	RoleNotAllowed      = code("role_not_allowed", Access)
	NotFound            = code("not_found", Access)        // what may not be seen answers exactly like what does not exist
	SwitchedOff         = code("switched_off", Access)     // by a kill switch
	Declined            = code("declined", Access)         // the person at the client said no
	ApprovalPending     = code("approval_pending", Access) // somebody else has to decide; nothing was done
	ApprovalDenied      = code("approval_denied", Access)
	DefinitionChanged   = code("definition_changed", Access)   // at the upstream, and no administrator has looked yet
	ConnectNeeded       = code("connect_needed", Access)       // the person has to connect an account of theirs first
	EgressRefused       = code("egress_refused", Access)       // the upstream is where servers may not connect to
	CertificateRefused  = code("certificate_refused", Access)  // ours has expired, or the upstream takes no such
	Unanswerable        = code("client_cannot_answer", Access) // the upstream asked for what this client cannot be asked for
	InvalidArguments    = code("invalid_arguments", Validation)
	InvalidRequest      = code("invalid_request", Validation)
	InvalidSpec         = code("invalid_spec", Validation)
	Conflict            = code("conflict", Validation)
	Stale               = code("stale", Validation)                // If-Match names what is no more
	KeyReused           = code("key_reused", Validation)           // an Idempotency-Key with another request
	ConfirmationNeeded  = code("confirmation_needed", Validation)  // a dry run: nothing was done
	ConfirmationInvalid = code("confirmation_invalid", Validation) // used, too late, or for another call
	TaskNeeded          = code("task_needed", Validation)          // the tool runs as a task only, and this caller cannot have one
	ToolSunset          = code("tool_sunset", Validation)
	BreakingChange      = code("breaking_change", Validation)
	UnsafeDescription   = code("unsafe_description", Validation)
	ToolFailed          = code("tool_failed", Downstream)
	ServerUnhealthy     = code("server_unhealthy", Downstream)
	ServerCrashed       = code("server_crashed", Downstream) // its process ended, with the reason
	UpstreamAway        = code("upstream_unavailable", Downstream)
	CredentialsAway     = code("credentials_unavailable", Downstream)
	NoWorker            = code("no_worker", Downstream)
	WorkerLost          = code("worker_lost", Downstream)     // nothing was done
	OutcomeUnknown      = code("outcome_unknown", Downstream) // do not repeat blindly
	DeadlineExceeded    = code("deadline_exceeded", Downstream)
	ResultTooLarge      = code("result_too_large", Validation)
	StoreAway           = code("platform_store_unavailable", Downstream)
	Busy                = code("busy", RateLimit)
	LimitReached        = code("limit_reached", RateLimit)
	RepeatedCall        = code("repeated_call", RateLimit) // identical calls in a loop
	Cancelled           = code("cancelled", Validation)
	Unexpected          = code("internal_error", Internal)
)

var all []Code

func code(name string, c Category) Code {
	k := Code{Name: name, Category: c}
	all = append(all, k)
	return k
}

// Codes lists every code, in the order of the table.
func Codes() []Code { return append([]Code(nil), all...) }

// ByName finds a code that came over a wire; an unknown name is Unexpected.
func ByName(name string) Code {
	for _, c := range all {
		if c.Name == name {
			return c
		}
	}
	return Unexpected
}
