-- Groups hold the rights; users that Vault makes are put into one and hold
-- none of their own, so that they can always be dropped.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'demo_TENANT_reader') THEN CREATE ROLE demo_TENANT_reader NOLOGIN; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'demo_TENANT_writer') THEN CREATE ROLE demo_TENANT_writer NOLOGIN; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'demo_TENANT_vault') THEN CREATE ROLE demo_TENANT_vault LOGIN CREATEROLE; END IF;
END $$;
ALTER ROLE demo_TENANT_vault PASSWORD 'PASSWORD_OF_ADMIN';
GRANT demo_TENANT_reader, demo_TENANT_writer TO demo_TENANT_vault WITH ADMIN OPTION;
GRANT pg_signal_backend TO demo_TENANT_vault;
