-- Pins move when their vectors have: by a migration, and back. In no other way: services cannot rewrite a pin.

-- where a pin was before it was moved, so that it can go back exactly
ALTER TABLE pins ADD COLUMN moved_from_space text, ADD COLUMN moved_from_model text;

-- The pins of the tenant, and where one is named of the agent, that lie in one space go to another.
CREATE FUNCTION move_pins(of_agent text, old_space text, new_space text, new_model text, moment timestamptz)
RETURNS SETOF pins LANGUAGE sql SECURITY DEFINER SET search_path = admin, pg_temp AS $$
    UPDATE pins SET space_id = new_space, model = new_model, pinned_at = moment,
        moved_from_space = space_id, moved_from_model = model
    WHERE tenant_id = nullif(current_setting('app.tenant', true), '')::uuid
        AND space_id = old_space AND (of_agent IS NULL OR agent_id = of_agent)
    RETURNING *
$$;

-- Those of them that came from there go back, to the model that they named.
CREATE FUNCTION move_pins_back(of_agent text, new_space text, old_space text, moment timestamptz)
RETURNS SETOF pins LANGUAGE sql SECURITY DEFINER SET search_path = admin, pg_temp AS $$
    UPDATE pins SET space_id = old_space, model = moved_from_model, pinned_at = moment,
        moved_from_space = NULL, moved_from_model = NULL
    WHERE tenant_id = nullif(current_setting('app.tenant', true), '')::uuid
        AND space_id = new_space AND moved_from_space = old_space AND (of_agent IS NULL OR agent_id = of_agent)
    RETURNING *
$$;

REVOKE ALL ON FUNCTION move_pins, move_pins_back FROM PUBLIC;
GRANT EXECUTE ON FUNCTION move_pins, move_pins_back TO embermesh_app;
