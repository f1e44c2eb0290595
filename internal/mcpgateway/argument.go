package mcpgateway

import (
	"bytes"
	"encoding/json"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

// A model can set arguments and nothing else, so tools that may ask for a
// confirmation are served with one argument more. It is taken out before
// anything looks at the arguments: the tool's own schema, the audit, the worker.

const (
	confirmationArgument = registry.ConfirmationArgument
	// metaConfirmation is where a program may put it instead.
	metaConfirmation = "latchkey/confirmation"
)

const confirmationSchema = `{"type":"string","maxLength":100,"description":"Leave it out at first: the call is then a dry run that says what would happen, and does nothing. If that is what the person wants, call again with the same arguments and the confirmation from that answer."}`

// mayConfirm reports whether the tool is served with the argument. One that has
// an argument of that name, from before that was refused, keeps it; then only
// _meta is looked at.
func mayConfirm(t *registry.Tool) bool {
	return t.Confirmation.MayAsk(t.Risk) && !hasProperty(t.InputSchema, confirmationArgument)
}

func hasProperty(schema json.RawMessage, name string) bool {
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	return json.Unmarshal(schema, &s) != nil || s.Properties[name] != nil
}

// servedSchema is a tool's input schema as clients see it.
func servedSchema(t *registry.Tool) json.RawMessage {
	if !mayConfirm(t) {
		return t.InputSchema
	}
	entry := `"` + confirmationArgument + `":` + confirmationSchema
	var b bytes.Buffer
	added := false
	plain := eachMember(t.InputSchema, func(name, value []byte) bool {
		b.WriteByte(separator(&b))
		b.WriteString(`"` + string(name) + `":`)
		if string(name) == "properties" && !added && value[0] == '{' {
			added = true
			inner := bytes.TrimSpace(value[1 : len(value)-1])
			b.WriteByte('{')
			if b.Write(inner); len(inner) > 0 {
				b.WriteByte(',')
			}
			b.WriteString(entry + "}")
			return true
		}
		b.Write(value)
		return true
	})
	if !plain {
		return t.InputSchema // a name with an escape in it: nobody writes such a schema
	}
	if !added {
		b.WriteByte(separator(&b))
		b.WriteString(`"properties":{` + entry + `}`)
	}
	b.WriteByte('}')
	return b.Bytes()
}

func separator(b *bytes.Buffer) byte {
	if b.Len() == 0 {
		return '{'
	}
	return ','
}

// takeConfirmation takes the argument out of a call's arguments. What is not an
// object is left for the schema to refuse.
func takeConfirmation(arguments json.RawMessage) (rest json.RawMessage, confirmation string, err error) {
	there := false
	if eachMember(arguments, func(name, _ []byte) bool {
		there = there || string(name) == confirmationArgument
		return true
	}) && !there {
		return arguments, "", nil // the most are dry runs
	}
	var b bytes.Buffer
	d := json.NewDecoder(bytes.NewReader(arguments))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return arguments, "", nil
	}
	var value json.RawMessage
	for d.More() {
		name, err := d.Token()
		var member json.RawMessage
		if err == nil {
			err = d.Decode(&member)
		}
		if err != nil {
			return arguments, "", nil
		}
		if name == confirmationArgument {
			if value != nil {
				return arguments, "", badConfirmation("is given twice", "send it once")
			}
			value = member
			continue
		}
		key, err := json.Marshal(name)
		if err != nil {
			return arguments, "", nil
		}
		b.WriteByte(separator(&b))
		b.Write(key)
		b.WriteByte(':')
		b.Write(member)
	}
	if b.Len() == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	if value == nil { // a name with an escape in it, but not this one
		return arguments, "", nil
	}
	if string(value) != "null" && json.Unmarshal(value, &confirmation) != nil || len(confirmation) > 100 {
		return b.Bytes(), "", badConfirmation("is no confirmation", "send the one from the dry run, or leave it out")
	}
	return b.Bytes(), confirmation, nil
}

func badConfirmation(reason, fix string) error {
	return fault.New(fault.InvalidArguments, "The argument %s cannot be used.", confirmationArgument).
		WithDetails(fault.Detail{Pointer: "/" + confirmationArgument, Reason: reason, Fix: fix})
}

// maxEchoed bounds the arguments that an answer repeats.
const maxEchoed = 16 << 10

func echoed(arguments json.RawMessage) json.RawMessage {
	if len(arguments) > maxEchoed || !json.Valid(arguments) {
		return nil
	}
	return arguments
}

// withConfirmation are the arguments of the call that confirms.
func withConfirmation(arguments json.RawMessage, token string, takes bool) json.RawMessage {
	arguments = echoed(orObject(arguments))
	if !takes || arguments == nil {
		return arguments
	}
	inner := bytes.TrimSpace(arguments)
	inner = bytes.TrimSpace(inner[1 : len(inner)-1])
	out := append([]byte{'{'}, inner...)
	if len(inner) > 0 {
		out = append(out, ',')
	}
	return append(out, `"`+confirmationArgument+`":"`+token+`"}`...)
}
