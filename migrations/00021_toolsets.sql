-- A task of a toolset's tool is one of the server that has the tool; its caller
-- has it at the toolset.

-- +goose Up
ALTER TABLE tasks
  ADD COLUMN toolset_id   text,
  ADD COLUMN toolset_tool text CHECK (length(toolset_tool) BETWEEN 1 AND 128),
  ADD CHECK ((toolset_id IS NULL) = (toolset_tool IS NULL)),
  ADD FOREIGN KEY (tenant_id, toolset_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE;
CREATE INDEX ON tasks (tenant_id, toolset_id);

-- +goose Down
ALTER TABLE tasks DROP COLUMN toolset_id, DROP COLUMN toolset_tool;
