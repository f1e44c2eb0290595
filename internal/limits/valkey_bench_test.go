package limits

import (
	"testing"

	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
)

func BenchmarkValkey(b *testing.B) {
	l, c := everything(b, shared(b, testenv.Valkey(b), &clock{}, SharedOptions{}))
	for b.Loop() {
		c.ID = tenants.RandomID("ca")
		s, err := l.Spend(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
}

func BenchmarkValkeyByManyCallers(b *testing.B) {
	l, call := everything(b, shared(b, testenv.Valkey(b), &clock{}, SharedOptions{}))
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c := call
			c.ID = tenants.RandomID("ca")
			s, err := l.Spend(b.Context(), c)
			if err != nil {
				b.Error(err)
				return
			}
			s.Release()
		}
	})
}
