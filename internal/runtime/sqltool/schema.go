package sqltool

import (
	"encoding/json"

	"latchkey/internal/registry"
	"latchkey/internal/runtime/params"
)

// outputSchema describes the structured answer. Nothing is required and more
// may be there, because a failure answers with other members under the same
// schema and clients hold both against it.
func outputSchema(s *statement, columns []column, a registry.Access) json.RawMessage {
	row := params.Ordered{}
	for _, c := range columns {
		row.Add(c.name, params.Ordered{{"description", c.description}})
	}
	one := params.Ordered{{"type", "object"}}
	if len(row) > 0 {
		one.Add("properties", row)
	}
	properties := params.Ordered{}
	if s.Single {
		one[0].Value = []string{"object", "null"}
		properties.Add("row", one)
	} else {
		properties.Add("rows", params.Ordered{{"type", "array"}, {"items", one}})
	}
	properties.Add("row_count", params.Ordered{{"type", "integer"}, {"description", "How many rows this answer holds."}})
	properties.Add("more_rows", params.Ordered{{"type", "integer"}, {"description", "How many rows were left out, at least."}})
	if a == registry.WriteAccess {
		properties.Add("rows_changed", params.Ordered{{"type", "integer"}, {"description", "How many rows the statement changed."}})
	}
	properties.Add("note", params.Ordered{{"type", "string"}, {"description", "What to know about this answer."}})
	return params.Encode(params.Ordered{{"$schema", params.Dialect}, {"type", "object"}, {"properties", properties}})
}
