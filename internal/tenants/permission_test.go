package tenants

import (
	"slices"
	"testing"
)

func TestHolds(t *testing.T) {
	for _, c := range []struct {
		held []Permission
		want Permission
		ok   bool
	}{
		{nil, AuditRead, false},
		{[]Permission{AuditRead}, AuditRead, true},
		{[]Permission{Admin}, AuditRead, true},
		{[]Permission{Admin}, "later:write", true},
		{[]Permission{MembersWrite}, MembersRead, true},
		{[]Permission{MembersRead}, MembersWrite, false},
		{[]Permission{MembersWrite}, RolesRead, false},
		{[]Permission{RolesWrite, MembersWrite, ServersWrite}, Admin, false},
	} {
		if Holds(c.held, c.want) != c.ok {
			t.Errorf("%v and %s: not %v", c.held, c.want, c.ok)
		}
	}
}

func TestBeyond(t *testing.T) {
	got := Beyond([]Permission{RolesWrite, AuditRead}, []Permission{RolesRead, Admin, AuditRead, KeysRead})
	if !slices.Equal(got, []Permission{Admin, KeysRead}) {
		t.Error(got)
	}
}

func TestPlatformIsNobodysID(t *testing.T) {
	if _, err := ParseID(string(Platform)); err != nil {
		t.Error("the store does not take it:", err)
	}
	for range 1000 {
		for _, c := range NewID()[2:] {
			if c == '0' {
				t.Fatal("a random id has a 0")
			}
		}
	}
}
