package sqltool

import "testing"

// Whoever cleans up after an incident revokes at Vault or drops the users in
// the database; the server must come back by itself.
func TestRevokedCredentialIsReplaced(t *testing.T) {
	s := newShop(t)
	d := s.desk(t, `tools: [{name: whoami, risk: read, description: who, statement: "SELECT session_user AS me"}]`)
	first := d.must("whoami", `{}`)
	s.superuser(t, `DO $$ DECLARE r text; BEGIN
		FOR r IN SELECT usename FROM pg_stat_activity WHERE usename LIKE 'lk\_%' AND datname = current_database() LOOP
			PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = r;
			EXECUTE format('ALTER ROLE %I NOLOGIN', r);
		END LOOP;
	END $$`)
	// One call may meet the dead connection and one the refused login.
	for range 3 {
		if got, err := d.call("whoami", `{}`); err == nil {
			if got.text == first.text {
				t.Fatalf("the dead user answered: %s", got.text)
			}
			return
		}
	}
	t.Fatal("no call got another credential")
}
