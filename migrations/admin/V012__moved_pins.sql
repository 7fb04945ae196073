-- Pins move when their vectors have: by a migration, and back.

-- where a pin was before it was moved, so that it can go back exactly
ALTER TABLE pins ADD COLUMN moved_from_space text, ADD COLUMN moved_from_model text;
GRANT UPDATE (space_id, model, pinned_at, moved_from_space, moved_from_model) ON pins TO embermesh_app;
