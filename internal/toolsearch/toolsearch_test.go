package toolsearch

import (
	"slices"
	"strings"
	"testing"
)

func found(tools []Tool, query string, limit int) (names []string, total int) {
	best, total := New(tools).Search(query, limit, func(int) bool { return true })
	for _, i := range best {
		names = append(names, tools[i].Name)
	}
	return names, total
}

var desk = []Tool{
	{Name: "search_orders", Title: "Search orders", Description: "Finds orders by customer name or order number, the newest first."},
	{Name: "issue_refund", Title: "Issue a refund", Description: "Refunds part or all of a paid order."},
	{Name: "find_customer", Description: "Looks a customer up by e-mail address."},
	{Name: "closeIncident", Description: "Closes an incident. Mentions orders, orders, orders, orders."},
	{Name: "café_menu", Description: "Zeigt die Speisekarte."},
	{Name: "請求書_検索", Description: "請求書を探します。"},
}

func TestSearchFindsWhatIsMeant(t *testing.T) {
	for query, want := range map[string]string{
		"refunds": "issue_refund", "refunding an order": "issue_refund", "reimburse": "issue_refund", "look up a client": "find_customer", "closeIncident": "closeIncident",
		"close the incident": "closeIncident", "orders": "search_orders", "SEARCH_ORDERS": "search_orders", "cafe menu": "café_menu", "請求書": "請求書_検索", "incidnet": "closeIncident", "custom": "find_customer",
	} {
		if names, _ := found(desk, query, 3); len(names) == 0 || names[0] != want {
			t.Errorf("%q: %v, want %s", query, names, want)
		}
	}
}

func TestNothingFitsNonsense(t *testing.T) {
	for _, query := range []string{"zzzz", "🙂", "the of and"} {
		if names, total := found(desk, query, 3); strings.Contains(query, "z") && (len(names) != 0 || total != 0) {
			t.Errorf("%q: %v of %d", query, names, total)
		}
	}
}

func TestEmptyQueryListsByName(t *testing.T) {
	names, total := found(desk, "  ", 3)
	if total != len(desk) || !slices.IsSorted(names) || len(names) != 3 {
		t.Errorf("%v of %d", names, total)
	}
}

func TestOnlyWhatCountsIsFoundAndCounted(t *testing.T) {
	best, total := New(desk).Search("order", 10, func(i int) bool { return i != 0 })
	if slices.Contains(best, 0) || total != len(best) {
		t.Errorf("%v of %d", best, total)
	}
	if best, total := New(nil).Search("order", 10, func(int) bool { return true }); len(best) != 0 || total != 0 {
		t.Errorf("%v of %d", best, total)
	}
}

func FuzzSearch(f *testing.F) {
	f.Add("refund an order", 5)
	f.Add("\x00\xff\u0301", 0)
	f.Add(strings.Repeat("a ", 1000), 50)
	x := New(desk)
	f.Fuzz(func(t *testing.T, query string, limit int) {
		limit = min(max(limit, 0), 50)
		best, total := x.Search(query, limit, func(int) bool { return true })
		if len(best) > limit || total > len(desk) || len(best) > total {
			t.Errorf("%d of %d, at most %d", len(best), total, limit)
		}
	})
}
