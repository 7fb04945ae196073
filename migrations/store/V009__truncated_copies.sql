-- Whether the vector stands for the beginning of the row's text alone, because the migration that made it was told to truncate.
ALTER TABLE embedding_keys ADD COLUMN truncated boolean NOT NULL DEFAULT false;
-- Before any pin moved: what is younger may have been written in the new space.
ALTER TABLE migrations ADD COLUMN cutting_since timestamptz;
