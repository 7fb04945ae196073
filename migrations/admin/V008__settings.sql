-- What operators turn at run time, over what the configuration files say, and a quick answer to how new a section is.
--
-- Replicas of the release before may still run: they do not read the settings, and skip their changes.

CREATE TABLE settings (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version    bigint NOT NULL CHECK (version > 0),
    -- what was given; whatever is absent is as the files say
    given      json NOT NULL,
    -- id of the key
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL
);

-- subscribers ask for the last change of their sections every second
CREATE INDEX changes_of_section ON changes (section, version);

GRANT SELECT, INSERT ON settings TO embermesh_app;
GRANT UPDATE (version, given, changed_by, changed_at) ON settings TO embermesh_app;
